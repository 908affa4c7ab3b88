// Whom a primary still serves when the other copies fall silent: hosts are asked, and their answers grow old.
#include <gtest/gtest.h>

#include "test/role/machine_bench.h"

namespace holdfast::role_test {
namespace {

// Leads three copies, of which two are needed; both others are there, and a host is logged in.
struct TwoOfThree : MachineBench {
  TwoOfThree() {
    lead(5, {kMe, kOther, kThird});
    two = view;
    two.min_in_sync = 2;
    ++two.seq;
    read(3, two);
    bring_up();
    bring_up(kThird, kThirdSession);
    machine->initiators_attached(1);
    forget();
  }
  // Nobody is taken out for as long as the others have to claim.
  void expect_no_removal() {
    for (int i = 0; i < 120; ++i) {
      pass_ms(10);
      machine->initiator_heard(now);
      if (i % 50 == 0) read(3, two);  // The coordinator is there.
    }
    EXPECT_EQ(asked<SwapRegister>(), nullptr);
  }
  Register two;
};

// Without any host there is nobody to be cut off from.
TEST(Primary, TheOtherIsDead_NobodyIsLoggedIn_GoesOnAlone) {
  for (const std::size_t attached : {std::size_t{0}, std::size_t{1}}) {
    MachineBench bench;
    bench.lead(5, {kMe, kOther});
    bench.bring_up();
    bench.machine->initiators_attached(attached);
    bench.forget();
    bench.machine->disconnected(bench.now, kOther, kSession, RoleMachine::LinkEnd::reset);
    bench.pass_ms(3'000);
    EXPECT_EQ(bench.asked<SwapRegister>() != nullptr, attached == 0) << "attached: " << attached;
  }
}

// Both others die, of which two are needed. The only host has all its commands under way: it says nothing of its own accord, and
// answers each question at once. The primary gives the others time, and then goes on.
TEST(Primary, BothOthersDead_HostThatOnlyAnswers_TheyAreTakenOutInTheEnd) {
  TwoOfThree bench;
  bench.forget();
  int questions = 0;
  bool removed = false;
  for (int i = 0; i < 6'000 && !removed; ++i) {
    bench.pass_ms(10);
    if (i % 100 == 0) bench.read(3, bench.two);  // The coordinator is there.
    if (bench.asked<AskInitiators>()) {
      ++questions;
      bench.machine->initiator_heard(bench.now);
    }
    removed = bench.asked<SwapRegister>() != nullptr;
    bench.forget();
  }
  EXPECT_TRUE(removed) << "after a minute nobody is taken out, and nothing is served; the host was asked " << questions << " times";
}

// Cut off from both others, of whom one was heard a moment later than the other one, and of whom two are needed; its host reaches it.
// Were they taken out one by one, the last one could not go on alone, and this one admits nothing.
TEST(Primary, BothOthersFallSilentAMomentApart_NobodyIsTakenOutAlone) {
  TwoOfThree bench;
  bench.pass_ms(60);
  bench.promise(kThird, kThirdSession);
  bench.expect_no_removal();
}

// The same, and what cuts it off refuses: both connections are reset. Whose connection was reset is silent after half of the time.
TEST(Primary, BothOthersAreResetAMomentApart_NobodyIsTakenOutAlone) {
  TwoOfThree bench;
  bench.pass_ms(60);
  bench.promise(kThird, kThirdSession);
  bench.machine->disconnected(bench.now, kOther, kSession, RoleMachine::LinkEnd::reset);
  bench.machine->disconnected(bench.now, kThird, kThirdSession, RoleMachine::LinkEnd::reset);
  bench.expect_no_removal();
}

// 200 ms each way: what comes from the third says that it heard what was sent 400 ms ago. It is well, and the other one is dead.
TEST(Primary, TheOtherIsDead_TheThirdIsFarAway_TheDeadOneIsTakenOut) {
  TwoOfThree bench;
  bench.forget();
  bool removed = false;
  for (int i = 0; i < 2'000 && !removed; ++i) {
    bench.pass_ms(10);
    bench.machine->initiator_heard(bench.now);
    if (i % 50 == 0) bench.read(3, bench.two);  // The coordinator is there.
    if (i % 5 == 0) {
      Beat answer;
      answer.epoch = bench.machine->bound().epoch;
      answer.claim = bench.machine->bound().claim;
      answer.sent = bench.now;
      answer.echo = bench.now + milliseconds(-400);
      answer.grants = answer.coordinator_reached = true;
      answer.lease_ms = 600;
      bench.receive(answer, kThird, kThirdSession);
    }
    removed = bench.asked<SwapRegister>() != nullptr;
    bench.forget();
  }
  EXPECT_TRUE(removed) << "after 20 s nothing is committed";
}

// Cut off from both at one instant; one is 200 ms away, so that what is known of it is older, and it counts as silent 400 ms earlier.
TEST(Primary, BothOthersFallSilentAtOnce_OneIsFarAway_NobodyIsTakenOutAlone) {
  TwoOfThree bench;
  bench.pass_ms(400);
  bench.promise();
  bench.expect_no_removal();
}

// The same with two copies, and a process that does not run for 800 ms after the host's answer.
TEST(Primary, HostAnswered_ThenTheProcessStalls_HostIsAskedAgain) {
  MachineBench bench;
  bench.lead(5);
  bench.bring_up();
  bench.machine->initiators_attached(1);
  bench.forget();
  int questions = 0;
  bool removed = false;
  for (int i = 0; i < 6'000 && !removed; ++i) {
    bench.pass_ms(10);
    if (bench.asked<AskInitiators>()) {
      bench.machine->initiator_heard(bench.now);
      if (++questions == 1) bench.now = bench.now + milliseconds(800);
    }
    removed = bench.asked<SwapRegister>() != nullptr;
    bench.forget();
  }
  EXPECT_TRUE(removed) << "after a minute nobody is taken out, and nothing is served; the host was asked " << questions << " times";
}

// Both others die; one comes back after a second and a half without what it had (a new disk, or the end of its log is gone), and can
// only be rebuilt. The host speaks all the time, and answers. This copy, which has everything, must go on alone in the end.
void both_die_one_comes_back_bad(std::uint8_t life, bool needs_rebuild, std::uint32_t min_in_sync, int host_from) {
  MachineBench bench;
  bench.lead(5, {kMe, kOther, kThird});
  Register value = bench.view;
  value.min_in_sync = min_in_sync;
  ++value.seq;
  bench.read(3, value);
  bench.bring_up();
  bench.bring_up(kThird, kThirdSession);
  bench.machine->initiators_attached(1);
  bench.forget();
  bench.machine->disconnected(bench.now, kOther, kSession, RoleMachine::LinkEnd::closed);
  bench.machine->disconnected(bench.now, kThird, kThirdSession, RoleMachine::LinkEnd::closed);
  const SessionId again{12};
  bool removed = false;
  const int back_at = 150;
  for (int i = 0; i < 6'000 && !removed; ++i) {
    bench.pass_ms(10);
    if (i == back_at) {
      bench.connect(kThird, again);
      const Bound bound = bench.machine->bound();
      std::vector<wal::EpochBegin> epochs(bench.log.history.epochs().begin(), bench.log.history.epochs().end());
      Hello hello = MachineBench::hello_of(copy_of(kThird, life), Bound{bound.epoch, bound.claim, false}, bench.log.end.value, epochs);
      hello.needs_rebuild = needs_rebuild;
      hello.unfit = true;
      bench.receive(hello, kThird, again);
    }
    if (i > back_at && i % 5 == 0) bench.promise(kThird, again);
    if (i >= host_from && (i % 5 == 0 || bench.asked<AskInitiators>())) bench.machine->initiator_heard(bench.now);
    removed = bench.asked<SwapRegister>() != nullptr;
    bench.forget();
  }
  EXPECT_TRUE(removed) << "after a minute nobody is taken out, and nothing is served";
}

TEST(Primary, BothOthersDie_OneComesBackWithANewDisk_TwoNeeded) { both_die_one_comes_back_bad(1, false, 2, 0); }
TEST(Primary, BothOthersDie_OneComesBackToBeRebuilt_TwoNeeded) { both_die_one_comes_back_bad(0, true, 2, 0); }
// One is enough, and the host was down as well for two seconds: its session is there still.
TEST(Primary, BothOthersAndTheHostDie_OneComesBackToBeRebuilt_OneNeeded) { both_die_one_comes_back_bad(0, true, 1, 200); }

// Three copies. This one has won epoch 5, and has four records of epoch 3 that were acknowledged; the other one lost the last three (the end
// of its log rotted while it was down). The third is dead, and the coordinator is out of this one's reach. It may not release its epoch to
// who visibly lacks them: that one asks nobody, leads, and has them cut here.
TEST(Primary, Helpless_BeforeItsEpochHasBegun_ReleasesToNobodyWithAShorterLog) {
  for (const std::uint64_t its : {std::uint64_t{4}, std::uint64_t{1}}) {
    MachineBench bench;
    bench.append(3, 4);
    bench.win(5, {kMe, kOther, kThird});
    bench.forget();
    bench.connect();
    const Bound bound = bench.machine->bound();
    bench.receive(MachineBench::hello_of(copy_of(kOther), Bound{bound.epoch, bound.claim, false}, its, {{Epoch(3), Lsn(1)}}));
    bool released = false;
    for (int i = 0; i < 600 && !released; ++i) {
      bench.pass_ms(10);
      if (i % 5 == 0) bench.promise();
      released = bench.sent<Release>() != nullptr;
    }
    EXPECT_EQ(released, its == 4) << "its log ends at " << its;
  }
}

// The same when the epoch has begun, and its start and the tail before it are on their way to the other one.
TEST(Primary, Helpless_BeforeItsEpochIsOpen_ReleasesToNobodyWhoLacksTheTail) {
  for (const std::uint64_t acked : {std::uint64_t{4}, std::uint64_t{1}}) {
    MachineBench bench;
    bench.append(3, 4);
    bench.lead(5, {kMe, kOther, kThird});
    bench.connect();
    const Bound bound = bench.machine->bound();
    bench.receive(MachineBench::hello_of(copy_of(kOther), Bound{bound.epoch, bound.claim, false}, 1, {{Epoch(3), Lsn(1)}}));
    ASSERT_NE(bench.sent<MatchAt>(), nullptr);
    bench.receive(Ack{bound.epoch, Lsn(acked)});
    bench.forget();
    bool released = false;
    for (int i = 0; i < 600 && !released; ++i) {
      bench.pass_ms(10);
      if (i % 5 == 0) bench.promise();
      released = bench.sent<Release>() != nullptr;
    }
    EXPECT_EQ(released, acked == 4) << "it has the log up to " << acked;
  }
}

// Cut off from both others and from the coordinator, but not from its hosts: these would wait for as long as their commands may take,
// though somebody else serves. With a single other copy, that one and the coordinator may both be down, and it stays.
TEST(Primary, CutOffFromEverybodyButItsHosts_CeasesWhenAnotherMustHaveClaimed) {
  for (const bool three : {true, false}) {
    MachineBench bench;
    if (three) bench.lead(5, {kMe, kOther, kThird});
    else bench.lead(5, {kMe, kOther});
    bench.bring_up();
    if (three) bench.bring_up(kThird, kThirdSession);
    bench.machine->initiators_attached(1);
    bench.forget();
    for (int i = 0; i < 150; ++i) {
      bench.pass_ms(10);
      bench.machine->initiator_heard(bench.now);
    }
    EXPECT_EQ(bench.asked<Cease>(), nullptr) << "others are given the time to claim";
    for (int i = 0; i < 150; ++i) {
      bench.pass_ms(10);
      bench.machine->initiator_heard(bench.now);
    }
    EXPECT_EQ(bench.asked<Cease>() != nullptr, three);
    EXPECT_EQ(bench.machine->role() == Role::primary, !three);
  }
}

// The same of three members, of which one is out of the set already: the other one in sync and the coordinator may both be down.
TEST(Primary, ThreeMembersOfWhichTwoAreInSync_TheOtherAndTheCoordinatorAreDown_Stays) {
  MachineBench bench;
  bench.lead(5, {kMe, kOther, kThird});
  Register two = bench.view;
  two.remove_in_sync(kThird);
  ++two.seq;
  bench.read(3, two);
  bench.bring_up();
  bench.machine->initiators_attached(1);
  bench.forget();
  for (int i = 0; i < 400; ++i) {
    bench.pass_ms(10);
    bench.machine->initiator_heard(bench.now);
  }
  EXPECT_EQ(bench.asked<Cease>(), nullptr);
}

// Two copies. The other one falls silent, and all sessions are reset, so that nobody is left who could be asked: both may have died, or this
// node is cut off from both. The other copy, which the hosts still reach perhaps, stays in the set for a while; a host that is back is
// enough to go on, and one that had logged out was none.
enum class End : std::uint8_t { lost, lost_and_back, logged_out, lost_long_before };

bool goes_on_alone(End end, std::int64_t after_ms) {
  MachineBench bench;
  bench.lead(5);
  bench.bring_up();
  bench.machine->initiators_attached(1);
  bench.machine->initiator_heard(bench.now);
  if (end == End::lost_long_before) {
    bench.machine->initiator_lost(bench.now);
    bench.machine->initiators_attached(0);
    for (int i = 0; i < 620; ++i) {  // 31 s.
      bench.pass_ms(50);
      bench.promise();
    }
  }
  bench.forget();
  bench.machine->disconnected(bench.now, kOther, kSession, RoleMachine::LinkEnd::reset);
  bench.pass_ms(20);
  if (end == End::lost || end == End::lost_and_back) bench.machine->initiator_lost(bench.now);
  bench.machine->initiators_attached(0);
  const std::int64_t back_at = after_ms / 2;
  for (std::int64_t ms = 0; ms < after_ms; ms += 50) {
    bench.pass_ms(50);
    if (end != End::lost_and_back || ms < back_at) continue;
    bench.machine->initiators_attached(1);
    bench.machine->initiator_heard(bench.now);
  }
  return bench.asked<SwapRegister>() != nullptr;
}

TEST(Primary, OtherFallsSilentAndAllSessionsAreLost_NoSessionIsNotNobody) {
  EXPECT_FALSE(goes_on_alone(End::lost, 20'000));
  EXPECT_TRUE(goes_on_alone(End::lost, 31'000)) << "what the operator does would wait for ever";
  EXPECT_TRUE(goes_on_alone(End::lost_and_back, 4'000));
  EXPECT_TRUE(goes_on_alone(End::logged_out, 4'000));
  EXPECT_TRUE(goes_on_alone(End::lost_long_before, 4'000));
}

// Three copies. The old primary dies; this one is cut off from the third one and from its hosts, whose sessions are reset while its claim is
// on its way.
TEST(Primary, SessionsAreLostJustBeforeTheClaimIsWon_CountAsNobody) {
  for (const bool after : {true, false}) {
    MachineBench bench;
    bench.machine->initiators_attached(1);
    bench.append(4, 3);
    const Register before = MachineBench::register_of(4, kThird, 7, {kMe, kOther, kThird});
    bench.boot(Bound{Epoch(4), 7, false});
    bench.machine->initiators_attached(1);
    bench.read(1, before);
    bench.pass_ms(1'500);
    if (!after) bench.machine->initiator_lost(bench.now);
    if (!after) bench.machine->initiators_attached(0);
    bench.read(1, before);
    const SwapRegister* swap = bench.asked<SwapRegister>();
    ASSERT_NE(swap, nullptr);
    bench.view = swap->value;
    bench.machine->swap_done(bench.now, RoleMachine::SwapResult::applied, 2, bench.view);
    bench.machine->bound_done(bench.now, bench.asked<BindTo>()->bound);
    bench.append(5);
    bench.machine->epoch_begun(bench.now, bench.log.end);
    if (after) bench.machine->initiator_lost(bench.now);
    bench.machine->initiators_attached(0);
    bench.forget();
    bench.pass_ms(3'000);
    EXPECT_EQ(bench.asked<SwapRegister>(), nullptr) << "the other one, which the hosts still reach, is out; sessions were lost after the claim: " << after;
  }
}

// The other one is dead. A host logs in, and its session is lost again within a moment (a boot loader, a probe), every 20 s.
TEST(Primary, SessionsThatComeAndGo_KeepItFromGoingOn) {
  MachineBench bench;
  bench.lead(5);
  bench.bring_up();
  bench.forget();
  bench.machine->disconnected(bench.now, kOther, kSession, RoleMachine::LinkEnd::reset);
  for (int i = 0; i < 30; ++i) {
    bench.machine->initiator_heard(bench.now);
    bench.now = bench.now + milliseconds(5);
    bench.machine->initiator_lost(bench.now);
    bench.pass_ms(20'000);
  }
  EXPECT_NE(bench.asked<SwapRegister>(), nullptr) << "ten minutes";
}

}  // namespace
}  // namespace holdfast::role_test
