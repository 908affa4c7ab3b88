// A file system without room, across restarts: what was acknowledged is applied, and nobody who waits for space stops others.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "test/engine/one_node.h"

namespace holdfast::engine_test {
namespace {

enum class Last : std::uint8_t { whole_chunks, single_blocks, whole_chunk_unmapped_and_written };

// Fills a store until no chunk is left. Returns the number of the last one.
std::uint64_t fill(OneNode& node, Volume* volume, Last last) {
  const std::size_t blocks = last == Last::single_blocks ? 1 : kChunkBlocks;
  std::uint64_t chunk = 0;
  while (node.write(volume, chunk * kChunkBlocks, blocks, 1)) ++chunk;
  --chunk;
  if (last != Last::whole_chunk_unmapped_and_written) return chunk;
  std::optional<Result<void>> unmapped, written;
  const Lba first(chunk * kChunkBlocks);
  node.begin(volume->unmap(BlockRange{first, BlockCount(kChunkBlocks)}), &unmapped);
  node.begin(volume->write(BlockRange{first, BlockCount(1)}, node.filled(1, 9)), &written);
  EXPECT_TRUE(node.run_until([&] { return unmapped && written; }));
  EXPECT_TRUE(*unmapped && *written);
  return chunk;
}

class FullStoreRestart : public testing::TestWithParam<Last> {};

// After a restart applying may need other pages and chunks than before it: what it needs is there, or comes free by a
// checkpoint that does not wait for it.
TEST_P(FullStoreRestart, PowerLoss_WhatWasAcknowledgedIsApplied) {
  for (std::uint64_t mib = 12; mib < 44; mib += 3) {
    OneNode node(3);
    ASSERT_TRUE(node.format());
    ASSERT_TRUE(node.open());
    Volume* volume = node.create("pg", 512 * kMiB);
    node.disk.set_capacity(mib * kMiB);
    const std::uint64_t last = fill(node, volume, GetParam());
    node.power_loss();
    ASSERT_TRUE(node.open());
    std::optional<Result<void>> done;
    node.begin(node.group->checkpoint(), &done);
    const auto settled = [&] { return done && node.group->status().applied_lsn == node.group->status().commit_lsn; };
    ASSERT_TRUE(node.run_until_within(60'000, settled)) << mib << " MiB";
    EXPECT_EQ(node.value_at(node.volume(), last * kChunkBlocks), GetParam() == Last::whole_chunk_unmapped_and_written ? 9 : 1);
  }
}

// How much of the log waits for its chunks when the power goes depends on the log's size. The last write that was refused had tried
// to grow the file, and a larger file has a larger space tree, for which there was no room either.
TEST_P(FullStoreRestart, PowerLossAtOtherLogSizes_WhatWasAcknowledgedIsApplied) {
  for (const std::uint64_t fewer : {8, 16, 24, 32, 40, 48, 56, 64, 128}) {
    OneNode node(3);
    ASSERT_TRUE(node.format(kLogBytes - fewer * kBlockBytes));
    const bool small = fewer % 16 == 0;  // Or else the file has all of its space before there is less.
    if (small) node.disk.set_capacity(40 * kMiB + fewer * kBlockBytes);
    ASSERT_TRUE(node.open());
    Volume* volume = node.create("pg", 512 * kMiB);
    if (!small) node.disk.set_capacity(12 * kMiB);
    fill(node, volume, GetParam());
    node.power_loss();
    ASSERT_TRUE(node.open());
    std::optional<Result<void>> done;
    node.begin(node.group->checkpoint(), &done);
    const auto settled = [&] { return done && node.group->status().applied_lsn == node.group->status().commit_lsn; };
    ASSERT_TRUE(node.run_until_within(60'000, settled)) << fewer << " blocks fewer";
  }
}

// Whoever writes right after the start gets what is free, and not what was promised before it.
TEST_P(FullStoreRestart, NewWritesAtOnce_DoNotTakeWhatWasPromised) {
  for (std::uint64_t mib = 12; mib < 44; mib += 3) {
    OneNode node(3);
    ASSERT_TRUE(node.format());
    ASSERT_TRUE(node.open());
    Volume* volume = node.create("pg", 512 * kMiB);
    node.disk.set_capacity(mib * kMiB);
    const std::uint64_t last = fill(node, volume, GetParam());
    node.power_loss();
    ASSERT_TRUE(node.open());
    std::uint64_t fresh = 2'000;
    while (node.write(node.volume(), fresh * kChunkBlocks, 1, 7)) ++fresh;
    std::optional<Result<void>> done;
    node.begin(node.group->checkpoint(), &done);
    const auto settled = [&] { return done && node.group->status().applied_lsn == node.group->status().commit_lsn; };
    ASSERT_TRUE(node.run_until_within(60'000, settled)) << mib << " MiB";
    EXPECT_EQ(node.value_at(node.volume(), last * kChunkBlocks), GetParam() == Last::whole_chunk_unmapped_and_written ? 9 : 1);
    ASSERT_TRUE(node.write(node.volume(), 0, 1, 3)) << "an overwrite";
  }
}
INSTANTIATE_TEST_SUITE_P(Ends, FullStoreRestart,
                         testing::Values(Last::whole_chunks, Last::single_blocks, Last::whole_chunk_unmapped_and_written));

// A full store takes overwrites, also in the moment when the applier has taken the chunk's place and the map has it not yet.
TEST(FullStore, OverwriteWhileTheChunkGetsItsPlace_Succeeds) {
  OneNode node(5);
  Volume* volume = node.serve(512 * kMiB);
  node.disk.set_capacity(24 * kMiB);
  const std::uint64_t last = fill(node, volume, Last::single_blocks);
  ASSERT_LT(node.group->status().applied_lsn, node.group->status().commit_lsn);
  // One overwrite after the other, while what waited at the beginning is applied, slowly: many hit the moment. What comes free
  // meanwhile is taken at once.
  node.disk.latency.write_us = 20'000;
  std::uint64_t next = last + 1;
  for (int i = 0; i < 1000; ++i) {
    while (node.write(volume, next * kChunkBlocks, 1, 1)) ++next;
    ASSERT_TRUE(node.write(volume, last * kChunkBlocks, 1, 2)) << "overwrite " << i;
  }
  EXPECT_EQ(node.value_at(volume, last * kChunkBlocks), 2);
}

// Those that wait for room in the tail are told, too, when those before them are refused for lack of space.
TEST(FullStore, ManyWritesAtOnceAreRefused_NobodyWaitsForEver) {
  OneNode node(5);
  Volume* volume = node.serve(512 * kMiB);
  node.disk.set_capacity(24 * kMiB);
  const std::uint64_t last = fill(node, volume, Last::single_blocks);
  ASSERT_TRUE(node.run(node.group->checkpoint()));
  std::uint64_t next = last + 1;
  while (node.write(volume, next * kChunkBlocks, 1, 1)) ++next;
  std::vector<std::optional<Result<void>>> done(60);
  for (std::size_t i = 0; i < done.size(); ++i)
    node.begin(volume->write(BlockRange{Lba((next + 100 + i * 4) * kChunkBlocks + 1), BlockCount(14)}, node.filled(14, 2)), &done[i]);
  const auto answered = [&] { return std::count_if(done.begin(), done.end(), [](const auto& d) { return d.has_value(); }); };
  node.run_until_within(60'000, [&] { return answered() == 60; });
  EXPECT_EQ(answered(), 60) << "of 60 in a minute";
}

constexpr std::uint64_t kAdmitted = 100;  // Chunks that had their space when it was promised.

// Power is lost before what was admitted is applied, and the file comes back without the space that was promised.
void starve(OneNode& node) {
  Volume* volume = node.serve(64 * kMiB);
  node.create("other", 16 * kMiB);
  ASSERT_TRUE(node.write(node.volume("other"), 0, 256, 5));
  ASSERT_TRUE(node.run(node.group->checkpoint()));
  for (std::uint64_t i = 0; i < kAdmitted; ++i) ASSERT_TRUE(node.write(volume, i * kChunkBlocks, 1, 1));
  node.power_loss();
  node.disk.make_sparse();
  node.disk.set_capacity(node.disk.backed_bytes() + 20 * kChunkBytes);
  GroupOptions options{};
  options.checkpoint_log_percent = 1;  // One is due all the time.
  ASSERT_TRUE(node.open(options));
  std::optional<Result<void>> done;
  node.begin(node.group->checkpoint(), &done);
  ASSERT_TRUE(node.run_until_within(60'000, [&] { return done.has_value(); }));
  ASSERT_LT(node.group->status().applied_lsn, node.group->status().commit_lsn) << "the store does not starve";
}

bool all_applied(OneNode& node) { return node.group->status().applied_lsn == node.group->status().commit_lsn; }

// The volume goes while some of it still waits to be applied: its space comes back when that is done, and not before.
TEST(StarvedStore, VolumeDeleted_IsPurgedOnceSpaceIsThere) {
  OneNode node;
  starve(node);
  ASSERT_TRUE(node.run(node.group->delete_volume("pg")));
  ASSERT_TRUE(node.run(node.group->delete_volume("other")));
  node.run_until_within(10'000, [] { return false; });
  ASSERT_FALSE(node.group->status().failed) << node.group->status().failure;
  EXPECT_FALSE(all_applied(node));
  const std::uint64_t backed = node.disk.backed_bytes();
  node.disk.set_capacity(kDiskBytes);
  ASSERT_TRUE(node.run_until_within(60'000, [&] { return all_applied(node); }));
  const std::uint64_t most = node.disk.backed_bytes();
  EXPECT_GT(most, backed);
  ASSERT_TRUE(node.run_until_within(60'000, [&] { return node.disk.backed_bytes() + 3 * kMiB < most; })) << "not purged";
  // Both slots and names are free again, for good.
  node.power_loss();
  ASSERT_TRUE(node.open());
  EXPECT_TRUE(node.group->volumes().empty());
  EXPECT_NE(node.create("pg", 16 * kMiB), nullptr);
  EXPECT_EQ(node.value_at(node.volume(), 0), 0);
}

TEST(StarvedStore, VolumeDeletedAndStopped_StopEnds_TheNextStartPurges) {
  OneNode node;
  starve(node);
  ASSERT_TRUE(node.run(node.group->delete_volume("pg")));
  std::optional<Result<void>> stopped;
  node.begin(node.group->stop(), &stopped);
  ASSERT_TRUE(node.run_until_within(60'000, [&] { return stopped.has_value(); })) << "stop() waits for space";
  EXPECT_TRUE(stopped->has_value());
  EXPECT_FALSE(node.group->status().failed) << node.group->status().failure;
  node.power_loss();
  node.disk.set_capacity(kDiskBytes);
  ASSERT_TRUE(node.open());
  EXPECT_EQ(node.volume(), nullptr);
  ASSERT_TRUE(node.run_until_within(60'000, [&] { return all_applied(node); }));
  EXPECT_EQ(node.value_at(node.volume("other"), 255), 5);
}

// While nothing can be applied, checkpoints that would free nothing do not follow on each other's heels.
TEST(StarvedStore, NothingToGain_CheckpointsAreFew) {
  OneNode node;
  starve(node);
  const auto before = node.disk.counters().syncs;
  node.run_until_within(10'000, [] { return false; });
  EXPECT_LE(node.disk.counters().syncs - before, 25u);
  EXPECT_EQ(node.value_at(node.volume(), 0), 1) << "reads are served from the log";
}

}  // namespace
}  // namespace holdfast::engine_test
