// W: the log and its content across leaders, for members and for named consumers.
#include "test/cluster/log_follower.h"
#include "test/cluster/story.h"
#include "test/sim/text.h"

namespace holdfast::cluster {
namespace {

void beyond_the_log(Story& s) {
  Cluster& c = s.cluster();
  const NodeId away = s.standby();
  s.tell("A standby is away until the log has gone on without it");
  c.die(away, Death::killed);
  const Lsn had = c.invariants().committed();
  constexpr std::uint64_t kEnough = 1'500;  // Records of a header and a block at least: more than the log holds.
  s.until(60'000, "the log has gone round", [&] { return c.invariants().committed().value > had.value + kEnough; });
  c.start(away);
  s.until(20'000, "it is in sync again", [&] { return s.in_sync(away); });
  s.expect(s.replica(away).rebuilt_chunks > 0, "by a rebuild");
  s.end();
}
void short_log(Plan& plan) {
  plan.log_bytes = 3ULL << 20;
  plan.clients.large_one_in = 1'000'000;  // Whole chunks would not go through the log.
  plan.clients.read = 5;
}

void follows_for(Story& s, LogFollower& follower, std::int64_t ms) {
  if (!s.goes_on()) return;
  follower.run(milliseconds(ms));
  s.expect(follower.gaps == 0 && follower.wrong.empty(), "nothing is missing, nothing comes out of turn " + follower.wrong);
}

// It has all that there is, and is known to.
void has_everything(Story& s, LogFollower& follower) {
  if (!s.goes_on()) return;
  s.expect(follower.catch_up() && follower.gaps == 0 && follower.wrong.empty(), sim::format("a consumer was told {} records without a gap", follower.told.size()));
  const auto status = follower.status();
  s.expect(status && !status->gap && status->lag_records == 0, "its lag is nothing");
}

void steady_state(Story& s) {
  Cluster& c = s.cluster();
  constexpr int kRounds = 12;
  const std::uint64_t revision = s.revision();
  LogFollower steady(c, "steady"), fresh(c, "fresh");
  s.expect(steady.create(ConsumerStart::oldest), "a consumer is made");
  s.tell("Nothing happens but load; all copies are verified again and again");
  for (int round = 0; round < kRounds && s.goes_on(); ++round) {
    follows_for(s, steady, 150);
    for (const auto& each : c.nodes()) {
      s.expect(s.verify(each->id()) == Errc{}, sim::format("round {}: the copy of node {} is well", round, each->id().value));
      s.expect(s.status(each->id()).checksum_errors == 0 && s.status(each->id()).repaired_blocks == 0, "nothing is counted as rotten");
    }
    if (round == kRounds / 2) {
      s.tell("A fresh consumer comes, and wants what the log has from its beginning on");
      s.expect(fresh.create(ConsumerStart::oldest), "it is made");
    }
    if (round >= kRounds / 2) follows_for(s, fresh, 50);
  }
  s.expect(s.revision() == revision, "no fail-over, and nobody is dropped");
  for (const auto& each : c.nodes()) s.expect(s.replica(each->id()).rebuilt_chunks == 0, "nobody is rebuilt");
  s.rest();
  has_everything(s, steady);
  has_everything(s, fresh);
  s.expect(steady.told == fresh.told, "both were told the same");
  s.end();
}

// Whoever serves now knows the consumer, and where it is.
void is_found(Story& s, const LogFollower& follower) {
  s.primary();
  if (!s.goes_on()) return;
  const auto found = follower.status();
  s.expect(found.has_value(), "the consumer is found, not made anew");
  if (!found) return;
  s.expect(follower.kept(*found) && found->confirmed < follower.next && !found->gap,
           sim::format("at LSN {}; it had confirmed {}, and is told nothing of that again", found->confirmed.value, follower.last_confirmed.value));
}

void positions_survive(Story& s) {
  Cluster& c = s.cluster();
  LogFollower busy(c, "busy"), idle(c, "idle");
  s.expect(busy.create(ConsumerStart::now) && idle.create(ConsumerStart::now), "two consumers are made; one follows, the other does not");
  follows_for(s, busy, 300);
  for (int i = 0; i < 2 && s.goes_on(); ++i) {
    s.tell("A switchover");
    s.hand_over(s.standby());
    is_found(s, busy);
    is_found(s, idle);
    follows_for(s, busy, 300);
  }
  for (const Death how : {Death::killed, Death::power_loss}) {
    const NodeId old = s.primary();
    s.tell(how == Death::killed ? "The leader is killed" : "The leader loses power");
    if (!s.goes_on()) return;
    c.die(old, how);
    s.until(kSilentTakeOverMs, "another node serves", [&] { return s.serves_elsewhere(old); });
    is_found(s, busy);
    is_found(s, idle);
    follows_for(s, busy, 300);
    c.start(old);
    s.until(10'000, "the old one is in sync again", [&] { return s.in_step(old); });
  }
  s.rest();
  s.tell("The idle one wakes up");
  has_everything(s, busy);
  has_everything(s, idle);
  if (!s.goes_on()) return;
  std::erase_if(busy.told, [&](const LogFollower::Told& told) { return told.lsn < idle.told.front().lsn; });  // The other was not there yet.
  s.expect(busy.told == idle.told, "both were told the same, over all leaders");
  s.end();
}

void killed_leader_rejoins(Story& s) {
  Cluster& c = s.cluster();
  const NodeId old = s.primary();
  s.tell("The leader is killed under load");
  s.until(2'000, "it is writing", [&] { return s.disk(old).in_flight() > 0; });
  c.die(old, Death::killed);
  s.fault_happened(!c.node(old).is_up(), "its process is gone");
  s.until(kKilledTakeOverMs, "another node serves", [&] { return s.serves_elsewhere(old); });
  s.run_for(2'000);
  s.tell("It comes back");
  c.start(old);
  s.until(10'000, "it is in sync again", [&] { return s.in_step(old); });
  for (const auto& each : c.nodes()) s.expect(s.replica(each->id()).rebuilt_chunks == 0, sim::format("node {} needed no rebuild", each->id().value));
  s.rest();
  std::size_t leaders = 0;
  for (const auto& each : c.nodes()) leaders += s.replica(each->id()).role == GroupRole::primary;
  s.expect(leaders == 1 && c.truth().members.size() == 3 && c.truth().in_sync.size() == 3, "three members in sync, one leader");
  s.end();
}

void same_digest(Story& s) {
  Cluster& c = s.cluster();
  const NodeId old = s.primary();
  s.run_for(1'000);
  s.tell("The leader loses power under load; another is promoted, and the old one is revived");
  s.until(2'000, "it is writing", [&] { return !s.disk(old).media().unsettled().empty(); });
  c.die(old, Death::power_loss);
  s.until(kSilentTakeOverMs, "another node serves", [&] { return s.serves_elsewhere(old); });
  s.run_for(1'000);
  c.start(old);
  s.until(10'000, "it is in sync again", [&] { return s.in_step(old); });
  s.rest();
  const NodeId promoted = s.primary();
  const CopyContent there = s.content(promoted), here = s.content(old);
  s.expect(changed_chunks({}, there).with_data > 10, sim::format("{} chunks have data", changed_chunks({}, there).with_data));
  s.expect(old != promoted && digest_of(there) == digest_of(here), sim::format("the digests are {} and {}", digest_of(there), digest_of(here)));
  s.expect(there == here, "every byte is the same");
  s.end();
}

constexpr Scenario kLogStories[] = {
    {"W1", "a member returns after the log was recycled past it", beyond_the_log, short_log},
    {"W2", "steady state, verified again and again; a fresh consumer", steady_state},
    {"W3", "consumer positions over switchovers and hard kills", positions_survive},
    {"W4", "a killed leader rejoins without a rebuild", killed_leader_rejoins},
    {"W5", "content digest of the promoted leader and the revived node", same_digest},
};

}  // namespace

std::span<const Scenario> log_stories() { return kLogStories; }

}  // namespace holdfast::cluster
