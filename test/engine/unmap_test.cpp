// Unmapping over what is not there, what cannot be read, and very much of it.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "engine/group_impl.h"
#include "test/engine/one_node.h"

namespace holdfast::engine_test {
namespace {

constexpr std::uint64_t kLeafBlocks = snapshot::kLeafChunks * kChunkBlocks;

// Flips a bit in each copy of a map's page, also in those that are not in use any more. How many there are.
int spoil_map_page(OneNode& node, unsigned level, std::uint64_t index) {
  int found = 0;
  for (std::uint64_t page = snapshot::kLogOffset / kBlockBytes; page < node.disk.size_bytes() / kBlockBytes; ++page) {
    const auto bytes = node.disk.peek(page * kBlockBytes, sizeof(snapshot::PageHeader));
    snapshot::PageHeader header;
    std::memcpy(&header, bytes.data(), sizeof header);
    const bool wanted = header.magic == snapshot::kPageMagic && header.level == level && header.index == index &&
                        header.kind == static_cast<std::uint16_t>(snapshot::TreeKind::map);
    if (!wanted) continue;
    node.disk.flip_bit(page * kBlockBytes + 200, 1);
    ++found;
  }
  return found;
}

// A volume whose first `leaves` map pages have a chunk each, all of it on disk, and none in memory.
Volume* serve_mapped(OneNode& node, std::uint64_t leaves, GroupOptions options = {}) {
  Volume* volume = node.serve(1024 * kMiB);
  for (std::uint64_t i = 0; i < leaves; ++i) EXPECT_TRUE(node.write(volume, i * kLeafBlocks, 1, 1));
  EXPECT_TRUE(node.run(node.group->stop()));
  node.power_loss();
  EXPECT_TRUE(node.open(options));
  return node.volume();
}

bool all_applied(OneNode& node) { return node.group->status().applied_lsn == node.group->status().commit_lsn; }

// Nobody can carry it out: in the log it would take the store down, and down again at each start.
TEST(Unmap, MapPageIsRotten_IsRefused_TheStoreServesOn) {
  OneNode node(5);
  Volume* volume = serve_mapped(node, 3);
  ASSERT_GT(spoil_map_page(node, 0, 1), 0);
  EXPECT_FALSE(node.write(volume, kLeafBlocks, 1, 2));
  EXPECT_TRUE(node.write(volume, 0, 1, 2));
  const auto unmapped = node.unmap(volume, 0, 3 * kLeafBlocks);
  ASSERT_FALSE(unmapped);
  EXPECT_EQ(unmapped.error().code, Errc::corrupt);
  EXPECT_GE(node.group->status().checksum_errors, 1u);
  EXPECT_TRUE(node.unmap(volume, 2 * kLeafBlocks, 1)) << "beside it";
  for (int start = 0; start < 2; ++start) {
    EXPECT_TRUE(node.run(node.group->checkpoint()));
    ASSERT_FALSE(node.group->status().failed) << node.group->status().failure;
    EXPECT_EQ(node.value_at(node.volume(), 0), 2);
    node.power_loss();
    ASSERT_TRUE(node.open());
  }
}

// Once may be chance, and is read again; what the disk refuses again fails the command.
TEST(Unmap, ReadErrors_FailTheCommandAlone) {
  OneNode node(5);
  Volume* volume = serve_mapped(node, 3);
  node.disk.faults.fail_next_read = true;
  EXPECT_TRUE(node.unmap(volume, 0, kChunkBlocks));
  node.disk.faults.read_error_ppm = 1'000'000;
  EXPECT_FALSE(node.unmap(volume, kLeafBlocks, kChunkBlocks));
  node.disk.faults.read_error_ppm = 0;
  EXPECT_TRUE(node.unmap(volume, kLeafBlocks, kChunkBlocks));
  EXPECT_TRUE(node.run(node.group->checkpoint()));
  EXPECT_FALSE(node.group->status().failed) << node.group->status().failure;
}

// The page is read once, before the record; it must not be needed from the disk again, however little memory there is.
TEST(Unmap, MapPageRotsAfterTheCommit_IsAppliedAllTheSame) {
  OneNode node(5);
  GroupOptions options{};
  options.map_cache_bytes = 64 << 10;
  Volume* volume = serve_mapped(node, 64, options);
  ASSERT_TRUE(node.unmap(volume, kLeafBlocks, kChunkBlocks));
  ASSERT_FALSE(all_applied(node));
  for (std::uint64_t i = 8; i < 64; ++i) ASSERT_EQ(node.value_at(volume, i * kLeafBlocks), 1);  // More than the cache takes.
  ASSERT_FALSE(all_applied(node));
  ASSERT_GT(spoil_map_page(node, 0, 1), 0);
  EXPECT_TRUE(node.run(node.group->checkpoint()));
  ASSERT_FALSE(node.group->status().failed) << node.group->status().failure;
  EXPECT_EQ(node.value_at(volume, kLeafBlocks), 0);
}

TEST(Unmap, NothingIsMapped_NothingIsPending) {
  OneNode node;
  ASSERT_TRUE(node.format());
  ASSERT_TRUE(node.open());
  Volume* volume = node.create("pg", std::uint64_t{1} << 40);
  ASSERT_TRUE(node.write(volume, 5 * kChunkBlocks, 1, 1));
  ASSERT_TRUE(node.run(node.group->checkpoint()));
  ASSERT_TRUE(node.unmap(volume, 6 * kChunkBlocks, Volume::kUnmapBlocksMax - 6 * kChunkBlocks));
  ASSERT_TRUE(node.unmap(volume, Volume::kUnmapBlocksMax, Volume::kUnmapBlocksMax));
  EXPECT_TRUE(all_applied(node));
  node.power_loss();
  ASSERT_TRUE(node.open());
  EXPECT_TRUE(all_applied(node));
  EXPECT_EQ(node.value_at(node.volume(), 5 * kChunkBlocks), 1);
}

// A hole may be filled between the look at the map and the commit: the order in the log decides what is read.
TEST(Unmap, AmongWritesIntoHoles_OrderOfTheLogSurvivesARestart) {
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    OneNode node(seed);
    Volume* volume = node.serve(64 * kMiB);
    std::vector<std::optional<Result<void>>> done(12);
    for (std::size_t i = 0; i < done.size(); ++i) {
      const BlockRange range{Lba(i % 3 * kLeafBlocks), BlockCount(kChunkBlocks)};
      if (i % 4 == 3) node.begin(volume->unmap(range), &done[i]);
      else node.begin(volume->write(range, node.filled(kChunkBlocks, static_cast<int>(i) + 1)), &done[i]);
      for (std::uint64_t step = 0; step < seed % 7; ++step) node.world.step();
    }
    ASSERT_TRUE(node.run_until([&] { return std::all_of(done.begin(), done.end(), [](auto& one) { return one.has_value(); }); }));
    std::vector<int> seen;
    for (std::uint64_t leaf = 0; leaf < 3; ++leaf) seen.push_back(node.value_at(volume, leaf * kLeafBlocks));
    node.power_loss();
    ASSERT_TRUE(node.open());
    for (std::uint64_t leaf = 0; leaf < 3; ++leaf) EXPECT_EQ(node.value_at(node.volume(), leaf * kLeafBlocks), seen[leaf]);
    ASSERT_TRUE(node.run(node.group->checkpoint()));
    for (std::uint64_t leaf = 0; leaf < 3; ++leaf) EXPECT_EQ(node.value_at(node.volume(), leaf * kLeafBlocks), seen[leaf]);
  }
}

// It has no payload, but what it makes pending takes memory, and pins pages.
TEST(Unmap, VeryMuchAtOnce_WhatIsPendingIsBounded) {
  constexpr std::uint64_t kChunks = 8192;
  constexpr std::uint64_t kRecordChunks = 1024;
  OneNode node;
  ASSERT_TRUE(node.format(64 * kMiB));
  GroupOptions options{};
  options.apply_backlog_bytes = 2 * kMiB;  // For 1024 pending chunks.
  ASSERT_TRUE(node.open(options));
  Volume* volume = node.create("pg", kChunks * kChunkBytes);
  for (std::uint64_t chunk = 0; chunk < kChunks; ++chunk) ASSERT_TRUE(node.write(volume, chunk * kChunkBlocks, 1, 1));
  ASSERT_TRUE(node.run(node.group->checkpoint()));
  auto& pending = static_cast<engine::GroupImpl&>(*node.group).pending();
  std::optional<Result<void>> done;
  node.begin(volume->unmap(BlockRange{Lba(0), BlockCount(kChunks * kChunkBlocks)}), &done);
  std::size_t most = 0;
  ASSERT_TRUE(node.run_until([&] {
    most = std::max(most, pending.sets());
    return done.has_value();
  }));
  EXPECT_TRUE(done->has_value());
  EXPECT_GE(most, kRecordChunks);
  EXPECT_LE(most, 2 * kRecordChunks);
}

// A start over many unmaps lets others run now and then.
TEST(Unmap, LongReplay_TakesManyTurns) {
  constexpr std::uint64_t kRounds = 16, kAtOnce = 64;
  const auto steps_of_a_start = [](OneNode& node) {
    node.power_loss();
    const std::uint64_t before = node.world.steps();
    EXPECT_TRUE(node.open());
    return node.world.steps() - before;
  };
  OneNode node;
  node.serve(1024 * kMiB);
  const std::uint64_t idle = steps_of_a_start(node);
  for (std::uint64_t round = 0; round < kRounds; ++round) {
    std::vector<std::optional<Result<void>>> done(kAtOnce);  // They share a batch: little to scan.
    for (auto& one : done) node.begin(node.volume()->unmap(BlockRange{Lba(round * kLeafBlocks), BlockCount(1)}), &one);
    ASSERT_TRUE(node.run_until([&] { return std::all_of(done.begin(), done.end(), [](auto& one) { return one.has_value(); }); }));
  }
  EXPECT_GE(steps_of_a_start(node), idle + kRounds * kAtOnce / 8);
}

// What a deleted volume's unreadable page says is needed by nobody: it costs space, and not the service of the others.
TEST(Purge, MapPageIsRotten_TheRestIsGivenBack_TheStoreServesOn) {
  for (const unsigned level : {0u, 1u}) {
    OneNode node(5);
    Volume* volume = node.serve(1024 * kMiB);  // 683 leaves below 6 pages.
    ASSERT_TRUE(node.write(node.create("other", 16 * kMiB), 0, 1, 5));
    for (std::uint64_t i = 0; i < 300; ++i) ASSERT_TRUE(node.write(volume, i * kLeafBlocks, 1, 1));
    ASSERT_TRUE(node.run(node.group->stop()));
    node.power_loss();
    ASSERT_GT(spoil_map_page(node, level, 1), 0);
    ASSERT_TRUE(node.open());
    const std::uint64_t before = node.disk.backed_bytes();
    ASSERT_TRUE(node.run(node.group->delete_volume("pg")));
    const std::uint64_t given_back = level == 0 ? 299 : 300 - snapshot::kFanout;
    ASSERT_TRUE(node.run_until_within(10'000, [&] { return node.disk.backed_bytes() + (given_back - 5) * kChunkBytes < before; }));
    for (int start = 0; start < 2; ++start) {
      ASSERT_TRUE(node.run(node.group->checkpoint()));
      ASSERT_FALSE(node.group->status().failed) << node.group->status().failure;
      EXPECT_GE(node.group->status().checksum_errors, 1u);
      EXPECT_EQ(node.volume(), nullptr);
      EXPECT_EQ(node.value_at(node.volume("other"), 0), 5);
      node.power_loss();
      ASSERT_TRUE(node.open());
      node.run_until_within(1'000, [] { return false; });
    }
    EXPECT_NE(node.create("pg", 16 * kMiB), nullptr) << "the name is free";
    EXPECT_EQ(node.value_at(node.volume(), 0), 0);
  }
}

}  // namespace
}  // namespace holdfast::engine_test
