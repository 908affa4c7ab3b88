#include "test/cluster/plan.h"

namespace holdfast::cluster {
namespace {

using sim::SimRandom;

// Safety may not depend on comfort: patience and time-outs are drawn against their relations too.
engine::Timing draw_timing(SimRandom& random) {
  engine::Timing t;
  t.lease_ms = random.pick(std::array<std::int64_t, 4>{600, 300, 300, 150});
  t.heartbeat_ms = std::max<std::int64_t>(t.lease_ms / static_cast<std::int64_t>(random.between(8, 16)), 5);
  t.replica_timeout_ms = t.lease_ms + t.lease_ms / 12;
  t.takeover_patience_ms = t.replica_timeout_ms + t.lease_ms / 6;
  if (random.one_in(4)) t.takeover_patience_ms = static_cast<std::int64_t>(random.below(100));
  if (random.one_in(6)) t.replica_timeout_ms = t.lease_ms / 3;
  t.register_poll_ms = random.pick(std::array<std::int64_t, 3>{1'000, 200, 50});
  t.register_retry_ms = static_cast<std::int64_t>(random.between(2, 20));
  return t;
}

sim::NetworkOptions draw_network(SimRandom& random) {
  sim::NetworkOptions n;
  n.latency_max = microseconds(static_cast<std::int64_t>(random.pick(std::array<std::uint64_t, 3>{60, 150, 1'000})));
  n.window_bytes = random.pick(std::array<std::size_t, 3>{64 << 10, 512 << 10, 4 << 20});
  n.connect_timeout = milliseconds(static_cast<std::int64_t>(random.between(50, 600)));
  if (random.coin()) n.unacknowledged_max = milliseconds(static_cast<std::int64_t>(random.between(200, 2'000)));
  return n;
}

sim::DiskLatency draw_disk(SimRandom& random) {
  sim::DiskLatency d;
  if (!random.one_in(3)) return d;
  d.durable_us = static_cast<std::uint32_t>(random.between(20, 3'000));
  d.write_us = static_cast<std::uint32_t>(random.between(10, 500));
  d.sync_us = static_cast<std::uint32_t>(random.between(20, 5'000));
  return d;
}

ClientOptions draw_clients(SimRandom& random) {
  ClientOptions c;
  c.clients = static_cast<unsigned>(random.between(1, 5));
  c.volumes = random.one_in(3) ? 2 : 1;
  // Some have several pages of the map.
  c.volume_blocks = kChunkBlocks * (random.one_in(4) ? random.between(48, 100) : random.between(4, 24));
  c.hot_blocks = random.between(1, 64);
  c.large_one_in = random.one_in(4) ? 4 : 16;
  c.think_max = milliseconds(static_cast<std::int64_t>(random.pick(std::array<std::uint64_t, 3>{5, 20, 60})));
  if (random.one_in(4)) c.unmap = 20;
  if (random.one_in(4)) c.compare_and_write = 30;
  return c;
}

// What came to the swarm later. From a chance of its own, and for every other seed alone: the others stay what they were.
void draw_more(std::uint64_t seed, Plan& plan) {
  SimRandom random(sim::mix(seed ^ 0x6d6f7265ULL));
  if (random.coin()) return;
  ClientOptions& c = plan.clients;
  if (random.one_in(2)) c.or_write = static_cast<std::uint32_t>(random.between(4, 12));
  if (random.one_in(2)) c.reserve = static_cast<std::uint32_t>(random.between(2, 10));
  if (random.one_in(3)) plan.disk_latency.read_us = static_cast<std::uint32_t>(random.between(30, 2'000));
  if (sim::mix(seed ^ 0x6c6f6773ULL) % 4 == 0) {
    SimRandom sizes(sim::mix(seed ^ 0x73697a65ULL));
    for (unsigned i = 0; i < plan.nodes; ++i) plan.more_log_blocks.push_back(sizes.coin() ? 0 : sizes.below(1'024));
  }
  c.asks = sim::mix(seed ^ 0x76696577ULL) % 2 == 0;
  if (sim::mix(seed ^ 0x72617465ULL) % 4 == 0) plan.rebuild_bytes_per_second = (4ULL << 20) << seed / 2 % 4;
  if (!random.one_in(5)) return;
  // Wide: many pages of the map, more than a small cache holds, and a checkpoint that takes its time.
  c.volume_blocks = kChunkBlocks * random.between(400, 1'000);
  c.hot_percent = static_cast<std::uint32_t>(random.between(0, 40));
  c.think_max = milliseconds(5);
}

}  // namespace

Plan draw_plan(std::uint64_t seed, PlanChoices choices) {
  SimRandom random(sim::mix(seed ^ 0x706c616eULL));
  Plan plan;
  plan.seed = seed;
  plan.narrate = choices.narrate;
  plan.shrink_tunables = true;
  const std::uint64_t draw = random.below(10);
  plan.nodes = choices.nodes ? choices.nodes : draw < 1 ? 1 : draw < 3 ? 2 : draw < 8 ? 3 : draw < 9 ? 4 : 5;
  plan.min_in_sync = plan.nodes >= 3 && random.one_in(3) ? 2 : 1;
  plan.timing = draw_timing(random);
  plan.network = draw_network(random);
  plan.coordinator.latency_max = milliseconds(static_cast<std::int64_t>(random.between(1, 10)));
  plan.coordinator.watch_timeout = milliseconds(static_cast<std::int64_t>(random.between(200, 2'000)));
  plan.disk_latency = draw_disk(random);
  if (random.one_in(4)) plan.disk_slow_ppm = 10'000;
  plan.clients = draw_clients(random);
  plan.log_bytes = (640 + random.below(384)) * kBlockBytes;
  plan.beyond_retention = choices.beyond_retention;
  if (!choices.beyond_retention) plan.log_bytes = 8ULL << 20;
  plan.clients.write_bytes_max = choices.beyond_retention ? 8ULL << 20 : 3ULL << 20;
  // Two clocks differ by up to drift_percent: each is off by up to half of it.
  const std::int64_t half = plan.timing.drift_percent * 10'000'000 / 2 * 9 / 10;
  for (unsigned i = 0; i < plan.nodes; ++i) plan.clock_drift.push_back(static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(2 * half))) - half);
  plan.chaos = milliseconds(static_cast<std::int64_t>(random.between(1'500, 5'000)));
  draw_more(seed, plan);
  return plan;
}

Plan plain_plan(unsigned nodes) {
  Plan plan = draw_plan(7, PlanChoices{nodes, true, false});
  plan.shrink_tunables = false;
  plan.min_in_sync = 1;
  plan.disk_slow_ppm = 0;
  plan.more_log_blocks.clear();
  return plan;
}

GroupOptions draw_group_options(const Plan& plan, NodeId node, SimRandom& random) {
  GroupOptions o;
  o.node = node;
  o.timing = plan.timing;
  o.cluster_view.local_group = static_cast<std::uint16_t>(node.value);
  for (std::uint64_t i = 1; i <= plan.nodes; ++i) o.cluster_view.groups.push_back({static_cast<std::uint16_t>(i), PortGroupState::standby, {}});
  o.map_cache_bytes = 1 << 20;
  o.apply_backlog_bytes = 4 << 20;
  o.tail_bytes_max = 4 << 20;
  o.ship_window_bytes = 2 << 20;
  o.rebuild_keep_chunks = plan.rebuild_keep_chunks;
  o.rebuild_bytes_per_second = plan.rebuild_bytes_per_second;
  if (plan.applies_at_once) o.apply_backlog_bytes = kBlockBytes;
  if (!plan.shrink_tunables) return o;
  o.map_cache_bytes = 65536ULL << random.below(5);
  o.apply_backlog_bytes = 65536ULL << random.between(4, 6);
  // Some apply at once. Without a draw more: the other seeds stay what they are.
  if (o.apply_backlog_bytes == 65536ULL << 4 && o.map_cache_bytes < 65536ULL << 2) o.apply_backlog_bytes = kBlockBytes;
  o.log_batches_in_flight = static_cast<std::uint32_t>(random.between(1, 8));
  o.log_batch_bytes_max = 1u << random.between(12, 20);
  o.checkpoint_interval_ms = random.one_in(3) ? static_cast<std::int64_t>(random.between(20, 300)) : 30'000;
  o.checkpoint_log_percent = static_cast<std::uint32_t>(random.between(5, 80));
  if (!plan.beyond_retention) {  // A checkpoint frees what an absent member may need.
    o.checkpoint_interval_ms = 120'000;
    o.checkpoint_log_percent = 90;
  }
  // Some scrub all the time. Not drawn from the world's chance: the seeds of old bugs stay what they were.
  if (sim::mix(plan.seed ^ 0x7363727562ULL) % 3 == 0) o.scrub_interval_ms = static_cast<std::int64_t>(50 + plan.seed % 700);
  o.tail_bytes_max = 65536ULL << random.between(4, 6);
  o.ship_window_bytes = 65536ULL << random.between(4, 6);
  return o;
}

}  // namespace holdfast::cluster
