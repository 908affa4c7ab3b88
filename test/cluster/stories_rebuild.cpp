// C10, C11: copies that are rebuilt, what of them is fetched, and what that costs.
#include "test/cluster/story.h"
#include "test/sim/text.h"

namespace holdfast::cluster {
namespace {

constexpr std::uint32_t kKeepChunks = 64;

// The log holds a few hundred records: whoever is away for longer needs more than the log.
void ring_goes_round(Plan& plan) {
  plan.log_bytes = 3ULL << 20;
  plan.clients.volumes = 1;
  plan.clients.volume_blocks = 256 * kChunkBlocks;
  plan.clients.hot_blocks = 32 * kChunkBlocks;
  plan.clients.hot_percent = 0;
  plan.clients.large_one_in = 1'000'000;  // Whole chunks would not go through the log.
  plan.clients.write_bytes_max = 1ULL << 40;
  plan.clients.read = 5;
  plan.clients.unmap = 0;                 // One of them may empty a page of the map, and nothing would be left to be copied.
}

void until_ring_went_round(Story& s) {
  constexpr std::uint64_t kEnough = 1'500;  // Records of a header and a block at least: more than the log holds.
  const Lsn had = s.cluster().invariants().committed();
  s.until(60'000, "the log has gone round", [&] { return s.cluster().invariants().committed().value > had.value + kEnough; });
}

void fetched_exactly(Story& s, NodeId id, const ChunkCount& wanted) {
  const ReplicaStatus status = s.replica(id);
  s.expect(status.rebuilt_chunks == wanted.chunks, sim::format("{} chunks were fetched, {} have changed", status.rebuilt_chunks, wanted.chunks));
  s.expect(status.rebuilt_bytes == wanted.with_data * kChunkBytes, sim::format("{} bytes, {} chunks of them have data", status.rebuilt_bytes, wanted.with_data));
}

void delta_rebuild(Story& s) {
  Cluster& c = s.cluster();
  s.tell("Much is written, everywhere");
  s.run_for(1'500);
  s.rest();
  const NodeId away = s.standby();
  const CopyContent before = s.content(s.primary());
  s.tell("A standby is away while one part of the volume is written again and again");
  s.checkpoint(away);  // Otherwise it could not know that the last record it has is committed, and would ask for that again.
  if (!s.goes_on()) return;
  c.die(away, Death::killed);
  c.clients().options().hot_percent = 100;
  s.work_again();
  until_ring_went_round(s);
  s.clients_rest();
  const CopyContent now = s.content(s.primary());
  const ChunkCount changed = changed_chunks(before, now), all = changed_chunks({}, now);
  s.fault_happened(changed.chunks > 0 && changed.chunks < all.chunks / 2, sim::format("{} of {} chunks have changed", changed.chunks, all.chunks));
  s.tell("It comes back");
  c.start(away);
  s.until(20'000, "it is in sync again", [&] { return s.in_step(away); });
  fetched_exactly(s, away, changed);
  s.expect(s.content(away) == now, "its copy is the primary's");
  s.work_again();
  s.run_for(300);
  s.end();
}

void one_part_written(Plan& plan) {
  ring_goes_round(plan);
  plan.clients.hot_percent = 100;
}

void full_rebuild(Story& s) {
  Cluster& c = s.cluster();
  s.tell("One part of the volume is written again and again");
  until_ring_went_round(s);
  s.rest();
  const NodeId replaced = s.standby();
  const CopyContent now = s.content(s.primary());
  const ChunkCount all = changed_chunks({}, now);
  s.expect(all.chunks < c.plan().clients.volume_blocks / kChunkBlocks / 2, sim::format("{} chunks have data", all.chunks));
  s.tell("A standby's disk is replaced");
  if (!s.goes_on()) return;
  const Uuid old = c.node(replaced).incarnation();
  c.wipe(replaced);
  s.fault_happened(c.node(replaced).incarnation() != old && !s.in_sync(replaced), "its store is another one, and not in sync");
  s.until(20'000, "it is in sync", [&] { return s.in_step(replaced); });
  fetched_exactly(s, replaced, all);
  s.expect(s.content(replaced) == now, "its copy is the primary's");
  s.work_again();
  s.run_for(300);
  s.end();
}

void large_copy(Plan& plan) {
  ring_goes_round(plan);
  plan.log_bytes = 12ULL << 20;  // It holds what is written during a rebuild, and no more than that.
  plan.clients.volume_blocks = 512 * kChunkBlocks;
  plan.clients.hot_blocks = 4 * kChunkBlocks;
  plan.rebuild_keep_chunks = kKeepChunks;
}

// Answers in a millisecond since then.
double rate_since(Story& s, BootNs then, std::size_t answers) {
  return static_cast<double>(s.answers() - answers) / (static_cast<double>((s.now() - then).value) / 1e6);
}

void rebuild_under_load(Story& s, Death how) {
  constexpr double kThroughputKept = 0.7;
  constexpr double kStandstillMs = 100;
  constexpr std::uint64_t kFetchesUnderWay = 8;
  Cluster& c = s.cluster();
  const NodeId replaced = s.standby();
  s.tell("Much is written, everywhere; then clients stay in one place");
  s.run_for(1'500);
  until_ring_went_round(s);
  c.clients().options().hot_percent = 100;
  s.tell("A standby's disk is replaced, by a slow one");
  const std::uint64_t all = changed_chunks({}, s.content(s.primary())).chunks;
  if (!s.goes_on()) return;
  c.die(replaced, Death::power_loss);
  s.until(1'500, "it has left the set", [&] { return c.truth().find_in_sync(replaced) == nullptr; });
  if (!s.goes_on()) return;
  c.wipe(replaced);
  sim::SimDisk& disk = s.disk(replaced);
  disk.latency.write_us = 10'000;
  BootNs then = s.now();
  std::size_t answers = s.answers();
  s.until(20'000, "half of it is fetched", [&] { return s.replica(replaced).rebuilding && s.replica(replaced).rebuilt_chunks >= all / 2; });
  const std::uint64_t first = s.replica(replaced).rebuilt_chunks;
  s.tell(how == Death::killed ? "It is killed half-way" : "It loses power half-way");
  if (!s.goes_on()) return;
  c.die(replaced, how);
  s.fault_happened(first >= all / 2 && first < all, sim::format("it had {} of {} chunks", first, all));
  c.start(replaced);
  s.until(20'000, "it is rebuilt", [&] { return s.in_step(replaced); });
  const double rate = rate_since(s, then, answers);
  const double pause = s.longest_pause_since(then);
  disk.latency = c.plan().disk_latency;
  const std::uint64_t second = s.replica(replaced).rebuilt_chunks;
  const std::uint64_t hot = c.plan().clients.hot_blocks / kChunkBlocks;
  s.expect(second <= all - first + kKeepChunks + kFetchesUnderWay + hot, sim::format("it resumed: {} chunks were fetched then", second));
  s.expect(pause <= kStandstillMs, sim::format("the load never stopped: the longest pause was {} ms", pause));
  then = s.now();
  answers = s.answers();
  s.run_for(1'000);
  const double usual = rate_since(s, then, answers);
  s.expect(rate >= kThroughputKept * usual, sim::format("{} answers in a millisecond during the rebuild, {} without", rate, usual));
  s.end();
}
void rebuild_killed(Story& s) { rebuild_under_load(s, Death::killed); }
void rebuild_loses_power(Story& s) { rebuild_under_load(s, Death::power_loss); }

// The log holds a fraction of what is written during a rebuild, and that is everywhere: each attempt leaves as much to be fetched.
void log_of_a_moment(Plan& plan) {
  ring_goes_round(plan);
  plan.clients.volume_blocks = 256 * kChunkBlocks;
  plan.clients.clients = 8;
  plan.clients.think_max = milliseconds(2);
}

void rebuild_beyond_the_log(Story& s) {
  constexpr double kStandstillMs = 1'100;  // Doors that are closed for a moment (1 s at most), and a held write.
  Cluster& c = s.cluster();
  const NodeId replaced = s.standby();
  s.tell("Much is written, everywhere, and goes on");
  s.run_for(2'000);
  s.tell("A standby's disk is replaced, by a slow one: the log goes round while it is rebuilt");
  if (!s.goes_on()) return;
  c.die(replaced, Death::power_loss);
  s.until(1'500, "it has left the set", [&] { return c.truth().find_in_sync(replaced) == nullptr; });
  if (!s.goes_on()) return;
  c.wipe(replaced);
  s.disk(replaced).latency.write_us = 20'000;
  const BootNs then = s.now();
  const Lsn had = c.invariants().committed();
  s.until(30'000, "it is in sync, under this load", [&] { return s.in_step(replaced); });
  const std::uint64_t written = c.invariants().committed().value - had.value;
  s.fault_happened(written > 400, sim::format("{} records were written meanwhile: more than the log holds", written));
  s.expect(s.replica(s.primary()).held_writes > 0, sim::format("{} writes were held up for it", s.replica(s.primary()).held_writes));
  const double pause = s.longest_pause_since(then);
  s.expect(pause <= kStandstillMs, sim::format("the load went on: the longest pause was {} ms", pause));
  s.disk(replaced).latency = c.plan().disk_latency;
  s.tell("Nobody is held up any more");
  s.run_for(200);
  const std::uint64_t held = s.replica(s.primary()).held_writes;
  s.run_for(1'000);
  s.expect(s.replica(s.primary()).held_writes == held, "no write waited for it since");
  s.end();
}

void always_busy(Plan& plan) {
  plan.clients.clients = 8;
  plan.clients.think_max = milliseconds(2);
  plan.clients.large_one_in = 1'000'000;
  plan.clients.write_bytes_max = 1ULL << 40;
}

// What the two others have at once is new to the third a moment later, and by then there is more.
void learner_a_moment_behind(Story& s) {
  constexpr double kClosedMs = 400;
  Cluster& c = s.cluster();
  const NodeId far = s.standby();
  s.tell("A standby goes away while much is written; when it comes back, its path takes 30 ms each way");
  if (!s.goes_on()) return;
  c.die(far, Death::killed);
  s.until(1'500, "it has left the set", [&] { return c.truth().find_in_sync(far) == nullptr; });
  s.set_paths_of(far, 30, 1);
  if (!s.goes_on()) return;
  c.start(far);
  const BootNs then = s.now();
  s.until(10'000, "it is in sync, under this load", [&] { return s.in_step(far); });
  const double pause = s.longest_pause_since(then);
  s.expect(pause <= kClosedMs, sim::format("the longest pause was {} ms", pause));
  s.set_paths_of(far, 0, 1);
  s.run_for(300);
  s.end();
}

// A standby that has another disk, and has begun to be rebuilt.
NodeId rebuilt_standby(Story& s) {
  const NodeId replaced = s.standby();
  s.tell("Much is written, everywhere; then clients stay in one place");
  s.run_for(1'500);
  s.cluster().clients().options().hot_percent = 100;
  s.tell("A standby's disk is replaced");
  if (!s.goes_on()) return replaced;
  s.cluster().wipe(replaced);
  s.until(5'000, "it is being rebuilt", [&] { return s.replica(replaced).rebuilding && s.replica(replaced).rebuilt_bytes > 0; });
  return replaced;
}

// What others fetch for their rebuilds is bounded, and clients are told how far it is.
constexpr std::uint64_t kSlowRate = 4ULL << 20;
void at_a_slow_rate(Plan& plan) {
  large_copy(plan);
  plan.rebuild_bytes_per_second = kSlowRate;
}

void rebuild_at_a_rate(Story& s) {
  constexpr double kRateTolerance = 1.1;
  const NodeId replaced = rebuilt_standby(s);
  s.tell("It may fetch 4 MiB a second");
  const BootNs then = s.now();
  const std::uint64_t before = s.replica(replaced).rebuilt_bytes;
  std::uint64_t known = 0, steps = 0;
  s.until(60'000, "it is in sync again", [&] {
    const ReplicaStatus status = s.replica(replaced);
    steps += status.rebuild_bytes_done > known;
    known = std::max(known, status.rebuild_bytes_done);
    return s.in_step(replaced);
  });
  const double seconds = static_cast<double>((s.now() - then).value) / 1e9;
  const std::uint64_t bytes = s.replica(replaced).rebuilt_bytes - before;
  s.fault_happened(bytes > 2 * kSlowRate, sim::format("{} bytes were fetched in {} s", bytes, seconds));
  s.expect(static_cast<double>(bytes) <= kRateTolerance * kSlowRate * seconds, "not faster than they may be");
  s.expect(steps > 10, sim::format("it told how far it was: {} steps", steps));
  s.run_for(300);
  s.end();
}

void no_reads(Plan& plan) {
  large_copy(plan);
  plan.clients.read = plan.clients.compare_and_write = 0;
}

// The source's disk takes longer for a read than a question may take.
void source_hangs(Story& s) {
  constexpr std::uint32_t kLongerThanAQuestionUs = 12'000'000;
  Cluster& c = s.cluster();
  const NodeId replaced = rebuilt_standby(s);
  const NodeId source = s.primary();
  s.tell("The source's disk hangs whenever it is read");
  if (!s.goes_on()) return;
  // No checkpoint ends meanwhile, for it reads its superblock again: the log is to have room for what is written.
  c.clients().options().think_max = milliseconds(300);
  s.disk(source).latency.read_us = kLongerThanAQuestionUs;
  const BootNs then = s.now();
  s.until(2'000, "it waits", [&] { return s.disk(source).in_flight() > 0; });
  s.run_for(10'500);
  s.fault_happened(!s.in_step(replaced) && c.serving() == source, "nothing was fetched for longer than a question may take");
  s.expect(s.longest_pause_since(then) <= kMemberLossMs, "writers went on");
  s.disk(source).latency = c.plan().disk_latency;
  s.until(30'000, "it is in sync once the disk answers", [&] { return s.in_step(replaced); });
  s.end();
}

constexpr Scenario kRebuildStories[] = {
    {"C10a", "delta rebuild after heavy writes beyond the log", delta_rebuild, ring_goes_round},
    {"C10b", "full rebuild of a replaced disk", full_rebuild, one_part_written},
    {"C11a", "rebuild during active writes, killed half-way", rebuild_killed, large_copy},
    {"C11b", "rebuild during active writes, power lost half-way", rebuild_loses_power, large_copy},
    {"C11c", "rebuild that takes longer than the log lasts", rebuild_beyond_the_log, log_of_a_moment},
    {"C11d", "copy that stays a moment behind under load", learner_a_moment_behind, always_busy},
    {"C11e", "rebuild at a bounded rate", rebuild_at_a_rate, at_a_slow_rate},
    {"C11f", "source of a rebuild whose disk hangs", source_hangs, no_reads},
};

}  // namespace

std::span<const Scenario> rebuild_stories() { return kRebuildStories; }

}  // namespace holdfast::cluster
