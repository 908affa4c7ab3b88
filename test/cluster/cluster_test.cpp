// A slice of what holdfast-sim does at length.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "test/cluster/life.h"
#include "test/cluster/story.h"

namespace holdfast::cluster {
namespace {

// A sanitizer makes a life fifteen times as long; what is drawn is the same with and without.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::uint64_t kLives = 25, kLivesTwice = 3, kSeedsOfAStory = 1;
#else
constexpr std::uint64_t kLives = 120, kLivesTwice = 12, kSeedsOfAStory = 3;
#endif

TEST(Cluster, RandomLives_UnderTheSwarm_NothingIsLostAndItHeals) {
  for (std::uint64_t seed = 1; seed <= kLives; ++seed) {
    const LifeReport report = live(seed, {});
    ASSERT_TRUE(report.ok) << report.failure << "\n" << report.story;
  }
}

TEST(Cluster, SameSeed_Twice_SameTrace) {
  for (std::uint64_t seed = 1; seed <= kLivesTwice; ++seed) EXPECT_EQ(live(seed, {}).trace, live(seed, {}).trace) << seed;
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
// A swarm in which a kind of fault never comes proves nothing about it.
TEST(Swarm, KindsThatAreOn_OverSeeds_AllHappen) {
  std::array<std::uint64_t, kFaults> counts{};
  for (std::uint64_t seed = 1'000; seed < 1'060; ++seed) {
    const LifeReport report = live(seed, {});
    for (std::size_t i = 0; i < kFaults; ++i) counts[i] += report.faults[i];
  }
  for (std::size_t i = 0; i < kFaults; ++i) {
    const bool possible = kFaultKinds[i].on && static_cast<Fault>(i) != Fault::beyond_retention;  // A way of life, not a fault that strikes.
    if (possible) {
      EXPECT_GT(counts[i], 0u) << kFaultKinds[i].name;
    }
  }
}

#endif

class Scenarios : public testing::TestWithParam<Scenario> {};

TEST_P(Scenarios, Played_OverSeeds_PassEachTime) {
  for (std::uint64_t seed = 1; seed <= kSeedsOfAStory; ++seed) {
    const StoryReport report = play(GetParam(), seed, false);
    std::string told;
    for (const std::string& line : report.notes) told += "  " + line + "\n";
    ASSERT_TRUE(report.ok) << "seed " << seed << ": " << report.failure << "\n" << told;
  }
}
INSTANTIATE_TEST_SUITE_P(Catalogue, Scenarios, testing::ValuesIn(all_stories()), [](const auto& row) { return std::string(row.param.id); });

// The judge must be able to say no: an acknowledged write is taken out of a history that was fine.
TEST(History, AcknowledgedWrite_MissingFromALaterRead_IsTold) {
  History history;
  ClientOp write;
  write.kind = OpKind::write;
  write.range = BlockRange{Lba(3), BlockCount(2)};
  const OpId id = history.begin(write);
  history.end(id, Outcome::done, BootNs{});
  ClientOp read;
  read.range = BlockRange{Lba(4), BlockCount(1)};
  const OpId look = history.begin(read);
  history.op(look).seen = {id};
  history.end(look, Outcome::done, BootNs{});
  EXPECT_FALSE(history.judge());
  const OpId later = history.begin(read);
  history.op(later).seen = {0};
  history.end(later, Outcome::done, BootNs{});
  const auto wrong = history.judge();
  ASSERT_TRUE(wrong);
  EXPECT_NE(wrong->find("block 4 of volume 0"), std::string::npos) << *wrong;
}

}  // namespace
}  // namespace holdfast::cluster
