// Lives of clusters of role machines: a slice of what holdfast-protocol runs by the thousand.
#include <gtest/gtest.h>

#include "test/protocol/protocol_world.h"

namespace holdfast::protocol {
namespace {

Shape shape_of(std::uint64_t seed) {
  Shape shape;
  shape.seed = seed;
  shape.nodes = 2 + static_cast<unsigned>(seed % 3);
  return shape;
}

// Kills, power losses, pauses, partitions, an unreliable register: nothing that a client saw is lost, no two nodes serve, and in
// the calm afterwards everybody is in sync again.
TEST(Protocol, RandomLives_OfClusters_StaySafeAndBecomeWell) {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    const Verdict verdict = live(shape_of(seed));
    EXPECT_FALSE(verdict.failure) << "seed " << seed << ": " << *verdict.failure;
  }
}

TEST(Protocol, SameSeed_Twice_IsTheSameLife) {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) EXPECT_EQ(live(shape_of(seed)).trace, live(shape_of(seed)).trace) << "seed " << seed;
}

// Found by the seed, kept as one: the floor named the epoch that was bound, though nothing of it was committed yet; after a
// power loss the only copy did not reach its own floor and nobody could ever lead again.
TEST(Protocol, FloorOfAnEpochWithoutRecords_AfterPowerLoss_LocksNobodyOut) { EXPECT_FALSE(live(shape_of(810)).failure); }

// A claim that was won while an older primary's epoch was being bound left the node between two roles for good.
TEST(Protocol, ClaimWonWhileBinding_IsNotForgotten) { EXPECT_FALSE(live(shape_of(1175)).failure); }

}  // namespace
}  // namespace holdfast::protocol
