// Space: reserved before it is promised, given back when it is unmapped, and full is not broken.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "snapshot/space.h"
#include "snapshot/store_format.h"
#include "test/engine/one_node.h"

namespace holdfast::engine_test {
namespace {

TEST(Space, UnmapOfWholeChunks_GivesBackingSpaceBack) {
  OneNode node;
  Volume* volume = node.serve(64 * kMiB);
  for (std::uint64_t block = 0; block < 4096; block += 256) ASSERT_TRUE(node.write(volume, block, 256, 1));
  ASSERT_TRUE(node.run(node.group->checkpoint()));
  const std::uint64_t before = node.disk.backed_bytes();
  ASSERT_TRUE(node.unmap(volume, 0, 4096));
  ASSERT_TRUE(node.run(node.group->checkpoint()));
  ASSERT_TRUE(node.run(node.group->stop()));  // The punches are done.
  EXPECT_LE(node.disk.backed_bytes() + 15 * kMiB, before);
}

// A rebuild changes maps without a record: what it replaces is given at the LSN at which everything stands still, and a checkpoint may be under
// way. The maps that that one writes still name what was replaced after its freeze.
TEST(Space, GivenAfterTheFreezeOfACheckpoint_WaitsForTheNextOne) {
  constexpr std::uint64_t kFirst = 4, kBefore = kFirst, kAfter = kFirst + 1;
  OneNode node;
  snapshot::Space space(node.disk);
  std::vector<std::uint16_t> masks(64, 0);
  std::fill_n(masks.begin(), kAfter + 1, std::uint16_t{0xffff});
  space.attach(masks.size(), kFirst, masks, 0);
  std::vector<std::uint64_t> to_punch;
  space.give_chunk(kBefore, Lsn(7), snapshot::Given::discarded);
  (void)space.take_ops();
  space.give_chunk(kAfter, Lsn(7), snapshot::Given::discarded);
  space.release_until(Lsn(7), to_punch);
  EXPECT_EQ(to_punch, std::vector<std::uint64_t>{kBefore});
  EXPECT_EQ(space.quarantined(), 1u);
  (void)space.take_ops();
  space.release_until(Lsn(7), to_punch);
  EXPECT_EQ(to_punch, (std::vector<std::uint64_t>{kBefore, kAfter}));
  EXPECT_EQ(space.quarantined(), 0u);
}

TEST(Space, UnmappedBlocks_ReadAsZeros_AcrossPowerLoss) {
  OneNode node;
  Volume* volume = node.serve(16 * kMiB);
  ASSERT_TRUE(node.write(volume, 0, 64, 8));
  ASSERT_TRUE(node.unmap(volume, 3, 40));
  EXPECT_EQ(node.value_at(volume, 2), 8);
  EXPECT_EQ(node.value_at(volume, 3), 0);
  EXPECT_EQ(node.value_at(volume, 20), 0);
  node.power_loss();
  ASSERT_TRUE(node.open());
  EXPECT_EQ(node.value_at(node.volume(), 2), 8);
  EXPECT_EQ(node.value_at(node.volume(), 42), 0);
  EXPECT_EQ(node.value_at(node.volume(), 43), 8);
}

// P7. Full: new allocations fail with no_space, reads and overwrites go on, and writes recover when space returns.
TEST(Space, BackingFull_OverwritesAndReadsGoOn_NewChunksFail_AndRecover) {
  OneNode node;
  Volume* volume = node.serve(512 * kMiB);
  ASSERT_TRUE(node.write(volume, 0, 256, 1));
  node.disk.set_capacity(node.disk.backed_bytes());
  std::uint64_t block = 256;
  Result<void> done;
  while ((done = node.write(volume, block, 256, 2))) block += 256;
  EXPECT_EQ(done.error().code, Errc::no_space);
  std::uint64_t far = 100'000;
  while ((done = node.write(volume, far, 1, 2))) far += 16;
  EXPECT_EQ(done.error().code, Errc::no_space);
  for (std::uint64_t i = 0; i < 64; ++i) ASSERT_TRUE(node.write(volume, i * 3, 1, 4)) << "overwrite " << i;
  ASSERT_TRUE(node.write(volume, 256, 256, 5)) << "a whole-chunk overwrite goes in place";
  ASSERT_TRUE(node.run(node.group->checkpoint()));
  EXPECT_EQ(node.value_at(volume, 3), 4);
  EXPECT_EQ(node.value_at(volume, 300), 5);
  EXPECT_FALSE(node.group->status().failed);
  node.disk.set_capacity(kDiskBytes);
  EXPECT_TRUE(node.write(volume, far, 1, 6));
  EXPECT_EQ(node.value_at(volume, far), 6);
}

TEST(Space, BackingFull_UnmapMakesRoom) {
  OneNode node;
  Volume* volume = node.serve(512 * kMiB);
  node.disk.set_capacity(node.disk.backed_bytes() + 8 * kMiB);
  std::uint64_t block = 0;
  while (node.write(volume, block, 256, 2)) block += 256;
  ASSERT_TRUE(node.unmap(volume, 0, 512));
  // Freed chunks are reusable only after a checkpoint: the write that needs one takes it.
  for (std::uint64_t i = 0; i < 32; ++i) ASSERT_TRUE(node.write(volume, 50'000 + i * 16, 1, 3)) << i;
}

// Holes come first among the free chunks, and the file system has nothing for them; but there are others behind them.
TEST(Space, BackingFullAtARestart_ChunksThatHaveTheirSpaceAreFound) {
  OneNode node;
  Volume* volume = node.serve(512 * kMiB);
  for (std::uint64_t block = 0; block < 1024; block += 256) ASSERT_TRUE(node.write(volume, block, 256, 2));
  ASSERT_TRUE(node.run(node.group->checkpoint()));
  const std::uint64_t before = node.disk.backed_bytes();
  ASSERT_TRUE(node.unmap(volume, 0, 512));
  ASSERT_TRUE(node.run(node.group->checkpoint()));
  ASSERT_TRUE(node.run_until([&] { return node.disk.backed_bytes() < before; }));
  node.disk.set_capacity(node.disk.backed_bytes());
  // Admitted, and not applied yet when the power goes.
  for (std::uint64_t i = 0; i < 20; ++i) ASSERT_TRUE(node.write(volume, 4096 + i * 16, 1, 3));
  node.power_loss();
  ASSERT_TRUE(node.open());
  std::optional<Result<void>> done;
  node.begin(node.group->checkpoint(), &done);
  const BootNs late = node.host.clock().now() + milliseconds(10'000);
  node.run_until([&] { return done.has_value() || node.host.clock().now() > late; });
  ASSERT_TRUE(done.has_value()) << "what was acknowledged waits for space that it was promised";
  EXPECT_EQ(node.value_at(node.volume(), 4096), 3);
  EXPECT_TRUE(node.write(node.volume(), 8192, 1, 4));
}

// One checkpoint drops thousands of map pages, and all that is above them.
TEST(Space, ManyLeavesEmptiedAtOnce_MapIsAHoleAgain) {
  constexpr std::uint64_t kLeaves = 2000;
  constexpr std::uint64_t kLeafBlocks = 24 * kChunkBlocks;
  OneNode node(3);
  ASSERT_TRUE(node.format(16 * kMiB));
  ASSERT_TRUE(node.open());
  Volume* volume = node.create("pg", kLeaves * kLeafBlocks * kBlockBytes);
  for (std::uint64_t i = 0; i < kLeaves; ++i) ASSERT_TRUE(node.write(volume, i * kLeafBlocks, 1, 1));
  ASSERT_TRUE(node.run(node.group->checkpoint()));
  EXPECT_EQ(node.group->figures("pg")->allocated_bytes, kLeaves * kChunkBytes);
  ASSERT_TRUE(node.unmap(volume, 0, kLeaves * kLeafBlocks));
  ASSERT_TRUE(node.run(node.group->checkpoint()));
  EXPECT_EQ(node.group->figures("pg")->allocated_bytes, 0u);
  ASSERT_TRUE(node.write(volume, 7 * kLeafBlocks, 1, 2));
  node.power_loss();
  ASSERT_TRUE(node.open());
  EXPECT_EQ(node.value_at(node.volume(), 7 * kLeafBlocks), 2);
  EXPECT_EQ(node.value_at(node.volume(), 8 * kLeafBlocks), 0);
  ASSERT_TRUE(node.run(node.group->stop()));
}

TEST(Space, DeletedVolume_GivesItsSpaceBack_AlsoWhenInterrupted) {
  OneNode node;
  Volume* volume = node.serve(64 * kMiB);
  for (std::uint64_t block = 0; block < 8192; block += 256) ASSERT_TRUE(node.write(volume, block, 256, 1));
  ASSERT_TRUE(node.run(node.group->checkpoint()));
  const std::uint64_t before = node.disk.backed_bytes();
  ASSERT_TRUE(node.run(node.group->delete_volume("pg")));
  node.power_loss();
  ASSERT_TRUE(node.open());
  EXPECT_EQ(node.volume(), nullptr);
  ASSERT_TRUE(node.run_until([&] { return node.disk.backed_bytes() + 30 * kMiB < before; }));
  // The slot and the name are free again.
  EXPECT_NE(node.create("pg", 16 * kMiB), nullptr);
  EXPECT_EQ(node.value_at(node.volume(), 0), 0);
}

// Each level of the space tree counts, or a large device has no room for its first checkpoint that touches another part of it.
TEST(Space, PagesOfTheSpaceTree_AtTheBordersOfItsLevels_AllLevelsCount) {
  constexpr std::uint64_t kLeaf = snapshot::kLeafMasks, kPage = kLeaf * snapshot::kFanout;
  EXPECT_EQ(snapshot::space_tree_pages(1), 1u + 1 + 1 + 1);
  EXPECT_EQ(snapshot::space_tree_pages(kLeaf), 1u + 1 + 1 + 1);
  EXPECT_EQ(snapshot::space_tree_pages(kLeaf + 1), 2u + 1 + 1 + 1);
  EXPECT_EQ(snapshot::space_tree_pages(kPage), 126u + 1 + 1 + 1);  // 15.5 GiB.
  EXPECT_EQ(snapshot::space_tree_pages(kPage + 1), 127u + 2 + 1 + 1);
  EXPECT_EQ(snapshot::space_tree_pages(kPage * 126), 126u * 126 + 126 + 1 + 1);
  EXPECT_EQ(snapshot::space_tree_pages(snapshot::kStoreChunksMax), 126u * 126 * 126 + 126 * 126 + 126 + 1);
}

TEST(Space, Provisioning_TellsMappedRuns) {
  OneNode node;
  Volume* volume = node.serve(16 * kMiB);
  ASSERT_TRUE(node.write(volume, 4, 4, 1));
  const auto runs = node.run(volume->provisioning(Lba(0), 8));
  ASSERT_TRUE(runs);
  ASSERT_EQ(runs->size(), 3u);
  EXPECT_FALSE((*runs)[0].mapped);
  EXPECT_EQ((*runs)[1].range.first.value, 4u);
  EXPECT_EQ((*runs)[1].range.count.value, 4u);
  EXPECT_TRUE((*runs)[1].mapped);
  EXPECT_EQ((*runs)[2].range.end().value, 16 * kMiB / kBlockBytes);
}

}  // namespace
}  // namespace holdfast::engine_test
