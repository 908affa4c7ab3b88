// Restarts from a checkpoint that is ahead of the log's tail in some chunks and not in others, and restarts short of room.
#include <gtest/gtest.h>

#include "test/engine/one_node.h"

namespace holdfast::engine_test {
namespace {

constexpr int kSlow = 101;     // The apply of a block with this value takes so long that it never ends.
constexpr int kSlower = 102;   // … and of this one takes a second: what holds the checkpoint while others are applied.
constexpr int kSlowChunk = 103;  // A whole chunk with this value takes long to become durable.

struct Delays final : sim::DiskObserver {
  explicit Delays(sim::SimDisk& d) : disk(&d) { d.observer = this; }
  ~Delays() { disk->observer = nullptr; }
  void disk_submitted(std::uint64_t, const DiskRequest& request, std::span<const sim::PageRef>) override {
    disk->latency = {};
    disk->latency.sync_us = sync_us;
    if (request.op != DiskOp::write) return;
    const int value = std::to_integer<int>(*static_cast<const std::byte*>(request.segments.front().iov_base));
    if (request.durability == Durability::durable) disk->latency.durable_us = value == kSlowChunk ? 5'000 : 120;
    else disk->latency.write_us = value == kSlow ? 20'000'000 : value == kSlower ? 1'000'000 : 30;
  }
  void disk_completed(std::uint64_t, const DiskRequest&, int) override {}
  sim::SimDisk* disk;
  std::uint32_t sync_us = 200;
};

// A checkpoint begins and waits for one slow block; what `load` does meanwhile is applied, but for an older slow block.
template <class Load>
void checkpoint_around(OneNode& node, Volume* volume, Load load) {
  ASSERT_TRUE(node.write(volume, 0, 1, kSlower));
  std::optional<Result<void>> done;
  node.begin(node.group->checkpoint(), &done);
  ASSERT_TRUE(node.write(volume, kChunkBlocks, 1, kSlow));
  load();
  ASSERT_TRUE(node.run_until([&] { return done.has_value(); }));
  ASSERT_TRUE(*done);
  const GroupStatus status = node.group->status();
  ASSERT_LT(status.checkpoint_lsn.value + 1, status.commit_lsn.value) << "the checkpoint was not fuzzy";
}

TEST(FuzzyRestart, ChunkReplacedAgainAfterTheCheckpoint_IsGivenUpOnce) {
  OneNode node;
  Delays delays(node.disk);
  Volume* volume = node.serve(512 * kMiB);
  checkpoint_around(node, volume, [&] { ASSERT_TRUE(node.write(volume, 2 * kChunkBlocks, kChunkBlocks, 1)); });
  ASSERT_TRUE(node.write(volume, 2 * kChunkBlocks, kChunkBlocks, 2));
  node.power_loss();
  ASSERT_TRUE(node.open());
  ASSERT_TRUE(node.run(node.group->checkpoint()));
  // No chunk counts as free twice: all of them can be taken, and then there is none.
  node.disk.set_capacity(node.disk.backed_bytes());
  std::uint64_t block = 1024;
  while (node.write(node.volume(), block, 256, 3)) block += 256;
  EXPECT_GT(block, 256u * 30);
  EXPECT_EQ(node.value_at(node.volume(), 2 * kChunkBlocks + 3), 2);
}

// A chunk that is unmapped while a write to it is on its way keeps its place: after a restart nobody else may get it.
TEST(FuzzyRestart, ChunkUnmappedUnderAnAdmittedWrite_IsNotGivenToOthers) {
  OneNode node;
  Delays delays(node.disk);
  Volume* volume = node.serve(64 * kMiB);
  const std::uint64_t last = 3 * kChunkBlocks - 1;
  checkpoint_around(node, volume, [&] {
    ASSERT_TRUE(node.write(volume, 2 * kChunkBlocks, kChunkBlocks, 1));
    std::optional<Result<void>> written;
    node.begin(volume->write(BlockRange{Lba(last), BlockCount(1 + kChunkBlocks)}, node.filled(1 + kChunkBlocks, kSlowChunk)), &written);
    ASSERT_TRUE(node.unmap(volume, 2 * kChunkBlocks, kChunkBlocks));
    ASSERT_FALSE(written.has_value());
    ASSERT_TRUE(node.run_until([&] { return written.has_value(); }));
    ASSERT_TRUE(*written);
  });
  node.power_loss();
  ASSERT_TRUE(node.open());
  EXPECT_EQ(node.value_at(node.volume(), last), kSlowChunk);
  ASSERT_TRUE(node.run(node.group->checkpoint()));
  for (std::uint64_t chunk = 100; chunk < 120; ++chunk) ASSERT_TRUE(node.write(node.volume(), chunk * kChunkBlocks, kChunkBlocks, 9));
  EXPECT_EQ(node.value_at(node.volume(), last), kSlowChunk);
}

TEST(FuzzyRestart, VolumeDeletedAfterItsChunksWereApplied_IsPurgedOnce) {
  OneNode node;
  Delays delays(node.disk);
  Volume* volume = node.serve(64 * kMiB);
  Volume* other = node.create("other", 16 * kMiB);
  checkpoint_around(node, volume, [&] {
    ASSERT_TRUE(node.write(other, 0, kChunkBlocks, 1));
    ASSERT_TRUE(node.run(node.group->delete_volume("other")));
  });
  node.power_loss();
  ASSERT_TRUE(node.open());
  ASSERT_TRUE(node.run(node.group->checkpoint()));
  ASSERT_TRUE(node.run(node.group->checkpoint()));
  EXPECT_EQ(node.value_at(node.volume(), kChunkBlocks), kSlow);
  ASSERT_TRUE(node.run(node.group->stop()));
}

TEST(FuzzyRestart, LogFullToTheLastBlock_Opens) {
  OneNode node;
  Delays delays(node.disk);
  Volume* volume = node.serve(64 * kMiB);
  ASSERT_TRUE(node.write(volume, 5, 1, 7));
  delays.sync_us = 2'000'000'000;  // The checkpoint never ends.
  while (node.group->status().log_used_bytes < node.group->status().log_bytes) ASSERT_TRUE(node.unmap(volume, 7, 1));
  node.power_loss();
  delays.sync_us = 200;
  ASSERT_TRUE(node.open());
  EXPECT_EQ(node.value_at(node.volume(), 5), 7);
  EXPECT_TRUE(node.write(node.volume(), 6, 1, 8));
}

}  // namespace
}  // namespace holdfast::engine_test
