// How far writers are slowed down for copies on their way into the set: when, how much, and when no longer.
#include "engine/hold_back.h"

#include <gtest/gtest.h>

namespace holdfast::engine {
namespace {

constexpr std::uint64_t kRing = 1'000;
constexpr std::int64_t kLookMs = 25;

class HeldBack : public testing::Test {
 protected:
  using Learner = HoldBack::Learner;
  void look(std::optional<Learner> learner) {
    now = now + milliseconds(kLookMs);
    hold.look(now, kRing, commit, learner ? std::span<const Learner>(&*learner, 1) : std::span<const Learner>{});
  }
  // It fetches, and needs the record from the image on; so many blocks are left.
  Learner fetches(std::uint64_t slack) const { return {NodeId(2), Lsn(needs), slack, std::nullopt}; }
  Learner overtaken() const { return {NodeId(2), Lsn(needs), std::nullopt, std::nullopt}; }
  Learner follows(Lsn acked) const { return {NodeId(2), acked.next(), kRing, acked}; }
  // The next image, and the log goes beyond it.
  void is_overtaken_again() {
    ++needs;
    look(fetches(kRing));
    look(overtaken());
  }
  std::int64_t wait_ms() const { return hold.for_each_write().value / 1'000'000; }
  bool closed() const { return hold.is_closed(now); }

  HoldBack hold;
  BootNs now{1'000'000'000};
  Lsn commit{1'000};
  std::uint64_t needs = 500;
};

TEST_F(HeldBack, NobodyIsOnTheWay_NothingWaits) {
  for (int i = 0; i < 100; ++i) look(std::nullopt);
  EXPECT_EQ(hold.for_each_write(), DurationNs{});
  EXPECT_FALSE(closed());
}

TEST_F(HeldBack, MuchOfTheRingIsLeft_NothingWaits) {
  look(fetches(kRing / 4));
  EXPECT_EQ(hold.for_each_write(), DurationNs{});
}

TEST_F(HeldBack, LittleIsLeft_EachWriteWaitsTheLongerTheLessThereIs_NeverBeyondItsBound) {
  look(fetches(kRing / 8));
  EXPECT_EQ(wait_ms(), HoldBack::kWriteMsMax / 2);
  look(fetches(0));
  EXPECT_EQ(wait_ms(), HoldBack::kWriteMsMax);
  look(std::nullopt);
  EXPECT_EQ(hold.for_each_write(), DurationNs{});
}

// What is gone is gone: nobody waits for it.
TEST_F(HeldBack, ItWasOvertaken_NothingWaits) {
  look(fetches(1));
  look(overtaken());
  EXPECT_EQ(hold.for_each_write(), DurationNs{});
}

TEST_F(HeldBack, OvertakenBefore_WritersSlowDownEarlier_UntilItHasJoined) {
  is_overtaken_again();
  look(fetches(kRing * 3 / 8));
  EXPECT_GT(wait_ms(), 0);
  is_overtaken_again();
  look(fetches(kRing * 3 / 4));
  EXPECT_GT(wait_ms(), 0);
  hold.joined(NodeId(2));
  look(fetches(kRing / 4));
  EXPECT_EQ(hold.for_each_write(), DurationNs{});
}

// Each look at the same loss is not another one.
TEST_F(HeldBack, OvertakenAgainAndAgain_IsGivenUpForAWhile) {
  for (int i = 0; i < 3 * HoldBack::kLapsMax; ++i) look(overtaken());
  EXPECT_FALSE(hold.take_given_up());
  for (int lap = 1; lap < HoldBack::kLapsMax; ++lap) is_overtaken_again();
  EXPECT_EQ(hold.take_given_up(), NodeId(2));
  EXPECT_FALSE(hold.take_given_up());
  look(fetches(1));
  EXPECT_EQ(hold.for_each_write(), DurationNs{});
  now = now + milliseconds(HoldBack::kRestMs);
  look(fetches(1));
  EXPECT_GT(wait_ms(), 0);
}

TEST_F(HeldBack, ItStaysAMomentBehind_DoorsCloseForThatMoment_AndStayOpenForLongAfterwards) {
  std::int64_t closed_ms = 0, longest_ms = 0, at_once_ms = 0;
  constexpr int kLooks = 2'000;
  for (int i = 0; i < kLooks; ++i) {
    const Lsn had = commit;
    commit = Lsn(commit.value + 10);
    look(follows(Lsn(had.value - 10)));  // As of two looks ago.
    at_once_ms = closed() ? at_once_ms + kLookMs : 0;
    closed_ms += closed() ? kLookMs : 0;
    longest_ms = std::max(longest_ms, at_once_ms);
  }
  EXPECT_GT(closed_ms, 0);
  EXPECT_LE(longest_ms, HoldBack::kCloseMsMax);
  EXPECT_LE(closed_ms * (HoldBack::kCloseAgainFactor - 1), kLooks * kLookMs);
}

TEST_F(HeldBack, ItHasEverythingNow_OrJoins_DoorsOpenAtOnce) {
  for (int i = 0; i < 100 && !closed(); ++i) {
    const Lsn had = commit;
    commit = Lsn(commit.value + 10);
    look(follows(had));
  }
  ASSERT_TRUE(closed());
  look(std::nullopt);
  EXPECT_FALSE(closed());
}

TEST_F(HeldBack, ItIsFarBehind_DoorsStayOpen) {
  for (int i = 0; i < 200; ++i) {
    commit = Lsn(commit.value + 10);
    look(follows(Lsn(900)));
    ASSERT_FALSE(closed());
  }
}

TEST_F(HeldBack, ItFollowsWithoutLag_DoorsStayOpen) {
  for (int i = 0; i < 200; ++i) {
    commit = Lsn(commit.value + 10);
    look(follows(commit));
    ASSERT_FALSE(closed());
  }
}

}  // namespace
}  // namespace holdfast::engine
