// C: consistency across changes of the lead and of the set.
#include <filesystem>

#include "test/sim/text.h"
#include "test/torture/clock.h"
#include "test/torture/failure.h"
#include "test/torture/lab.h"
#include "test/torture/scenario_groups.h"
#include "test/torture/times.h"
#include "test/torture/witness.h"

namespace holdfast::torture {
namespace {

// Kills the one that leads as soon as it does, and again.
void c1(Stage& stage) {
  Lab lab(stage, {});
  Load& load = lab.start_loaded();
  const unsigned first = lab.await_serving();
  const std::uint64_t before = lab.epoch_of(first);
  lab.node(first).kill();
  const unsigned second = lab.await_other_serving(first);
  const std::uint64_t promoted = lab.epoch_of(second);
  lab.node(first).start();
  lab.node(second).kill();
  stage.prove("leaders killed", 2);
  const unsigned third = lab.await_serving();
  require(promoted > before && lab.epoch_of(third) > promoted, "epochs do not grow");
  lab.node(second).start();
  load.run_for(300);
  lab.await_all_in_sync();
  lab.verify_everywhere();
}

void c2(Stage& stage) {
  Lab lab(stage, {});
  Load& load = lab.start_loaded();
  std::uint64_t epoch = 0;
  for (int i = 0; i < 3; ++i) {
    lab.await_all_in_sync();
    const unsigned old = lab.await_serving();
    const std::uint64_t next = lab.epoch_of(old);
    require(next > epoch, "epochs do not grow: " + std::to_string(next) + " of node " + std::to_string(old) + " after " + std::to_string(epoch));
    epoch = next;
    const BootNs killed = now();
    lab.node(old).kill();
    stage.bound("pause", load.pause_since(killed), kKilledPause);
    lab.await_other_serving(old);
    lab.node(old).start();
    load.run_for(200);
  }
  stage.prove("promotions", 3);
  lab.await_all_in_sync();
  lab.verify_everywhere();
}

void c5(Stage& stage) {
  LabOptions options;
  options.cables = CableKind::long_one;
  Lab lab(stage, options);
  Load& load = lab.start_loaded();
  const unsigned primary = lab.await_serving();
  const std::uint64_t epoch = lab.epoch_of(primary);
  lab.node(primary).machine().cable().lengthen("", {}, milliseconds(100));
  const BootNs end = now() + milliseconds(10'000);
  while (!is_over(end)) {
    load.run_for(4);
    require(lab.copy(primary).in_sync.size() == lab.node_count(), "a member left for jitter");
  }
  stage.prove("frames held back", lab.node(primary).machine().cable().held());
  lab.node(primary).machine().cable().shorten();
  require(lab.copy(primary).serving && lab.copy(primary).epoch == epoch, "the lead changed");
  lab.verify();
}

void c6(Stage& stage) {
  Lab lab(stage, {});
  LoadOptions options;
  options.blocks = 16'384;
  options.read = 5;
  options.large_one_in = 2;
  Load& load = lab.start_loaded(options);
  require(eventually(milliseconds(60'000), [&] { return load.counters().bytes_written > (64u << 20); }), "64 MiB are not written in time");
  const unsigned old = lab.await_serving();
  const BootNs killed = now();
  lab.node(old).kill();
  stage.prove("bytes written", load.counters().bytes_written);
  stage.bound("pause", load.pause_since(killed), kKilledPause);
  lab.node(old).start();
  lab.await_all_in_sync();
  lab.verify_everywhere();
}

void c9(Stage& stage) {
  Lab lab(stage, {});
  Load& load = lab.start_loaded();
  const unsigned standby = lab.another(lab.await_serving());
  lab.node(standby).stop();
  lab.await_out_of_sync(standby);
  const std::uint64_t missed_from = load.counters().bytes_written;
  load.run_for(500);
  stage.prove("bytes missed", load.counters().bytes_written - missed_from);
  lab.node(standby).start();
  lab.await_in_sync(standby);
  require(lab.copy(standby).fetched_bytes == 0, "chunks were copied");
  lab.verify_everywhere();
}

// More is written than the log (16 MiB) keeps.
void overtaken(Stage& stage, bool killed_half_way) {
  LabOptions options;
  // Slow enough to be met half way. 64 MiB take 2 s, in which four workers that are held up (50 ms a write) write less than the log keeps:
  // at 8 MiB a second it could not ever catch up.
  if (killed_half_way) options.more_store = "rebuild_rate = \"32MiB\"\n";
  Lab lab(stage, options);
  LoadOptions many;
  many.blocks = 16'384;
  many.read = 5;
  many.large_one_in = 2;
  Load& load = lab.start_loaded(many);
  const unsigned standby = lab.another(lab.await_serving());
  lab.node(standby).kill();
  lab.await_out_of_sync(standby);
  const std::uint64_t from = load.counters().bytes_written;
  require(eventually(milliseconds(90'000), [&] { return load.counters().bytes_written - from > (48u << 20); }), "48 MiB are not written in time");
  lab.node(standby).start();
  if (killed_half_way) {
    require(eventually(milliseconds(20'000), [&] { return lab.copy(standby).fetched_bytes > (2u << 20); }), "no rebuild is seen");
    lab.node(standby).kill();
    stage.prove("rebuild that was cut off", 1);
    load.run_for(100);
    lab.node(standby).start();
  }
  const BootNs began = now();
  lab.await_in_sync(standby, milliseconds(90'000));
  stage.figure("in sync after", to_ms(now() - began));
  stage.prove("bytes fetched", lab.copy(standby).fetched_bytes);
  lab.verify_everywhere();
}
void c10(Stage& stage) { overtaken(stage, false); }
void c11(Stage& stage) { overtaken(stage, true); }

void c12(Stage& stage) {
  Lab lab(stage, {});
  Load& load = lab.start_loaded();
  const unsigned home = lab.await_serving(), away = lab.another(home);
  for (const unsigned next : {away, home}) {
    lab.await_all_in_sync();
    const BootNs begun = now();
    lab.switchover(next);
    load.run_for(200);
    stage.bound(next == away ? "pause there" : "pause back", load.longest_pause(begun, now()).length, kPlannedPause);
    pause_for(milliseconds(4'000));  // A host takes a path back only after its next look at it.
  }
  stage.prove("switchovers", 2);
  lab.verify_everywhere();
}

// Cuts the node off from the other nodes, and from the coordinator if asked for, not from the host. The rule's number.
std::size_t cut_from_nodes(Lab& lab, unsigned number, bool coordinator) {
  Cut cut{CutHow::drop, CutWay::both, {}, {}};
  for (unsigned other = 1; other <= lab.node_count(); ++other)
    if (other != number) cut.peers.push_back(lab.node(other).address());
  for (std::size_t i = 0; coordinator && i < lab.etcd().size(); ++i) cut.peers.push_back(lab.etcd().member(i).machine().address());
  return lab.node(number).machine().firewall().cut(cut);
}

// A primary that is cut off from everybody but the host answers for as long as it may, and the next one not a moment sooner than that.
void c8(Stage& stage) {
  Lab lab(stage, {});
  Load& load = lab.start_loaded();
  const unsigned old = lab.await_serving();
  Witness witness(lab.host(), lab.node_count());
  load.run_for(300);
  const BootNs cut_at = now();
  const std::size_t cut = cut_from_nodes(lab, old, true);
  const unsigned next = lab.await_other_serving(old);
  stage.bound("pause", load.pause_since(cut_at), kSilentPause);
  load.run_for(300);
  require(eventually(milliseconds(10'000), [&] { return witness.answers(next - 1).size() > 100; }), "the new primary does not answer");
  stage.prove("packets dropped", lab.node(old).machine().firewall().hits(cut));
  stage.prove("answers of the old primary", witness.answers(old - 1).size());
  const DurationNs gap = witness.answers(next - 1).front() - witness.answers(old - 1).back();
  stage.figure("dead time in ms", to_ms(gap));
  require(gap >= DurationNs{}, "the old primary still answered when the new one did already");
  lab.node(old).machine().firewall().heal();
  stage.say("healed");
  witness.stop();
  stage.say("the witness has heard its last answers");
  lab.await_all_in_sync();
  lab.verify_everywhere();
}

// Records that were on their way while another node took over arrive after it: the old primary's cable holds back what it says for longer
// than a take-over takes, and for less than it takes until a connection is given up (1.5 s without an acknowledgement).
void c3(Stage& stage) {
  constexpr DurationNs kOnTheWay = milliseconds(1'300);
  LabOptions options;
  options.cables = CableKind::long_one;
  Lab lab(stage, options);
  LoadOptions writes;
  writes.read = writes.unmap = 0;
  Load& load = lab.start_loaded(writes);
  const unsigned old = lab.await_serving();
  const std::uint64_t epoch = lab.epoch_of(old);
  Cable& cable = lab.node(old).machine().cable();
  const BootNs slow = now();
  for (unsigned number = 1; number <= lab.node_count(); ++number)
    if (number != old) cable.lengthen(lab.node(number).address(), kOnTheWay, {}, CableWay::outgoing);
  for (std::size_t i = 0; i < lab.etcd().size(); ++i) cable.lengthen(lab.etcd().member(i).machine().address(), kOnTheWay, {}, CableWay::outgoing);
  const unsigned next = lab.await_other_serving(old);
  require(lab.epoch_of(next) > epoch, "the epoch did not grow");
  const auto fenced = [&] {
    std::uint64_t lines = 0;
    for (unsigned number = 1; number <= lab.node_count(); ++number)
      if (number != old) lines += lab.node(number).log_lines(sim::format("records of epoch {} came from node {} after", epoch, old));
    return lines;
  };
  require(eventually(milliseconds(10'000), [&] { return fenced() > 0; }), "no record of the old epoch arrived after the new one had begun");
  stage.prove("frames held back", cable.held());
  stage.prove("nodes that fenced records of the old epoch", fenced());
  stage.bound("pause", load.pause_since(slow), kSilentPause);
  load.run_for(300);
  require(!lab.copy(old).serving, "two nodes say that they serve");
  cable.shorten();
  lab.await_all_in_sync();
  lab.verify_everywhere();
}

// The time for which a primary that hears nothing more of the others goes on answering: the lease, by a real clock. Then it answers
// nothing (C4) until it has taken the others out.
void c14(Stage& stage) {
  constexpr DurationNs kLease = milliseconds(600), kHeartbeat = milliseconds(50), kNoAnswers = milliseconds(15);
  Lab lab(stage, {});
  lab.start_loaded();
  const unsigned old = lab.await_serving();
  Witness witness(lab.host(), lab.node_count());
  require(eventually(milliseconds(10'000), [&] { return witness.answers(old - 1).size() > 500; }), "the primary does not answer");
  const BootNs before = now();
  const std::size_t cut = cut_from_nodes(lab, old, false);
  const BootNs after = now();
  pause_for(milliseconds(3'000));
  witness.stop();
  stage.prove("packets dropped", lab.node(old).machine().firewall().hits(cut));
  lab.node(old).machine().firewall().heal();
  const std::vector<BootNs> answers = witness.answers(old - 1);
  BootNs last = answers.back();
  for (std::size_t i = 1; i < answers.size() && last == answers.back(); ++i)
    if (answers[i - 1] > before + DurationNs{kLease.value / 2} && answers[i] - answers[i - 1] > kNoAnswers) last = answers[i - 1];
  stage.figure("answered for ms", to_ms(last - before));
  // The last promise that counts is of a beat that was sent up to a heartbeat before the cut.
  require(last - after <= DurationNs{kLease.value * 11 / 10}, "it answered for longer than the lease");
  require(last - before >= DurationNs{kLease.value * 99 / 100 - 2 * kHeartbeat.value}, "it gave up before the lease ended");
  lab.await_all_in_sync();
  lab.verify_everywhere();
}

void c13(Stage& stage) {
  Lab lab(stage, {});
  Load& load = lab.start_loaded();
  std::uint64_t epoch = 0;
  for (int i = 0; i < 100; ++i) {
    lab.await_all_in_sync();
    const unsigned old = lab.await_serving();
    const std::uint64_t next = lab.epoch_of(old);
    require(next > epoch, "epochs do not grow: " + std::to_string(next) + " of node " + std::to_string(old) + " after " + std::to_string(epoch));
    epoch = next;
    lab.switchover(lab.another(old));
  }
  stage.prove("role flips", 100);
  load.run_for(200);
  lab.verify_everywhere();
}

// Each write waits for a sync of every copy: the standbys' logs grow with the load, and hold everything that was answered.
void c15(Stage& stage) {
  Lab lab(stage, {});
  Load& load = lab.start_loaded();
  const unsigned primary = lab.await_serving();
  for (int i = 0; i < 20; ++i) {
    const std::uint64_t committed = lab.copy(primary).commit_lsn;
    for (unsigned number = 1; number <= lab.node_count(); ++number)
      require(lab.copy(number).durable_lsn >= committed, "node " + std::to_string(number) + " lacks what was acknowledged");
    load.run_for(20);
    require(lab.copy(primary).commit_lsn > committed, "nothing was written");
  }
  stage.prove("looks at three logs", 20);
  lab.verify();
}

void c16(Stage& stage) {
  Lab lab(stage, {});
  LoadOptions options;
  options.workers = 16;
  Load& load = lab.start_loaded(options);
  for (int i = 0; i < 3; ++i) {
    lab.await_all_in_sync();
    const unsigned standby = lab.another(lab.await_serving());
    const BootNs killed = now();
    lab.node(standby).kill();
    lab.await_out_of_sync(standby);
    stage.bound("pause", load.longest_pause(killed, now()).length, kMemberPause);
    load.run_for(200);
    lab.node(standby).start();
  }
  stage.prove("standbys killed", 3);
  lab.await_all_in_sync();
  lab.verify_everywhere();
}

}  // namespace

std::vector<Scenario> consistency_scenarios() {
  return {
      {"C1", "kill -9 right after promotion: epochs only grow", c1},
      {"C2", "three promotions", c2},
      {"C3", "records of an old epoch arrive after the next one began: fenced", c3},
      {"C5", "100 ms of jitter: no fail-over", c5},
      {"C6", "64 MiB, fail-over, the same bytes on all", c6},
      {"C8", "no answer of the new primary before the last one of the old", c8},
      {"C9", "a short outage: catch-up by the log", c9},
      {"C10", "more is written than the log keeps: only what changed is copied", c10, 300},
      {"C11", "a rebuild under load, cut off half way", c11, 300},
      {"C12", "switchover there and back", c12},
      {"C13", "100 role flips", c13, 600},
      {"C14", "the lease ends when it should, by a real clock (and C4)", c14},
      {"C15", "each answer is durable on every copy (and C17)", c15},
      {"C16", "a standby dies in group commit, three times", c16},
  };
}

}  // namespace holdfast::torture
