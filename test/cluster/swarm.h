// The swarm: faults of every kind, each seed with its own mix of them (Groce et al., Swarm Testing, 2012).
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "test/cluster/cluster.h"

namespace holdfast::cluster {

enum class Fault : std::uint8_t {
  kill, power_loss, power_loss_all, pause, link_reset, partition, one_way, isolate, data_port, cut_from_coordinator, deposed,
  slow_200_ms, slow_2_s, jitter, coordinator_outage, coordinator_slow, unknown_swaps, lost_notices, disk_slow, switchover,
  checkpoint, disk_full, read_error, write_error, sync_error, bit_rot, lost_write, misdirected_write, wipe, beyond_retention,
  volume_made, volume_deleted, log_read, bad_sector, member_removed, lease_changed, min_in_sync_changed,
};
inline constexpr std::size_t kFaults = 37;
inline constexpr std::size_t kFirstFaults = 30;  // Those that came later are drawn by themselves: old seeds stay what they were.

struct FaultKind {
  std::string_view name;
  bool on;                            // Does the engine promise to survive it yet?
  std::uint32_t gap_ms_min, gap_ms_max;  // Of the time between two of them; drawn for each seed.
};
// The one table: a kind is turned on here.
inline constexpr std::array<FaultKind, kFaults> kFaultKinds{{
    {"kills", true, 400, 4'000},
    {"power losses", true, 500, 5'000},
    {"power losses of all", true, 1'500, 8'000},
    {"pauses", true, 400, 4'000},
    {"links reset", true, 200, 3'000},
    {"partitions", true, 500, 4'000},
    {"one-way partitions", true, 500, 4'000},
    {"nodes isolated from peers", true, 500, 4'000},
    {"data ports cut", true, 700, 5'000},
    {"nodes cut from the coordinator", true, 500, 4'000},
    {"primaries cut from peers and coordinator", true, 700, 5'000},
    {"paths slow by 200 ms", true, 1'000, 6'000},
    {"paths slow by 2 s", true, 1'500, 8'000},
    {"paths with jitter", true, 1'000, 6'000},
    {"coordinator outages", true, 700, 5'000},
    {"coordinator slow", true, 700, 5'000},
    {"times of unknown swaps", true, 500, 4'000},
    {"times of lost notices", true, 500, 4'000},
    {"slow disks", true, 700, 5'000},
    {"switchovers", true, 200, 3'000},
    {"checkpoints", true, 100, 2'000},
    {"full disks", true, 1'000, 5'000},
    {"read errors", true, 1'000, 5'000},
    {"write errors", true, 1'000, 5'000},
    {"sync errors", true, 1'000, 5'000},
    {"flipped bits", true, 500, 4'000},
    // Open: nothing on a disk proves that the log had a last batch when that was never written (found-bugs.md, 52).
    {"times of lost writes", false, 1'500, 8'000},
    {"times of misdirected writes", true, 1'500, 8'000},
    {"disks replaced", true, 1'500, 8'000},
    {"logs shorter than absences", true, 1, 1},
    {"volumes made", true, 100, 800},
    {"volumes deleted", true, 150, 1'500},
    {"reads of the log", true, 20, 200},
    {"bad sectors", true, 500, 4'000},
    {"members removed", true, 300, 3'000},
    {"leases changed", true, 300, 3'000},
    {"min_in_sync changed", true, 300, 3'000},
}};

class Swarm {
 public:
  // `enabled`: of the kinds; a seed draws which of them it meets, and how often.
  using Enabled = std::array<bool, kFaults>;
  static Enabled as_the_table_says();

  Swarm(Cluster& cluster, const Enabled& enabled);
  void start();
  // Faults end, and nothing new happens: everything is mended, everybody is started.
  void heal();
  const std::array<std::uint64_t, kFaults>& counts() const { return counts_; }

 private:
  void turn();
  bool strikes(Fault fault);
  void strike_nodes();
  void strike_network();
  void strike_coordinator();
  void strike_disks();
  void mend_later(std::function<void()> mend);
  void cut_for_a_while(NodeId from, NodeId to);
  void slow_for_a_while(Fault fault, std::int64_t delay_ms, std::int64_t jitter_ms);
  void fail_disk_once(Fault fault, bool sim::DiskFaults::*next);
  void isolate(NodeId id, std::uint32_t one_in);
  void depose();
  void replace_disk(NodeId id);
  void rot();
  void spoil();
  void draw_chance(std::size_t kind, sim::SimRandom& random);
  void tell_operators();
  void change_the_register();
  void remove_a_member();
  void die_and_return(NodeId id, Death how, std::int64_t away_ms_max);
  NodeId any_node() { return NodeId(1 + random().below(cluster_->size())); }
  // A primary is met more often than chance would have it.
  NodeId interesting_node();
  sim::SimRandom& random() { return cluster_->world().random(); }

  Cluster* cluster_;
  sim::SimHost host_;
  Enabled enabled_;
  std::array<std::uint32_t, kFaults> one_in_{};  // In so many turns; zero: never.
  std::array<std::uint64_t, kFaults> counts_{};
  NodeId bad_disk_;                   // Rot and lies happen on one copy only.
  bool more_ = false;                 // Does this seed know what came later?
  bool calm_ = false;
  std::uint64_t era_ = 0;             // Mending of before the healing is no news after it.
};

}  // namespace holdfast::cluster
