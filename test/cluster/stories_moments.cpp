// K: moments that chance hardly ever meets.
#include <cstring>

#include "base/checksum.h"
#include "engine/volume_impl.h"
#include "test/cluster/disk_look.h"
#include "test/cluster/story.h"
#include "test/sim/text.h"
#include "wal/log.h"

namespace holdfast::cluster {
namespace {

void two_nodes(Plan& plan) { plan.nodes = 2; }

// A claim is given up, and its claimer promises again. Then the claim lands after all, and the claimer is started anew: it does
// not know what it promised, and the register names it. Who does not wait now leads while the old primary may serve.
void abandoned_claim_lands(Story& s) {
  Cluster& c = s.cluster();
  const NodeId old = s.primary();
  const NodeId claimer = s.standby();
  s.tell("The primary does not reach the coordinator, nor its standby; the standby's claim is on its way for long");
  s.control_port_rejects(old, true);
  s.cut_from_peers(old);
  c.coordinator().faults.late_swap = sim::CoordinatorFaults::LateSwap{claimer, milliseconds(60'000)};
  s.until(2'000, "it claims", [&] { return !c.coordinator().faults.late_swap; });
  s.tell("They hear each other again: the standby gives its claim up, and promises");
  s.mend_to_peers(old);
  s.until(250, "the old primary serves", [&] { return c.serving() == old; });
  s.tell("As nobody knows what became of the claim, it is made again, the same");
  s.until(1'000, "it lands", [&] { return c.truth().primary == claimer; });
  s.fault_happened(c.serving() == old, "the register names the standby, while the old primary serves with its promise");
  s.tell("At this moment the standby is cut off, killed and started again");
  if (!s.goes_on()) return;
  s.cut_from_peers(old);
  c.die(claimer, Death::killed);
  c.start(claimer);
  s.until(kSilentTakeOverMs, "it serves", [&] { return s.serves_elsewhere(old); });
  s.expect(s.epoch().value >= 3 && c.truth().primary == claimer, "in an epoch of its own");
  s.mend_to_peers(old);
  s.control_port_rejects(old, false);
  s.until(10'000, "the old one is in sync", [&] { return s.in_step(old); });
  s.end();
}

// A new primary cannot begin its epoch, for its disk still writes what the old one sent; before it can, it is deposed.
void epoch_over_before_it_began(Story& s) {
  Cluster& c = s.cluster();
  const NodeId old = s.primary();
  const NodeId slow = s.standby();
  const NodeId other = s.standby(1);
  s.rest();
  s.run_for(300);  // Each has noted where its log ends.
  s.tell("A write reaches a standby whose disk takes seconds for it");
  sim::SimDisk& disk = s.disk(slow);
  disk.latency.durable_us = 8'000'000;
  const auto requests = disk.in_flight();
  const ExchangePtr write = c.clients().start_one(old, OpKind::write, 0, BlockRange{Lba(kChunkBlocks), BlockCount(kChunkBlocks)});
  s.run_for(50);
  s.fault_happened(disk.in_flight() > requests, "it is writing");
  disk.latency = c.plan().disk_latency;
  s.tell("The primary dies; the other standby does not reach the coordinator");
  if (!s.goes_on()) return;
  s.coordinator_of(other, false);
  c.die(old, Death::killed);
  s.until(kKilledTakeOverMs, "the slow one has claimed", [&] { return c.truth().primary == slow && s.replica(slow).role == GroupRole::opening; });
  s.until(500, "and is followed", [&] { return s.bound_epoch(other) == s.epoch(); });
  s.fault_happened(disk.in_flight() > 0 && !c.serving(), "its epoch cannot begin");
  s.tell("It is cut off before it can");
  s.cut_from_peers(slow);
  s.coordinator_of(slow, false);
  s.coordinator_of(other, true);
  s.until(kSilentTakeOverMs, "the other one serves", [&] { return c.serving() == other; });
  s.mend_to_peers(slow);
  s.coordinator_of(slow, true);
  s.expect(disk.in_flight() > 0, "the slow disk is writing still");
  c.start(old);
  s.until(15'000, "the slow one is in sync again", [&] { return s.in_step(slow); });
  s.expect(c.serving() == other, "and follows");
  s.work_again();
  s.run_for(300);
  s.end();
}

Task<void> verify_in_background(Group* group, bool* done) {
  (void)co_await group->verify_all();
  *done = true;
}

// A standby reads a volume, for a scrub or for whoever asks it. The volume is deleted meanwhile, by the log.
void deleted_while_read(Story& s) {
  constexpr std::uint32_t kGuest = 2;  // The first one behind the story's own.
  Cluster& c = s.cluster();
  const NodeId standby = s.standby();
  s.tell("A volume is made, and has something in it");
  c.operators().make_volume();
  const auto there = [&](NodeId id) { return c.node(id).group()->find(Clients::volume_name(kGuest)) != nullptr; };
  s.until(1'000, "it is there", [&] { return there(s.primary()) && there(standby); });
  for (std::uint64_t i = 0; i < 8 && s.goes_on(); ++i)
    s.expect(s.operate(OpKind::write, kGuest, BlockRange{Lba(i * kChunkBlocks), BlockCount(kChunkBlocks)}) == Errc{}, "it is written");
  s.rest();
  s.checkpoint(standby);
  s.tell("A standby reads all that it has, from a disk that is slow to read");
  if (!s.goes_on()) return;
  bool done = false;
  s.disk(standby).latency.read_us = 300'000;
  c.node(standby).process().scope().spawn(verify_in_background(c.node(standby).group(), &done));
  s.until(1'000, "it is reading the volume, for there is no other that has something", [&] { return s.disk(standby).in_flight() > 0; });
  c.operators().delete_volume();
  s.until(200, "the volume is gone", [&] { return !there(standby); });
  s.fault_happened(!done && s.disk(standby).in_flight() > 0, "while it is read");
  s.until(60'000, "the reading ends", [&] { return done; });
  s.disk(standby).latency = c.plan().disk_latency;
  s.end();
}
void nothing_is_written(Plan& plan) {
  ClientOptions& c = plan.clients;
  c.write = c.unmap = c.write_same = c.compare_and_write = 0;
}

// Its log fills up, for what is logged is in the map much later. All wait for it, and nothing fails.
void log_is_full(Story& s, NodeId slow) {
  constexpr std::uint64_t kNearlyFull = (64 << 10) + wal::kKeptBackBlocks * kBlockBytes;
  const std::uint64_t revision = s.revision();
  s.tell("Its disk takes seconds for what need not be durable at once");
  s.disk(slow).latency.write_us = 3'000'000;
  s.until(30'000, "its log is full", [&] { return s.status(slow).log_used_bytes + kNearlyFull > s.status(slow).log_bytes; });
  const Lsn then = s.status(slow).commit_lsn;
  s.run_for(500);
  s.tell("The disk is well again");
  s.disk(slow).latency = s.cluster().plan().disk_latency;
  s.until(20'000, "all go on", [&] { return s.status(slow).commit_lsn.value > then.value + 500; });
  s.expect(s.revision() == revision, "nobody was dropped for that");
  s.end();
}
void log_of_a_standby_is_full(Story& s) { log_is_full(s, s.standby()); }
void log_of_the_primary_is_full(Story& s) { log_is_full(s, s.primary()); }
// And then it is all that is left: its epoch begins in the room that is kept back for that, without waiting for its disk.
void begins_in_a_full_log(Story& s) {
  constexpr std::uint64_t kFull = wal::kKeptBackBlocks * kBlockBytes;
  Cluster& c = s.cluster();
  const NodeId old = s.primary(), left = s.standby();
  s.tell("The standby's disk takes seconds for what need not be durable at once");
  s.disk(left).latency.write_us = 3'000'000;
  s.until(60'000, "its log is full", [&] { return s.status(left).log_used_bytes + kFull >= s.status(left).log_bytes; });
  s.tell("The primary loses power");
  if (!s.goes_on()) return;
  c.die(old, Death::power_loss);
  const Epoch before = s.bound_epoch(left);
  s.until(kKilledTakeOverMs, "the standby is the primary of an epoch that has begun", [&] {
    return s.bound_epoch(left) > before && s.replica(left).role == GroupRole::primary;
  });
  s.fault_happened(s.status(left).log_used_bytes + kFull > s.status(left).log_bytes, "its log is full still, and of what is kept back something is gone");
  s.tell("Its disk is well again, and the old primary comes back");
  s.disk(left).latency = c.plan().disk_latency;
  if (!s.goes_on()) return;
  c.start(old);
  s.until(120'000, "both are in sync", [&] { return s.in_step(old); });
  s.end();
}
void smallest_log(Plan& plan) {
  plan.log_bytes = wal::kLogBlocksMin * kBlockBytes;
  plan.clients.large_one_in = 1'000'000;  // Whole chunks would not go through the log.
  plan.clients.write_bytes_max = 1ULL << 40;
  plan.clients.read = 5;
  plan.clients.patience_min = milliseconds(8'000);
  plan.clients.patience_max = milliseconds(9'000);
}

// What is unmapped takes one block of the log, or shares it: the last one is used, too.
void smallest_log_of_two(Plan& plan) {
  smallest_log(plan);
  plan.clients.write = plan.clients.write_same = plan.clients.compare_and_write = 0;
  plan.nodes = 2;
  plan.min_in_sync = 1;
}

// A block that its own map calls right, and that is another one than the others have: no checksum tells, only the comparison.
void primary_differs(Story& s) {
  Cluster& c = s.cluster();
  const NodeId old = s.primary();
  s.rest();
  s.checkpoint(old);
  if (!s.goes_on()) return;
  s.tell("A block of the primary's copy is another one");
  auto* group = static_cast<engine::GroupImpl*>(c.node(old).group());
  snapshot::StoredVolume& stored = static_cast<engine::VolumeImpl*>(group->find(Clients::volume_name(0)))->stored();
  snapshot::Frame* leaf = stored.map->cached_leaf(0);
  s.expect(leaf != nullptr, "the map is in memory");
  if (!leaf) return;
  std::uint64_t chunk = 0;
  while (chunk < snapshot::kLeafChunks - 1 && snapshot::entry_of(leaf, chunk).location == 0) ++chunk;
  snapshot::MapEntry entry = snapshot::entry_of(leaf, chunk);
  s.expect(entry.location != 0, "something is written");
  if (!s.goes_on()) return;
  const std::vector<std::byte> content(kBlockBytes, std::byte{0x5a});
  s.disk(old).overwrite(entry.location * kChunkBytes, content);
  entry.valid_mask |= 1;
  entry.checksums[0] = xxh3(content);
  std::memcpy(stored.map->writable(leaf, Lsn(entry.modified_lsn)) + chunk * sizeof entry, &entry, sizeof entry);
  s.tell("A scrub begins");
  group->start_scrub();
  s.until(20'000, "another node serves", [&] { return s.serves_elsewhere(old); });
  s.until(20'000, "the old one was compared as a whole, and is in sync", [&] { return s.replica(old).rebuilt_chunks == 1 && s.in_step(old); });
  s.work_again();
  s.run_for(300);
  s.end();
}

// All of a map becomes a hole, and comes anew with something else: what was there before is still known to be gone.
void emptied_then_written(Story& s) {
  constexpr std::uint64_t kLeafBlocks = snapshot::kLeafChunks * kChunkBlocks, kMuch = 1'500;
  Cluster& c = s.cluster();
  const NodeId away = s.standby();
  s.rest();
  s.tell("Something is written at the end of the volume, and is in everybody's map");
  s.expect(s.operate(OpKind::write, 0, BlockRange{Lba(3 * kLeafBlocks), BlockCount(kChunkBlocks)}) == Errc{}, "it is");
  s.rest();
  for (const auto& each : c.nodes()) s.checkpoint(each->id());
  if (!s.goes_on()) return;
  c.die(away, Death::killed);
  s.until(2'000, "a standby has left the set", [&] { return !s.in_sync(away); });
  s.expect(s.operate(OpKind::unmap, 0, BlockRange{Lba(0), BlockCount(c.plan().clients.volume_blocks)}) == Errc{}, "all of the volume is unmapped");
  s.checkpoint(s.primary());
  const Lsn then = c.invariants().committed();
  s.tell("Its beginning is written again and again");
  s.work_again();
  s.until(60'000, "the log has gone round", [&] { return c.invariants().committed().value > then.value + kMuch; });
  s.clients_rest();
  if (!s.goes_on()) return;
  c.start(away);
  s.until(20'000, "it is in sync again", [&] { return s.in_step(away); });
  s.expect(s.replica(away).rebuilt_chunks > 0, "by a rebuild");
  s.end();
}
// A primary that is deposed has more in its log than was ever committed. By the time it is back its successor has given the same
// numbers to other records, and the log no longer has them: what changed since is counted from what was committed.
void deposed_with_a_long_tail(Story& s) {
  constexpr std::uint64_t kLeafBlocks = snapshot::kLeafChunks * kChunkBlocks, kMuch = 1'500, kTail = 30;
  Cluster& c = s.cluster();
  const NodeId old = s.primary();
  s.rest();
  for (const auto& each : c.nodes()) s.checkpoint(each->id());
  if (!s.goes_on()) return;
  s.tell("The primary is cut off, and logs what nobody else has");
  s.cut_from_peers(old);
  s.coordinator_of(old, false);
  const Lsn committed = s.replica(old).commit;
  for (std::uint64_t i = 0; i < kTail; ++i) c.clients().start_one(old, OpKind::write, 0, BlockRange{Lba(i), BlockCount(1)});
  s.until(300, "it is in its log", [&] { return s.replica(old).durable.value >= committed.value + kTail; });
  s.fault_happened(s.replica(old).commit == committed, "and not committed");
  if (!s.goes_on()) return;
  c.die(old, Death::killed);
  s.until(kSilentTakeOverMs, "another one serves", [&] { return s.serves_elsewhere(old); });
  s.tell("It writes one block, far from all others");
  s.expect(s.operate(OpKind::write, 0, BlockRange{Lba(3 * kLeafBlocks), BlockCount(1)}) == Errc{}, "it does");
  s.expect(c.invariants().committed().value < committed.value + kTail, "with a number that the old primary gave to something else");
  s.tell("The log goes round by writes elsewhere");
  const Lsn then = c.invariants().committed();
  s.work_again();
  s.until(60'000, "it has", [&] { return c.invariants().committed().value > then.value + kMuch; });
  s.clients_rest();
  if (!s.goes_on()) return;
  s.mend_to_peers(old);
  s.coordinator_of(old, true);
  c.start(old);
  s.until(20'000, "the old primary is in sync again", [&] { return s.in_step(old); });
  s.expect(s.replica(old).rebuilt_chunks > 0, "by a rebuild");
  s.end();
}
void written_at_the_beginning(Plan& plan) {
  smallest_log(plan);
  plan.clients.volumes = 1;
  plan.clients.volume_blocks = 5 * snapshot::kLeafChunks * kChunkBlocks;
  plan.clients.hot_percent = 100;
  plan.clients.unmap = 0;
}

// One sector of a standby's log cannot be read when it starts: what is behind it comes from the others.
void log_cannot_be_read(Story& s) {
  Cluster& c = s.cluster();
  const NodeId away = s.standby();
  s.run_for(300);
  s.tell("A standby dies, and a sector in the middle of its log cannot be read any more");
  if (!s.goes_on()) return;
  c.invariants().in_sync_is_fit = false;  // Its primary learns of it after its start.
  c.die(away, Death::killed);
  sim::SimDisk& disk = s.disk(away);
  const LogOnDisk log = log_of(disk);
  s.expect(log.batches.size() > 2, "there is a log");
  if (!s.goes_on()) return;
  const auto errors = disk.counters().read_errors;
  disk.spoil(log_offset(disk, log.batches[log.batches.size() / 2].position));
  c.start(away);
  s.until(2'000, "it is open", [&] { return c.node(away).is_open(); });
  s.fault_happened(disk.counters().read_errors > errors, "it met the sector");
  disk.faults.bad_blocks.clear();
  s.until(15'000, "it is in sync again", [&] { return s.in_step(away) && s.replica(away).promotable; });
  s.end();
}

// A primary hands over, and at that moment it hears nobody any more. It has promises that last for a while, and does not go on.
void cut_off_while_it_hands_over(Story& s) {
  Cluster& c = s.cluster();
  const NodeId old = s.primary();
  const NodeId next = s.standby();
  s.tell("The primary hands over; as soon as the register names the other one, it is cut off from all but the hosts");
  if (!s.goes_on()) return;
  c.switchover(old, next);
  s.until(1'000, "the claim lands", [&] { return c.truth().primary == next; });
  s.cut_from_peers(old);
  s.coordinator_of(old, false);
  s.fault_happened(s.replica(old).view.primary == old, "it does not know of the claim");
  s.until(kKilledTakeOverMs, "the other one serves, without it", [&] { return c.serving() == next && !s.in_sync(old); });
  s.run_for(700);
  s.mend_to_peers(old);
  s.coordinator_of(old, true);
  s.until(15'000, "it is in sync again", [&] { return s.in_step(old); });
  s.end();
}
void members_are_dropped_early(Plan& plan) { plan.timing.replica_timeout_ms = plan.timing.lease_ms / 4; }

constexpr Scenario kMomentStories[] = {
    {"K1", "a claim that was given up lands, and its claimer is started anew", abandoned_claim_lands, two_nodes},
    {"K2", "an epoch is over before it has begun", epoch_over_before_it_began},
    {"K3", "a volume is deleted while a standby reads it", deleted_while_read, nothing_is_written},
    {"K4", "the log of a standby is full", log_of_a_standby_is_full, smallest_log},
    {"K5", "a block of the primary differs from the others'", primary_differs},
    {"K6", "what was emptied is emptied by a delta", emptied_then_written, written_at_the_beginning},
    {"K7", "a sector of a standby's log cannot be read", log_cannot_be_read},
    {"K8", "the log of the primary is full", log_of_the_primary_is_full, smallest_log},
    {"K9", "a deposed primary comes back with more than was ever committed", deposed_with_a_long_tail, written_at_the_beginning},
    {"K10", "a primary is cut off while it hands over", cut_off_while_it_hands_over, members_are_dropped_early},
    {"K16", "an epoch begins in a full log", begins_in_a_full_log, smallest_log_of_two},
};

}  // namespace

std::span<const Scenario> moment_stories() { return kMomentStories; }

}  // namespace holdfast::cluster
