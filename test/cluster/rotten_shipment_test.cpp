// A copy catches up by the log of a primary whose data has rotted meanwhile.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "engine/group_impl.h"
#include "test/cluster/call.h"
#include "test/cluster/disk_look.h"

namespace holdfast::cluster {
namespace {

class RottenShipment : public testing::Test {
 protected:
  RottenShipment() : cluster(plan()) {}
  static Plan plan() {
    Plan p = plain_plan();
    p.log_bytes = 8ULL << 20;
    p.clients.volumes = 1;
    p.clients.volume_blocks = 64 * kChunkBlocks;
    return p;
  }
  void SetUp() override { ASSERT_TRUE(cluster.set_up()); }
  Task<Result<void>> writing(NodeId id, std::uint64_t block, std::size_t blocks, int value) {
    Buffer bytes = cluster.node(id).process().pool().try_acquire(blocks * kBlockBytes);
    std::memset(bytes.data(), value, bytes.size());
    return cluster.node(id).group()->find(Clients::volume_name(0))->write(BlockRange{Lba(block), BlockCount(blocks)}, std::move(bytes));
  }
  bool write(NodeId id, std::uint64_t block, std::size_t blocks, int value) {
    const auto done = call(cluster, id, writing(id, block, blocks, value));
    return done && *done;
  }
  // Blocks of data, on the disk, which hold that value.
  std::vector<std::uint64_t> blocks_of(NodeId id, int value) {
    sim::SimDisk& disk = cluster.node(id).disk();
    std::vector<std::uint64_t> found;
    for (const std::uint64_t block : data_blocks(disk)) {
      const auto bytes = disk.peek(block * kBlockBytes, kBlockBytes);
      if (std::to_integer<int>(bytes[100]) == value && std::to_integer<int>(bytes[4000]) == value) found.push_back(block);
    }
    return found;
  }
  bool wait_until(const std::function<bool()>& c) { return cluster.run_until(c, milliseconds(20'000)); }
  std::string story() { return cluster.violation().value_or("nothing is wrong") + cluster.describe(); }

  Cluster cluster;
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
