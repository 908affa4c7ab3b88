// A copy in sync has applied what the log of this one lost without a trace. More of it: proofs that come late, or end while something
// is under way.
#include "test/role/loss_bench.h"

namespace holdfast::role_test {
namespace {

// The other one's first hello after my claim is of the epoch before, and proves that I lack two. Then its disk does not answer: it cannot bind, but beats on,
// for ten seconds. It is called stuck, and taken out; what it had applied is gone, though I was told.
TEST(KnowsItLacks, ProofComesWithAHelloOfTheEpochBefore_WhoCannotBindIsTakenOut) {
  for (const bool silent : {false, true}) {
    MachineBench bench;
    bench.append(4, 8);
    bench.lead(5);
    bench.connect();
    Hello hello = hello_from(bench, kOther, 10, 10);
    hello.bound = Bound{Epoch(4), 7, false};
    bench.receive(hello);
    if (silent) bench.machine->disconnected(bench.now, kOther, kSession, RoleMachine::LinkEnd::closed);
    bool out = false;
    for (int i = 0; i < 300 && bench.machine->role() == Role::primary && !out; ++i) {
      bench.pass_ms(50);
      Beat sign;
      sign.epoch = Epoch(4);
      sign.claim = 7;
      sign.sent = sign.echo = bench.now;
      sign.coordinator_reached = true;
      if (!silent) bench.receive(sign);
      if (const SwapRegister* swap = bench.asked<SwapRegister>()) out = !swap->value.find_in_sync(kOther);
    }
    EXPECT_FALSE(out) << "the only copy with ten, of which I was told; it was silent: " << silent;
  }
}

// Two copies lost power. I led nothing; the other one led, is back later than my patience, and has all ten; I lost the last two. My claim (which leaves the
// other one out) is on its way: the coordinator does not answer, the outcome is unknown, nothing was applied. Then the other one's hello proves that I lack
// two.
TEST(KnowsItLacks, ClaimOfUnknownOutcomeIsSentAgainThoughALossIsProven) {
  MachineBench bench;
  bench.append(4, 8);
  bench.boot(Bound{Epoch(4), 7, false});
  const Register view = MachineBench::register_of(4, kOther, 7);
  const SwapRegister* swap = await_swap(bench, 1, view, 5'000);
  ASSERT_NE(swap, nullptr);
  bench.forget();
  bench.machine->swap_done(bench.now, RoleMachine::SwapResult::unknown, 0, Register{});  // It was not applied.
  bench.connect();
  bench.receive(hello_from(bench, kOther, 10, 10));
  bench.forget();
  bench.pass_ms(100);
  EXPECT_EQ(bench.asked<SwapRegister>(), nullptr) << "what takes the only copy with ten out is asked for once more, though I know that I lack two";
}

// I lead, and am not open; the other one was silent for a second and is to be taken out; the coordinator does not answer (nothing was applied). Then it is
// back, and proves that I lack two; it does not reach the coordinator either. When the coordinator is back, my removal is the first thing that it hears.
TEST(KnowsItLacks, RemovalOfUnknownOutcomeIsSentAgainThoughALossIsProven) {
  MachineBench bench;
  bench.append(4, 8);
  bench.lead(5);
  const SwapRegister* swap = nullptr;
  for (int i = 0; i < 100 && !swap; ++i) {
    bench.pass_ms(50);
    swap = bench.asked<SwapRegister>();
  }
  ASSERT_NE(swap, nullptr);
  ASSERT_EQ(swap->value.find_in_sync(kOther), nullptr);
  bench.forget();
  bench.machine->swap_done(bench.now, RoleMachine::SwapResult::unknown, 0, Register{});
  bench.connect();
  bench.receive(hello_from(bench, kOther, 10, 10));
  bench.promise(kOther, kSession, false);
  ASSERT_EQ(bench.sent<MatchAt>(), nullptr) << "the proof counts";
  bench.forget();
  bench.pass_ms(100);
  EXPECT_EQ(bench.asked<SwapRegister>(), nullptr) << "the only copy with ten is taken out once more, though I know that I lack two";
}

// The other one starts, cannot read its catalogue (once), and says that it needs a rebuild; the coordinator is away, so it stays in the set. It starts again,
// reads it, and has all ten: a proof. The coordinator is back for both. It could lead, and is never released.
TEST(KnowsItLacks, HolderHadToBeRebuiltInAnEarlierConnection_NobodyServesForEver) {
  MachineBench bench;
  bench.append(4, 8);
  bench.lead(5);
  bench.connect();
  Hello hello = hello_from(bench, kOther, 10, 10);
  hello.needs_rebuild = hello.unfit = true;
  bench.receive(hello);
  bench.machine->disconnected(bench.now, kOther, kSession, RoleMachine::LinkEnd::reset);
  bench.connect(kOther, SessionId(20));  // Before a tick; or the CAS's outcome is unknown.
  bench.receive(hello_from(bench, kOther, 10, 10), kOther, SessionId(20));
  bool out = false;
  for (int i = 0; i < 1200 && bench.machine->role() == Role::primary && !out; ++i) {
    bench.pass_ms(50);
    bench.promise(kOther, SessionId(20), true);
    if (const SwapRegister* swap = bench.asked<SwapRegister>()) out = !swap->value.find_in_sync(kOther);
  }
  EXPECT_TRUE(bench.machine->role() == Role::follower || out) << "a minute";
  EXPECT_NE(bench.sent<Release>(), nullptr) << "it has everything, reaches the coordinator and could lead";
}

// The third copy is no longer in the set and needs a rebuild; it was told so, is back, and the other one's proof came meanwhile. Then an operator accepts the
// loss: the other one is no member any more, I open. The third one is connected, and is told nothing for ever.
TEST(KnowsItLacks, LearnerThatHasToBeRebuiltIsForgottenBehindAProof) {
  for (const bool proof : {false, true}) {
    MachineBench bench;
    std::uint64_t revision = 10;
    bench.append(4, 8);
    bench.lead(5);
    Register view = bench.view;
    view.members = {kMe, kOther, kThird};
    ++view.seq;
    bench.view = view;
    bench.read(++revision, view);
    bench.connect(kThird, kThirdSession);
    Hello third = hello_from(bench, kThird, 3, 3);
    third.needs_rebuild = third.unfit = true;
    bench.receive(third, kThird, kThirdSession);
    ASSERT_NE(bench.sent<Lagging>(kThird), nullptr);
    bench.machine->disconnected(bench.now, kThird, kThirdSession, RoleMachine::LinkEnd::closed);  // "busy": it tries again.
    bench.connect();
    if (proof) bench.receive(hello_from(bench, kOther, 10, 10));
    bench.forget();
    bench.connect(kThird, SessionId(21));
    bench.receive(third, kThird, SessionId(21));
    bench.machine->disconnected(bench.now, kOther, kSession, RoleMachine::LinkEnd::reset);
    view = bench.view;
    view.members = {kMe, kThird};
    ++view.seq;
    bench.view = view;
    bench.read(++revision, view);
    for (int i = 0; i < 1200 && !(bench.machine->is_open() && bench.sent<Lagging>(kThird)); ++i) {
      bench.pass_ms(50);
      bench.promise(kThird, SessionId(21), true);
      if (const SwapRegister* swap = bench.asked<SwapRegister>()) {
        const Register wanted = swap->value;
        bench.view = wanted;
        std::erase_if(bench.actions, [](const Action& a) { return std::holds_alternative<SwapRegister>(a); });
        bench.machine->swap_done(bench.now, RoleMachine::SwapResult::applied, ++revision, wanted);
      }
    }
    EXPECT_TRUE(bench.machine->is_open());
    EXPECT_NE(bench.sent<Lagging>(kThird), nullptr) << "a minute; a proof had come: " << proof;
  }
}

// The other one proves that I lack two, and is gone. The third one is well, has what I have, and is held back by me, for that. After a minute an operator
// takes the other one out of the members. The third one has been `stuck` for a minute by then: it is taken out, too.
TEST(KnowsItLacks, WhoWaitsBehindAProofIsCalledStuckWhenItEnds) {
  for (const bool proof : {false, true}) {
    MachineBench bench;
    std::uint64_t revision = 10;
    bench.append(4, 8);
    bench.lead(5, {kMe, kOther, kThird});
    bench.connect();
    if (proof) bench.receive(hello_from(bench, kOther, 10, 10));
    bench.connect(kThird, kThirdSession);
    bench.receive(hello_from(bench, kThird, 8, 8), kThird, kThirdSession);
    if (!proof) bench.receive(Ack{Epoch(5), Lsn(9)}, kThird, kThirdSession);
    bench.machine->disconnected(bench.now, kOther, kSession, RoleMachine::LinkEnd::reset);
    for (int i = 0; proof && i < 1200; ++i) {
      bench.pass_ms(50);
      bench.promise(kThird, kThirdSession, true);
    }
    Register view = bench.view;
    view.members = {kMe, kThird};
    ++view.seq;
    bench.view = view;
    bench.read(++revision, view);
    bench.promise(kThird, kThirdSession, true);
    bool third_out = false;
    for (int i = 0; i < 20; ++i) {
      bench.pass_ms(50);
      bench.promise(kThird, kThirdSession, true);
      bench.receive(Ack{Epoch(5), Lsn(9)}, kThird, kThirdSession);
      takes_out(bench, kOther, revision);
      third_out = third_out || !bench.view.find_in_sync(kThird);
    }
    EXPECT_FALSE(third_out) << "it was well all the time; a proof held it back: " << proof;
  }
}

// Two copies. The other one has applied ten: a proof. It is gone for 20 s, and comes back without its last record: nine, of which eight are known to be
// committed. It still has one more than I, and is to go first if it can say within 250 ms that it reaches the coordinator. It is taken out at once, for it
// has been `stuck`.
TEST(KnowsItLacks, HolderIsBackWithLessAndStillMore_IsCalledStuckAtOnce) {
  MachineBench bench;
  std::uint64_t revision = 10;
  bench.append(4, 8);
  bench.lead(5);
  bench.connect();
  bench.receive(hello_from(bench, kOther, 10, 10));
  bench.promise(kOther, kSession, false);
  bench.machine->disconnected(bench.now, kOther, kSession, RoleMachine::LinkEnd::reset);
  bench.pass_ms(20'000);
  bench.connect(kOther, SessionId(20));
  bench.receive(hello_from(bench, kOther, 9, 8), kOther, SessionId(20));
  bench.promise(kOther, SessionId(20), false);
  bool out = false;
  for (int i = 0; i < 4; ++i) {
    bench.pass_ms(50);
    bench.promise(kOther, SessionId(20), false);
    out = out || (bench.asked<SwapRegister>() && takes_out(bench, kOther, revision));
  }
  EXPECT_FALSE(out) << "within 200 ms";
  bench.promise(kOther, SessionId(20), true);
  EXPECT_NE(bench.sent<Release>(kOther), nullptr) << "it has one more than I";
}

// Three copies. I have 8. The other one has applied ten: a proof. The third one has all ten, too, has applied eight, and does not reach the coordinator for a
// while. The other one comes back, and is not whole any more (its log was damaged, or it has lost its end). What it had applied was committed nevertheless,
// and the third one, in sync, whole and connected, has it. It is cut to 8 at once.
TEST(KnowsItLacks, HolderHasLostItToo_ThirdThatHasItIsCutAtOnce) {
  for (const bool unfit : {false, true}) {
    MachineBench bench;
    bench.append(4, 8);
    bench.lead(5, {kMe, kOther, kThird});
    bench.connect();
    bench.receive(hello_from(bench, kOther, 10, 10));
    bench.promise(kOther, kSession, false);
    bench.connect(kThird, kThirdSession);
    bench.receive(hello_from(bench, kThird, 10, 8), kThird, kThirdSession);
    for (int i = 0; i < 6; ++i) {
      bench.pass_ms(50);
      bench.promise(kThird, kThirdSession, false);
    }
    ASSERT_EQ(bench.sent<MatchAt>(kThird), nullptr) << "the proof counts";
    bench.machine->disconnected(bench.now, kOther, kSession, RoleMachine::LinkEnd::reset);
    bench.connect(kOther, SessionId(20));
    Hello again = hello_from(bench, kOther, unfit ? 10 : 8, 8);
    again.unfit = unfit;
    bench.receive(again, kOther, SessionId(20));
    bench.promise(kThird, kThirdSession, false);
    EXPECT_EQ(bench.sent<MatchAt>(kThird), nullptr) << "two records, which are known to have been committed, are cut there; the other one is unfit: " << unfit;
    bench.promise(kThird, kThirdSession, true);
    EXPECT_NE(bench.sent<Release>(kThird), nullptr);
  }
}

// While my claim is on its way the other one says hello: a proof that I lack two. Then I am primary, and the start of my epoch is never appended, for my disk
// does not answer (as in win()). The other one follows me, reaches the coordinator, and has everything. Without the proof (the two are not known to be
// committed) it is released after ten seconds; with it never.
TEST(KnowsItLacks, OwnDiskIsStuckBeforeTheEpochBegins_HolderIsNeverReleased) {
  for (const bool proof : {false, true}) {
    MachineBench bench;
    bench.append(4, 8);
    const Register before = MachineBench::register_of(4, kMe, 7);
    bench.boot(Bound{Epoch(4), 7, true});
    bench.now = bench.now + milliseconds(Timing().hello_wait_ms);
    bench.read(1, before);
    const SwapRegister* swap = bench.asked<SwapRegister>();
    ASSERT_NE(swap, nullptr);
    const Register after = swap->value;
    bench.connect();
    Hello hello = hello_from(bench, kOther, 10, proof ? 10 : 8);
    bench.receive(hello);
    bench.machine->swap_done(bench.now, RoleMachine::SwapResult::applied, 2, after);
    const BindTo* bind = bench.asked<BindTo>();
    ASSERT_NE(bind, nullptr);
    bench.machine->bound_done(bench.now, bind->bound);
    ASSERT_EQ(bench.machine->role(), Role::primary);
    hello.bound = Bound{Epoch(5), after.claim, false};
    bench.receive(hello);
    for (int i = 0; i < 1200 && bench.machine->role() == Role::primary; ++i) {
      bench.pass_ms(50);
      bench.promise(kOther, kSession, true);
    }
    EXPECT_NE(bench.sent<Release>(), nullptr) << "a minute; it could lead; proof: " << proof;
  }
}

// I led, and told the other one to cut its log where mine ends; then I lead no more. That it had more before is no word of what it has.
TEST(KnowsItLacks, WhoWasCutByMe_HoldsNothingAnyMore) {
  MachineBench bench;
  bench.append(4, 8);
  bench.lead(5, {kMe, kOther, kThird});
  bench.connect();
  bench.receive(hello_from(bench, kOther, 10, 8));
  for (int i = 0; i < 6; ++i) {
    bench.pass_ms(50);
    bench.promise(kOther, kSession, false);
  }
  ASSERT_NE(bench.sent<MatchAt>(), nullptr);
  bench.connect(kThird, kThirdSession);
  bench.receive(hello_from(bench, kThird, 10, 10), kThird, kThirdSession);
  ASSERT_TRUE(bench.machine->known_loss());
  bench.machine->disconnected(bench.now, kThird, kThirdSession, RoleMachine::LinkEnd::reset);
  bench.connect(kThird, SessionId(20));
  bench.receive(hello_from(bench, kThird, 8, 8), kThird, SessionId(20));
  EXPECT_FALSE(bench.machine->known_loss()) << "nobody has them any more";
}

}  // namespace
}  // namespace holdfast::role_test
