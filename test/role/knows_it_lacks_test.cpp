// A copy in sync has applied what the log of this one lost without a trace: it was committed, and this one must not lead.
#include "test/role/loss_bench.h"

namespace holdfast::role_test {
namespace {

// It has all ten, and has applied eight; it reaches the coordinator later than I am patient.
void third_is_cut(MachineBench& bench) {
  bench.connect(kThird, kThirdSession);
  bench.receive(hello_from(bench, kThird, 10, 8), kThird, kThirdSession);
  for (int i = 0; i < 6; ++i) {
    bench.pass_ms(50);
    bench.promise(kThird, kThirdSession, false);
  }
  const MatchAt* match = bench.sent<MatchAt>(kThird);
  ASSERT_NE(match, nullptr);
  ASSERT_EQ(match->lsn, Lsn(8)) << "two records less";
  bench.receive(Ack{Epoch(5), Lsn(9)}, kThird, kThirdSession);
  bench.promise(kThird, kThirdSession, true);
}

// (A) Three copies; I lost the end of my log: 8 of 10. The third one said hello first, did not reach the coordinator for 250 ms, was matched and cut to
// 8. Then the other one's hello proves that ten were committed; it does not reach the coordinator yet. Then I am the one who is without coordinator, and
// the other one is silent for a second. The third one, which has 8, is released: it takes the silent one out.
TEST(KnowsItLacks, KnowsThatOtherHasMore_ReleasesToOneThatHasNot_Helpless) {
  MachineBench bench;
  bench.append(4, 8);
  bench.lead(5, {kMe, kOther, kThird});
  third_is_cut(bench);
  bench.connect();
  bench.receive(hello_from(bench, kOther, 10, 10));
  bench.promise(kOther, kSession, false);
  ASSERT_FALSE(bench.machine->is_open());
  ASSERT_EQ(bench.sent<MatchAt>(), nullptr) << "the proof counts";
  bench.machine->disconnected(bench.now, kOther, kSession, RoleMachine::LinkEnd::closed);
  for (int i = 0; i < 100 && bench.machine->role() == Role::primary; ++i) {
    bench.pass_ms(50);
    bench.promise(kThird, kThirdSession, true);
    if (bench.asked<ReadRegister>()) {
      bench.machine->register_unreadable(bench.now);
    }
  }
  EXPECT_EQ(bench.sent<Release>(kThird), nullptr) << "who has 8 of 10 acknowledged records is to lead, though I know that another one has ten";
}

// (A2) The same, and my disk stands still for ten seconds.
TEST(KnowsItLacks, KnowsThatOtherHasMore_ReleasesToOneThatHasNot_Stuck) {
  MachineBench bench;
  bench.append(4, 8);
  bench.lead(5, {kMe, kOther, kThird});
  third_is_cut(bench);
  bench.connect();
  bench.receive(hello_from(bench, kOther, 10, 10));
  bench.promise(kOther, kSession, false);
  ASSERT_EQ(bench.sent<MatchAt>(), nullptr) << "the proof counts";
  bench.machine->store_failed(bench.now);
  EXPECT_EQ(bench.sent<Release>(kThird), nullptr) << "who has 8 of 10 acknowledged records is released, though I know that another one has ten";
}

// (B) What one copy has proven is forgotten when another one proves less. The other one has ten applied; the third one, too, but has applied nine. I
// have 8. Both do not reach the coordinator. Then the third one comes back unfit (or replaced), and the other one is silent for a second.
TEST(KnowsItLacks, ProofOfTheOtherIsOverwrittenByTheThird_WhoIsThenGone) {
  for (const bool third : {false, true}) {
    MachineBench bench;
    std::uint64_t revision = 10;
    bench.append(4, 8);
    bench.lead(5, {kMe, kOther, kThird});
    bench.connect();
    bench.receive(hello_from(bench, kOther, 10, 10));
    bench.promise(kOther, kSession, false);
    bench.connect(kThird, kThirdSession);
    Hello hello = hello_from(bench, kThird, 10, 9);
    if (third) bench.receive(hello, kThird, kThirdSession);
    bench.promise(kThird, kThirdSession, false);
    ASSERT_EQ(bench.sent<MatchAt>(), nullptr);
    bench.machine->disconnected(bench.now, kThird, kThirdSession, RoleMachine::LinkEnd::reset);
    bench.connect(kThird, SessionId(20));
    hello.unfit = hello.needs_rebuild = true;
    bench.receive(hello, kThird, SessionId(20));
    bool taken_out = false;
    for (int i = 0; i < 60 && bench.machine->role() == Role::primary; ++i) {
      bench.pass_ms(50);  // The other one is silent.
      bench.promise(kThird, SessionId(20), false);
      taken_out = takes_out(bench, kOther, revision) || taken_out;
    }
    EXPECT_FALSE(taken_out) << "the only copy with ten, of which I knew that; the third one had said hello: " << third;
  }
}

// (B2) The same: I give way to who has nine, though I know of one that has applied ten.
TEST(KnowsItLacks, ProofOfTheOtherIsOverwrittenByTheThird_WhoIsReleased) {
  MachineBench bench;
  bench.append(4, 8);
  bench.lead(5, {kMe, kOther, kThird});
  bench.connect();
  bench.receive(hello_from(bench, kOther, 10, 10));
  bench.promise(kOther, kSession, false);
  bench.connect(kThird, kThirdSession);
  bench.promise(kThird, kThirdSession, true);
  bench.receive(hello_from(bench, kThird, 9, 9), kThird, kThirdSession);
  EXPECT_EQ(bench.sent<Release>(kThird), nullptr) << "who has nine of ten";
}

// (C) Two copies. The other one proves that I lack two; it does not reach the coordinator yet. Meanwhile it meets an unreadable page of its maps, and says that
// it leaves (it gives nothing up before it is out). Then it reaches the coordinator. It can lead, and has everything.
TEST(KnowsItLacks, WhoHasWhatILackSaysThatItLeaves_NobodyServesForEver) {
  MachineBench bench;
  std::uint64_t revision = 10;
  bench.append(4, 8);
  bench.lead(5);
  bench.connect();
  bench.receive(hello_from(bench, kOther, 10, 10));
  bench.promise(kOther, kSession, false);
  bench.receive(Leaving{Epoch(5)});
  bool taken_out = false;
  for (int i = 0; i < 1200 && bench.machine->role() == Role::primary && !taken_out; ++i) {
    bench.pass_ms(50);
    bench.promise(kOther, kSession, true);
    taken_out = takes_out(bench, kOther, revision);
  }
  EXPECT_TRUE(bench.machine->role() == Role::follower || bench.machine->is_open() || taken_out) << "a minute";
  EXPECT_NE(bench.sent<Release>(), nullptr);
}

// (D) Two copies. The other one proved that I lack two, and then loses power and its own log's end, too: 8 as well. Both have the same, and both are well.
TEST(KnowsItLacks, WhoHadWhatILackHasLostItToo_NobodyServesForEver) {
  MachineBench bench;
  std::uint64_t revision = 10;
  bench.append(4, 8);
  bench.lead(5);
  bench.connect();
  bench.receive(hello_from(bench, kOther, 10, 10));
  bench.promise(kOther, kSession, false);
  bench.machine->disconnected(bench.now, kOther, kSession, RoleMachine::LinkEnd::reset);
  bench.pass_ms(100);
  bench.connect(kOther, SessionId(20));
  bench.receive(hello_from(bench, kOther, 8, 8), kOther, SessionId(20));
  bool taken_out = false;
  for (int i = 0; i < 1200 && bench.machine->role() == Role::primary && !bench.sent<MatchAt>() && !taken_out; ++i) {
    bench.pass_ms(50);
    bench.promise(kOther, SessionId(20), true);
    taken_out = takes_out(bench, kOther, revision);
  }
  EXPECT_TRUE(bench.machine->role() == Role::follower || bench.sent<MatchAt>() || taken_out) << "a minute";
}

// (E) Three copies; I open, and cannot read the newest record of my tail, which the other one lacks and nobody was told of. The third one's disk does not
// answer: it beats, and never acknowledges its match. It is nobody who may have more for ever: after ten seconds it is stuck.
TEST(KnowsItLacks, OwnTailIsUnreadable_ThirdIsStuck_NobodyServesForEver) {
  MachineBench bench;
  std::uint64_t revision = 10;
  bench.append(4, 10);
  bench.lead(5, {kMe, kOther, kThird});
  bench.connect();
  bench.receive(hello_from(bench, kOther, 9, 8));
  bench.receive(Ack{Epoch(5), Lsn(9)});
  bench.promise(kOther, kSession, true);
  bench.connect(kThird, kThirdSession);
  bench.receive(hello_from(bench, kThird, 9, 8), kThird, kThirdSession);
  ASSERT_NE(bench.sent<MatchAt>(kThird), nullptr);
  bench.promise(kThird, kThirdSession, true);
  bench.machine->cannot_read_tail(bench.now, kOther, kSession);
  for (int i = 0; i < 1200 && bench.machine->role() == Role::primary; ++i) {
    bench.pass_ms(50);
    bench.promise(kOther, kSession, true);
    bench.promise(kThird, kThirdSession, true);
    takes_out(bench, kThird, revision);
  }
  EXPECT_EQ(bench.machine->role(), Role::follower) << "a minute: the other one could lead";
}

// (F) A proof that does not go away. As (A) it came to a loss: the third one leads without what the other one had, the other one was rebuilt from it, and all
// three are in sync again, byte for byte. I am still sure that I lack something, and claim nothing when both others are gone.
TEST(KnowsItLacks, ProofOutlivesTheHistoryThatItWasOf) {
  MachineBench bench;
  bench.append(4, 8);
  Register view = MachineBench::register_of(4, kThird, 7, {kMe, kOther, kThird});
  bench.boot(Bound{Epoch(4), 7, false});
  bench.read(1, view);
  bench.connect();
  bench.receive(hello_from(bench, kOther, 10, 10));  // I lack two.
  bench.machine->disconnected(bench.now, kOther, kSession, RoleMachine::LinkEnd::closed);
  // The third one leads 6 without it, and the other one was out, was rebuilt, and is back.
  view.epoch = Epoch(6);
  view.claim = 8;
  view.seq = 200;
  view.remove_in_sync(kOther);
  bench.read(2, view);
  bench.connect(kThird, kThirdSession);
  bench.receive(bench.beat_of(6, 8), kThird, kThirdSession);
  const BindTo* bind = bench.asked<BindTo>();
  ASSERT_NE(bind, nullptr);
  bench.machine->bound_done(bench.now, bind->bound);
  bench.append(6, 10);  // 9 to 18.
  view.seq = 201;
  view.add_in_sync(copy_of(kOther));
  bench.read(3, view);
  bench.connect(kOther, SessionId(20));
  Hello hello = MachineBench::hello_of(copy_of(kOther), Bound{Epoch(6), 8, false}, 18, {{Epoch(4), Lsn(1)}, {Epoch(6), Lsn(9)}});
  hello.applied = Lsn(18);
  bench.receive(hello, kOther, SessionId(20));  // The same as mine.
  bench.machine->disconnected(bench.now, kOther, SessionId(20), RoleMachine::LinkEnd::closed);
  bench.machine->disconnected(bench.now, kThird, kThirdSession, RoleMachine::LinkEnd::closed);
  bench.forget();
  const bool claims = await_swap(bench, 3, view, 10'000) != nullptr;
  EXPECT_TRUE(claims) << "ten seconds: I have all that there is";
}

// (G) The operator accepts the loss: the other one, which had what I lack, is no member any more; I take it out, and serve. Then it is a member again: its copy is
// compared with mine, and joins. Then it dies. I am the primary, and open, and take nobody out any more.
TEST(KnowsItLacks, WhoHadWhatILackIsRemovedAndComesBack_OpenPrimaryTakesNobodyOutAnyMore) {
  for (const bool proof : {false, true}) {
    MachineBench bench;
    std::uint64_t revision = 10;
    bench.append(4, 8);
    bench.lead(5);
    bench.connect();
    if (proof) bench.receive(hello_from(bench, kOther, 10, 10));
    bench.machine->disconnected(bench.now, kOther, kSession, RoleMachine::LinkEnd::reset);
    Register view = bench.view;
    view.members = {kMe};
    ++view.seq;
    bench.read(++revision, view);
    bool out = false;
    for (int i = 0; i < 100 && !out; ++i) {
      bench.pass_ms(50);
      out = takes_out(bench, kOther, revision);
    }
    ASSERT_TRUE(out);
    ASSERT_TRUE(bench.machine->is_open());
    view = bench.view;
    view.members = {kMe, kOther};
    ++view.seq;
    bench.read(++revision, view);
    bench.bring_up(kOther, SessionId(20));
    bench.pass_ms(20);
    const SwapRegister* join = bench.asked<SwapRegister>();
    ASSERT_NE(join, nullptr);
    bench.view = join->value;
    ASSERT_NE(bench.view.find_in_sync(kOther), nullptr);
    bench.forget();
    bench.machine->swap_done(bench.now, RoleMachine::SwapResult::applied, ++revision, bench.view);
    bench.machine->disconnected(bench.now, kOther, SessionId(20), RoleMachine::LinkEnd::reset);
    out = false;
    for (int i = 0; i < 1200 && !out; ++i) {
      bench.pass_ms(50);
      out = takes_out(bench, kOther, revision);
    }
    EXPECT_TRUE(out) << "a minute without its lease; I had once been proven to lack something: " << proof;
  }
}

// (H) The one that has what I lack comes back, and needs a rebuild (its log is lost). The coordinator is away for a moment, so it is not taken out at once; and
// it goes for ever. That it has nothing any more is forgotten with its connection.
TEST(KnowsItLacks, WhoHadWhatILackNeedsARebuildAndIsGone_NobodyServesForEver) {
  MachineBench bench;
  std::uint64_t revision = 10;
  bench.append(4, 8);
  bench.lead(5);
  bench.connect();
  bench.receive(hello_from(bench, kOther, 10, 10));
  bench.promise(kOther, kSession, false);
  bench.machine->disconnected(bench.now, kOther, kSession, RoleMachine::LinkEnd::reset);
  bench.connect(kOther, SessionId(20));
  Hello hello = hello_from(bench, kOther, 8, 8);
  hello.needs_rebuild = hello.unfit = true;
  bench.receive(hello, kOther, SessionId(20));
  bench.machine->disconnected(bench.now, kOther, SessionId(20), RoleMachine::LinkEnd::reset);
  bool out = false;
  for (int i = 0; i < 1200 && !out; ++i) {
    bench.pass_ms(50);
    out = takes_out(bench, kOther, revision);
  }
  EXPECT_TRUE(out) << "a minute";
}

}  // namespace
}  // namespace holdfast::role_test
