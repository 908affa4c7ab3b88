// What a restart finds, and what it refuses to serve.
#include <gtest/gtest.h>

#include "base/checksum.h"
#include "engine/group_impl.h"
#include "snapshot/store_format.h"
#include "snapshot/superblock.h"
#include "test/engine/one_node.h"
#include "wal/log_format.h"

namespace holdfast::engine_test {
namespace {

TEST(Recovery, PowerLoss_AfterAcknowledgedWrites_AllAreThere) {
  OneNode node;
  Volume* volume = node.serve(64 * kMiB);
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(node.write(volume, static_cast<std::uint64_t>(i) * 3, 1, i + 1));
  node.power_loss();
  ASSERT_TRUE(node.open());
  for (int i = 0; i < 50; ++i) EXPECT_EQ(node.value_at(node.volume(), static_cast<std::uint64_t>(i) * 3), i + 1);
  EXPECT_EQ(node.value_at(node.volume(), 1), 0);
}

// The log is a ring: what was written many laps ago must not be read as news.
TEST(Recovery, LogWrappedManyTimes_NewestValuesWin) {
  OneNode node;
  Volume* volume = node.serve(16 * kMiB);
  for (int lap = 1; lap <= 6; ++lap)
    for (std::uint64_t block = 0; block < 600; ++block) ASSERT_TRUE(node.write(volume, block, 1, lap));
  node.power_loss();
  ASSERT_TRUE(node.open());
  for (std::uint64_t block = 0; block < 600; block += 37) EXPECT_EQ(node.value_at(node.volume(), block), 6);
}

// Rule 20: a record that a later header proves durable is damage, not a torn tail.
TEST(Recovery, LogDamagedBeforeItsDurableEnd_RefusesAndNamesTheLsn) {
  OneNode node;
  Volume* volume = node.serve(16 * kMiB);
  for (std::uint64_t i = 0; i < 20; ++i) ASSERT_TRUE(node.write(volume, i, 1, 7));
  node.power_loss();
  node.disk.flip_bit(snapshot::kLogOffset + 12 * kBlockBytes + 100, 3);
  const auto opened = node.open();
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, Errc::damaged);
  EXPECT_NE(opened.error().message.find("LSN"), std::string::npos) << opened.error().message;
}

TEST(Recovery, EitherSuperblockCopyLost_OpensAndRepairsIt) {
  for (const std::uint64_t lost : snapshot::kSuperblockOffsets) {
    OneNode node;
    Volume* volume = node.serve(16 * kMiB);
    ASSERT_TRUE(node.write(volume, 5, 4, 9));
    ASSERT_TRUE(node.run(node.group->checkpoint()));
    ASSERT_TRUE(node.write(volume, 6, 1, 11));
    node.power_loss();
    node.disk.flip_bit(lost + 700, 1);
    ASSERT_TRUE(node.open()) << "copy at " << lost;
    EXPECT_EQ(node.value_at(node.volume(), 5), 9);
    EXPECT_EQ(node.value_at(node.volume(), 6), 11);
    EXPECT_TRUE(snapshot::decode_superblock(node.disk.peek(lost, kBlockBytes))) << "not rewritten";
  }
}

// The start rewrites both, and the damaged one first: a power loss must find one of them whole, however writes tear.
TEST(Recovery, SuperblockCopyLost_IsRewrittenBeforeTheWholeOneIsTouched) {
  struct Watch final : sim::DiskObserver {
    void disk_submitted(std::uint64_t, const DiskRequest& request, std::span<const sim::PageRef>) override {
      whole_hit = whole_hit || (request.op == DiskOp::write && request.offset == whole);
    }
    void disk_completed(std::uint64_t, const DiskRequest& request, int) override {
      lost_done = lost_done || (request.op == DiskOp::write && request.offset == lost);
    }
    std::uint64_t lost = 0, whole = 0;
    bool whole_hit = false, lost_done = false;
  };
  for (std::size_t lost = 0; lost < 2; ++lost)
    for (std::uint64_t seed = 1; seed <= 5; ++seed) {
      OneNode node(seed);
      ASSERT_TRUE(node.write(node.serve(16 * kMiB), 0, 1, 7));
      node.power_loss();
      node.disk.flip_bit(snapshot::kSuperblockOffsets[lost] + 100, 3);
      Watch watch;
      watch.lost = snapshot::kSuperblockOffsets[lost];
      watch.whole = snapshot::kSuperblockOffsets[1 - lost];
      node.disk.observer = &watch;
      std::optional<Result<void>> opened;
      node.begin_open(&opened);
      ASSERT_TRUE(node.run_until([&] { return watch.whole_hit; }));
      EXPECT_TRUE(watch.lost_done) << "copy " << lost;
      node.disk.observer = nullptr;
      node.power_loss();
      ASSERT_TRUE(node.open()) << "copy " << lost << ", seed " << seed;
      EXPECT_EQ(node.value_at(node.volume(), 0), 7);
    }
}

// The device says that all is well. What a superblock promises would be forgotten at the next start.
TEST(Recovery, SuperblockWritesThatAreLostOrGoAstray_TakeTheStoreOutOfService) {
  for (const bool lost : {true, false}) {
    OneNode node;
    Volume* volume = node.serve(16 * kMiB);
    ASSERT_TRUE(node.write(volume, 5, 4, 9));
    ASSERT_TRUE(node.run(node.group->checkpoint()));
    (void)node.run_until_within(1'000, [] { return false; });  // It has noted where its log ends.
    (lost ? node.disk.faults.lost_write_ppm : node.disk.faults.misdirected_ppm) = 1'000'000;
    ASSERT_TRUE(node.write(volume, 7, 1, 11));
    EXPECT_TRUE(node.run_until_within(2'000, [&] { return node.group->status().failed; }));
    EXPECT_NE(node.group->status().failure.find("superblock"), std::string::npos) << node.group->status().failure;
  }
}

TEST(Recovery, BothSuperblockCopiesDamaged_RefusesAsCorrupt) {
  OneNode node;
  node.serve(16 * kMiB);
  node.power_loss();
  for (const std::uint64_t offset : snapshot::kSuperblockOffsets) node.disk.flip_bit(offset + 90, 0);
  const auto opened = node.open();
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, Errc::corrupt);
}

TEST(Recovery, NewerFormat_IsRefusedAndLeftUntouched) {
  OneNode node;
  node.serve(16 * kMiB);
  node.power_loss();
  auto block = node.disk.peek(0, kBlockBytes);
  snapshot::Superblock superblock;
  std::memcpy(&superblock, block.data(), sizeof superblock);
  superblock.format_version = snapshot::kStoreVersion + 1;
  superblock.xxh3 = xxh3(bytes_of(superblock).subspan(16));  // As the newer program has it.
  std::memcpy(block.data(), &superblock, sizeof superblock);
  node.disk.overwrite(0, block);
  const auto opened = node.open();
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, Errc::version_too_new);
  EXPECT_EQ(node.disk.peek(0, kBlockBytes), block);
  EXPECT_FALSE(node.format()) << "formatting over a newer store must need to be forced";
}

// Found by a seed: one flipped bit in the version of one copy, and the store was refused as a newer program's.
TEST(Recovery, FlippedBitInTheVersionOfOneCopy_IsRot_NotANewerFormat) {
  for (unsigned bit = 0; bit < 8; ++bit) {
    OneNode node;
    Volume* volume = node.serve(16 * kMiB);
    ASSERT_TRUE(node.write(volume, 0, 1, 7));
    node.power_loss();
    node.disk.flip_bit(offsetof(snapshot::Superblock, format_version), bit);
    const auto opened = node.open();
    ASSERT_TRUE(opened) << opened.error().text();
    EXPECT_EQ(node.value_at(node.volume(), 0), 7);
  }
}

TEST(Recovery, TruncatedFile_IsRefusedByItsSize) {
  OneNode node;
  node.serve(16 * kMiB);
  node.power_loss();
  node.disk.truncate(node.disk.size_bytes() - kChunkBytes);
  const auto opened = node.open();
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, Errc::truncated);
}

TEST(Recovery, EmptyDisk_IsForeign) {
  OneNode node;
  node.disk.truncate(64 * kMiB);
  const auto opened = node.open();
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, Errc::foreign);
}

