// What a volume promises to its initiators.
#include <gtest/gtest.h>

#include "test/engine/one_node.h"

namespace holdfast::engine_test {
namespace {

BlockRange range(std::uint64_t first, std::uint64_t count) { return {Lba(first), BlockCount(count)}; }

TEST(Volume, RangeBeyondTheEnd_IsRefusedWithoutWrapping) {
  OneNode node;
  Volume* volume = node.serve(16 * kMiB);
  EXPECT_EQ(node.write(volume, 4095, 2, 1).error().code, Errc::out_of_range);
  EXPECT_EQ(node.write(volume, ~0ULL, 1, 1).error().code, Errc::out_of_range);
  EXPECT_EQ(node.unmap(volume, 1, ~0ULL).error().code, Errc::out_of_range);
  EXPECT_TRUE(node.write(volume, 4095, 1, 1));
}

TEST(Volume, BufferOfAnotherSize_IsRefused) {
  OneNode node;
  Volume* volume = node.serve(16 * kMiB);
  const auto done = node.run(volume->write(range(0, 2), node.filled(1, 1)));
  EXPECT_EQ(done.error().code, Errc::invalid_argument);
}

// P5: a flipped bit is never returned.
TEST(Volume, RottenBlock_ReadsAsCorrupt_NeverAsWrongData) {
  OneNode node;
  Volume* volume = node.serve(16 * kMiB);
  ASSERT_TRUE(node.write(volume, 0, 16, 7));
  ASSERT_TRUE(node.run(node.group->checkpoint()));
  const auto image_end = node.disk.size_bytes();
  // Finds the chunk by its content and spoils one of its blocks.
  for (std::uint64_t offset = 0; offset < image_end; offset += kChunkBytes) {
    const auto bytes = node.disk.peek(offset, kBlockBytes);
    if (bytes[0] == std::byte{7} && bytes[4095] == std::byte{7}) node.disk.flip_bit(offset + 5 * kBlockBytes + 9, 2);
  }
  EXPECT_EQ(node.value_at(volume, 4), 7);
  Buffer into = node.filled(1, 0);
  const auto read = node.run(volume->read(range(5, 1), into));
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, Errc::corrupt);
  EXPECT_GE(node.group->status().checksum_errors, 1u);
  EXPECT_FALSE(node.run(node.group->verify_all()));
  ASSERT_TRUE(node.write(volume, 5, 1, 8)) << "an overwrite heals it";
  EXPECT_EQ(node.value_at(volume, 5), 8);
}

TEST(Volume, CompareAndWrite_Mismatch_TellsTheOffsetAndWritesNothing) {
  OneNode node;
  Volume* volume = node.serve(16 * kMiB);
  ASSERT_TRUE(node.write(volume, 0, 2, 1));
  Buffer expected = node.filled(2, 1);
  expected.data()[5000] = std::byte{9};
  const auto done = node.run(volume->compare_and_write(range(0, 2), expected, node.filled(2, 3)));
  ASSERT_TRUE(done);
  EXPECT_FALSE(done->matched);
  EXPECT_EQ(done->mismatch_offset, 5000u);
  EXPECT_EQ(node.value_at(volume, 0), 1);
}

// The range is compared piece by piece: a difference far behind is found, and told from the range's begin.
TEST(Volume, CompareAndWrite_MismatchBehindTheFirstPieces_TellsTheOffsetAndWritesNothing) {
  OneNode node;
  Volume* volume = node.serve(16 * kMiB);
  ASSERT_TRUE(node.write(volume, 3, 200, 1));
  Buffer expected = node.filled(200, 1);
  expected.data()[777'777] = std::byte{9};
  const auto done = node.run(volume->compare_and_write(range(3, 200), expected, node.filled(200, 3)));
  ASSERT_TRUE(done);
  EXPECT_FALSE(done->matched);
  EXPECT_EQ(done->mismatch_offset, 777'777u);
  EXPECT_EQ(node.value_at(volume, 3), 1);
  ASSERT_TRUE(node.run(volume->compare_and_write(range(3, 200), node.filled(200, 1), node.filled(200, 3)))->matched);
  EXPECT_EQ(node.value_at(volume, 202), 3);
}

// Two who compare with the same value: exactly one may win, however they interleave.
TEST(Volume, CompareAndWrite_TwoAtOnce_ExactlyOneWins) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    OneNode node(seed);
    Volume* volume = node.serve(16 * kMiB);
    std::optional<Result<Volume::CompareResult>> a, b;
    node.begin(volume->compare_and_write(range(0, 1), node.filled(1, 0), node.filled(1, 1)), &a);
    node.begin(volume->compare_and_write(range(0, 1), node.filled(1, 0), node.filled(1, 2)), &b);
    ASSERT_TRUE(node.run_until([&] { return a && b; }));
    ASSERT_TRUE(*a && *b);
    EXPECT_NE((*a)->matched, (*b)->matched);
    EXPECT_EQ(node.value_at(volume, 0), (*a)->matched ? 1 : 2);
  }
}

TEST(Volume, OrWrite_AddsBits) {
  OneNode node;
  Volume* volume = node.serve(16 * kMiB);
  ASSERT_TRUE(node.write(volume, 1, 1, 0x0f));
  ASSERT_TRUE(node.run(volume->or_write(range(1, 1), node.filled(1, 0xa0))));
  EXPECT_EQ(node.value_at(volume, 1), 0xaf);
}

TEST(Volume, OrWriteOfManyPieces_AddsBitsToAll) {
  OneNode node;
  Volume* volume = node.serve(16 * kMiB);
  ASSERT_TRUE(node.write(volume, 1, 100, 0x0f));
  ASSERT_TRUE(node.run(volume->or_write(range(1, 100), node.filled(100, 0xa0))));
  EXPECT_EQ(node.value_at(volume, 0), 0);
  for (std::uint64_t block = 1; block <= 100; block += 9) EXPECT_EQ(node.value_at(volume, block), 0xaf);
}

TEST(Volume, WriteSame_FillsAnyLength_AndZerosAreAnUnmap) {
  OneNode node;
  Volume* volume = node.serve(16 * kMiB);
  ASSERT_TRUE(node.run(volume->write_same(range(5, 1000), node.filled(1, 6))));
  EXPECT_EQ(node.value_at(volume, 4), 0);
  EXPECT_EQ(node.value_at(volume, 5), 6);
  EXPECT_EQ(node.value_at(volume, 1004), 6);
  EXPECT_EQ(node.value_at(volume, 1005), 0);
  ASSERT_TRUE(node.run(volume->write_same(range(0, 4096), node.filled(1, 0))));
  ASSERT_TRUE(node.run(node.group->checkpoint()));
  EXPECT_EQ(node.group->figures("pg")->allocated_bytes, 0u);
}

TEST(Volume, WriteSameOfNoBlocks_IsRefused) {
  OneNode node;
  Volume* volume = node.serve(16 * kMiB);
  EXPECT_EQ(node.run(volume->write_same(range(5, 0), node.filled(1, 6))).error().code, Errc::invalid_argument);
  EXPECT_EQ(node.run(volume->write_same(range(5, 0), node.filled(1, 0))).error().code, Errc::invalid_argument);
  EXPECT_TRUE(node.unmap(volume, 5, 0)) << "nothing to do";
}

// A write below the size of a chunk and one of whole chunks, overlapping in time: LSN order decides, for all time.
TEST(Volume, OverlappingWrites_LastAcknowledgedOrderSurvivesRestart) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    OneNode node(seed);
    Volume* volume = node.serve(16 * kMiB);
    std::optional<Result<void>> small, large;
    node.begin(volume->write(range(8, 1), node.filled(1, 1)), &small);
    node.begin(volume->write(range(0, 48), node.filled(48, 2)), &large);
    ASSERT_TRUE(node.run_until([&] { return small && large; }));
    const int seen = node.value_at(volume, 8);
    EXPECT_TRUE(seen == 1 || seen == 2);
    node.power_loss();
    ASSERT_TRUE(node.open());
    EXPECT_EQ(node.value_at(node.volume(), 8), seen);
    EXPECT_EQ(node.value_at(node.volume(), 9), 2);
  }
}

