// C: distributed consistency. That nobody answers beside or behind another, that what is answered is durable on every member,
// and that one history explains what was seen, is checked all the time and at the end of each story.
#include <algorithm>

#include "test/cluster/story.h"
#include "test/sim/text.h"

namespace holdfast::cluster {
namespace {

void killed_right_after_promotion(Story& s) {
  Cluster& c = s.cluster();
  const NodeId first = s.primary();
  s.tell("The primary is killed, and its successor right after it has bound its epoch");
  c.die(first, Death::killed);
  const Epoch before = s.epoch();
  s.until(3'000, "somebody has claimed", [&] { return s.epoch() > before; });
  const NodeId second = c.truth().primary;
  const Epoch claimed = s.epoch();
  s.until(1'000, "it has bound the epoch", [&] { return s.bound_epoch(second) == claimed; });
  c.die(second, Death::power_loss);
  s.tell("It comes back while the old primary comes back, too");
  c.start(second);
  c.start(first);
  s.until(2'000, "it is open", [&] { return c.node(second).is_open(); });
  s.expect(s.bound_epoch(second) >= claimed, "it still refuses older epochs");
  s.until(10'000, "somebody serves", [&] { return c.serving().has_value(); });
  s.end();
}

void three_promotions(Story& s) {
  Cluster& c = s.cluster();
  for (int i = 0; i < 3 && s.goes_on(); ++i) {
    const NodeId old = s.primary();
    const Epoch before = s.epoch();
    s.tell(sim::format("The primary, node {}, is killed", old.value));
    c.die(old, Death::killed);
    s.until(kKilledTakeOverMs, "another node serves", [&] { return s.serves_elsewhere(old); });
    s.expect(s.epoch() > before, "in a newer epoch");
    s.run_for(300);
    c.start(old);
    s.until(10'000, "the old one is in sync again", [&] { return s.in_sync(old); });
  }
  s.end();
}

void stale_primary_goes_on(Story& s) {
  Cluster& c = s.cluster();
  const NodeId old = s.primary();
  s.tell("The primary is frozen with writes in flight; another takes over");
  c.pause(old);
  s.until(2'500, "another node serves", [&] { return s.serves_elsewhere(old); });
  s.run_for(500);
  const Lsn committed = c.invariants().committed();
  s.tell("It goes on, in its old epoch");
  c.resume(old);
  s.run_for(50);
  s.expect(!s.replica(old).serving, "it does not serve");
  s.until(10'000, "it is in sync again", [&] { return s.in_sync(old); });
  s.expect(c.invariants().committed() >= committed, "and nothing is taken back");
  s.end();
}

void lease_runs_out(Story& s) {
  Cluster& c = s.cluster();
  const NodeId old = s.primary();
  s.tell("The primary hears its peers and the coordinator no more; initiators still reach it");
  s.cut_from_peers(old);
  s.coordinator_of(old, false);
  s.until(c.plan().timing.lease_ms + 50, "it does not serve", [&] { return !s.replica(old).serving; });
  s.run_for(2'000);
  const auto& acks = c.acknowledgements();
  const BootNs then = s.now();
  s.run_for(500);
  const bool silent = std::none_of(acks.begin(), acks.end(), [&](const Acknowledgement& a) { return a.at > then && a.node == old; });
  s.expect(silent, "it answers nobody");
  s.mend_to_peers(old);
  s.coordinator_of(old, true);
  s.end();
}

void jitter(Story& s) {
  const std::uint64_t revision = s.revision();
  const auto delays = s.cluster().network().counters().frames;
  s.tell("Every path has up to 100 ms of jitter");
  for (const auto& each : s.cluster().nodes()) s.set_paths_of(each->id(), 0, 100);
  s.run_for(10'000);
  s.fault_happened(s.cluster().network().counters().frames > delays + 100, "frames went over those paths");
  s.expect(s.revision() == revision, "no expiry, no fail-over");
  for (const auto& each : s.cluster().nodes()) s.set_paths_of(each->id(), 0, 0);
  s.end();
}

void much_is_written(Story& s) {
  Cluster& c = s.cluster();
  s.tell("Ten MiB are written, and the primary is killed");
  const NodeId old = s.primary();
  s.until(60'000, "10 MiB are shipped", [&] { return s.replica(old).shipped_bytes > 10ULL << 20; });
  c.die(old, Death::killed);
  s.until(kKilledTakeOverMs, "another node serves", [&] { return s.serves_elsewhere(old); });
  c.start(old);
  s.end();
}
void large_writes(Plan& plan) {
  plan.clients.large_one_in = 4;
  plan.clients.volume_blocks = 2'048;
}

void dead_zone(Story& s) {
  Cluster& c = s.cluster();
  const NodeId old = s.primary();
  const BootNs then = s.now();
  s.tell("The primary is frozen, and goes on when another has taken over");
  c.pause(old);
  s.until(2'500, "another node serves", [&] { return s.serves_elsewhere(old); });
  s.run_for(200);
  c.resume(old);
  s.run_for(1'000);
  BootNs last_of_old = then, first_of_new{};
  for (const Acknowledgement& ack : c.acknowledgements()) {
    if (ack.at < then) continue;
    if (ack.node == old && first_of_new == BootNs{}) last_of_old = ack.at;
    else if (first_of_new == BootNs{}) first_of_new = ack.at;
  }
  s.expect(first_of_new > last_of_old, sim::format("{} ms between the last answer of the old and the first of the new",
                                                   static_cast<double>((first_of_new - last_of_old).value) / 1e6));
  s.end();
}

void catch_up(Story& s) {
  Cluster& c = s.cluster();
  const NodeId away = s.standby();
  const NodeId primary = s.primary();
  s.tell("A standby is away for a second");
  c.die(away, Death::killed);
  const Lsn had = c.invariants().committed();
  s.run_for(1'000);
  const auto missed = c.invariants().committed().value - had.value;
  s.fault_happened(missed > 20, sim::format("it missed {} records", missed));
  c.start(away);
  s.until(10'000, "it is in sync again", [&] { return s.in_sync(away); });
  s.expect(s.replica(away).rebuilt_chunks == 0, "no chunk was copied");
  s.expect(c.serving() == primary, "the primary is the same");
  s.end();
}

void demoted_and_promoted(Story& s) {
  const NodeId first = s.primary();
  const NodeId second = s.standby();
  const BootNs then = s.now();
  s.tell("The primary hands over, and gets it back");
  s.hand_over(second);
  s.run_for(300);
  s.hand_over(first);
  s.run_for(300);
  const double pause = s.longest_pause_since(then);
  s.expect(pause <= kPlannedPauseMs, sim::format("the pause was {} ms", pause));
  s.expect(s.cluster().truth().in_sync.size() == 3, "everybody stayed in sync");
  s.end();
}

void hundred_flips(Story& s) {
  const Epoch before = s.epoch();
  s.tell("The role goes round a hundred times");
  for (int i = 0; i < 100 && s.goes_on(); ++i) {
    const NodeId next(s.primary().value % s.cluster().size() + 1);
    s.hand_over(next);
    s.until(2'000, "everybody is in sync", [&] { return s.cluster().truth().in_sync.size() == s.cluster().size(); });
  }
  s.expect(s.epoch().value >= before.value + 100, "each time in a newer epoch");
  s.end();
}

void crash_during_group_commit(Story& s) {
  Cluster& c = s.cluster();
  const NodeId dead = s.standby();
  s.tell("A standby loses power while a batch is on its way to its disk");
  s.until(2'000, "a batch is on its way", [&] { return !c.node(dead).disk().media().unsettled().empty(); });
  const auto before = c.node(dead).disk().counters();
  c.die(dead, Death::power_loss);
  const auto& after = c.node(dead).disk().counters();
  s.fault_happened(after.writes_lost + after.writes_torn + after.writes_kept > before.writes_lost + before.writes_torn + before.writes_kept,
                   "the batch met its fate");
  s.until(1'500, "the register has dropped it", [&] { return !s.in_sync(dead); });
  const std::size_t answers = s.answers();
  s.run_for(500);
  s.expect(s.answers() > answers + 20, "the primary goes on");
  c.start(dead);
  s.until(10'000, "it is in sync again", [&] { return s.in_sync(dead); });
  s.end();
}

void durable_everywhere(Story& s) {
  const auto checks = s.cluster().invariants().checks();
  s.tell("Clients write for 3 s; at each answer every member of the set must have it durably");
  const std::size_t answers = s.answers();
  s.run_for(3'000);
  s.expect(s.answers() > answers + 500, "there were answers");
  s.expect(s.cluster().invariants().checks() >= checks + 500, "each was looked at");
  s.end();
}

constexpr Scenario kConsistencyStories[] = {
    {"C1", "the epoch survives a crash right after promotion", killed_right_after_promotion},
    {"C2", "three promotions", three_promotions},
    {"C3", "records of a stale epoch arrive", stale_primary_goes_on},
    {"C4", "the lease has run out", lease_runs_out},
    {"C5", "the lease under 100 ms of jitter", jitter},
    {"C6", "much is written, fail-over, compared", much_is_written, large_writes},
    {"C8", "the dead zone between old and new primary", dead_zone},
    {"C9", "log catch-up after a short outage", catch_up},
    {"C12", "graceful demotion and re-promotion", demoted_and_promoted},
    {"C13", "100 rapid role flips", hundred_flips},
    {"C16", "a replica crashes during group commit", crash_during_group_commit},
    {"C17", "what is answered is durable on every member", durable_everywhere},
};

}  // namespace

std::span<const Scenario> consistency_stories() { return kConsistencyStories; }

}  // namespace holdfast::cluster
