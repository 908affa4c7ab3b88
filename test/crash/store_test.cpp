// A slice of what holdfast-crash does at length, on the store that ships.
#include <gtest/gtest.h>

#include "base/planted.h"
#include "test/crash/exhaustive.h"
#include "test/crash/random_run.h"
#include "test/crash/real_store.h"
#include "test/crash/remnant.h"

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

// What a cut leaves behind the new end is refused twice: by the chain, and by the generation where the chain would fit.
TEST(Store, RemnantBehindTheCut_ChainBroken_StaysForgotten) { EXPECT_EQ(run_remnant(kRealStore, RemnantChain::as_written), ""); }
TEST(Store, RemnantBehindTheCut_ChainFits_GenerationRefusesIt) { EXPECT_EQ(run_remnant(kRealStore, RemnantChain::fits), ""); }

#ifdef HOLDFAST_PLANTED_BUGS
TEST(Store, RemnantBehindTheCut_GenerationNotBumped_OnlyAFittingChainBringsItBack) {
  planted_bugs = 1u << static_cast<unsigned>(Bug::generation_not_bumped);
  EXPECT_EQ(run_remnant(kRealStore, RemnantChain::as_written), "");
  EXPECT_NE(run_remnant(kRealStore, RemnantChain::fits).find("came back"), std::string::npos);
  planted_bugs = 0;
}
#endif

}  // namespace
}  // namespace holdfast::crash
