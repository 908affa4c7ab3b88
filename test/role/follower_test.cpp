// Following, promising and claiming: rules 1 to 13 as tables of events (docs/replication.md).
#include "test/role/machine_bench.h"

namespace holdfast::role_test {
namespace {

constexpr Bound kFollowing{Epoch(4), 9, false};

// A process that has just started does not know what it promised: it waits the whole lease, counted as a grantor does.
TEST(Follower, Start_WhoWasPromised_IsWaitedFor) {
  MachineBench bench(kFollowing);
  bench.append(4);
  const Register reg = MachineBench::register_of(4, kMe, 9);  // The register says I lead, but I never bound it as primary.
  bench.read(1, reg);
  bench.pass_ms(600);
  bench.read(1, reg);
  EXPECT_EQ(bench.asked<SwapRegister>(), nullptr);
  bench.pass_ms(10);
  bench.read(1, reg);
  EXPECT_NE(bench.asked<SwapRegister>(), nullptr);
}

// The exception: nobody else can have been promised anything in an epoch that I bound as its primary.
TEST(Follower, Start_OfTheBoundPrimary_ClaimsAnewBeforeALeaseIsOver) {
  MachineBench bench(Bound{Epoch(4), 9, true});
  bench.append(4);
  bench.pass_ms(Timing().hello_wait_ms);
  bench.read(1, MachineBench::register_of(4, kMe, 9));
  const SwapRegister* swap = bench.asked<SwapRegister>();
  ASSERT_NE(swap, nullptr);
  EXPECT_EQ(swap->value.epoch, Epoch(5));
  EXPECT_NE(swap->value.claim, 9u);
  EXPECT_EQ(swap->value.in_sync.size(), 2u);
}

TEST(Follower, LeaseWasLongerBefore_Start_WaitsForTheLonger) {
  MachineBench bench(kFollowing);
  bench.append(4);
  Register reg = MachineBench::register_of(4, kMe, 9);
  reg.previous_lease_ms = 2'000;
  bench.read(1, reg);
  bench.pass_ms(1'990);
  bench.read(1, reg);
  EXPECT_EQ(bench.asked<SwapRegister>(), nullptr);
}

struct Following : MachineBench {
  explicit Following(int copies = 2) : MachineBench(kFollowing) {
    append(4, 3);
    reg = copies == 2 ? register_of(4, kOther, 9) : register_of(4, kOther, 9, {kMe, kOther, kThird});
    read(1, reg);
    connect();
    receive(beat_of(4, 9));
    forget();
  }
  // The register is looked at in time, and again a little later.
  void expect_no_claim_until_ms(std::int64_t ms) {
    pass_ms(ms - 10);
    read(1, reg);
    EXPECT_EQ(asked<SwapRegister>(), nullptr);
    pass_ms(20);
    read(1, reg);
    EXPECT_NE(asked<SwapRegister>(), nullptr);
  }
  Register reg;
};

TEST(Follower, BeatOfItsPrimary_IsAnsweredWithAPromise_CountedFromReceipt) {
  Following bench;
  const Beat beat = bench.beat_of(4, 9);
  bench.receive(beat);
  const Beat* answer = bench.sent<Beat>();
  ASSERT_NE(answer, nullptr);
  EXPECT_TRUE(answer->grants);
  EXPECT_EQ(answer->echo, beat.sent);
  EXPECT_EQ(bench.machine->granted_until(), bench.now + milliseconds(606));
}

TEST(Follower, BeatOfAnOlderEpoch_IsFenced) {
  Following bench;
  bench.receive(bench.beat_of(3, 8));
  const Fenced* fenced = bench.sent<Fenced>();
  ASSERT_NE(fenced, nullptr);
  EXPECT_EQ(fenced->bound, Epoch(4));
  EXPECT_EQ(bench.sent<Beat>(), nullptr);
}

// Bound durably before anything is promised to the new one; what of the old session comes later is not appended.
TEST(Follower, BeatOfANewerEpoch_IsBoundFirst_ThenPromisedTo) {
  Following bench;
  bench.receive(bench.beat_of(5, 11));
  ASSERT_NE(bench.asked<BindTo>(), nullptr);
  EXPECT_EQ(bench.asked<BindTo>()->bound, (Bound{Epoch(5), 11, false}));
  bench.receive(bench.beat_of(5, 11));
  EXPECT_EQ(bench.sent<Beat>(), nullptr);
  EXPECT_FALSE(bench.machine->accepts(kSession, Epoch(4)));
  bench.machine->bound_done(bench.now, Bound{Epoch(5), 11, false});
  EXPECT_NE(bench.sent<Hello>(), nullptr);
  bench.receive(bench.beat_of(5, 11));
  ASSERT_NE(bench.sent<Beat>(), nullptr);
  EXPECT_TRUE(bench.sent<Beat>()->grants);
}

// Records count only after the log was cut to what the primary shares.
TEST(Follower, Match_IsCutDurably_ThenAcknowledged) {
  Following bench;
  EXPECT_FALSE(bench.machine->accepts(kSession, Epoch(4)));
  bench.receive(MatchAt{Epoch(4), Lsn(2), Lsn(2)});
  ASSERT_NE(bench.asked<CutTo>(), nullptr);
  EXPECT_EQ(bench.asked<CutTo>()->end, Lsn(2));
  EXPECT_FALSE(bench.machine->accepts(kSession, Epoch(4)));
  bench.log.history.cut(Lsn(2));
  bench.log.end = bench.log.durable = Lsn(2);
  bench.machine->cut_done(bench.now, kSession);
  EXPECT_TRUE(bench.machine->accepts(kSession, Epoch(4)));
  ASSERT_NE(bench.sent<Ack>(), nullptr);
  EXPECT_EQ(bench.sent<Ack>()->durable, Lsn(2));
}

TEST(Follower, MatchBelowWhatIsApplied_AsksForARebuild) {
  Following bench;
  bench.log.applied = Lsn(3);
  bench.receive(MatchAt{Epoch(4), Lsn(2), Lsn(2)});
  EXPECT_EQ(bench.asked<CutTo>(), nullptr);
  EXPECT_NE(bench.asked<RebuildFrom>(), nullptr);
}

// A second match in a session was made of an older hello: it must not cut what came since.
TEST(Follower, SecondMatchOfASession_IsIgnored) {
  Following bench;
  bench.receive(MatchAt{Epoch(4), Lsn(3), Lsn(3)});
  bench.machine->cut_done(bench.now, kSession);
  bench.forget();
  bench.receive(MatchAt{Epoch(4), Lsn(1), Lsn(1)});
  EXPECT_EQ(bench.asked<CutTo>(), nullptr);
}

TEST(Follower, ToldCommit_BeyondWhatIsDurable_AppliesWhatIsDurable) {
  Following bench;
  Beat beat = bench.beat_of(4, 9);
  beat.commit = Lsn(9);
  bench.receive(beat);
  EXPECT_EQ(bench.asked<CommitTo>(), nullptr) << "not matched";
  bench.receive(MatchAt{Epoch(4), Lsn(3), Lsn(3)});
  bench.machine->cut_done(bench.now, kSession);
  bench.receive(beat);
  ASSERT_NE(bench.asked<CommitTo>(), nullptr);
  EXPECT_EQ(bench.asked<CommitTo>()->lsn, Lsn(3));
}

// Silence may be the link: the promise has run out long before, but the primary first gets the time to drop me.
TEST(Follower, SilentPrimary_IsClaimedFromAfterPatience_WithoutIt) {
  Following bench;
  bench.pass_ms(740);
  EXPECT_EQ(bench.asked<SwapRegister>(), nullptr);
  bench.read(1, bench.reg);
  EXPECT_EQ(bench.asked<SwapRegister>(), nullptr);
  bench.pass_ms(20);
  bench.read(1, bench.reg);
  const SwapRegister* swap = bench.asked<SwapRegister>();
  ASSERT_NE(swap, nullptr);
  EXPECT_EQ(swap->value.primary, kMe);
  EXPECT_EQ(swap->value.find_in_sync(kOther), nullptr);
}

// A reset hints at a dead process: then only the promise has to run out.
TEST(Follower, ResetLink_IsClaimedAsSoonAsThePromiseRanOut) {
  Following bench;
  bench.machine->disconnected(bench.now, kOther, kSession, RoleMachine::LinkEnd::reset);
  bench.expect_no_claim_until_ms(606);
}

// Its own port refuses, towards everybody: whoever leads sees no reset, perhaps, and needs its time-out to drop it.
TEST(Follower, ResetLinksToAll_IsClaimedAfterPatienceOnly) {
  Following bench(3);
  bench.connect(kThird, kThirdSession);
  bench.machine->disconnected(bench.now, kOther, kSession, RoleMachine::LinkEnd::reset);
  bench.machine->disconnected(bench.now, kThird, kThirdSession, RoleMachine::LinkEnd::reset);
  bench.expect_no_claim_until_ms(750);
}

TEST(Follower, ResetLinkOfOneOfTwo_IsClaimedAsSoonAsThePromiseRanOut) {
  Following bench(3);
  bench.connect(kThird, kThirdSession);
  bench.machine->disconnected(bench.now, kOther, kSession, RoleMachine::LinkEnd::reset);
  bench.expect_no_claim_until_ms(606);
}

// What is not echoed was not heard: beats that come in are no sign that mine arrive.
TEST(Follower, OneWayPartition_CountsAsSilence) {
  Following bench;
  for (int i = 0; i < 20; ++i) {
    bench.receive(bench.beat_of(4, 9));  // Its echo stays at zero.
    bench.pass_ms(50);
  }
  bench.forget();
  bench.pass_ms(610);  // No more promises are asked for, and the last one runs out.
  bench.read(1, bench.reg);
  EXPECT_NE(bench.asked<SwapRegister>(), nullptr);
}

struct Claiming : Following {
  Claiming() {
    pass_ms(760);
    read(1, reg);
    EXPECT_EQ(machine->role(), Role::claiming);
    claim = asked<SwapRegister>()->value;
    forget();
  }
  Register claim;
};

TEST(Follower, PendingClaim_GrantsNothing) {
  Claiming bench;
  bench.receive(bench.beat_of(4, 9));
  ASSERT_NE(bench.sent<Beat>(), nullptr);
  EXPECT_FALSE(bench.sent<Beat>()->grants);
}

// The old primary is back and hears me: the claim is given up, and if it lands later it is nobody's.
TEST(Follower, ClaimGivenUp_PromisesAgain_AndIsNotLedWhenItLands) {
  Claiming bench;
  bench.machine->swap_done(bench.now, RoleMachine::SwapResult::unknown, 0, {});
  bench.pass_ms(10);
  Beat beat = bench.beat_of(4, 9);
  beat.echo = bench.now;
  bench.receive(beat);
  ASSERT_NE(bench.sent<Beat>(), nullptr);
  EXPECT_TRUE(bench.sent<Beat>()->grants);
  bench.read(2, bench.claim);  // It landed.
  EXPECT_EQ(bench.asked<BindTo>(), nullptr);
  EXPECT_EQ(bench.machine->role(), Role::follower);
}

// An unchanged revision proves nothing: the same content is tried again, and nothing else.
TEST(Follower, UnknownClaim_ReadAtTheOldRevision_StaysPending) {
  Claiming bench;
  bench.machine->swap_done(bench.now, RoleMachine::SwapResult::unknown, 0, {});
  bench.read(1, bench.reg);
  EXPECT_EQ(bench.machine->role(), Role::claiming);
  bench.pass_ms(30);
  const SwapRegister* again = bench.asked<SwapRegister>();
  ASSERT_NE(again, nullptr);
  EXPECT_EQ(again->value, bench.claim);
  EXPECT_EQ(again->base_revision, 1u);
}

TEST(Follower, UnknownClaim_SeenInTheRegister_IsBoundAndLed) {
  Claiming bench;
  bench.machine->swap_done(bench.now, RoleMachine::SwapResult::unknown, 0, {});
  bench.read(2, bench.claim);
  const BindTo* bind = bench.asked<BindTo>();
  ASSERT_NE(bind, nullptr);
  EXPECT_EQ(bind->bound, (Bound{Epoch(5), bench.claim.claim, true}));
  EXPECT_EQ(bench.machine->role(), Role::binding);
  EXPECT_EQ(bench.asked<BeginEpoch>(), nullptr);
  bench.machine->bound_done(bench.now, bind->bound);
  EXPECT_EQ(bench.machine->role(), Role::primary);
  EXPECT_NE(bench.asked<BeginEpoch>(), nullptr);
}

TEST(Follower, Released_ClaimsAtOnce_AndKeepsTheOldPrimaryInSync) {
  Following bench;
  bench.receive(Release{Epoch(4)});
  ASSERT_NE(bench.asked<ReadRegister>(), nullptr);
  bench.read(1, bench.reg);
  const SwapRegister* swap = bench.asked<SwapRegister>();
  ASSERT_NE(swap, nullptr);
  EXPECT_NE(swap->value.find_in_sync(kOther), nullptr);
}

TEST(Follower, ReleasedByAPrimaryThatIsNotFit_ClaimsWithoutIt) {
  Following bench;
  bench.receive(Leaving{Epoch(4)});
  bench.receive(Release{Epoch(4)});
  bench.read(1, bench.reg);
  const SwapRegister* swap = bench.asked<SwapRegister>();
  ASSERT_NE(swap, nullptr);
  EXPECT_EQ(swap->value.find_in_sync(kOther), nullptr);
}

TEST(Follower, ReleaseOfAnotherEpoch_IsIgnored) {
  Following bench;
  bench.receive(Release{Epoch(3)});
  bench.read(1, bench.reg);
  EXPECT_EQ(bench.asked<SwapRegister>(), nullptr);
}

// Never promoted: who is not in the set, whose disk was replaced, whose log does not reach what was committed, who has a hole.
TEST(Follower, WhoIsNotFit_NeverClaims) {
  for (int what = 0; what < 4; ++what) {
    Following bench;
    if (what == 0) bench.reg.remove_in_sync(kMe);
    if (what == 1) bench.reg.add_in_sync(copy_of(kMe, 1));
    if (what == 2) bench.reg.floor_epoch = Epoch(4), bench.reg.floor_commit = Lsn(4);
    if (what == 3) bench.log.promotable = false;
    bench.reg.seq += 1;
    bench.read(2, bench.reg);
    bench.pass_ms(2'000);
    bench.read(2, bench.reg);
    EXPECT_EQ(bench.asked<SwapRegister>(), nullptr) << what;
  }
}

// As below, but I have claimed once since, and crashed before anybody followed: my log is no longer for a start of an epoch that was
// never committed. (Had it been, who is in sync would have it.)
TEST(Follower, AnInSyncCopyHasALongerLog_MineOnlyHasAnEpochsStart_ItGoesFirst) {
  const Bound mine{Epoch(5), 7, true};
  MachineBench bench(mine);
  bench.append(4, 3);
  bench.append(5);
  const Register reg = MachineBench::register_of(5, kMe, 7);
  bench.connect();
  bench.receive(MachineBench::hello_of(copy_of(kOther), Bound{Epoch(4), 6, false}, 6, {{Epoch(4), Lsn(1)}}));
  bench.promise();
  bench.now = bench.now + milliseconds(Timing().hello_wait_ms - 50);
  bench.read(1, reg);
  bench.pass_ms(100);
  bench.read(1, reg);
  EXPECT_EQ(bench.asked<SwapRegister>(), nullptr) << "it claims before who has more";
}

// What one primary's match said is not held against the next one.
TEST(Follower, OldPrimaryLacksWhatIsApplied_TheNextOneHasIt_StaysInSync) {
  MachineBench bench(kFollowing);
  bench.append(4, 5);
  bench.log.applied = Lsn(5);
  bench.read(1, MachineBench::register_of(4, kOther, 9, {kMe, kOther, kThird}));
  bench.connect();
  bench.receive(bench.beat_of(4, 9));
  bench.receive(MatchAt{Epoch(4), Lsn(3), Lsn(3)});
  bench.machine->disconnected(bench.now, kOther, kSession, RoleMachine::LinkEnd::closed);
  bench.connect(kThird, kThirdSession);
  bench.receive(bench.beat_of(5, 11), kThird, kThirdSession);
  bench.machine->bound_done(bench.now, Bound{Epoch(5), 11, false});
  bench.forget();
  bench.receive(bench.beat_of(5, 11), kThird, kThirdSession);
  bench.receive(MatchAt{Epoch(5), Lsn(5), Lsn(5)}, kThird, kThirdSession);
  bench.machine->cut_done(bench.now, kThirdSession);
  bench.pass_ms(50);
  bench.receive(bench.beat_of(5, 11), kThird, kThirdSession);
  EXPECT_NE(bench.sent<Ack>(kThird), nullptr);
  EXPECT_EQ(bench.sent<Leaving>(kThird), nullptr) << "nothing is wrong with it, and nobody is asked to rebuild it";
}

// The end of my log may have rotted while I was down: who has more goes first, as long as it may just be about to.
TEST(Follower, AnInSyncCopyHasALongerLog_ItGoesFirst) {
  MachineBench bench(kFollowing);
  bench.append(4, 3);
  const Register reg = MachineBench::register_of(4, kThird, 9, {kMe, kOther, kThird});
  bench.read(1, reg);
  bench.connect();
  bench.receive(MachineBench::hello_of(copy_of(kOther), kFollowing, 5, {{Epoch(4), Lsn(1)}}));
  Beat sign = bench.beat_of(4, 9);
  sign.leads = false;
  sign.coordinator_reached = true;
  bench.receive(sign);
  const Timing timing;
  constexpr std::int64_t kPromiseMs = 610;  // It may have to let one run out that it does not remember.
  const auto pass = [&](std::int64_t ms) {
    for (; ms > 0; ms -= 50) {
      bench.pass_ms(50);
      bench.read(1, reg);
    }
  };
  pass(timing.takeover_patience_ms + kPromiseMs - 50);
  EXPECT_EQ(bench.asked<SwapRegister>(), nullptr);
  // Without the coordinator nobody can go first: that time does not count.
  bench.pass_ms(5'000);
  pass(timing.takeover_patience_ms + kPromiseMs - 50);
  EXPECT_EQ(bench.asked<SwapRegister>(), nullptr);
  pass(timing.takeover_patience_ms + kPromiseMs + 100);
  EXPECT_NE(bench.asked<SwapRegister>(), nullptr) << "it has had its time";
}

// A process that has just started would claim at once where its own claim is in the register; who else is in sync may
// have more, and is heard first. Not for long, and only if there is somebody.
TEST(Follower, JustStarted_HearsTheOthersBeforeItClaimsAnew) {
  const Timing timing;
  constexpr Bound kWasPrimary{Epoch(4), 9, true};
  for (int what = 0; what < 4; ++what) {
    MachineBench bench(kWasPrimary);
    bench.append(4, 3);
    bench.read(1, MachineBench::register_of(4, kMe, 9, what == 3 ? std::vector<NodeId>{kMe} : std::vector<NodeId>{kMe, kOther}));
    if (what == 3) {
      EXPECT_NE(bench.asked<SwapRegister>(), nullptr) << "alone";
      continue;
    }
    EXPECT_EQ(bench.asked<SwapRegister>(), nullptr);
    if (what > 0) {
      bench.connect();
      bench.receive(MachineBench::hello_of(copy_of(kOther), Bound{Epoch(4), 9, false}, what == 1 ? 3 : 5, {{Epoch(4), Lsn(1)}}));
    }
    bench.pass_ms(timing.register_retry_ms + 50);
    bench.read(2, MachineBench::register_of(4, kMe, 9, {kMe, kOther}));
    EXPECT_EQ(bench.asked<SwapRegister>() != nullptr, what == 1) << what << ": it has all that the other one has";
    bench.pass_ms(timing.hello_wait_ms);
    bench.read(3, MachineBench::register_of(4, kMe, 9, {kMe, kOther}));
    EXPECT_EQ(bench.asked<SwapRegister>() != nullptr, what < 2) << what;
  }
}

TEST(Follower, ALongerLogThatCannotLead_IsNotWaitedFor) {
  for (const bool reaches_coordinator : {false, true}) {
    MachineBench bench(kFollowing);
    bench.append(4, 3);
    const Register reg = MachineBench::register_of(4, kThird, 9, {kMe, kOther, kThird});
    bench.read(1, reg);
    bench.connect();
    Hello hello = MachineBench::hello_of(copy_of(kOther), kFollowing, 5, {{Epoch(4), Lsn(1)}});
    hello.needs_rebuild = reaches_coordinator;
    bench.receive(hello);
    Beat sign = bench.beat_of(4, 9);
    sign.leads = false;
    sign.coordinator_reached = reaches_coordinator;
    bench.receive(sign);
    bench.pass_ms(Timing().takeover_patience_ms + 50);
    bench.read(2, reg);
    EXPECT_NE(bench.asked<SwapRegister>(), nullptr) << reaches_coordinator;
  }
}

TEST(Follower, RemovedByTheOperator_ClaimsNothing) {
  MachineBench bench(kFollowing);
  bench.append(4);
  Register reg = MachineBench::register_of(4, kOther, 9);
  std::erase(reg.members, kMe);  // The primary died before it took it out of in_sync.
  bench.read(1, reg);
  bench.pass_ms(3'000);
  bench.read(2, reg);
  EXPECT_EQ(bench.asked<SwapRegister>(), nullptr);
}

// The primary says it once: who is just claiming remembers it until the claim is given up.
TEST(Follower, LaggingComesWhileItsClaimIsUnknown_IsHeededWhenTheClaimIsGivenUp) {
  Following bench;
  bench.machine->disconnected(bench.now, kOther, kSession, RoleMachine::LinkEnd::closed);
  bench.pass_ms(2'000);
  bench.read(2, bench.reg);
  ASSERT_NE(bench.asked<SwapRegister>(), nullptr);
  bench.machine->swap_done(bench.now, RoleMachine::SwapResult::unknown, 0, Register{});
  bench.connect(kOther, SessionId(30));
  bench.receive(bench.beat_of(4, 9), kOther, SessionId(30));
  bench.receive(Lagging{Epoch(4), Lsn(1)}, kOther, SessionId(30));
  EXPECT_EQ(bench.asked<RebuildFrom>(), nullptr) << "the claim may still land";
  bench.pass_ms(100);
  Beat beat = bench.beat_of(4, 9);
  beat.echo = bench.now;
  bench.receive(beat, kOther, SessionId(30));
  EXPECT_NE(bench.asked<RebuildFrom>(), nullptr);
}

// The same while it cuts its log: the answer to the cut would be an ack of a match that is over.
TEST(Follower, LaggingComesWhileItCuts_IsHeededWhenTheCutIsDone) {
  Following bench;
  bench.receive(MatchAt{Epoch(4), Lsn(2), Lsn(2)});
  ASSERT_NE(bench.asked<CutTo>(), nullptr);
  bench.receive(Lagging{Epoch(4), Lsn(2)});
  EXPECT_EQ(bench.asked<RebuildFrom>(), nullptr);
  bench.log.history.cut(Lsn(2));
  bench.log.end = bench.log.durable = Lsn(2);
  bench.machine->cut_done(bench.now, kSession);
  EXPECT_NE(bench.asked<RebuildFrom>(), nullptr);
  EXPECT_EQ(bench.sent<Ack>(), nullptr);
  EXPECT_FALSE(bench.machine->accepts(kSession, Epoch(4)));
}

// The floor, once more: two acknowledged records are gone here. What my log has in their place, and beyond, is 200 starts of my own epochs that
// never opened; the oldest of them are forgotten, so the history does not say any more whose record is at the floor. But it does say that
// what it has forgotten ends before it.
TEST(Follower, Floor_ForgottenStartsOfEpochsThatNeverOpened_DoNotReachIt) {
  for (const std::uint64_t records : {std::uint64_t{10}, std::uint64_t{8}}) {
    MachineBench bench(Bound{Epoch(204), 7, false});
    bench.append(4, records);
    for (std::uint64_t e = 5; e < 5 + 200; ++e) {
      bench.append(e);
      bench.log.history.keep_newest(128);
    }
    ASSERT_EQ(bench.log.history.forgotten().end, Lsn(records));
    Register reg = MachineBench::register_of(206, kOther, 9);
    reg.floor_epoch = Epoch(4);
    reg.floor_commit = Lsn(10);
    reg.floor_content_epoch = Epoch(4);
    reg.floor_content_end = Lsn(10);
    bench.read(1, reg);
    for (int i = 0; i < 100; ++i) {
      bench.pass_ms(50);
      bench.read(1, reg);
    }
    EXPECT_EQ(bench.asked<SwapRegister>() != nullptr, records == 10) << "it has " << records << " of ten acknowledged records";
  }
}

// The floor may be the start of an epoch in which nothing was written. When that is forgotten, what the log had then counts: all, or two
// acknowledged records less with starts of epochs of its own in their place.
TEST(Follower, Floor_IsTheForgottenStartOfAnIdleEpoch_WhoHasEverythingReachesIt) {
  for (const std::uint64_t records : {std::uint64_t{10}, std::uint64_t{8}}) {
    MachineBench bench(Bound{Epoch(204), 7, false});
    bench.append(4, records);
    for (std::uint64_t e = 5; e < 5 + 200; ++e) {
      bench.append(e);
      bench.log.history.keep_newest(128);
    }
    Register reg = MachineBench::register_of(206, kOther, 9);
    reg.floor_epoch = Epoch(5);
    reg.floor_commit = Lsn(11);
    reg.floor_content_epoch = Epoch(4);
    reg.floor_content_end = Lsn(10);
    bench.read(1, reg);
    for (int i = 0; i < 100; ++i) {
      bench.pass_ms(50);
      bench.read(1, reg);
    }
    EXPECT_EQ(bench.asked<SwapRegister>() != nullptr, records == 10) << "it has " << records << " of ten acknowledged records";
  }
}

}  // namespace
}  // namespace holdfast::role_test
