// The shape of one life: how many nodes, how large and how fast everything is. Drawn from the seed, or chosen by a story.
#pragma once

#include <vector>

#include "engine/group.h"
#include "test/cluster/client.h"
#include "test/sim/coordinator.h"
#include "test/sim/disk.h"
#include "test/sim/network.h"

namespace holdfast::cluster {

struct Plan {
  std::uint64_t seed = 1;
  unsigned nodes = 3;
  std::uint32_t min_in_sync = 1;
  engine::Timing timing;
  std::uint64_t log_bytes = 4ULL << 20;
  std::vector<std::uint64_t> more_log_blocks;  // By node: its log is larger by so much; empty: by nothing.
  bool shrink_tunables = false;              // Caches, windows and intervals are drawn anew for every process.
  bool applies_at_once = false;              // What is committed goes to its place at once, not when memory fills or a tick later.
  sim::NetworkOptions network;
  sim::CoordinatorOptions coordinator;
  sim::DiskLatency disk_latency;
  std::uint32_t disk_slow_ppm = 0;
  ClientOptions clients;
  std::vector<std::int64_t> clock_drift;     // By node: nanoseconds in a second.
  DurationNs chaos = milliseconds(4'000);
  std::uint64_t tight_chunks = 0;            // The file systems hold so many chunks more than the empty stores; zero: plenty.
  std::uint32_t rebuild_keep_chunks = 1024;
  std::uint64_t rebuild_bytes_per_second = 0;  // Zero: no limit.
  bool beyond_retention = true;              // A member may come back after the log has gone on without it.
  bool narrate = false;

  std::uint64_t log_bytes_of(NodeId node) const { return log_bytes + (more_log_blocks.empty() ? 0 : more_log_blocks[node.value - 1] * kBlockBytes); }
};

// A plan for a seed of the swarm. nodes: zero draws them.
struct PlanChoices {
  unsigned nodes = 0;
  bool beyond_retention = false;
  bool narrate = false;
};
Plan draw_plan(std::uint64_t seed, PlanChoices choices);

// For tests of one thing: the same whatever the swarm draws, with default tunables and a disk without slow moments.
Plan plain_plan(unsigned nodes = 3);

// The tunables of one process of the plan.
GroupOptions draw_group_options(const Plan& plan, NodeId node, sim::SimRandom& random);

}  // namespace holdfast::cluster
