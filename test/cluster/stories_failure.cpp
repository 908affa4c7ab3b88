// F: failure injection.
#include "test/cluster/story.h"
#include "test/sim/text.h"

namespace holdfast::cluster {
namespace {

void power_loss_of_the_primary(Story& s) {
  Cluster& c = s.cluster();
  const NodeId old = s.primary();
  s.tell("The primary loses power while writes are on their way to its disk");
  s.until(2'000, "its disk is writing", [&] { return !c.node(old).disk().media().unsettled().empty(); });
  const auto before = c.node(old).disk().counters();
  c.die(old, Death::power_loss);
  const auto& after = c.node(old).disk().counters();
  s.fault_happened(after.writes_lost + after.writes_torn + after.writes_kept > before.writes_lost + before.writes_torn + before.writes_kept,
                   "writes were on their way and met their fate");
  s.until(kSilentTakeOverMs, "another node serves", [&] { return s.serves_elsewhere(old); });
  s.run_for(300);
  s.tell("It comes back, as a standby");
  c.start(old);
  s.until(10'000, "it is in sync again", [&] { return s.in_sync(old); });
  s.end();
}

void replica_dies_in_mid_write(Story& s, Death how) {
  Cluster& c = s.cluster();
  const NodeId dead = s.standby();
  s.tell("A standby dies in the middle of a write");
  s.until(2'000, "its disk is writing", [&] { return c.node(dead).disk().in_flight() > 0; });
  const BootNs then = s.now();
  const std::size_t answers = s.answers();
  c.die(dead, how);
  s.until(1'500, "the register has dropped it", [&] { return !s.in_sync(dead); });
  s.run_for(500);
  s.expect(s.longest_pause_since(then) <= kMemberLossMs, sim::format("nobody waited longer than {} ms ({} ms)", kMemberLossMs, s.longest_pause_since(then)));
  s.expect(s.answers() > answers + 20, "service goes on");
  c.start(dead);
  s.until(10'000, "it is in sync again", [&] { return s.in_sync(dead); });
  s.expect(s.replica(dead).rebuilt_chunks == 0, "by the log, without a rebuild");
  s.end();
}
void replica_killed(Story& s) { replica_dies_in_mid_write(s, Death::killed); }
void replica_loses_power(Story& s) { replica_dies_in_mid_write(s, Death::power_loss); }

void slow_network(Story& s) {
  Cluster& c = s.cluster();
  const NodeId slow = s.standby();
  const std::uint64_t revision = s.revision();
  const auto delayed = c.network().counters().delayed;
  s.tell("The replica link takes 200 ms each way");
  s.set_paths_of(slow, 200, 0);
  const std::size_t answers = s.answers();
  s.run_for(4'000);
  s.fault_happened(c.network().counters().delayed > delayed + 20, "frames were delayed");
  s.expect(s.revision() == revision, "no member is lost");
  s.expect(s.answers() > answers + 20, "writes go on, slower");
  s.tell("Now it takes 2 s");
  s.set_paths_of(slow, 2'000, 0);
  s.until(4'000, "the member is dropped", [&] { return !s.in_sync(slow); });
  s.tell("The link is well again");
  s.set_paths_of(slow, 0, 0);
  s.until(10'000, "it is in sync again", [&] { return s.in_sync(slow); });
  s.end();
}

void primary_cut_off_entirely(Story& s) {
  Cluster& c = s.cluster();
  const NodeId old = s.primary();
  s.tell("The primary is cut off from everybody: peers, initiators, coordinator");
  s.data_port(old, false);
  s.coordinator_of(old, false);
  s.until(kSilentTakeOverMs, "another node serves", [&] { return s.serves_elsewhere(old); });
  s.fault_happened(c.network().counters().held > 0, "packets were dropped");
  s.expect(!s.replica(old).serving, "the old one does not");
  s.run_for(1'000);
  s.tell("It is reached again");
  s.data_port(old, true);
  s.coordinator_of(old, true);
  s.until(15'000, "it is in sync again", [&] { return s.in_sync(old); });
  s.end();
}

void cut_one_way(Story& s, bool outgoing) {
  Cluster& c = s.cluster();
  const NodeId old = s.primary();
  s.tell(outgoing ? "Nothing that the primary sends arrives at its peers" : "Nothing arrives at the primary from its peers");
  for (const auto& each : c.nodes()) {
    if (each->id() == old) continue;
    if (outgoing) c.network().cut(old, each->id());
    else c.network().cut(each->id(), old);
  }
  const std::size_t answers = s.answers();
  s.run_for(3'000);
  s.fault_happened(c.network().counters().held > 0, "packets were dropped");
  s.expect(s.answers() > answers + 20, "somebody serves");
  s.tell("The direction is open again");
  s.mend_to_peers(old);
  s.end();
}
void nothing_leaves(Story& s) { cut_one_way(s, true); }
void nothing_arrives(Story& s) { cut_one_way(s, false); }

void cut_from_peers_only(Story& s) {
  Cluster& c = s.cluster();
  const NodeId old = s.primary();
  s.tell("The primary is cut off from its peers; initiators and the coordinator reach it");
  s.cut_from_peers(old);
  const std::size_t answers = s.answers();
  s.run_for(3'000);
  s.fault_happened(c.network().counters().held > 0, "packets were dropped");
  s.expect(s.answers() > answers + 20, "the volume is served");
  s.expect(c.serving() == old, "by who has the initiators: it dropped its peers");
  s.mend_to_peers(old);
  s.end();
}

// Alone it would admit nothing, and they are two.
void cut_from_peers_who_suffice(Story& s) {
  Cluster& c = s.cluster();
  const NodeId old = s.primary();
  s.tell("The primary is cut off from its peers; initiators and the coordinator reach it; two copies are needed");
  s.cut_from_peers(old);
  s.until(kSilentTakeOverMs, "another node serves", [&] { return s.serves_elsewhere(old); });
  s.fault_happened(c.network().counters().held > 0, "packets were dropped");
  const std::size_t answers = s.answers();
  s.run_for(2'000);
  s.expect(s.answers() > answers + 20, "writes are acknowledged");
  s.mend_to_peers(old);
  s.until(10'000, "it is in sync again", [&] { return s.in_sync(old); });
  s.end();
}

void both_standbys_die_and_two_are_needed(Story& s) {
  Cluster& c = s.cluster();
  const NodeId old = s.primary();
  const NodeId first = s.standby(0), second = s.standby(1);
  s.tell("Both standbys lose power; two copies are needed");
  c.die(first, Death::power_loss);
  c.die(second, Death::power_loss);
  s.until(5'000, "they are not in sync any more", [&] { return c.truth().in_sync.size() == 1; });
  s.expect(s.operate(OpKind::read, 0, BlockRange{Lba(0), BlockCount(8)}) == Errc{}, "reads are served");
  s.expect(c.serving() == old, "by who is left");
  const auto writes = [&] { return std::ranges::count_if(c.acknowledgements(), [](const Acknowledgement& a) { return a.kind != OpKind::read; }); };
  const auto before = writes();
  s.run_for(1'000);
  s.expect(writes() == before, "writes are held");
  c.start(first);
  s.until(10'000, "writes go on", [&] { return writes() > before; });
  c.start(second);
  s.end();
}

void two_are_needed(Plan& plan) { plan.min_in_sync = 2; }

void cut_from_coordinator_only(Story& s) {
  Cluster& c = s.cluster();
  const NodeId old = s.primary();
  const auto unanswered = c.coordinator().counters().unanswered;
  s.tell("The primary does not reach the coordinator");
  s.coordinator_of(old, false);
  const BootNs then = s.now();
  s.run_for(3'000);
  s.fault_happened(c.coordinator().counters().unanswered > unanswered, "the coordinator did not answer it");
  s.expect(c.serving() == old, "it serves on");
  s.expect(s.longest_pause_since(then) < 100, "without a pause");
  s.coordinator_of(old, true);
  s.end();
}

void coordinator_stopped(Story& s) {
  Cluster& c = s.cluster();
  s.tell("The coordinator stops for 5 s");
  const BootNs then = s.now();
  c.coordinator().faults.stopped = true;
  s.run_for(5'000);
  s.fault_happened(c.coordinator().counters().unanswered > 0, "requests were not answered");
  s.expect(s.longest_pause_since(then) < 100, "I/O goes on without a pause");
  s.tell("It is back, and slow: up to a second each way");
  c.coordinator().faults.stopped = false;
  c.coordinator().faults.slow = milliseconds(1'000);
  s.run_for(5'000);
  s.expect(s.longest_pause_since(then) < 100, "I/O goes on");
  c.coordinator().faults.slow = DurationNs{};
  s.end();
}

void coordinator_emptied(Story& s) {
  Cluster& c = s.cluster();
  const auto state = c.coordinator().state();
  s.tell("The coordinator comes back on an empty disk");
  c.coordinator().empty_out();
  const BootNs then = s.now();
  s.run_for(3'000);
  s.fault_happened(c.coordinator().counters().refused_as_foreign > 0, "somebody saw another cluster");
  s.expect(c.coordinator().peek(c.register_key()).revision == 0, "nobody writes a register into it");
  s.expect(s.longest_pause_since(then) < 100, "I/O goes on");
  s.tell("All processes start anew, so that only their disks remember the coordinator");
  for (const auto& each : c.nodes()) c.die(each->id(), Death::killed);
  for (const auto& each : c.nodes()) c.start(each->id());
  s.run_for(3'000);
  s.expect(!c.serving(), "nobody serves");
  s.expect(c.coordinator().peek(c.register_key()).revision == 0, "and nobody writes a register");
  s.tell("An operator restores what it held");
  c.coordinator().restore(state);
  for (const auto& each : c.nodes()) c.die(each->id(), Death::killed);
  for (const auto& each : c.nodes()) c.start(each->id());
  s.until(10'000, "somebody serves", [&] { return c.serving().has_value(); });
  s.end();
}

// What is submitted from now on is not answered, and fails neither.
void disk_answers_nothing(Story& s, NodeId id) {
  constexpr std::uint32_t kForEverUs = 3'600'000'000;
  s.disk(id).latency = sim::DiskLatency{kForEverUs, kForEverUs, kForEverUs, kForEverUs};
}

// Without the node whose disk hangs, and then with it again.
void goes_on_without(Story& s, NodeId stuck) {
  Cluster& c = s.cluster();
  const std::size_t answers = s.answers();
  s.run_for(1'000);
  s.expect(s.answers() > answers + 20, "service goes on");
  s.tell("The disk is changed for one that answers, and the node starts again");
  c.die(stuck, Death::killed);
  s.disk(stuck).latency = c.plan().disk_latency;
  c.start(stuck);
  s.until(10'000, "it is in sync again", [&] { return s.in_sync(stuck); });
  s.end();
}

void disk_of_a_standby_hangs(Story& s) {
  const NodeId stuck = s.standby();
  s.tell("The disk of a standby answers nothing any more; its process lives on");
  disk_answers_nothing(s, stuck);
  const double waited = s.until(13'000, "the register has dropped it", [&] { return !s.in_sync(stuck); });
  s.fault_happened(s.disk(stuck).in_flight() > 0, "requests are under way for ever");
  s.expect(waited > 9'000, "slow is not dead: not before ten seconds");
  goes_on_without(s, stuck);
}

void disk_of_the_primary_hangs(Story& s) {
  const NodeId stuck = s.primary();
  s.tell("The disk of the primary answers nothing any more; its process lives on");
  disk_answers_nothing(s, stuck);
  s.until(15'000, "another node serves", [&] { return s.serves_elsewhere(stuck); });
  s.fault_happened(s.disk(stuck).in_flight() > 0, "requests are under way for ever");
  goes_on_without(s, stuck);
}

void clocks_drift(Story& s) {
  const std::uint64_t revision = s.revision();
  s.tell("Clocks differ by as much as is allowed");
  s.fault_happened(s.cluster().node(1).host().clock().now() != s.cluster().node(2).host().clock().now(), "the clocks differ");
  s.run_for(20'000);
  s.expect(s.revision() == revision, "no fail-over, and nobody is dropped");
  s.end();
}
void clocks_at_the_bound(Plan& plan) { plan.clock_drift = {5'000'000, -5'000'000, 0}; }

void power_loss_of_all(Story& s) {
  Cluster& c = s.cluster();
  s.tell("All nodes lose power at once");
  for (const auto& each : c.nodes()) c.die(each->id(), Death::power_loss);
  s.run_for(100);
  for (const auto& each : c.nodes()) c.start(each->id());
  s.until(10'000, "somebody serves", [&] { return c.serving().has_value(); });
  s.end();
}

constexpr Scenario kFailureStories[] = {
    {"F1", "power loss of the primary during a sync write load", power_loss_of_the_primary},
    {"F4", "a replica is killed in mid-write", replica_killed},
    {"F4b", "a replica loses power in mid-write", replica_loses_power},
    {"F5", "slow network: 200 ms, then 2 s, on the replica link", slow_network},
    {"F6a", "partition of the primary from everybody", primary_cut_off_entirely},
    {"F6b", "nothing that the primary sends arrives at its peers", nothing_leaves},
    {"F6c", "nothing arrives at the primary from its peers", nothing_arrives},
    {"F6d", "partition of the primary from its peers only", cut_from_peers_only},
    {"F6f", "partition of the primary from its peers only, and two copies are needed", cut_from_peers_who_suffice, two_are_needed},
    {"F6g", "both standbys lose power, and two copies are needed", both_standbys_die_and_two_are_needed, two_are_needed},
    {"F6e", "partition of the primary from the coordinator only", cut_from_coordinator_only},
    {"F8a", "the coordinator stops, and is slow", coordinator_stopped},
    {"F8b", "the coordinator is restarted empty", coordinator_emptied},
    {"F9e", "the disk of a standby answers nothing", disk_of_a_standby_hangs},
    {"F9f", "the disk of the primary answers nothing", disk_of_the_primary_hangs},
    {"F11", "clocks drift within the bound", clocks_drift, clocks_at_the_bound},
    {"PG4", "power loss of all nodes at once under load", power_loss_of_all},
};

}  // namespace

std::span<const Scenario> failure_stories() { return kFailureStories; }

}  // namespace holdfast::cluster
