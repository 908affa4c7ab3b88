// What a primary does that cannot read, or lacks, the end of its own log.
#include "test/role/machine_bench.h"

namespace holdfast::role_test {
namespace {

// The floor is the epoch of the record at the commit LSN; when the history does not reach back that far, it is lowered to nothing.
TEST(Primary, FloorOfACommitOlderThanTheHistory_IsNotLowered) {
  MachineBench bench;
  bench.append(4, 10);
  bench.log.applied = Lsn(10);
  for (std::uint64_t e = 5; e < 5 + 200; ++e) bench.append(e);
  bench.lead(205);
  bench.log.history.keep_newest(128);
  Register reg = bench.view;
  reg.floor_epoch = Epoch(4);
  reg.floor_commit = Lsn(9);
  ++reg.seq;
  bench.read(3, reg);
  bench.forget();
  bench.pass_ms(Timing().replica_timeout_ms + 100);  // The other one is silent.
  const SwapRegister* swap = bench.asked<SwapRegister>();
  ASSERT_NE(swap, nullptr);
  EXPECT_EQ(swap->value.find_in_sync(kOther), nullptr);
  EXPECT_GE(swap->value.floor_epoch, Epoch(4)) << "floor: epoch " << swap->value.floor_epoch.value << ", commit " << swap->value.floor_commit.value;
}

// The floor is of the record at the commit LSN; what there was beside starts of epochs is named with it.
TEST(Primary, FloorOfAnIdleEpoch_NamesAlsoWhatWasWrittenBefore) {
  MachineBench bench;
  bench.append(4, 10);
  bench.lead(6);
  bench.bring_up();
  bench.forget();
  bench.machine->disconnected(bench.now, kOther, kSession, RoleMachine::LinkEnd::reset);
  bench.pass_ms(Timing().replica_timeout_ms + 100);
  const SwapRegister* swap = bench.asked<SwapRegister>();
  ASSERT_NE(swap, nullptr);
  EXPECT_EQ(swap->value.floor_epoch, Epoch(6));
  EXPECT_EQ(swap->value.floor_commit, Lsn(11));
  EXPECT_EQ(swap->value.floor_content_epoch, Epoch(4));
  EXPECT_EQ(swap->value.floor_content_end, Lsn(10));
}

// Three copies in sync; two lost the ends of their logs without a trace. Who was let first lets nobody first.
TEST(Primary, LetFirst_AThirdHasStillMore_ItIsNotCut) {
  MachineBench bench;
  bench.append(4, 5);
  const Register reg = MachineBench::register_of(5, kOther, 9, {kMe, kOther, kThird});
  bench.boot(Bound{Epoch(5), 9, false});
  bench.read(1, reg);
  bench.connect();
  bench.receive(MachineBench::hello_of(copy_of(kOther), Bound{Epoch(5), 9, true}, 4, {{Epoch(4), Lsn(1)}, {Epoch(5), Lsn(4)}}));
  bench.receive(Release{Epoch(5)});
  bench.read(1, reg);
  const SwapRegister* swap = bench.asked<SwapRegister>();
  ASSERT_NE(swap, nullptr);
  bench.view = swap->value;
  bench.machine->swap_done(bench.now, RoleMachine::SwapResult::applied, 2, bench.view);
  bench.machine->bound_done(bench.now, bench.asked<BindTo>()->bound);
  bench.append(6);
  bench.machine->epoch_begun(bench.now, bench.log.end);
  bench.forget();
  bench.connect(kThird, kThirdSession);
  const Bound bound = bench.machine->bound();
  bench.receive(MachineBench::hello_of(copy_of(kThird), Bound{bound.epoch, bound.claim, false}, 6, {{Epoch(4), Lsn(1)}}), kThird, kThirdSession);
  bench.promise(kThird, kThirdSession);
  EXPECT_EQ(bench.sent<MatchAt>(kThird), nullptr) << "the only intact copy is cut";
  EXPECT_NE(bench.sent<Release>(kThird), nullptr);
}

// It opens; S is in sync and matched, and lacks the newest record, which nobody was told of. That one cannot be read here (106).
TEST(Primary, Opening_OwnTailIsUnreadable_ReleasesToWhoIsInSync) {
  MachineBench bench;
  bench.append(4, 10);
  bench.lead(5);
  bench.connect();
  bench.receive(MachineBench::hello_of(copy_of(kOther), Bound{Epoch(5), bench.machine->bound().claim, false}, 9, {{Epoch(4), Lsn(1)}}));
  bench.receive(Ack{Epoch(5), Lsn(9)});
  bench.promise();
  ASSERT_FALSE(bench.machine->is_open());
  bench.machine->cannot_read_tail(bench.now, kOther, kSession);
  EXPECT_NE(bench.sent<Release>(), nullptr) << "it keeps the lead with a tail that it cannot read";
  bench.pass_ms(50);
  const SwapRegister* swap = bench.asked<SwapRegister>();
  EXPECT_TRUE(!swap || swap->value.find_in_sync(kOther)) << "who has all that was acknowledged is taken out of the set";
}

// The same, and its disk hangs (118): it cannot read its tail in order to ship it, nor write the start of its epoch.
TEST(Primary, Opening_OwnDiskHangs_ReleasesToWhoIsInSync) {
  MachineBench bench;
  bench.append(4, 10);
  bench.lead(5);
  bench.log.durable = Lsn(10);
  bench.connect();
  bench.receive(MachineBench::hello_of(copy_of(kOther), Bound{Epoch(5), bench.machine->bound().claim, false}, 9, {{Epoch(4), Lsn(1)}}));
  bench.receive(Ack{Epoch(5), Lsn(9)});
  bench.forget();
  for (int i = 0; i < 1'200 && bench.machine->role() == Role::primary; ++i) {
    bench.pass_ms(50);
    bench.promise();
    bench.read(static_cast<std::uint64_t>(10 + i), bench.view);
    ++bench.view.seq;
  }
  EXPECT_EQ(bench.machine->role(), Role::follower) << "leads for ever, and serves nothing; the other one could";
}

// Three copies in sync. This one leads, its epoch is not open, and it cannot read the last of ten records (or its disk hangs, or fails for
// good). The other one lacks that: it was never acknowledged, or the end of that log rotted while its node was down. The third one knows;
// as long as it may have more nobody without the record goes first, for whoever is released asks nobody.
enum class Trouble : std::uint8_t { unreadable, hangs, fails };
enum class Third : std::uint8_t { silent, has_ten, has_nine, leaves_the_set };

bool released_with(Trouble trouble, Third third) {
  MachineBench bench;
  bench.append(4, 10);
  bench.lead(5, {kMe, kOther, kThird});
  if (trouble == Trouble::hangs) bench.log.durable = Lsn(10);
  const auto is_there = [&](NodeId node, SessionId session, std::uint64_t has) {
    bench.connect(node, session);
    bench.receive(MachineBench::hello_of(copy_of(node), Bound{Epoch(5), bench.machine->bound().claim, false}, has, {{Epoch(4), Lsn(1)}}), node, session);
    bench.receive(Ack{Epoch(5), Lsn(has)}, node, session);
    bench.promise(node, session);
  };
  is_there(kOther, kSession, 9);
  if (third == Third::has_nine) is_there(kThird, kThirdSession, 9);
  if (third == Third::has_ten) {
    is_there(kThird, kThirdSession, 10);
    Beat lost;
    lost.epoch = bench.machine->bound().epoch;
    lost.claim = bench.machine->bound().claim;
    lost.echo = bench.now;
    bench.receive(lost, kThird, kThirdSession);  // It does not reach the coordinator, so it cannot go first itself.
  }
  if (third == Third::leaves_the_set) {
    Register without = bench.view;
    without.remove_in_sync(kThird);
    ++without.seq;
    bench.read(3, without);
  }
  if (trouble == Trouble::unreadable) bench.machine->cannot_read_tail(bench.now, kOther, kSession);
  if (trouble == Trouble::fails) bench.machine->store_failed(bench.now);
  const int rounds = trouble == Trouble::hangs ? 250 : 10;
  for (int i = 0; i < rounds && !bench.sent<Release>(); ++i) {
    bench.pass_ms(50);
    bench.promise();
    if (third == Third::has_nine) bench.promise(kThird, kThirdSession);
  }
  const bool kept = !bench.machine->ship_after(kOther, kSession) || trouble == Trouble::hangs;
  EXPECT_TRUE(kept) << "it tries to read what it cannot";
  return bench.sent<Release>() != nullptr;
}

TEST(Primary, Opening_OwnTailIsGone_WhoLacksItGoesFirstOnlyWhenNobodyHasMore) {
  for (const Trouble trouble : {Trouble::unreadable, Trouble::hangs, Trouble::fails})
    for (const Third third : {Third::silent, Third::has_ten, Third::has_nine, Third::leaves_the_set}) {
      const bool harmless = third == Third::has_nine || third == Third::leaves_the_set;
      EXPECT_EQ(released_with(trouble, third), harmless) << "trouble " << static_cast<int>(trouble) << ", third " << static_cast<int>(third);
    }
}

// It waits, and keeps the copy that it waits for; the third one is taken out when it stays silent, and then the other one goes first.
TEST(Primary, Opening_OwnTailIsUnreadable_WaitsForTheSilentOneToBeOut) {
  MachineBench bench;
  bench.append(4, 10);
  bench.lead(5, {kMe, kOther, kThird});
  bench.connect();
  bench.receive(MachineBench::hello_of(copy_of(kOther), Bound{Epoch(5), bench.machine->bound().claim, false}, 9, {{Epoch(4), Lsn(1)}}));
  bench.receive(Ack{Epoch(5), Lsn(9)});
  bench.promise();
  bench.machine->cannot_read_tail(bench.now, kOther, kSession);
  EXPECT_EQ(bench.sent<Release>(), nullptr);
  for (int i = 0; i < 16; ++i) {
    bench.pass_ms(50);
    bench.promise();
  }
  const SwapRegister* swap = bench.asked<SwapRegister>();
  ASSERT_NE(swap, nullptr);
  EXPECT_EQ(swap->value.find_in_sync(kThird), nullptr);
  EXPECT_NE(swap->value.find_in_sync(kOther), nullptr) << "who has all that was acknowledged is taken out of the set";
  EXPECT_EQ(bench.sent<Release>(), nullptr);
  bench.removal_applied(3);
  bench.promise();
  bench.pass_ms(50);
  EXPECT_NE(bench.sent<Release>(), nullptr);
}

}  // namespace
}  // namespace holdfast::role_test
