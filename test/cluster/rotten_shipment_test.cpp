// A copy catches up by the log of a primary whose data has rotted meanwhile.
#include <algorithm>

#include "test/cluster/byte_blocks.h"

namespace holdfast::cluster {
namespace {

class RottenShipment : public ByteBlocks {
 protected:
  RottenShipment() : ByteBlocks(plan()) {}
  static Plan plan() {
    Plan p = plain_plan();
    p.log_bytes = 8ULL << 20;
    p.clients.volume_blocks = 64 * kChunkBlocks;
    return p;
  }
};

// The third copy has the data. Whoever joins without it would leave that one the only one that does.
TEST_F(RottenShipment, ChunkThatAnotherCopyHas_WhoJoinsGetsIt) {
  const NodeId primary = *cluster.serving(), away(primary.value == 1 ? 2 : 1);
  cluster.die(away, Death::killed);
  ASSERT_TRUE(wait_until([&] { return cluster.truth().in_sync.size() == 2; })) << story();
  ASSERT_TRUE(write(primary, 16, kChunkBlocks, 7));
  cluster.checkpoint(primary);
  cluster.run_for(milliseconds(500));
  const auto rotten = blocks_of(primary, 7);
  ASSERT_EQ(rotten.size(), kChunkBlocks);
  for (const std::uint64_t block : rotten) cluster.node(primary).disk().flip_bit(block * kBlockBytes + 2'000, 5);
  cluster.start(away);
  ASSERT_TRUE(wait_until([&] { return cluster.truth().in_sync.size() == 3; })) << story();
  ASSERT_TRUE(cluster.run_until_well(milliseconds(10'000))) << story();
  std::size_t whole = 0;
  for (const std::uint64_t block : blocks_of(away, 7)) {
    const auto bytes = cluster.node(away).disk().peek(block * kBlockBytes, kBlockBytes);
    whole += std::ranges::all_of(bytes, [](std::byte b) { return std::to_integer<int>(b) == 7; });
  }
  EXPECT_EQ(whole, kChunkBlocks) << "in sync, and without what it was to have";
  EXPECT_EQ(cluster.node(away).group()->replica_status().rebuilt_chunks, 0u) << "it was to come by the log";
}

}  // namespace
}  // namespace holdfast::cluster