// A store that is formatted anew must not find the records of the one before in its log.
TEST(Recovery, FormattedOver_OldRecordsStayForgotten) {
  OneNode node;
  Volume* volume = node.serve(16 * kMiB);
  for (std::uint64_t i = 0; i < 30; ++i) ASSERT_TRUE(node.write(volume, i, 1, 5));
  node.power_loss();
  EXPECT_EQ(node.format().error().code, Errc::exists);
  ASSERT_TRUE(node.format(kLogBytes, Group::Existing::overwrite));
  ASSERT_TRUE(node.open());
  EXPECT_TRUE(node.group->volumes().empty());
  EXPECT_EQ(node.group->status().recovered_records, 0u);
}

TEST(Recovery, CleanStop_ReplaysNothing) {
  OneNode node;
  Volume* volume = node.serve(16 * kMiB);
  ASSERT_TRUE(node.write(volume, 0, 40, 3));
  ASSERT_TRUE(node.run(node.group->stop()));
  node.power_loss();
  ASSERT_TRUE(node.open());
  EXPECT_EQ(node.group->status().recovered_records, 0u);
  EXPECT_EQ(node.value_at(node.volume(), 39), 3);
}

TEST(Recovery, EveryStart_BeginsANewEpoch) {
  OneNode node;
  node.serve(16 * kMiB);
  const auto first = node.group->status().epoch;
  node.power_loss();
  ASSERT_TRUE(node.open());
  EXPECT_GT(node.group->status().epoch, first);
}

