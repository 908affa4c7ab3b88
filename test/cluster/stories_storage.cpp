// F2, F3, F9, F10: disks that are full, that rot, that lie, that fail.
#include <algorithm>

#include "test/cluster/disk_look.h"
#include "test/cluster/story.h"
#include "test/sim/text.h"

namespace holdfast::cluster {
namespace {

constexpr std::uint64_t kPlentyOfSpace = ~std::uint64_t{0} >> 1;
constexpr std::uint64_t kHotBlocks = 64;

// Every operation is short: what has to be fetched from other copies, block by block, does not outlast a client's patience. And what
// was written stays: there must be something that can rot.
void short_operations(Plan& plan) {
  plan.clients.large_one_in = 1'000'000;
  plan.clients.unmap = 0;
}

// Clients do not tire of writing.
void steady_writes(Plan& plan) {
  short_operations(plan);
  plan.clients.write_bytes_max = 48ULL << 20;
}

// ---- F2.

// Clients stay where space was taken long ago; whoever needs new space is the story's own.
void small_disks(Plan& plan) {
  short_operations(plan);
  plan.tight_chunks = 250;
  plan.clients.volumes = 1;
  plan.clients.volume_blocks = 512 * kChunkBlocks;
  plan.clients.hot_blocks = kHotBlocks;
  plan.clients.hot_percent = 100;
  // Before it says no, a store looks for space in all corners.
  plan.clients.patience_min = milliseconds(1'000);
  plan.clients.patience_max = milliseconds(1'200);
}

Errc write_to_new_chunk(Story& s, std::uint64_t* next) {
  return s.operate(OpKind::write, 0, BlockRange{Lba((*next)++ * kChunkBlocks), BlockCount(1)});
}

// From then on nothing new is backed under these nodes, and all that they had in hand is used up.
std::uint64_t fill_up(Story& s, const std::vector<NodeId>& full) {
  constexpr std::uint64_t kTriesMax = 440;
  constexpr int kRefusedInARow = 30;  // The last chunks are given or not, by how much is under way at that moment.
  std::vector<std::uint64_t> refused;
  for (const NodeId id : full) {
    refused.push_back(s.disk(id).counters().no_space);
  }
  for (const auto& each : s.cluster().nodes()) {
    const bool is_full = std::find(full.begin(), full.end(), each->id()) != full.end();
    each->disk().set_capacity(is_full ? each->disk().backed_bytes() : kPlentyOfSpace);
  }
  std::uint64_t next = kHotBlocks / kChunkBlocks;
  const std::uint64_t first = next;
  Errc last{};
  for (int in_a_row = 0; s.goes_on() && in_a_row < kRefusedInARow && next < first + kTriesMax;) {
    last = write_to_new_chunk(s, &next);
    in_a_row = last == Errc{} ? 0 : in_a_row + 1;
    if (last != Errc{} && last != Errc::no_space) break;
  }
  s.expect(last == Errc::no_space, sim::format("after {} writes a new allocation fails for want of space: {}", next - first, errc_name(last)));
  for (std::size_t i = 0; i < full.size(); ++i)
    s.fault_happened(s.disk(full[i]).counters().no_space > refused[i], sim::format("the file system under node {} gives nothing more", full[i].value));
  return next;
}

void space_runs_out(Story& s, const std::vector<NodeId>& full) {
  constexpr double kRecoveryMs = 5'000;
  Cluster& c = s.cluster();
  const std::uint64_t revision = s.revision();
  c.tolerance.no_space = true;
  std::uint64_t next = fill_up(s, full);
  s.tell("For 3 s nothing has room for anything new");
  const std::uint64_t failures = s.failures();
  const std::size_t answers = s.answers();
  s.run_for(3'000);
  s.expect(s.failures() == failures && s.answers() > answers + 500, "every read and every overwrite succeeds");
  // A chunk that was held for a page of the map, and was not needed, may have come back.
  constexpr int kTries = 20, kComeBackMax = 2;
  int refused = 0;
  for (int i = 0; i < kTries && s.goes_on(); ++i) refused += write_to_new_chunk(s, &next) == Errc::no_space;
  s.expect(refused >= kTries - kComeBackMax, sim::format("{} of {} new allocations fail", refused, kTries));
  s.expect(s.revision() == revision, "no member is lost, and nobody else leads");
  for (const auto& each : c.nodes()) s.expect(!s.status(each->id()).failed, sim::format("the store of node {} is in service", each->id().value));
  s.tell("Space returns");
  for (const NodeId id : full) s.disk(id).set_capacity(kPlentyOfSpace);
  const BootNs then = s.now();
  while (s.goes_on() && write_to_new_chunk(s, &next) == Errc::no_space && s.now() < then + milliseconds(2 * 5'000)) s.run_for(20);
  const double took = static_cast<double>((s.now() - then).value) / 1e6;
  s.expect(took <= kRecoveryMs, sim::format("new allocations succeed after {} ms", took));
  for (int i = 0; i < 20 && s.goes_on(); ++i) s.expect(write_to_new_chunk(s, &next) == Errc{}, "and go on to succeed");
  s.end();
}

void space_of_a_standby(Story& s) {
  s.tell("The file system of a standby is full");
  space_runs_out(s, {s.standby()});
}
void space_of_the_primary(Story& s) {
  s.tell("The file system of the primary is full");
  space_runs_out(s, {s.primary()});
}
// What a member missed was overwritten since, and comes without its blocks. Its log must not hold such records, however full it is.
void full_standby_comes_back(Story& s) {
  constexpr BlockRange kLarge{Lba(480 * kChunkBlocks), BlockCount(16 * kChunkBlocks)};
  constexpr int kRounds = 20;  // More than it has room for before a checkpoint.
  Cluster& c = s.cluster();
  const NodeId away = s.standby();
  c.tolerance.no_space = true;
  s.rest();
  s.expect(s.operate(OpKind::write, 0, kLarge) == Errc{}, "many chunks are written");
  s.tell("The file system of a standby is full, and it dies");
  (void)fill_up(s, {away});
  s.checkpoint(away);
  if (!s.goes_on()) return;
  c.die(away, Death::killed);
  s.until(2'000, "it has left the set", [&] { return !s.in_sync(away); });
  s.tell("The same chunks are written again and again");
  for (int i = 0; i < kRounds && s.goes_on(); ++i) {
    s.expect(s.operate(OpKind::write, 0, kLarge) == Errc{}, "they are");
    s.checkpoint(s.primary());
  }
  s.tell("It comes back, and dies again");
  c.start(away);
  s.until(10'000, "it is in sync", [&] { return s.in_step(away) && s.replica(away).promotable; });
  s.expect(s.replica(away).rebuilt_chunks == 0, "by the log");
  if (!s.goes_on()) return;
  c.die(away, Death::power_loss);
  c.start(away);
  s.until(2'000, "it is open", [&] { return c.node(away).is_open(); });
  s.expect(s.replica(away).promotable, "its log is whole: " + s.replica(away).unfit_because);
  s.disk(away).set_capacity(kPlentyOfSpace);
  s.end();
}
void space_of_all(Story& s) {
  s.tell("All file systems are full");
  space_runs_out(s, {NodeId(1), NodeId(2), NodeId(3)});
}

// ---- F3.

bool writes_its_log(const sim::SimDisk& disk) {
  const std::uint64_t first = snapshot::kLogOffset / kBlockBytes, end = first + superblock_of(disk).log_blocks;
  const auto writes = disk.media().unsettled();
  return std::any_of(writes.begin(), writes.end(), [&](const sim::UnsettledWrite& write) {
    return write.durability == Durability::durable && write.completed == 0 && write.pages.size() > 1 && write.first_block >= first && write.first_block < end;
  });
}

void torn_tail(Story& s, NodeId dead) {
  Cluster& c = s.cluster();
  sim::SimDisk& disk = s.disk(dead);
  s.until(2'000, "a batch of several blocks is on its way to its log", [&] { return writes_its_log(disk); });
  disk.tear = sim::Tear::all_but_last_sector;
  c.die(dead, Death::power_loss);
  disk.tear.reset();
  const LogOnDisk log = log_of(disk);
  s.fault_happened(log.torn, sim::format("a torn batch follows LSN {}", log.last().value));
  s.run_for(100);
  s.tell("It comes back");
  c.start(dead);
  s.until(2'000, "it is open", [&] { return c.node(dead).is_open(); });
  s.expect(s.replica(dead).end == log.last(), "its log ends before what is torn");
  s.expect(s.replica(dead).promotable, "it lacks nothing that was durable");
  s.until(10'000, "it is in sync again", [&] { return s.in_step(dead); });
  s.expect(s.replica(dead).rebuilt_chunks == 0, "by the log");
  s.end();
}
void torn_tail_of_a_standby(Story& s) {
  s.tell("A standby loses power in the middle of a write to its log");
  torn_tail(s, s.standby());
}
void torn_tail_of_the_primary(Story& s) {
  s.tell("The primary loses power in the middle of a write to its log");
  torn_tail(s, s.primary());
}

void log_damaged_in_the_middle(Story& s) {
  Cluster& c = s.cluster();
  const NodeId victim = s.standby();
  const NodeId whole = s.primary();
  s.run_for(500);
  s.tell("All nodes lose power; a block in the middle of a standby's log rots meanwhile");
  s.cluster().invariants().in_sync_is_fit = false;  // Its primary learns of it after its start.
  for (const auto& each : c.nodes()) c.die(each->id(), Death::power_loss);
  const LogOnDisk before = log_of(s.disk(victim));
  s.expect(before.batches.size() > 50, sim::format("its log has {} batches", before.batches.size()));
  if (!s.goes_on()) return;
  const LogOnDisk::Batch& middle = before.batches[before.batches.size() / 2];
  s.disk(victim).flip_bit(log_offset(s.disk(victim), middle.position) + 1'000, 3);
  const LogOnDisk after = log_of(s.disk(victim));
  s.fault_happened(after.last().next() == middle.first, sim::format("its log can be read up to LSN {} of {}", after.last().value, before.last().value));
  s.tell("It starts, and is alone");
  c.start(victim);
  s.until(5'000, "it is open", [&] { return c.node(victim).is_open(); });
  s.expect(!s.replica(victim).promotable && s.replica(victim).unfit_because.find("unreadable at LSN") != std::string::npos,
           "it says what it lacks: " + s.replica(victim).unfit_because);
  s.expect(s.replica(victim).end == after.last(), "it has what comes before the damage");
  s.run_for(5'000);
  s.expect(!c.serving(), "it does not lead, although nobody else is there");
  s.tell("Another one starts");
  c.start(whole);
  s.until(10'000, "that one serves", [&] { return c.serving() == whole; });
  s.until(20'000, "the damaged one is in sync again", [&] { return s.in_sync(victim) && s.replica(victim).promotable; });
  for (const auto& each : c.nodes()) c.start(each->id());
  s.end();
}

void superblock_rots(Story& s) {
  Cluster& c = s.cluster();
  for (const std::size_t copy : {std::size_t{0}, std::size_t{1}}) {
    const NodeId victim = s.standby();
    sim::SimDisk& disk = s.disk(victim);
    s.tell(copy == 0 ? "A standby is down, and the first copy of its superblock rots" : "The same with the second copy");
    c.die(victim, Death::power_loss);
    disk.flip_bit(snapshot::kSuperblockOffsets[copy] + 1'000, 4);
    s.fault_happened(!superblock_is_whole(disk, copy) && superblock_is_whole(disk, 1 - copy), "one copy is rotten, the other is not");
    s.until(1'500, "the register has dropped it", [&] { return !s.in_sync(victim); });
    c.start(victim);
    s.until(10'000, "it is in sync again", [&] { return s.in_step(victim); });
    s.expect(superblock_is_whole(disk, 0) && superblock_is_whole(disk, 1), "both copies are whole");
    s.expect(s.replica(victim).rebuilt_chunks == 0, "without a rebuild");
    s.until(2'000, "all are in sync", [&] { return c.truth().in_sync.size() == c.size(); });
    s.tell("It gets the lead");
    s.hand_over(victim);
  }
  s.end();
}

// ---- F9.

void read_errors(Story& s) {
  Cluster& c = s.cluster();
  const NodeId primary = s.primary();
  sim::SimDisk& disk = s.disk(primary);
  s.run_for(500);
  s.checkpoint(primary);
  s.tell("The primary's disk cannot read back anything that it has");
  const std::uint64_t revision = s.revision(), failures = s.failures();
  const BootNs then = s.now();
  for (const std::uint64_t block : data_blocks(disk)) disk.faults.bad_blocks.insert(block);
  s.run_for(1'000);
  s.fault_happened(disk.counters().read_errors > 20, sim::format("{} reads failed", disk.counters().read_errors));
  s.expect(s.failures() == failures, "no client is refused anything; the first that was: " + s.first_failure_since(then));
  s.expect(s.status(primary).repaired_blocks > 0, sim::format("{} blocks were put back", s.status(primary).repaired_blocks));
  s.expect(c.serving() == primary && s.revision() == revision && !s.status(primary).failed, "the primary is the same, its store in service");
  s.rest();
  s.run_for(500);  // A block whose chunk is being written just then is put back by the next reader only.
  if (!s.goes_on() || !c.read_everything()) return;
  s.run_for(500);
  s.tell("Everything was read once, and is read again");
  const std::uint64_t errors = disk.counters().read_errors;
  if (!c.read_everything()) return;
  s.expect(disk.counters().read_errors == errors, "what was put back can be read");
  s.end();
}

void wrong_data(Story& s) {
  Cluster& c = s.cluster();
  const NodeId primary = s.primary();
  sim::SimDisk& disk = s.disk(primary);
  s.run_for(500);
  s.checkpoint(primary);
  s.tell("The primary's disk gives wrong data for every read");
  const std::uint64_t revision = s.revision(), failures = s.failures();
  const BootNs then = s.now();
  disk.faults.wrong_read_ppm = 1'000'000;
  s.run_for(1'000);
  disk.faults.wrong_read_ppm = 0;
  s.fault_happened(disk.counters().wrong_reads > 20, sim::format("{} reads were wrong", disk.counters().wrong_reads));
  s.expect(s.status(primary).checksum_errors > 0, sim::format("{} were counted", s.status(primary).checksum_errors));
  s.expect(s.failures() == failures, "no client is refused anything, or told anything wrong; the first that was: " + s.first_failure_since(then));
  s.expect(c.serving() == primary && s.revision() == revision && !s.status(primary).failed, "the primary is the same, its store in service");
  s.end();
}

// One request fails, and that store is never written to again.
void store_fails(Story& s, NodeId victim, bool leads, const std::function<std::uint64_t()>& errors) {
  Cluster& c = s.cluster();
  const BootNs then = s.now();
  s.until(2'000, "its store is out of service", [&] { return s.status(victim).failed; });
  s.fault_happened(errors() == 1, "one request has failed");
  s.until(kKilledTakeOverMs, "its node neither serves nor is in sync", [&] { return s.serves_elsewhere(victim) && !s.in_sync(victim); });
  s.run_for(200);
  const std::uint64_t writes = s.disk(victim).counters().writes + s.disk(victim).counters().durable_writes;
  const std::size_t answers = s.answers();
  s.run_for(3'000);
  s.expect(s.answers() > answers + 500, "service goes on");
  if (!leads) s.expect(s.longest_pause_since(then) <= kMemberLossMs, sim::format("nobody waited longer than {} ms", kMemberLossMs));
  s.expect(s.disk(victim).counters().writes + s.disk(victim).counters().durable_writes == writes && errors() == 1, "nothing is tried again");
  s.expect(s.status(victim).failed && !s.in_sync(victim), "it stays out: " + s.status(victim).failure);
  s.tell("An operator restarts the process, as its message asks for");
  c.die(victim, Death::killed);
  c.start(victim);
  s.until(10'000, "it is in sync again", [&] { return s.in_step(victim); });
  s.until(2'000, "all are in sync", [&] { return c.truth().in_sync.size() == c.size(); });
}

void write_error(Story& s) {
  s.cluster().tolerance.failed_stores = true;
  for (const bool leads : {false, true}) {
    const NodeId victim = leads ? s.primary() : s.standby();
    const std::uint64_t before = s.disk(victim).counters().write_errors;
    s.tell(leads ? "A write of the primary's disk fails" : "A write of a standby's disk fails");
    s.disk(victim).faults.fail_next_write = true;
    store_fails(s, victim, leads, [&] { return s.disk(victim).counters().write_errors - before; });
  }
  s.end();
}

void sync_error(Story& s) {
  s.cluster().tolerance.failed_stores = true;
  for (const bool leads : {false, true}) {
    const NodeId victim = leads ? s.primary() : s.standby();
    const std::uint64_t before = s.disk(victim).counters().sync_errors;
    s.tell(leads ? "A sync of the primary's disk fails" : "A sync of a standby's disk fails");
    s.run_for(300);
    s.disk(victim).faults.fail_next_sync = true;
    s.cluster().checkpoint(victim);
    store_fails(s, victim, leads, [&] { return s.disk(victim).counters().sync_errors - before; });
  }
  s.end();
}

// ---- F10.

std::size_t rot_data(Story& s, NodeId id) {
  sim::SimDisk& disk = s.disk(id);
  const auto blocks = data_blocks(disk);
  for (const std::uint64_t block : blocks) disk.flip_bit(block * kBlockBytes + 2'000, 5);
  s.fault_happened(blocks.size() > 100, sim::format("{} blocks have rotted", blocks.size()));
  return blocks.size();
}

void rot_under_the_primary(Story& s) {
  Cluster& c = s.cluster();
  const NodeId primary = s.primary();
  s.run_for(500);
  s.checkpoint(primary);
  s.tell("Every block that the primary has stored rots, while it serves");
  const std::uint64_t revision = s.revision(), failures = s.failures();
  const BootNs then = s.now();
  rot_data(s, primary);
  s.run_for(1'000);
  s.expect(s.failures() == failures, "no client is refused anything, or told anything wrong; the first that was: " + s.first_failure_since(then));
  s.expect(s.status(primary).checksum_errors > 0 && s.status(primary).repaired_blocks > 0,
           sim::format("{} rotten blocks were met, {} put back", s.status(primary).checksum_errors, s.status(primary).repaired_blocks));
  s.expect(c.serving() == primary && s.revision() == revision, "the primary is the same");
  s.rest();
  s.run_for(500);  // A block whose chunk is being written just then is put back by the next reader only.
  if (!s.goes_on() || !c.read_everything()) return;
  s.run_for(500);
  s.expect(s.verify(primary) == Errc{}, "nothing of what it has in its map is rotten any more");
  s.end();
}

void rot_under_a_standby(Story& s) {
  Cluster& c = s.cluster();
  const NodeId standby = s.standby();
  s.run_for(500);
  s.checkpoint(standby);
  s.tell("Every block that a standby has stored rots, while it follows");
  rot_data(s, standby);
  s.run_for(300);
  s.expect(s.in_sync(standby), "nobody knows, and it stays in sync");
  s.tell("It gets the lead");
  s.hand_over(standby);
  s.run_for(50);  // Clients find it.
  const std::uint64_t failures = s.failures();
  const BootNs then = s.now();
  s.run_for(1'000);
  s.expect(s.failures() == failures, "no client is refused anything, or told anything wrong; the first that was: " + s.first_failure_since(then));
  s.expect(s.status(standby).checksum_errors > 0 && s.status(standby).repaired_blocks > 0,
           sim::format("{} rotten blocks were met, {} put back", s.status(standby).checksum_errors, s.status(standby).repaired_blocks));
  s.rest();
  s.run_for(500);  // A block whose chunk is being written just then is put back by the next reader only.
  if (!s.goes_on() || !c.read_everything()) return;
  s.run_for(500);
  s.expect(s.verify(standby) == Errc{}, "nothing of what it has in its map is rotten any more");
  s.end();
}

void rot_while_stopped(Story& s) {
  Cluster& c = s.cluster();
  const NodeId standby = s.standby();
  s.run_for(500);
  s.tell("A standby is stopped, and every block that it has stored rots meanwhile");
  s.stop_in_order(standby);
  rot_data(s, standby);
  s.run_for(300);
  c.start(standby);
  s.until(10'000, "it is in sync again", [&] { return s.in_step(standby); });
  s.rest();
  s.tell("Somebody has it verified");
  s.expect(s.verify(standby) == Errc::corrupt, "the rot is found");
  s.expect(s.status(standby).checksum_errors > 0, "and counted");
  s.tell("Its copy is read from end to end");
  const CopyContent repaired = s.content(standby);
  s.run_for(500);
  s.expect(s.status(standby).repaired_blocks > 0, sim::format("{} blocks were put back", s.status(standby).repaired_blocks));
  s.expect(repaired == s.content(s.primary()), "what is read is what the primary has");
  s.expect(s.verify(standby) == Errc{}, "nothing of what it has in its map is rotten any more");
  s.end();
}

constexpr Scenario kStorageStories[] = {
    {"F2a", "the backing space of a standby is full", space_of_a_standby, small_disks},
    {"F2b", "the backing space of the primary is full", space_of_the_primary, small_disks},
    {"F2c", "the backing space of every node is full", space_of_all, small_disks},
    {"F2d", "a full standby comes back to what was overwritten since", full_standby_comes_back, small_disks},
    {"F3a", "the log's tail is torn, on a standby", torn_tail_of_a_standby},
    {"F3b", "the log's tail is torn, on the primary", torn_tail_of_the_primary},
    {"F3c", "damage in the middle of a log", log_damaged_in_the_middle},
    {"F3d", "both copies of the superblock rot, one at a time", superblock_rots},
    {"F9a", "the disk returns EIO on read", read_errors, short_operations},
    {"F9b", "the disk returns wrong data on read", wrong_data, short_operations},
    {"F9c", "the disk returns EIO on write", write_error, steady_writes},
    {"F9d", "the disk returns EIO on sync", sync_error, steady_writes},
    {"F10a", "bit rot in data under the primary, while running", rot_under_the_primary, short_operations},
    {"F10b", "bit rot in data under a standby, while running", rot_under_a_standby, short_operations},
    {"F10c", "bit rot in data while stopped", rot_while_stopped, short_operations},
};

}  // namespace

std::span<const Scenario> storage_stories() { return kStorageStories; }

}  // namespace holdfast::cluster
