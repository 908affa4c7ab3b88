// K13 to K15: what a copy has on its disk, and cannot read.
#include "engine/volume_impl.h"
#include "test/cluster/disk_look.h"
#include "test/cluster/story.h"
#include "test/sim/text.h"
#include "wal/log_format.h"

namespace holdfast::cluster {
namespace {

// The maps say what is in use, too.
void space_tree_is_unreadable(Story& s) {
  Cluster& c = s.cluster();
  const NodeId away = s.standby();
  s.run_for(500);
  s.checkpoint(away);
  s.tell("A standby dies, and what says which of its chunks are free rots");
  if (!s.goes_on()) return;
  c.die(away, Death::killed);
  const std::size_t rotten = rot_pages(s.disk(away), snapshot::TreeKind::space, 0);
  c.start(away);
  s.fault_happened(rotten > 0, sim::format("{} pages", rotten));
  s.until(2'000, "it is open", [&] { return c.node(away).is_open(); });
  s.expect(s.replica(away).promotable, "nothing is lost");
  s.until(10'000, "it is in sync again", [&] { return s.in_step(away); });
  s.expect(s.replica(away).rebuilt_chunks == 0, "without a rebuild");
  s.tell("It gets the lead");
  s.hand_over(away);
  s.run_for(500);
  s.end();
}

constexpr std::uint64_t kApart = 3 * kChunkBlocks;  // Nobody else writes there.
void one_copy_is_enough(Plan& plan) {
  plan.min_in_sync = 1;
  plan.log_bytes = wal::kLogBlocksMin * kBlockBytes;
  plan.clients.write_bytes_max = 1ULL << 40;
  plan.clients.volumes = 1;
  plan.clients.volume_blocks = 4 * kChunkBlocks;
  plan.clients.hot_blocks = 2 * kChunkBlocks;
  plan.clients.hot_percent = 100;
  plan.clients.unmap = plan.clients.write_same = 0;
  plan.clients.large_one_in = 1'000'000;
}

// Where the node's map says that the block is; zero: nowhere.
std::uint64_t place_of(Story& s, NodeId id, std::uint64_t block) {
  auto* group = static_cast<engine::GroupImpl*>(s.cluster().node(id).group());
  snapshot::Frame* leaf = static_cast<engine::VolumeImpl*>(group->find(Clients::volume_name(0)))->stored().map->cached_leaf(0);
  return leaf ? snapshot::entry_of(leaf, block / kChunkBlocks).location * kChunkBytes : 0;
}

// The one copy that is left lacks a block, and another one is made from it: the block is lost there, too, and known to be, until a
// copy comes back that has it.
void nobody_has_a_block(Story& s) {
  Cluster& c = s.cluster();
  const NodeId source = s.primary(), fresh = s.standby(0), away = s.standby(1);
  s.expect(s.operate(OpKind::write, 0, BlockRange{Lba(kApart), BlockCount(1)}) == Errc{}, "a block is written");
  s.rest();
  for (const auto& each : c.nodes()) s.checkpoint(each->id());
  s.tell("Both standbys die, one after the other, and the block rots on the copy that is left");
  s.work_again();
  for (const NodeId id : {away, fresh}) {
    if (!s.goes_on()) return;
    s.run_for(100);
    c.die(id, Death::killed);
    s.until(2'000, "it has left the set", [&] { return !s.in_sync(id); });
  }
  const Lsn then = c.invariants().committed();
  s.until(60'000, "the log has gone round", [&] { return c.invariants().committed().value > then.value + 1'500; });
  s.clients_rest();
  if (!s.goes_on()) return;
  const std::uint64_t place = place_of(s, source, kApart);
  s.expect(place != 0, "it is in the map");
  if (!s.goes_on()) return;
  s.disk(source).flip_bit(place + 100, 1);
  s.tell("One of the two comes back with another disk");
  c.wipe(fresh);
  s.until(20'000, "it is in sync", [&] { return s.in_step(fresh); });
  s.fault_happened(s.status(fresh).lost_blocks == 1, sim::format("it knows of {} blocks that nobody has", s.status(fresh).lost_blocks));
  s.tell("The other one comes back, and has it");
  if (!s.goes_on()) return;
  c.start(away);
  s.until(20'000, "it is in sync", [&] { return s.in_step(away); });
  if (!s.goes_on() || !c.read_everything()) return;
  s.work_again();
  s.run_for(300);
  s.end();
}

// A primary has in its log what was never committed. Everybody is started anew: it has the longest log, and leads. What it should
// give to the others cannot be read.
void tail_is_unreadable(Story& s) {
  constexpr std::uint64_t kTail = 30;
  Cluster& c = s.cluster();
  const NodeId old = s.primary();
  s.rest();
  s.tell("The primary is cut off, and logs what nobody else has");
  s.cut_from_peers(old);
  s.coordinator_of(old, false);
  const Lsn committed = s.replica(old).commit;
  for (std::uint64_t i = 0; i < kTail; ++i) c.clients().start_one(old, OpKind::write, 0, BlockRange{Lba(i), BlockCount(1)});
  s.until(300, "it is in its log", [&] { return s.replica(old).durable.value >= committed.value + kTail; });
  s.tell("All nodes die and are started again; then the sectors with the end of its log go");
  if (!s.goes_on()) return;
  for (const auto& each : c.nodes()) c.die(each->id(), Death::killed);
  s.mend_to_peers(old);
  s.coordinator_of(old, true);
  for (const auto& each : c.nodes()) c.start(each->id());
  s.until(2'000, "it is open", [&] { return c.node(old).is_open(); });
  if (!s.goes_on()) return;
  sim::SimDisk& disk = s.disk(old);
  const auto errors = disk.counters().read_errors;
  for (const LogOnDisk::Batch& batch : log_of(disk).batches)
    if (batch.last > committed) disk.spoil(log_offset(disk, batch.position));
  s.until(15'000, "another node serves", [&] { return s.serves_elsewhere(old); });
  s.fault_happened(disk.counters().read_errors > errors, "they were read");
  s.work_again();
  s.until(15'000, "it is in sync again", [&] { return s.in_step(old); });
  s.end();
}

// What was acknowledged last is whole on the third copy alone, and that one cannot lead: it does not reach the coordinator. The end of the
// second one's log rotted while all were down, and whoever leads cannot read its own.
void end_is_whole_on_a_copy_that_cannot_lead(Story& s) {
  Cluster& c = s.cluster();
  const NodeId leads = s.primary(), rotten = s.standby(0), whole = s.standby(1);
  const Lsn before = s.replica(rotten).durable;
  s.until(1'000, "something was written everywhere a moment ago", [&] {
    const Lsn now = s.replica(rotten).durable;
    return now > before && s.replica(whole).durable >= now && s.replica(leads).durable >= now;
  });
  s.tell("Under load all nodes lose power, and the end of a standby's log rots");
  if (!s.goes_on()) return;
  const Lsn written = s.replica(rotten).durable;
  for (const auto& each : c.nodes()) c.die(each->id(), Death::power_loss);
  c.disk_is_bad(rotten);
  for (const LogOnDisk::Batch& batch : log_of(s.disk(rotten)).batches)
    if (batch.last >= written) s.disk(rotten).flip_bit(log_offset(s.disk(rotten), batch.position) + 100, 3);
  s.tell("All are back, the other standby without the coordinator; what the first one lost cannot be read at the old primary");
  s.coordinator_of(whole, false);
  for (const auto& each : c.nodes()) c.start(each->id());
  s.until(240, "all are open", [&] { return std::ranges::all_of(c.nodes(), [](const auto& each) { return each->is_open(); }); });
  if (!s.goes_on()) return;
  const Lsn had = s.replica(rotten).end, all = s.replica(leads).end;
  s.fault_happened(had < all && s.replica(rotten).promotable, "the standby does not know what it lost");
  sim::SimDisk& disk = s.disk(leads);
  const auto errors = disk.counters().read_errors;
  for (const LogOnDisk::Batch& batch : log_of(disk).batches)
    if (batch.last > had) disk.spoil(log_offset(disk, batch.position));
  // A record without data is in memory: then there is nothing to be read.
  s.until(5'000, "the old primary leads, and tries to read it", [&] { return disk.counters().read_errors > errors || c.serving().has_value(); });
  s.run_for(3'000);
  s.tell("The coordinator is there again");
  s.coordinator_of(whole, true);
  s.until(15'000, "somebody serves", [&] { return c.serving().has_value(); });
  s.until(15'000, "all are in sync", [&] { return c.truth().in_sync.size() == 3; });
  s.end();
}

// The primary loses power, and the end of its log rots. The standbys are up all the time and have applied what it lost, but do not reach the
// coordinator just now.
void end_is_applied_on_copies_that_cannot_lead(Story& s) {
  Cluster& c = s.cluster();
  const NodeId leads = s.primary(), one = s.standby(0), two = s.standby(1);
  s.coordinator_of(one, false);
  s.coordinator_of(two, false);
  s.run_for(3'000);
  const Lsn before = s.replica(one).commit;
  for (std::uint64_t i = 0; i < 30; ++i) c.clients().start_one(leads, OpKind::write, 0, BlockRange{Lba(i), BlockCount(1)});
  s.until(1'000, "something was committed a moment ago", [&] { return s.replica(one).commit > before && s.replica(two).commit >= s.replica(one).commit; });
  if (!s.goes_on()) return;
  const Lsn acknowledged = s.replica(one).commit;
  s.tell("The primary loses power, and the end of its log rots");
  c.die(leads, Death::power_loss);
  c.disk_is_bad(leads);
  const LogOnDisk log = log_of(s.disk(leads));
  for (const LogOnDisk::Batch& batch : log.batches)
    if (batch.last >= acknowledged) s.disk(leads).flip_bit(log_offset(s.disk(leads), batch.position) + 100, 3);
  c.start(leads);
  s.until(240, "it is open", [&] { return c.node(leads).is_open(); });
  if (!s.goes_on()) return;
  s.fault_happened(s.replica(leads).promotable && s.replica(leads).end < acknowledged, "it does not know what it lost");
  s.run_for(5'000);
  s.expect(s.in_sync(one) || s.in_sync(two), sim::format("a copy that has applied {} is in sync", acknowledged.value));
  s.expect(!s.replica(leads).loss.empty(), "the one that lost it says so");
  s.tell("The coordinator is there again");
  s.coordinator_of(one, true);
  s.coordinator_of(two, true);
  s.until(15'000, "somebody serves", [&] { return c.serving().has_value(); });
  s.until(15'000, "all are in sync", [&] { return c.truth().in_sync.size() == 3; });
  s.end();
}

constexpr Scenario kUnreadableStories[] = {
    {"K13", "the space tree of a standby cannot be read", space_tree_is_unreadable},
    {"K14", "a block that nobody has, and a copy that is made without it", nobody_has_a_block, one_copy_is_enough},
    {"K15", "a primary cannot read what it alone has", tail_is_unreadable},
    {"K17", "what was acknowledged last is whole on a copy that cannot lead", end_is_whole_on_a_copy_that_cannot_lead},
    {"K18", "the standbys have applied what the primary's log lost, and cannot lead just now", end_is_applied_on_copies_that_cannot_lead},
};

}  // namespace

std::span<const Scenario> unreadable_stories() { return kUnreadableStories; }

}  // namespace holdfast::cluster