// A failed sync is final: nothing is acknowledged afterwards, and a restart has everything that was.
TEST(Volume, FailedWrite_TakesTheStoreOutOfService_ForGood) {
  OneNode node;
  Volume* volume = node.serve(16 * kMiB);
  ASSERT_TRUE(node.write(volume, 0, 1, 1));
  node.disk.faults.fail_next_write = true;
  EXPECT_FALSE(node.write(volume, 1, 1, 2));
  EXPECT_FALSE(node.write(volume, 2, 1, 3)) << "the device works again, but nobody knows what it dropped";
  EXPECT_EQ(volume->local_state(), PortGroupState::unavailable);
  EXPECT_TRUE(node.group->status().failed);
  EXPECT_FALSE(node.group->status().failure.empty());
  node.power_loss();
  ASSERT_TRUE(node.open());
  EXPECT_EQ(node.value_at(node.volume(), 0), 1);
}

// Lazy apply: a block that is written a thousand times reaches its chunk a few times only.
TEST(Volume, HotBlock_IsWrittenToItsChunkSeldom) {
  OneNode node;
  Volume* volume = node.serve(16 * kMiB);
  const auto before = node.disk.counters();
  for (int i = 0; i < 500; ++i) ASSERT_TRUE(node.write(volume, 0, 1, i & 0x7f));
  const auto after = node.disk.counters();
  const auto cached = after.writes - before.writes;  // Durable ones are counted apart.
  EXPECT_LT(cached, 50u);
}

TEST(Group, NamesAndSizes_AreChecked) {
  OneNode node;
  node.serve(16 * kMiB);
  const Uuid id{};
  EXPECT_EQ(node.run(node.group->create_volume("pg", id, BlockCount(16))).error().code, Errc::exists);
  EXPECT_EQ(node.run(node.group->create_volume("", id, BlockCount(16))).error().code, Errc::invalid_argument);
  EXPECT_EQ(node.run(node.group->create_volume(std::string(64, 'a'), id, BlockCount(16))).error().code, Errc::invalid_argument);
  EXPECT_EQ(node.run(node.group->create_volume("odd", id, BlockCount(17))).error().code, Errc::invalid_argument);
  EXPECT_EQ(node.run(node.group->create_volume("huge", id, BlockCount(~0ULL - 15))).error().code, Errc::invalid_argument);
  EXPECT_EQ(node.run(node.group->delete_volume("none")).error().code, Errc::not_found);
}

TEST(Group, SeveralVolumes_KeepApart) {
  OneNode node;
  Volume* one = node.serve(16 * kMiB);
  Volume* two = node.create("wal", 32 * kMiB);
  ASSERT_TRUE(node.write(one, 7, 1, 1));
  ASSERT_TRUE(node.write(two, 7, 1, 2));
  node.power_loss();
  ASSERT_TRUE(node.open());
  EXPECT_EQ(node.value_at(node.volume("pg"), 7), 1);
  EXPECT_EQ(node.value_at(node.volume("wal"), 7), 2);
  EXPECT_EQ(node.volume("wal")->capacity().value, 32 * kMiB / kBlockBytes);
}

}  // namespace
}  // namespace holdfast::engine_test
