// What takes many crashes, or much patience, in a row.
#include "engine/operator_changes.h"
#include "test/role/machine_bench.h"

namespace holdfast::role_test {
namespace {

constexpr Bound kFollowsFour{Epoch(4), 9, false};

// A coordinator that always answers me, after `takes_ms`. Who has a longer log reached it once, and does not any more.
std::int64_t waits_with_coordinator_that_takes(std::int64_t takes_ms) {
  constexpr std::int64_t kLong = 300'000;
  MachineBench bench(kFollowsFour);
  bench.append(4, 3);
  const Register reg = MachineBench::register_of(4, kThird, 9, {kMe, kOther, kThird});
  bench.connect();
  bench.receive(MachineBench::hello_of(copy_of(kOther), kFollowsFour, 5, {{Epoch(4), Lsn(1)}}));
  std::int64_t answer_in = 0, waited = 0;
  int answers = 0;
  for (; waited < kLong && !bench.asked<SwapRegister>(); waited += 50) {
    Beat sign = bench.beat_of(4, 9);
    sign.leads = false;
    sign.coordinator_reached = answers < 2;
    bench.receive(sign);
    bench.pass_ms(50);
    if (answer_in > 0 && (answer_in -= 50) <= 0) {
      ++answers;
      bench.read(1, reg);
    }
    if (answer_in <= 0 && bench.asked<ReadRegister>()) {
      answer_in = takes_ms;
      bench.forget();
    }
  }
  return waited;
}
TEST(Follower, SlowCoordinator_DeferralEnds) {
  EXPECT_LT(waits_with_coordinator_that_takes(500), 20'000);
  EXPECT_LT(waits_with_coordinator_that_takes(1'800), 20'000);
  EXPECT_LT(waits_with_coordinator_that_takes(1'950), 20'000);
  EXPECT_LT(waits_with_coordinator_that_takes(2'200), 20'000) << "ms: nobody serves, though this copy could";
}

// A member that is to be rebuilt has to go, and the coordinator that could end that is away: how long is nothing committed?
TEST(Primary, MemberIsToBeRebuilt_PrimaryWithoutTheCoordinator_ReleasesToTheOther) {
  MachineBench bench;
  bench.lead(5, {kMe, kOther, kThird});
  bench.bring_up(kThird, kThirdSession);
  bench.connect();
  Hello hello = MachineBench::hello_of(copy_of(kOther), Bound{Epoch(5), bench.machine->bound().claim, false}, 1, {{Epoch(5), Lsn(1)}});
  hello.needs_rebuild = hello.unfit = true;
  bench.receive(hello);
  bench.promise();
  bench.machine->initiators_attached(1);
  bench.append(5, 2);
  int i = 0;
  for (; i < 1'200 && bench.machine->role() == Role::primary; ++i) {
    bench.pass_ms(50);
    bench.machine->initiator_heard(bench.now);
    bench.machine->register_unreadable(bench.now);
    if (bench.asked<SwapRegister>()) bench.machine->swap_done(bench.now, RoleMachine::SwapResult::unknown, 0, Register{});
    bench.forget();
    bench.promise();
    bench.promise(kThird, kThirdSession);
    bench.receive(Ack{Epoch(5), bench.log.end}, kThird, kThirdSession);
  }
  EXPECT_EQ(bench.machine->role(), Role::follower) << "for ever";
  EXPECT_LT(i * 50, 5'000) << "ms without a commit";
}

// A history that keeps 128 epochs, and all of them are starts that never opened (a node in a crash loop).
TEST(Follower, ManyStartsThatNeverOpened_DoNotMakeTheLogShorter) {
  MachineBench bench(Bound{Epoch(204), 7, true});
  bench.append(4, 10);  // All acknowledged.
  for (std::uint64_t e = 5; e < 5 + 200; ++e) {
    bench.append(e);
    bench.log.history.keep_newest(128);
  }
  const Register reg = MachineBench::register_of(204, kMe, 7);
  bench.read(1, reg);
  bench.connect();
  // The other one lost its end.
  bench.receive(MachineBench::hello_of(copy_of(kOther), Bound{Epoch(4), 6, false}, 8, {{Epoch(4), Lsn(1)}}));
  bench.promise();
  bench.pass_ms(Timing().hello_wait_ms + 50);
  bench.read(1, reg);
  EXPECT_NE(bench.asked<SwapRegister>(), nullptr) << "the copy that has everything lets one go first that lost its end";
}

// … and the other way round: the one that lost its end does not see that this one has more.
TEST(Follower, OtherHasManyStarts_ItsLogIsStillLonger) {
  MachineBench other(Bound{Epoch(204), 7, true});
  other.append(4, 10);
  for (std::uint64_t e = 5; e < 5 + 200; ++e) {
    other.append(e);
    other.log.history.keep_newest(128);
  }
  MachineBench bench(kFollowsFour);
  bench.append(4, 8);  // Two acknowledged records rotted.
  const Register reg = MachineBench::register_of(204, kOther, 7);
  bench.connect();
  Hello hello = MachineBench::hello_of(copy_of(kOther), Bound{Epoch(204), 7, true}, other.log.end.value, {});
  hello.history = other.log.history;
  bench.receive(hello);
  bench.promise();
  for (int i = 0; i < 26; ++i) {
    bench.pass_ms(50);
    bench.read(1, reg);
  }
  EXPECT_EQ(bench.asked<SwapRegister>(), nullptr) << "claims before who has more";
}

// The floor: two acknowledged records are gone here; the start of my own epoch, which never opened, is all that my log has beyond.
TEST(Follower, Floor_StartOfAnEpochThatNeverOpened_DoesNotReachIt) {
  for (const bool claimed_once : {false, true}) {
    MachineBench bench(Bound{Epoch(5), 8, claimed_once});
    bench.append(4, 8);
    if (claimed_once) bench.append(5);
    Register reg = MachineBench::register_of(6, kOther, 9);
    reg.floor_epoch = Epoch(4);
    reg.floor_commit = Lsn(10);
    bench.read(1, reg);
    for (int i = 0; i < 100; ++i) {
      bench.pass_ms(50);
      bench.read(1, reg);
    }
    EXPECT_EQ(bench.asked<SwapRegister>(), nullptr) << "claims without what the floor says, claimed once before: " << claimed_once;
  }
}

// What made it leave was mended by the rebuild.
TEST(Follower, RebuiltByItsOwnWish_LeavesNoMore) {
  MachineBench bench(kFollowsFour);
  bench.append(4, 5);
  bench.log.applied = Lsn(5);
  bench.read(1, MachineBench::register_of(4, kOther, 9));
  bench.connect();
  bench.receive(bench.beat_of(4, 9));
  bench.receive(MatchAt{Epoch(4), Lsn(3), Lsn(3)});
  ASSERT_NE(bench.asked<RebuildFrom>(), nullptr);
  bench.pass_ms(50);
  Beat beat = bench.beat_of(4, 9);
  bench.receive(beat);
  bench.pass_ms(50);
  beat = bench.beat_of(4, 9);
  beat.echo = bench.now;
  beat.needed = false;
  bench.receive(beat);
  ASSERT_FALSE(bench.machine->is_counted_on());
  bench.machine->rebuilt(bench.now);
  bench.machine->disconnected(bench.now, kOther, kSession, RoleMachine::LinkEnd::closed);
  bench.connect(kOther, SessionId{55});
  bench.forget();
  bench.receive(bench.beat_of(4, 9), kOther, SessionId{55});
  EXPECT_EQ(bench.sent<Leaving>(), nullptr);
}

// The old primary's store failed: it says that it leaves, and releases. Its connection is made anew before the register has answered.
TEST(Follower, ReleasedByAPrimaryThatLeaves_ConnectionIsMadeAnew_ClaimsWithoutIt) {
  MachineBench bench(kFollowsFour);
  bench.append(4, 3);
  Register reg = MachineBench::register_of(4, kOther, 9);
  bench.read(1, reg);
  bench.connect();
  bench.receive(bench.beat_of(4, 9));
  bench.receive(Leaving{Epoch(4)});
  bench.receive(Release{Epoch(4)});
  bench.machine->disconnected(bench.now, kOther, kSession, RoleMachine::LinkEnd::closed);
  bench.connect(kOther, SessionId{55});
  bench.pass_ms(50);
  bench.read(1, reg);
  const SwapRegister* swap = bench.asked<SwapRegister>();
  ASSERT_NE(swap, nullptr);
  EXPECT_EQ(swap->value.find_in_sync(kOther), nullptr) << "it waits for the acks of a store that failed";
}

// Two removals before the primary has dropped the first one from in_sync.
TEST(OperatorChanges, SecondRemovalBeforeTheFirstIsDropped_IsRefused) {
  Register r = engine::first_register(Uuid{7}, {{NodeId(1), {1}}, {NodeId(2), {2}}, {NodeId(3), {3}}}, {2, 600});
  r.epoch = Epoch(4);
  r.primary = NodeId(1);
  ASSERT_TRUE(engine::remove_member(r, NodeId(3)));
  EXPECT_FALSE(engine::remove_member(r, NodeId(2))) << "one copy would be in sync, and min_in_sync is 2";
}

}  // namespace
}  // namespace holdfast::role_test