TEST(Recovery, ReservationState_SurvivesPowerLossAndCheckpoint) {
  OneNode node;
  Volume* volume = node.serve(16 * kMiB);
  std::vector<std::byte> state(Volume::kReservationBytesMax, std::byte{0x5a});
  ASSERT_TRUE(node.run(volume->store_reservations(state)));
  node.power_loss();
  ASSERT_TRUE(node.open());
  EXPECT_EQ(node.volume()->reservations(), state);
  ASSERT_TRUE(node.run(node.group->checkpoint()));
  ASSERT_TRUE(node.run(node.volume()->store_reservations({std::byte{1}})));
  node.power_loss();
  ASSERT_TRUE(node.open());
  EXPECT_EQ(node.volume()->reservations(), std::vector<std::byte>{std::byte{1}});
}

// 140 lives with an epoch each: the history keeps the newest, and what the log had before these outlives a start and a checkpoint.
TEST(Recovery, ManyEpochs_WhatTheHistoryHasForgottenIsStillKnown) {
  OneNode node;
  Volume* volume = node.serve(64 * kMiB);
  ASSERT_TRUE(node.write(volume, 0, 1, 1));
  const auto history = [&] { return static_cast<engine::GroupImpl&>(*node.group).facts().history; };
  const wal::EpochHistory::Content written = history().content(static_cast<engine::GroupImpl&>(*node.group).facts().end);
  for (int i = 0; i < 140; ++i) {
    node.power_loss();
    ASSERT_TRUE(node.open());
  }
  ASSERT_EQ(history().forgotten(), written);
  ASSERT_TRUE(node.run(node.group->checkpoint()));
  node.power_loss();
  ASSERT_TRUE(node.open());
  EXPECT_EQ(history().forgotten(), written);
  EXPECT_EQ(history().content(static_cast<engine::GroupImpl&>(*node.group).facts().end), written);
}

// A checkpoint is under way while an epoch begins: its superblock has the epoch, but not that its record was durable. Power is lost, and
// that record, the last one, rots: it cannot be told from a torn one, and is cut. The next epoch begins at the same LSN.
TEST(Recovery, EpochIsNotedByACheckpoint_ItsRecordIsCut_TheNextOneBeginsAtTheSameLsn) {
  int met = 0;
  for (std::uint64_t seed = 1; seed <= 40 && met == 0; ++seed) {
    OneNode node(seed);
    Volume* volume = node.serve(64 * kMiB);
    for (std::uint64_t i = 0; i < seed; ++i) ASSERT_TRUE(node.write(volume, i * 40, 1, 1));
    node.power_loss();
    GroupOptions options;
    options.checkpoint_log_percent = 0;
    ASSERT_TRUE(node.open(options));
    const Lsn start = static_cast<engine::GroupImpl&>(*node.group).facts().end;
    const auto noted = [&] {
      for (const std::uint64_t at : snapshot::kSuperblockOffsets) {
        const auto sb = snapshot::decode_superblock(node.disk.peek(at, kBlockBytes));
        if (!sb || sb->epoch_count == 0 || sb->epochs[sb->epoch_count - 1].first_lsn != start.value || sb->durable_lsn >= start.value) return false;
      }
      return true;
    };
    if (!node.run_until_within(60, noted)) continue;
    ++met;
    std::optional<std::uint64_t> last;
    std::uint64_t newest = 0;
    node.power_loss();
    const std::uint64_t first = snapshot::kLogOffset / kBlockBytes;
    for (std::uint64_t block = first; block < first + kLogBytes / kBlockBytes; ++block) {
      const auto bytes = node.disk.peek(block * kBlockBytes, kBlockBytes);
      wal::BatchHeader header;
      std::memcpy(&header, bytes.data(), sizeof header);
      if (header.magic != wal::kBatchMagic || header.first_lsn < newest) continue;
      newest = header.first_lsn;
      last = block;
    }
    ASSERT_TRUE(last);
    ASSERT_EQ(newest, start.value);
    node.disk.flip_bit(*last * kBlockBytes + 100, 3);
    const auto opened = node.open();
    ASSERT_TRUE(opened) << opened.error().text();
  }
  EXPECT_GT(met, 0) << "no seed met the moment";
}

}  // namespace
}  // namespace holdfast::engine_test
