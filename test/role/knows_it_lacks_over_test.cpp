// A copy in sync has applied what the log of this one lost without a trace: when that is over, and what is no loss.
#include "test/role/loss_bench.h"

namespace holdfast::role_test {
namespace {

// What the other one had applied was lost: the third one leads 6 without it, took it out, rebuilt it, and has it in the set again. I follow the third one,
// have all that there is, and did not see the views between (the coordinator was away for me; or they were short). The other one's hello is old.
TEST(KnowsItLacks, ProofOutlivesTheHistoryThatItWasOf_ViewsBetweenWereNotSeen) {
  for (const bool seen : {true, false}) {
    MachineBench bench;
    bench.append(4, 8);
    Register view = MachineBench::register_of(4, kThird, 7, {kMe, kOther, kThird});
    bench.boot(Bound{Epoch(4), 7, false});
    bench.read(1, view);
    bench.connect();
    bench.receive(hello_from(bench, kOther, 10, 10));
    ASSERT_TRUE(bench.machine->known_loss());
    view.epoch = Epoch(6);
    view.claim = 8;
    view.seq = 200;
    bench.read(2, view);
    bench.connect(kThird, kThirdSession);
    bench.receive(bench.beat_of(6, 8), kThird, kThirdSession);
    const BindTo* bind = bench.asked<BindTo>();
    ASSERT_NE(bind, nullptr);
    bench.machine->bound_done(bench.now, bind->bound);
    Hello hello = hello_from(bench, kOther, 10, 10);  // It is bound to 6, too; and is then told to be rebuilt, in the connection that it has to the third one.
    bench.receive(hello);
    bench.receive(bench.beat_of(6, 8), kThird, kThirdSession);
    bench.receive(MatchAt{Epoch(6), Lsn(8), Lsn(9)}, kThird, kThirdSession);
    bench.machine->cut_done(bench.now, kThirdSession);
    bench.append(6, 10);  // 9 to 18.
    if (seen) {
      view.remove_in_sync(kOther);
      ++view.seq;
      bench.read(3, view);
      view.add_in_sync(copy_of(kOther));
    }
    view.seq = 202;
    bench.read(4, view);
    bench.log.applied = Lsn(18);
    Beat beat = bench.beat_of(6, 8);
    beat.commit = Lsn(18);
    bench.receive(beat, kThird, kThirdSession);
    EXPECT_EQ(bench.machine->commit(), Lsn(18)) << "epoch 6 has opened, with me";
    EXPECT_FALSE(bench.machine->known_loss()) << "I have all that there is; views between were seen: " << seen;
    // A switchover to me.
    bench.forget();
    bench.receive(Release{Epoch(6)}, kThird, kThirdSession);
    bench.pass_ms(20);
    if (bench.asked<ReadRegister>()) bench.read(4, view);
    EXPECT_NE(bench.asked<SwapRegister>(), nullptr) << "I was handed the role; views between were seen: " << seen;
  }
}

// As WhoWasCutByMe_HoldsNothingAnyMore, but a new primary cuts: the third one had applied ten (a proof), the other one has all ten, too (a part of the
// proof). The third one comes back with eight, leads 6 (its process is new and knows nothing), and cuts the other one to eight. 6 opens with all three;
// nobody was ever out. I have all that there is; then both others are gone.
TEST(KnowsItLacks, WhoWasCutByANewPrimary_HoldsNothingAnyMore) {
  for (const bool proof : {false, true}) {
    MachineBench bench;
    bench.append(4, 8);
    Register view = MachineBench::register_of(4, kThird, 7, {kMe, kOther, kThird});
    bench.boot(Bound{Epoch(4), 7, false});
    bench.read(1, view);
    bench.connect(kThird, kThirdSession);
    if (proof) bench.receive(hello_from(bench, kThird, 10, 10), kThird, kThirdSession);
    bench.connect();
    bench.receive(hello_from(bench, kOther, 10, 8));
    bench.machine->disconnected(bench.now, kThird, kThirdSession, RoleMachine::LinkEnd::reset);
    bench.connect(kThird, SessionId(20));
    bench.receive(hello_from(bench, kThird, 8, 8), kThird, SessionId(20));
    EXPECT_EQ(bench.machine->known_loss().has_value(), proof) << "the other one has it";
    view.epoch = Epoch(6);
    view.claim = 8;
    view.seq = 200;
    bench.read(2, view);
    bench.receive(bench.beat_of(6, 8), kThird, SessionId(20));
    const BindTo* bind = bench.asked<BindTo>();
    ASSERT_NE(bind, nullptr);
    bench.machine->bound_done(bench.now, bind->bound);
    bench.receive(hello_from(bench, kOther, 10, 8));  // It is bound to 6, and not cut yet.
    bench.receive(bench.beat_of(6, 8), kThird, SessionId(20));
    bench.receive(MatchAt{Epoch(6), Lsn(8), Lsn(9)}, kThird, SessionId(20));
    bench.machine->cut_done(bench.now, SessionId(20));
    bench.append(6, 10);  // 9 to 18.
    Beat beat = bench.beat_of(6, 8);
    beat.commit = Lsn(18);  // All three have it: the other one was cut.
    bench.receive(beat, kThird, SessionId(20));
    bench.log.applied = Lsn(18);
    ASSERT_EQ(bench.machine->commit(), Lsn(18));
    EXPECT_FALSE(bench.machine->known_loss()) << "I have all that there is; proof: " << proof;
    bench.machine->disconnected(bench.now, kOther, kSession, RoleMachine::LinkEnd::closed);
    bench.machine->disconnected(bench.now, kThird, SessionId(20), RoleMachine::LinkEnd::closed);
    bench.forget();
    const bool claims = await_swap(bench, 2, view, 60'000) != nullptr;
    EXPECT_TRUE(claims) << "a minute; proof: " << proof;
  }
}

// The other one is a member that has just joined, and says hello before I read that. I restarted and lost two. Then I read that it is in the set: what it has
// applied was committed, and I know that, but do not count it.
TEST(KnowsItLacks, HelloOfOneWhoseJoinIReadLater_ProvesNothing) {
  for (const bool read_first : {true, false}) {
    MachineBench bench;
    bench.append(4, 8);
    bench.boot(Bound{Epoch(4), 7, false});
    Register before = MachineBench::register_of(4, kThird, 7, {kMe, kOther, kThird});
    Register after = before;
    before.remove_in_sync(kOther);
    --before.seq;
    bench.read(1, before);
    bench.connect();
    if (read_first) bench.read(2, after);
    bench.receive(hello_from(bench, kOther, 10, 10));
    if (!read_first) bench.read(2, after);
    EXPECT_TRUE(bench.machine->known_loss()) << "the join was read first: " << read_first;
    // The third one is dead; the other one does not reach the coordinator.
    bool claims = false;
    for (int i = 0; i < 400 && !claims; ++i) {
      bench.pass_ms(50);
      Beat sign;
      sign.epoch = Epoch(4);
      sign.claim = 7;
      sign.sent = sign.echo = bench.now;
      bench.receive(sign);
      answer_read(bench, 2, after);
      claims = bench.asked<SwapRegister>() != nullptr;
    }
    EXPECT_FALSE(claims) << "I lack two; the join was read first: " << read_first;
  }
}

// As HolderHasLostItToo_ThirdThatHasItIsCutAtOnce; but what was committed ends in a newer epoch, of which the third one has nothing.
TEST(KnowsItLacks, ThirdHasAPartOfAnOlderEpoch_IsCutAtOnce) {
  for (const bool newer : {false, true}) {
    MachineBench bench;
    bench.append(3, 8);
    bench.lead(6, {kMe, kOther, kThird});
    const std::vector<wal::EpochBegin> epochs = newer ? std::vector<wal::EpochBegin>{{Epoch(3), Lsn(1)}, {Epoch(5), Lsn(11)}} : std::vector<wal::EpochBegin>{{Epoch(3), Lsn(1)}};
    const Bound bound{bench.machine->bound().epoch, bench.machine->bound().claim, false};
    bench.connect();
    Hello other = MachineBench::hello_of(copy_of(kOther), bound, 12, epochs);
    other.applied = Lsn(12);
    bench.receive(other);
    bench.promise(kOther, kSession, false);
    bench.connect(kThird, kThirdSession);
    Hello third = MachineBench::hello_of(copy_of(kThird), bound, 10, {{Epoch(3), Lsn(1)}});
    third.applied = Lsn(8);
    bench.receive(third, kThird, kThirdSession);
    for (int i = 0; i < 6; ++i) {
      bench.pass_ms(50);
      bench.promise(kThird, kThirdSession, false);
    }
    ASSERT_EQ(bench.sent<MatchAt>(kThird), nullptr) << "the proof counts";
    bench.machine->disconnected(bench.now, kOther, kSession, RoleMachine::LinkEnd::reset);
    bench.connect(kOther, SessionId(20));
    other.unfit = true;
    bench.receive(other, kOther, SessionId(20));
    bench.promise(kThird, kThirdSession, false);
    EXPECT_EQ(bench.sent<MatchAt>(kThird), nullptr) << "it has two that were committed; the end was of a newer epoch: " << newer;
    bench.promise(kThird, kThirdSession, true);
    EXPECT_NE(bench.sent<Release>(kThird), nullptr) << newer;
  }
}

// All three lost power; I lost two. The other one led. My claim, without it, is on its way when its hello proves ten; the claim is applied. The third one, in
// sync, has ten (of which it has applied eight), and does not reach the coordinator for 300 ms. I know that ten were committed, and cut it to eight, unless
// it said hello before the claim was applied.
TEST(KnowsItLacks, HolderIsOutByMyClaimUnderWay_ThirdThatHasItIsCut) {
  for (const bool third_first : {true, false}) {
    MachineBench bench;
    bench.append(4, 8);
    bench.boot(Bound{Epoch(4), 7, false});
    const Register view = MachineBench::register_of(4, kOther, 7, {kMe, kOther, kThird});
    const SwapRegister* swap = await_swap(bench, 1, view, 5'000);
    ASSERT_NE(swap, nullptr);
    const Register after = swap->value;
    ASSERT_EQ(after.find_in_sync(kOther), nullptr);
    bench.connect();
    bench.receive(hello_from(bench, kOther, 10, 10));
    ASSERT_TRUE(bench.machine->known_loss());
    bench.connect(kThird, kThirdSession);
    if (third_first) bench.receive(hello_from(bench, kThird, 10, 8), kThird, kThirdSession);
    bench.machine->swap_done(bench.now, RoleMachine::SwapResult::applied, 2, after);
    const BindTo* bind = bench.asked<BindTo>();
    ASSERT_NE(bind, nullptr);
    bench.machine->bound_done(bench.now, bind->bound);
    bench.log.end = bench.log.durable = Lsn(9);
    bench.log.history.note(after.epoch, Lsn(9));
    bench.machine->epoch_begun(bench.now, Lsn(9));
    bench.receive(hello_from(bench, kThird, 10, 8), kThird, kThirdSession);
    for (int i = 0; i < 6; ++i) {
      bench.pass_ms(50);
      bench.promise(kThird, kThirdSession, false);
    }
    EXPECT_EQ(bench.sent<MatchAt>(kThird), nullptr) << "I was told that ten were committed; it had said hello before: " << third_first;
    bench.promise(kThird, kThirdSession, true);
    EXPECT_NE(bench.sent<Release>(kThird), nullptr) << "it had said hello before: " << third_first;
  }
}

// The same without a claim: I lead, the other one proved ten, and died for good; the operator takes it out of the members, for the third one is there. That
// one says hello then.
TEST(KnowsItLacks, DeadHolderIsNoMemberAnyMore_ThirdThatHasItIsCut) {
  for (const bool third_first : {true, false}) {
    MachineBench bench;
    std::uint64_t revision = 10;
    bench.append(4, 8);
    bench.lead(5, {kMe, kOther, kThird});
    bench.connect();
    bench.receive(hello_from(bench, kOther, 10, 10));
    bench.machine->disconnected(bench.now, kOther, kSession, RoleMachine::LinkEnd::reset);
    bench.connect(kThird, kThirdSession);
    Hello third = hello_from(bench, kThird, 10, 8);
    if (third_first) bench.receive(third, kThird, kThirdSession);
    Register view = bench.view;
    view.members = {kMe, kThird};
    ++view.seq;
    bench.view = view;
    bench.read(++revision, view);
    bench.receive(third, kThird, kThirdSession);
    for (int i = 0; i < 6; ++i) {
      bench.pass_ms(50);
      bench.promise(kThird, kThirdSession, false);
      takes_out(bench, kOther, revision);
    }
    EXPECT_EQ(bench.sent<MatchAt>(kThird), nullptr) << "I was told that ten were committed; it had said hello before: " << third_first;
    bench.promise(kThird, kThirdSession, true);
    EXPECT_NE(bench.sent<Release>(kThird), nullptr) << "it had said hello before: " << third_first;
  }
}

// I was cut off from everybody for three seconds; the third one took me out and went on. The links are back, the other one's hello comes before the register.
// Nothing is lost.
TEST(KnowsItLacks, IWasOutAndHaveNotReadThatYet_NothingIsLost) {
  MachineBench bench;
  bench.append(4, 8);
  bench.boot(Bound{Epoch(4), 7, false});
  Register view = MachineBench::register_of(4, kThird, 7, {kMe, kOther, kThird});
  bench.read(1, view);
  bench.connect();
  bench.receive(hello_from(bench, kOther, 8, 8));
  bench.machine->disconnected(bench.now, kOther, kSession, RoleMachine::LinkEnd::closed);
  bench.pass_ms(3000);
  bench.connect(kOther, SessionId(20));
  bench.receive(hello_from(bench, kOther, 10, 10), kOther, SessionId(20));
  EXPECT_FALSE(bench.machine->loss_to_tell()) << "an error in the log, and in `status`";
}

// I lost two of ten, and crashed again and again before my epoch opened: the history keeps 128 epochs, so at ten there is a start of mine that it has
// forgotten (what the log had before that is not: `forgotten`, as reaches_floor() looks at it). The other one's hello proves ten.
TEST(KnowsItLacks, RecordIsBehindForgottenStartsOfMine_IsNotHere) {
  for (const std::uint64_t crashes : {100, 140}) {
    MachineBench bench;
    bench.append(4, 8);
    for (std::uint64_t i = 0; i < crashes; ++i) {
      bench.append(5 + i);
      bench.log.history.keep_newest(128);
    }
    bench.lead(5 + crashes);
    bench.log.history.keep_newest(128);
    bench.connect();
    bench.receive(hello_from(bench, kOther, 10, 10));
    EXPECT_TRUE(bench.machine->known_loss()) << crashes << " starts";
    bool out = false;
    for (int i = 0; i < 10; ++i) {
      bench.pass_ms(50);
      bench.promise(kOther, kSession, false);
      if (const SwapRegister* swap = bench.asked<SwapRegister>()) out = out || !swap->value.find_in_sync(kOther);
    }
    EXPECT_FALSE(out) << "the only copy with ten, of which I was told; " << crashes << " starts";
  }
}

// Epoch 5 opened, and nothing was written in it: the start of 5 (9) is the last that was committed, and both have it. Then I crashed again and again before my
// epoch opened: the start of 5 is behind what the history keeps, and `forgotten` counts no starts. Nothing is lost.
TEST(KnowsItLacks, StartOfAnEpochBehindForgottenStarts_NothingIsLost) {
  for (const std::uint64_t crashes : {100, 140}) {
    MachineBench bench;
    bench.append(4, 8);
    bench.append(5);
    bench.log.applied = Lsn(9);
    for (std::uint64_t i = 0; i < crashes; ++i) {
      bench.append(6 + i);
      bench.log.history.keep_newest(128);
    }
    bench.lead(6 + crashes);
    bench.log.history.keep_newest(128);
    bench.connect();
    Hello other = MachineBench::hello_of(copy_of(kOther), Bound{bench.machine->bound().epoch, bench.machine->bound().claim, false}, 9, {{Epoch(4), Lsn(1)}, {Epoch(5), Lsn(9)}});
    other.applied = Lsn(9);
    bench.receive(other);
    EXPECT_FALSE(bench.machine->known_loss()) << crashes << " starts";
    // The other one does not reach the coordinator.
    for (int i = 0; i < 400; ++i) {
      bench.pass_ms(50);
      bench.promise(kOther, kSession, false);
      answer_read(bench, 2, bench.view);
    }
    EXPECT_FALSE(bench.machine->loss_to_tell()) << crashes << " starts";
  }
}

}  // namespace
}  // namespace holdfast::role_test
