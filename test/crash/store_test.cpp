// A slice of what holdfast-crash does at length, on the store that ships.
#include <gtest/gtest.h>

#include "test/crash/exhaustive.h"
#include "test/crash/random_run.h"
#include "test/crash/real_store.h"

namespace holdfast::crash {
namespace {

class StoreUnder : public testing::TestWithParam<int> {};

TEST_P(StoreUnder, RandomSeeds_CrashedAndRecovered_NothingIsLostTornOrStale) {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    const SeedReport report = run_seed(seed, kRealStore, SeedOptions{false, GetParam()});
    ASSERT_TRUE(report.ok) << report.story;
  }
}
INSTANTIATE_TEST_SUITE_P(Troubles, StoreUnder, testing::Values(0, 1, 2, 3));

TEST(Store, SameSeed_Twice_SameTrace) {
  for (std::uint64_t seed = 1; seed <= 8; ++seed) EXPECT_EQ(run_seed(seed, kRealStore).trace, run_seed(seed, kRealStore).trace);
}

TEST(Store, EveryFewCrashPoints_EveryClassOfLoss_Recovers) {
  ExhaustiveOptions options;
  options.operations = 120;
  options.every = 20;
  const ExhaustiveReport report = run_exhaustive(kRealStore, options);
  EXPECT_EQ(report.failures, 0u);
  EXPECT_GT(report.images, 100u);
  EXPECT_GT(report.recoveries_crashed, 0u);
}

}  // namespace
}  // namespace holdfast::crash
