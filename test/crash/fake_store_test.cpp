// The harness itself on trial: silent about a right store, and loud about each way to be wrong.
#include <gtest/gtest.h>

#include "test/crash/fake_store.h"
#include "test/crash/random_run.h"

namespace holdfast::crash {
namespace {

class FakeStore : public testing::Test {
 protected:
  ~FakeStore() override { fake_bug = FakeBug::none; }
  // Seeds until the bug is found, or `most`.
  static std::uint64_t seeds_until_found(FakeBug bug, std::uint64_t most) {
    fake_bug = bug;
    for (std::uint64_t seed = 1; seed <= most; ++seed)
      if (!run_seed(seed, kFakeStore, SeedOptions{false, 0}).ok) return seed;
    return most + 1;
  }
};

TEST_F(FakeStore, RightStore_ManySeeds_NothingIsFound) {
  for (std::uint64_t seed = 1; seed <= 150; ++seed) {
    const SeedReport report = run_seed(seed, kFakeStore, SeedOptions{false, 0});
    ASSERT_TRUE(report.ok) << report.story;
  }
}

TEST_F(FakeStore, SameSeed_Twice_SameTrace) {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    EXPECT_EQ(run_seed(seed, kFakeStore).trace, run_seed(seed, kFakeStore).trace);
    EXPECT_NE(run_seed(seed, kFakeStore).trace, run_seed(seed + 1, kFakeStore).trace);
  }
}

TEST_F(FakeStore, NotDurable_IsFound) { EXPECT_LE(seeds_until_found(FakeBug::not_durable, 20), 20u); }
TEST_F(FakeStore, ChecksumIgnored_IsFound) { EXPECT_LE(seeds_until_found(FakeBug::checksum_ignored, 50), 50u); }
TEST_F(FakeStore, EarlyAck_IsFound) { EXPECT_LE(seeds_until_found(FakeBug::early_ack, 20), 20u); }
TEST_F(FakeStore, StaleRead_IsFound) { EXPECT_LE(seeds_until_found(FakeBug::stale_read, 20), 20u); }
TEST_F(FakeStore, CompareRaces_IsFound) { EXPECT_LE(seeds_until_found(FakeBug::compare_races, 50), 50u); }

}  // namespace
}  // namespace holdfast::crash
