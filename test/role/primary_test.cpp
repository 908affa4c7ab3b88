// Leading: leases, the commit LSN and changes of the set, as tables of events (rules 7, 12, 14, 15, 17 to 19).
#include "test/role/machine_bench.h"

namespace holdfast::role_test {
namespace {

// It serves when its epoch's start is committed: before that it may lack what its predecessor answered.
TEST(Primary, New_OpensWhenItsEpochStartIsCommitted) {
  MachineBench bench;
  bench.append(3, 2);
  bench.lead(5);
  EXPECT_FALSE(bench.machine->is_open());
  bench.bring_up();
  EXPECT_TRUE(bench.machine->is_open());
  EXPECT_EQ(bench.machine->commit(), Lsn(3));
  EXPECT_TRUE(bench.machine->may_serve(bench.now));
}

TEST(Primary, Alone_NeedsNoLease) {
  MachineBench bench;
  bench.lead(5, {kMe});
  EXPECT_TRUE(bench.machine->is_open());
  EXPECT_TRUE(bench.machine->may_serve(bench.now));
}

TEST(Primary, LeaseThatRanOut_StopsServing_UntilItIsRenewed) {
  MachineBench bench;
  bench.lead(5);
  bench.bring_up();
  bench.now = bench.now + milliseconds(593);
  EXPECT_TRUE(bench.machine->may_serve(bench.now));
  bench.now = bench.now + milliseconds(2);  // 600 ms less one percent.
  EXPECT_FALSE(bench.machine->may_serve(bench.now));
  bench.promise();
  EXPECT_TRUE(bench.machine->may_serve(bench.now));
}

TEST(Primary, CommitLsn_IsWhatAllObligationsHave) {
  MachineBench bench;
  bench.lead(5, {kMe, kOther, kThird});
  bench.bring_up(kOther, kSession);
  bench.bring_up(kThird, kThirdSession);
  bench.append(5, 3);
  EXPECT_EQ(bench.machine->commit(), Lsn(1));
  bench.receive(Ack{Epoch(5), Lsn(4)});
  EXPECT_EQ(bench.machine->commit(), Lsn(1));
  bench.receive(Ack{Epoch(5), Lsn(3)}, kThird, kThirdSession);
  EXPECT_EQ(bench.machine->commit(), Lsn(3));
}

TEST(Primary, OwnRecord_NotDurableHere_IsNotCommitted) {
  MachineBench bench;
  bench.lead(5);
  bench.bring_up();
  bench.log.end = Lsn(2);
  bench.receive(Ack{Epoch(5), Lsn(2)});
  EXPECT_EQ(bench.machine->commit(), Lsn(1));
  bench.log.durable = Lsn(2);
  bench.machine->log_changed(bench.now);
  EXPECT_EQ(bench.machine->commit(), Lsn(2));
}

TEST(Primary, AckOfAnotherEpochOrBeforeTheMatch_CountsForNothing) {
  MachineBench bench;
  bench.lead(5);
  bench.connect();
  bench.receive(Ack{Epoch(5), Lsn(1)});
  EXPECT_FALSE(bench.machine->is_open());
  bench.bring_up();
  bench.append(5);
  bench.receive(Ack{Epoch(4), Lsn(2)});
  EXPECT_EQ(bench.machine->commit(), Lsn(1));
}

// A silent member is dropped by CAS; until the register is known to have lost it, nothing is committed without it.
TEST(Primary, SilentMember_IsOwedUntilItsRemovalIsKnown) {
  MachineBench bench;
  bench.lead(5);
  bench.bring_up();
  bench.append(5);
  bench.pass_ms(640);
  EXPECT_EQ(bench.asked<SwapRegister>(), nullptr);
  bench.pass_ms(30);
  const SwapRegister* swap = bench.asked<SwapRegister>();
  ASSERT_NE(swap, nullptr);
  EXPECT_EQ(swap->value.find_in_sync(kOther), nullptr);
  EXPECT_EQ(swap->value.floor_commit, Lsn(1));
  EXPECT_EQ(bench.machine->commit(), Lsn(1));
  bench.machine->swap_done(bench.now, RoleMachine::SwapResult::unknown, 0, {});
  EXPECT_EQ(bench.machine->commit(), Lsn(1));
  bench.machine->register_read(bench.now, 3, swap->value);
  EXPECT_EQ(bench.machine->commit(), Lsn(2));
}

void beat_for_ms(MachineBench& bench, std::int64_t ms) {
  for (std::int64_t passed = 0; passed < ms; passed += 50) {
    bench.pass_ms(50);
    bench.promise();
  }
}

// It beats, so it is not silent; but its log stands still while there is work. Slow is not dead, stuck is.
TEST(Primary, MemberWhoseLogStandsStill_IsDroppedAfterTenSeconds) {
  MachineBench bench;
  bench.lead(5);
  bench.bring_up();
  beat_for_ms(bench, 20'000);
  EXPECT_EQ(bench.asked<SwapRegister>(), nullptr) << "nothing to write";
  bench.append(5, 2);
  beat_for_ms(bench, 9'000);
  bench.receive(Ack{Epoch(5), Lsn(2)});  // Slow.
  beat_for_ms(bench, 9'900);
  EXPECT_EQ(bench.asked<SwapRegister>(), nullptr);
  beat_for_ms(bench, 200);
  const SwapRegister* swap = bench.asked<SwapRegister>();
  ASSERT_NE(swap, nullptr);
  EXPECT_EQ(swap->value.find_in_sync(kOther), nullptr);
}

// It connects again and again and is matched each time: that is no progress.
TEST(Primary, MemberThatOnlyReconnects_IsDropped) {
  MachineBench bench;
  bench.lead(5);
  bench.bring_up();
  bench.append(5);
  for (int i = 0; i < 12; ++i) {
    bench.machine->disconnected(bench.now, kOther, SessionId(100 + i), RoleMachine::LinkEnd::closed);
    bench.connect(kOther, SessionId(101 + i));
    const Bound bound = bench.machine->bound();
    bench.receive(MachineBench::hello_of(copy_of(kOther), Bound{bound.epoch, bound.claim, false}, 1, {{Epoch(5), Lsn(1)}}), kOther, SessionId(101 + i));
    bench.receive(Ack{Epoch(5), Lsn(1)}, kOther, SessionId(101 + i));
    for (int beat = 0; beat < 20; ++beat) {
      bench.pass_ms(50);
      bench.promise(kOther, SessionId(101 + i));
    }
  }
  EXPECT_NE(bench.asked<SwapRegister>(), nullptr);
}

// A process that did not run for a while has not seen its members stand still.
TEST(Primary, ProcessThatWasStopped_DropsNobodyAsStuck) {
  MachineBench bench;
  bench.lead(5);
  bench.bring_up();
  bench.append(5);
  bench.now = bench.now + milliseconds(60'000);
  bench.promise();
  bench.machine->tick(bench.now);
  const SwapRegister* swap = bench.asked<SwapRegister>();
  EXPECT_EQ(swap, nullptr);
}

// Its own log stands still: a member that has everything is told to lead.
TEST(Primary, OwnLogStandsStill_ReleasesToAMemberThatHasEverything) {
  MachineBench bench;
  bench.lead(5);
  bench.bring_up();
  bench.append(5);
  bench.log.durable = Lsn(1);
  bench.receive(Ack{Epoch(5), Lsn(2)});
  beat_for_ms(bench, 9'900);
  EXPECT_EQ(bench.machine->role(), Role::primary);
  beat_for_ms(bench, 200);
  EXPECT_EQ(bench.machine->role(), Role::follower);
  ASSERT_NE(bench.sent<Release>(), nullptr);
  EXPECT_EQ(bench.sent<Release>()->epoch, Epoch(5));
  EXPECT_NE(bench.sent<Leaving>(), nullptr) << "nobody is to wait for this copy's acks";
  EXPECT_EQ(bench.asked<SwapRegister>(), nullptr) << "the member was not the one that stood still";
}

// The start of its epoch waits behind something that its disk does not answer. It beats, so that nobody claims.
TEST(Primary, EpochDoesNotBegin_ReleasesToWhoIsInSync) {
  MachineBench bench;
  bench.win(5);
  bench.connect();
  bench.receive(MachineBench::hello_of(copy_of(kOther), Bound{Epoch(5), bench.machine->bound().claim, false}, 0, {}));
  beat_for_ms(bench, 9'900);
  EXPECT_EQ(bench.machine->role(), Role::primary);
  EXPECT_EQ(bench.asked<SwapRegister>()->value.epoch, Epoch(5)) << "the member was not the one that stood still";
  beat_for_ms(bench, 300);
  EXPECT_EQ(bench.machine->role(), Role::follower);
  ASSERT_NE(bench.sent<Release>(), nullptr);
  EXPECT_EQ(bench.sent<Release>()->epoch, Epoch(5));
}

// What was said over a connection that broke was perhaps not heard: it is said again, until the copy says itself that it knows.
TEST(Primary, DistrustedMember_ReconnectsAsIfNothingWere_IsToldAgain) {
  MachineBench bench;
  bench.lead(5);
  bench.bring_up();
  bench.machine->distrust(kOther);
  ASSERT_EQ(bench.sent<Lagging>(), nullptr) << "as long as the register counts on it, it keeps what it has";
  bench.removal_applied(3);
  ASSERT_NE(bench.sent<Lagging>(), nullptr);
  bench.machine->disconnected(bench.now, kOther, kSession, RoleMachine::LinkEnd::closed);
  bench.forget();
  bench.connect(kOther, SessionId(20));
  const Bound bound{Epoch(5), bench.machine->bound().claim, false};
  Hello hello = MachineBench::hello_of(copy_of(kOther), bound, 1, {{Epoch(5), Lsn(1)}});
  bench.receive(hello, kOther, SessionId(20));
  EXPECT_EQ(bench.sent<MatchAt>(), nullptr);
  const Lagging* told = bench.sent<Lagging>();
  ASSERT_NE(told, nullptr);
  EXPECT_EQ(told->shared, Lsn()) << "all of it";
  bench.forget();
  hello.maps_lost = hello.needs_rebuild = true;
  bench.receive(hello, kOther, SessionId(20));
  bench.forget();
  bench.machine->disconnected(bench.now, kOther, SessionId(20), RoleMachine::LinkEnd::closed);
  bench.connect(kOther, SessionId(21));
  bench.receive(MachineBench::hello_of(copy_of(kOther), bound, 1, {{Epoch(5), Lsn(1)}}), kOther, SessionId(21));
  EXPECT_NE(bench.sent<MatchAt>(), nullptr) << "it was rebuilt";
}

// The floor names the epoch of the record that is committed, not the epoch that removes.
TEST(Primary, Floor_OfARemovalBeforeTheEpochStartIsCommitted_NamesTheRecordsEpoch) {
  MachineBench bench;
  bench.append(3, 2);
  bench.log.applied = Lsn(2);
  bench.lead(5);
  bench.pass_ms(700);
  const SwapRegister* swap = bench.asked<SwapRegister>();
  ASSERT_NE(swap, nullptr);
  EXPECT_EQ(swap->value.floor_commit, Lsn(2));
  EXPECT_EQ(swap->value.floor_epoch, Epoch(3));
}

TEST(Primary, OlderView_AfterANewerOne_ChangesNothing) {
  MachineBench bench;
  bench.lead(5, {kMe});
  Register joined = bench.view;
  joined.seq += 1;
  joined.members = {kMe, kOther};
  joined.add_in_sync(copy_of(kOther));
  bench.read(4, joined);
  ASSERT_EQ(bench.machine->obligations().size(), 2u);
  bench.read(2, bench.view);  // A read that was under way all the time.
  EXPECT_EQ(bench.machine->obligations().size(), 2u);
}

TEST(Primary, NewDiskOfAMember_DoesNotAnswerForTheOldOne_AndIsRemovedFirst) {
  MachineBench bench;
  bench.lead(5);
  bench.bring_up(kOther, kSession, 1);
  bench.append(5);
  bench.receive(Ack{Epoch(5), Lsn(2)});
  EXPECT_FALSE(bench.machine->is_open());
  EXPECT_FALSE(bench.machine->holds_lease(bench.now));
  bench.pass_ms(10);
  const SwapRegister* swap = bench.asked<SwapRegister>();
  ASSERT_NE(swap, nullptr);
  EXPECT_EQ(swap->value.find_in_sync(kOther), nullptr);
}

struct Alone : MachineBench {
  Alone() {
    lead(5, {kMe});
    Register two = view;
    two.seq += 1;
    two.members = {kMe, kOther};
    read(4, two);
    forget();
  }
};

// First its acks and its promise are needed, then the register may say so.
TEST(Primary, Learner_IsOwedBeforeItsJoinIsSent) {
  Alone bench;
  bench.append(5, 2);
  bench.connect();
  bench.receive(MachineBench::hello_of(copy_of(kOther), bench.machine->bound(), 0, {}));
  bench.receive(Ack{Epoch(5), Lsn(2)});
  bench.promise();
  bench.machine->tick(bench.now);
  EXPECT_EQ(bench.asked<SwapRegister>(), nullptr) << "it lacks a committed record";
  bench.receive(Ack{Epoch(5), Lsn(3)});
  bench.machine->tick(bench.now);
  const SwapRegister* swap = bench.asked<SwapRegister>();
  ASSERT_NE(swap, nullptr);
  EXPECT_NE(swap->value.find_in_sync(kOther), nullptr);
  bench.append(5);
  EXPECT_EQ(bench.machine->commit(), Lsn(3)) << "from here on nothing is committed without it";
}

TEST(Primary, LearnerWithoutAPromise_DoesNotJoin) {
  Alone bench;
  bench.connect();
  bench.receive(MachineBench::hello_of(copy_of(kOther), bench.machine->bound(), 0, {}));
  bench.receive(Ack{Epoch(5), Lsn(1)});
  bench.machine->tick(bench.now);
  EXPECT_EQ(bench.asked<SwapRegister>(), nullptr);
}

// Cut off from all others it may be the one that is cut off: who serves nobody leaves the others in sync, for one of them to claim.
TEST(Primary, CutOffFromMembersAndInitiators_RemovesNobody) {
  MachineBench bench;
  bench.lead(5);
  bench.bring_up();
  bench.machine->initiators_attached(1);
  bench.machine->initiator_heard(bench.now);
  bench.pass_ms(1'400);
  EXPECT_EQ(bench.asked<SwapRegister>(), nullptr);
  EXPECT_FALSE(bench.machine->may_serve(bench.now));
  // A host comes, and the others stay away: it was them.
  bench.machine->initiator_heard(bench.now);
  bench.pass_ms(50);
  const SwapRegister* swap = bench.asked<SwapRegister>();
  ASSERT_NE(swap, nullptr);
  EXPECT_EQ(swap->value.in_sync.size(), 1u);
}

// Members and hosts fall silent at the same moment: that a host was heard as late as the members says nothing.
TEST(Primary, HostHeardOnlyUntilTheMembersFellSilent_RemovesNobody) {
  MachineBench bench;
  bench.lead(5);
  bench.bring_up();
  bench.machine->initiators_attached(1);
  bench.machine->initiator_heard(BootNs{bench.now.value + 40'000'000});
  bench.pass_ms(1'400);
  EXPECT_EQ(bench.asked<SwapRegister>(), nullptr);
}

TEST(Primary, WithoutLeaseAndCoordinator_ReleasesToWhoReachesIt) {
  MachineBench bench;
  bench.lead(5, {kMe, kOther, kThird});
  bench.bring_up();
  for (int i = 0; i < 60 && bench.machine->role() == Role::primary; ++i) {
    bench.pass_ms(50);
    bench.machine->register_unreadable(bench.now);
    bench.promise();
  }
  EXPECT_EQ(bench.machine->role(), Role::follower);
  ASSERT_NE(bench.sent<Release>(), nullptr);
  EXPECT_EQ(bench.sent<Release>()->epoch, Epoch(5));
}

TEST(Primary, FencedByANewerEpoch_Ceases) {
  MachineBench bench;
  bench.lead(5);
  bench.bring_up();
  bench.receive(Fenced{Epoch(6)});
  EXPECT_NE(bench.asked<Cease>(), nullptr);
  EXPECT_FALSE(bench.machine->may_serve(bench.now));
}

TEST(Primary, HandOver_CeasesBeforeItReleases) {
  MachineBench bench;
  bench.lead(5);
  bench.bring_up();
  EXPECT_FALSE(bench.machine->prepare_hand_over(kThird));
  ASSERT_TRUE(bench.machine->prepare_hand_over(kOther));
  EXPECT_FALSE(bench.machine->may_admit(bench.now));
  bench.forget();
  ASSERT_TRUE(bench.machine->hand_over(bench.now, kOther));
  bench.collect();
  ASSERT_GE(bench.actions.size(), 2u);
  EXPECT_TRUE(std::holds_alternative<Cease>(bench.actions[0]));
  ASSERT_NE(bench.sent<Release>(), nullptr);
  EXPECT_EQ(bench.sent<Release>()->epoch, Epoch(5));
  EXPECT_EQ(bench.machine->role(), Role::follower);
}

// Its disk went back in time under the same name: it answered for more than it has now.
TEST(Primary, MemberThatHasLessThanItAcknowledged_IsEvicted) {
  MachineBench bench;
  bench.lead(5);
  bench.bring_up();
  bench.append(5, 2);
  bench.receive(Ack{Epoch(5), Lsn(3)});
  bench.machine->disconnected(bench.now, kOther, kSession, RoleMachine::LinkEnd::closed);
  bench.connect(kOther, SessionId(20));
  bench.receive(MachineBench::hello_of(copy_of(kOther), bench.machine->bound(), 2, {{Epoch(5), Lsn(1)}}), kOther, SessionId(20));
  EXPECT_EQ(bench.sent<Lagging>(), nullptr) << "it leaves first";
  bench.removal_applied(3);
  EXPECT_EQ(bench.view.find_in_sync(kOther), nullptr);
  EXPECT_NE(bench.sent<Lagging>(), nullptr);
}

// Its map may have what the forced fail-over took back, or lack what came instead: its log does not tell.
TEST(Primary, CopyOfAHistoryThatAForcedFailOverEnded_FitOrNot_IsRebuiltWhole) {
  for (const bool unfit : {false, true}) {
    MachineBench bench;
    bench.append(3, 2);
    bench.lead(5);
    Register forced = bench.view;
    forced.forced_epoch = Epoch(5);
    ++forced.seq;
    bench.read(3, forced);
    bench.connect();
    Hello hello = MachineBench::hello_of(copy_of(kOther), bench.machine->bound(), 2, {{Epoch(3), Lsn(1)}});
    hello.unfit = unfit;
    bench.receive(hello);
    EXPECT_EQ(bench.sent<MatchAt>(), nullptr) << unfit;
    bench.removal_applied(4);
    ASSERT_NE(bench.sent<Lagging>(), nullptr) << unfit;
    EXPECT_EQ(bench.sent<Lagging>()->shared, Lsn());
  }
}

// Nodes come and go under new numbers for as long as the process lives.
TEST(Primary, ManyNodesOneAfterTheOther_AreForgottenWhenTheyAreGone) {
  MachineBench bench;
  bench.lead(5);
  for (std::uint64_t i = 0; i < 3 * RoleMachine::kPeersMax; ++i) {
    const NodeId node(100 + i);
    bench.connect(node, SessionId(1'000 + i));
    bench.machine->disconnected(bench.now, node, SessionId(1'000 + i), RoleMachine::LinkEnd::closed);
  }
  bench.bring_up();
  EXPECT_TRUE(bench.machine->is_open());
}

// Of the epoch before; mine lost its end without a trace, perhaps.
void hello_with_more(MachineBench& bench, SessionId session = kSession) {
  bench.connect(kOther, session);
  const Bound bound = bench.machine->bound();
  bench.receive(MachineBench::hello_of(copy_of(kOther), Bound{bound.epoch, bound.claim, false}, 6, {{Epoch(4), Lsn(1)}}), kOther, session);
}

TEST(Primary, Opening_AnInSyncCopyIsHeardThatHasMore_ItGoesFirst) {
  MachineBench bench;
  bench.append(4, 3);
  bench.lead(5);
  hello_with_more(bench);
  EXPECT_EQ(bench.sent<MatchAt>(), nullptr) << "cut before it was asked whether it can lead";
  bench.promise();
  ASSERT_NE(bench.sent<Release>(), nullptr);
  EXPECT_EQ(bench.machine->role(), Role::follower);
}

// The same after one more restart of mine: the start of the epoch that never opened is no reason.
TEST(Primary, OpeningAgain_AnInSyncCopyIsHeardThatHasMore_ItGoesFirst) {
  MachineBench bench;
  bench.append(4, 3);
  bench.lead(5);
  bench.lead(6);
  hello_with_more(bench);
  bench.promise();
  EXPECT_EQ(bench.sent<MatchAt>(), nullptr) << "what it has, and was acknowledged, is cut";
  EXPECT_NE(bench.sent<Release>(), nullptr);
}

TEST(Primary, Opening_WhoHasMoreCannotReachTheCoordinator_IsMatchedInTheEnd) {
  MachineBench bench;
  bench.append(4, 3);
  bench.lead(5);
  hello_with_more(bench);
  Beat sign = bench.beat_of(5, bench.machine->bound().claim);
  sign.leads = false;
  bench.receive(sign);
  EXPECT_EQ(bench.sent<MatchAt>(), nullptr);
  bench.pass_ms(Timing().hello_wait_ms + 50);
  bench.receive(sign);
  EXPECT_NE(bench.sent<MatchAt>(), nullptr);
}

TEST(Primary, Open_WhoHasMoreIsHeardTooLate_IsMatched) {
  MachineBench bench;
  bench.append(4, 3);
  bench.lead(5);
  bench.bring_up();
  ASSERT_TRUE(bench.machine->is_open());
  hello_with_more(bench, SessionId{77});
  bench.promise(kOther, SessionId{77});
  EXPECT_EQ(bench.sent<Release>(), nullptr);
  EXPECT_EQ(bench.machine->role(), Role::primary);
}

// Or the two would let each other first for ever.
TEST(Primary, LetFirst_ClaimsAndKeepsTheLead_ThoughTheOtherBeganALaterEpoch) {
  MachineBench bench;
  bench.append(4, 5);
  const Register reg = MachineBench::register_of(5, kOther, 9);
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
  const BindTo* bind = bench.asked<BindTo>();
  ASSERT_NE(bind, nullptr);
  bench.machine->bound_done(bench.now, bind->bound);
  bench.append(6);
  bench.machine->epoch_begun(bench.now, bench.log.end);
  bench.forget();
  bench.connect(kOther, SessionId{78});
  const Bound bound = bench.machine->bound();
  bench.receive(MachineBench::hello_of(copy_of(kOther), Bound{bound.epoch, bound.claim, false}, 4, {{Epoch(4), Lsn(1)}, {Epoch(5), Lsn(4)}}), kOther, SessionId{78});
  bench.promise(kOther, SessionId{78});
  EXPECT_EQ(bench.sent<Release>(), nullptr);
  EXPECT_NE(bench.sent<MatchAt>(), nullptr);
}

// A primary that is cut off from the coordinator alone, and has to do without a member: it leaves (or its disk hangs), though it beats
// and promises on. Nothing commits any more, and the third has everything and reaches the coordinator.
class CannotRemove : public testing::TestWithParam<bool> {};

TEST_P(CannotRemove, MemberThatLeavesOrIsStuck_PrimaryWithoutTheCoordinator_ReleasesToTheOther) {
  MachineBench bench;
  bench.lead(5, {kMe, kOther, kThird});
  bench.bring_up();
  bench.bring_up(kThird, kThirdSession);
  bench.machine->initiators_attached(1);
  if (GetParam()) bench.receive(Leaving{Epoch(5)});
  bench.append(5, 2);
  for (int i = 0; i < 1'200 && bench.machine->role() == Role::primary; ++i) {
    bench.pass_ms(50);
    bench.machine->initiator_heard(bench.now);
    bench.machine->register_unreadable(bench.now);
    if (bench.asked<SwapRegister>()) bench.machine->swap_done(bench.now, RoleMachine::SwapResult::unknown, 0, Register{});
    bench.forget();
    bench.promise();
    bench.promise(kThird, kThirdSession);
    bench.receive(Ack{Epoch(5), bench.log.end}, kThird, kThirdSession);
  }
  EXPECT_EQ(bench.machine->commit(), Lsn(1)) << "nothing is committed";
  EXPECT_EQ(bench.machine->role(), Role::follower) << "leads for ever, and commits nothing";
}

// Who leaves, and acknowledges all the same, is in nobody's way.
TEST(CannotRemoveYet, MemberLeavesAndGoesOnAcknowledging_PrimaryServesOn) {
  MachineBench bench;
  bench.lead(5, {kMe, kOther, kThird});
  bench.bring_up();
  bench.bring_up(kThird, kThirdSession);
  bench.machine->initiators_attached(1);
  bench.receive(Leaving{Epoch(5)});
  for (int i = 0; i < 400; ++i) {
    bench.append(5, 1);
    bench.pass_ms(50);
    bench.machine->initiator_heard(bench.now);
    bench.machine->register_unreadable(bench.now);
    if (bench.asked<SwapRegister>()) bench.machine->swap_done(bench.now, RoleMachine::SwapResult::unknown, 0, Register{});
    bench.forget();
    bench.promise();
    bench.promise(kThird, kThirdSession);
    bench.receive(Ack{Epoch(5), bench.log.end});
    bench.receive(Ack{Epoch(5), bench.log.end}, kThird, kThirdSession);
    ASSERT_EQ(bench.machine->role(), Role::primary) << "gives way after " << i * 50 << " ms, though all that it logs is committed";
  }
  EXPECT_EQ(bench.machine->commit(), bench.log.end);
}

INSTANTIATE_TEST_SUITE_P(Leaves, CannotRemove, testing::Values(true));
INSTANTIATE_TEST_SUITE_P(IsStuck, CannotRemove, testing::Values(false));

// Cut off from the other copies, but not from its hosts; all commands of these wait for the lease, so they say nothing of their own accord.
//   1. In time before it would give way, the primary asks them for a word.
//   2. With an answer it takes the silent ones out; without, it does not.
TEST(Primary, CutOffFromTheOthers_AsksItsInitiators_AndTheirAnswerCounts) {
  for (const bool answers : {true, false}) {
    MachineBench bench;
    bench.lead(5);
    bench.bring_up();
    bench.machine->initiators_attached(1);
    bench.machine->initiator_heard(bench.now);
    bench.pass_ms(300);
    EXPECT_EQ(bench.asked<AskInitiators>(), nullptr);
    bench.pass_ms(100);
    ASSERT_NE(bench.asked<AskInitiators>(), nullptr);
    if (answers) bench.machine->initiator_heard(bench.now);
    bench.forget();
    bench.pass_ms(400);
    EXPECT_EQ(bench.asked<SwapRegister>() != nullptr, answers);
    EXPECT_EQ(bench.asked<AskInitiators>() == nullptr, answers);
  }
}

}  // namespace
}  // namespace holdfast::role_test
