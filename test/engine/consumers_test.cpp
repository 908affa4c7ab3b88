// Named consumers of the log: what they are told, what they are not, and what is kept of them.
#include <gtest/gtest.h>

#include <map>

#include "snapshot/superblock.h"
#include "test/engine/one_node.h"

namespace holdfast::engine_test {
namespace {

Lsn confirmed(OneNode& node, const std::string& name) {
  for (const ConsumerStatus& consumer : node.group->consumers())
    if (consumer.name == name) return consumer.confirmed;
  return Lsn();
}

LogBatch read(OneNode& node, Lsn from, LogReadLimits limits = {}) {
  auto batch = node.run(node.group->read_log(from, limits));
  EXPECT_TRUE(batch.has_value()) << batch.error().text();
  return batch ? std::move(*batch) : LogBatch{};
}

// A volume as a consumer carries it out: the first byte of each block.
struct Replay {
  std::map<std::uint64_t, int> blocks;
  std::uint64_t superseded = 0, entries = 0;
  Lsn next;
  std::optional<LogGap> gap;

  void apply(const LogEntry& entry) {
    ++entries;
    if (entry.kind == LogEntryKind::unmap)
      for (std::uint64_t b = 0; b < entry.count; ++b) blocks[entry.first.value + b] = 0;
    if (entry.kind != LogEntryKind::write) return;
    ASSERT_EQ(entry.payload.size(), entry.count * kBlockBytes);
    for (std::uint64_t b = 0; b < entry.count; ++b) {
      const Lba block(entry.first.value + b);
      bool gone = false;
      for (const BlockRange& range : entry.superseded) gone = gone || (block >= range.first && block < range.end());
      superseded += gone;
      if (!gone) blocks[block.value] = std::to_integer<int>(entry.payload[b * kBlockBytes + 77]);
    }
  }
  void follow(OneNode& node, Lsn from) {
    next = from;
    for (;;) {
      const LogBatch batch = read(node, next);
      if (batch.gap) gap = batch.gap;
      Lsn last(next.value - 1);
      for (const LogEntry& entry : batch.entries) {
        EXPECT_GT(entry.lsn, last);
        EXPECT_LE(entry.lsn, batch.commit);
        last = entry.lsn;
        apply(entry);
      }
      next = batch.next;
      if (batch.entries.empty() && !batch.gap) return;
    }
  }
};

Result<ConsumerStatus> create(OneNode& node, const char* name, ConsumerStart start) {
  return node.run(node.group->create_consumer(name, start));
}

TEST(Consumers, ReadLog_FromTheOldest_GivesEveryRecordOnceAndTheStateAtItsEnd) {
  OneNode node;
  Volume* volume = node.serve(64 * kMiB);
  ASSERT_TRUE(create(node, "backup", ConsumerStart::oldest));
  for (int i = 0; i < 40; ++i) ASSERT_TRUE(node.write(volume, static_cast<std::uint64_t>(i * 7), 1, i + 1));
  ASSERT_TRUE(node.write(volume, 1024, 64, 90));   // Whole chunks: their data is not in the log.
  ASSERT_TRUE(node.write(volume, 1030, 40, 91));   // Head, chunk and tail.
  ASSERT_TRUE(node.unmap(volume, 7, 3));
  Replay replay;
  replay.follow(node, confirmed(node, "backup").next());
  EXPECT_FALSE(replay.gap);
  for (const auto& [block, value] : replay.blocks) EXPECT_EQ(node.value_at(volume, block), value) << block;
  EXPECT_GE(replay.entries, 43u);
  EXPECT_EQ(replay.blocks.at(1024), 90);
  EXPECT_EQ(replay.blocks.at(1050), 91);
  EXPECT_EQ(replay.blocks.at(7), 0);
}

// Chunks are overwritten in place, replaced and given up before the consumer reads of them.
TEST(Consumers, ReadLog_ChunksOverwrittenSince_SaysSoAndEndsRight) {
  OneNode node;
  Volume* volume = node.serve(64 * kMiB);
  ASSERT_TRUE(create(node, "backup", ConsumerStart::now));
  for (int lap = 1; lap <= 4; ++lap) {
    ASSERT_TRUE(node.write(volume, 0, 32, lap));
    ASSERT_TRUE(node.write(volume, 3, 2, lap + 10));
    ASSERT_TRUE(node.run(node.group->checkpoint()));
  }
  ASSERT_TRUE(node.unmap(volume, 16, 16));
  ASSERT_TRUE(node.run(node.group->checkpoint()));
  Replay replay;
  replay.follow(node, confirmed(node, "backup").next());
  EXPECT_GT(replay.superseded, 0u);
  for (std::uint64_t block = 0; block < 32; ++block) EXPECT_EQ(replay.blocks.at(block), node.value_at(volume, block)) << block;
}

TEST(Consumers, Position_OverRestartAndPowerLoss_IsKept) {
  OneNode node;
  Volume* volume = node.serve(16 * kMiB);
  ASSERT_TRUE(create(node, "backup", ConsumerStart::now));
  ASSERT_TRUE(create(node, "other", ConsumerStart::now));
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(node.write(volume, 1, 1, i));
  const Lsn there = node.group->status().commit_lsn;
  ASSERT_TRUE(node.run(node.group->confirm_consumer("backup", there, Confirm::durably)));
  ASSERT_TRUE(node.run(node.group->delete_consumer("other")));
  for (int round = 0; round < 3; ++round) {
    node.power_loss();
    ASSERT_TRUE(node.open());
    EXPECT_EQ(confirmed(node, "backup"), there);
    EXPECT_EQ(node.group->consumers().size(), 1u);
    ASSERT_TRUE(node.run(node.group->checkpoint()));
  }
  ASSERT_TRUE(node.run(node.group->stop()));
  node.power_loss();
  ASSERT_TRUE(node.open());
  EXPECT_EQ(confirmed(node, "backup"), there);
  EXPECT_FALSE(node.group->consumers().front().gap);
}

TEST(Consumers, Confirm_Soon_IsLoggedWithinItsTimeAndNotForItself) {
  OneNode node;
  Volume* volume = node.serve(16 * kMiB);
  ASSERT_TRUE(create(node, "backup", ConsumerStart::now));
  ASSERT_TRUE(node.write(volume, 1, 1, 5));
  const Lsn there = node.group->status().commit_lsn;
  ASSERT_TRUE(node.run(node.group->confirm_consumer("backup", there, Confirm::soon)));
  EXPECT_EQ(node.group->status().commit_lsn, there);
  ASSERT_TRUE(node.run_until_within(2'000, [&] { return node.group->status().commit_lsn > there; }));
  const Lsn logged = node.group->status().commit_lsn;
  // Its own record is nothing that it needs to confirm.
  ASSERT_TRUE(node.run(node.group->confirm_consumer("backup", logged, Confirm::durably)));
  EXPECT_EQ(node.group->status().commit_lsn, logged);
  EXPECT_TRUE(read(node, there.next()).entries.empty());
  EXPECT_EQ(node.group->consumers().front().lag_records, 0u);
  EXPECT_EQ(node.group->consumers().front().lag_bytes, 0u);
  node.power_loss();
  ASSERT_TRUE(node.open());
  EXPECT_EQ(confirmed(node, "backup"), there);
}

// W1: the gap begins where the consumer stands, ends where the ring begins, and its bytes are those that were written in it.
TEST(Consumers, LogRecycledPastThePosition_GapIsExact) {
  OneNode node;
  Volume* volume = node.serve(16 * kMiB);
  ASSERT_TRUE(create(node, "backup", ConsumerStart::now));
  const Lsn stands = confirmed(node, "backup");
  EXPECT_FALSE(node.group->consumers().front().gap);  // W2
  for (int i = 0; i < 3000; ++i) ASSERT_TRUE(node.write(volume, static_cast<std::uint64_t>(i % 64), 1, i % 200));
  const auto status = node.group->consumers().front();
  ASSERT_TRUE(status.gap);
  const LogBatch batch = read(node, stands.next());
  ASSERT_TRUE(batch.gap);
  EXPECT_EQ(batch.gap->start, stands.next());
  EXPECT_EQ(batch.gap->end, status.gap->end);
  // Each record wrote a block, but for the one that made the consumer.
  const std::uint64_t lost = batch.gap->end.value - batch.gap->start.value - 1;
  EXPECT_EQ(batch.gap->bytes, lost * kBlockBytes);
  EXPECT_TRUE(batch.entries.empty());
  Replay replay;
  replay.follow(node, batch.next);
  EXPECT_FALSE(replay.gap);
  EXPECT_EQ(replay.entries, 3000 - lost);
  // The same after a restart: what was retained is found again.
  const Lsn oldest = batch.gap->end;
  ASSERT_TRUE(node.run(node.group->checkpoint()));
  node.power_loss();
  ASSERT_TRUE(node.open());
  const LogBatch again = read(node, stands.next());
  ASSERT_TRUE(again.gap);
  EXPECT_EQ(again.gap->start, stands.next());
  EXPECT_GE(again.gap->end, oldest);
  EXPECT_LE(again.gap->end.value, oldest.value + 8);
  EXPECT_EQ(again.gap->bytes, (again.gap->end.value - again.gap->start.value - 1) * kBlockBytes);
}

TEST(Consumers, RetentionAskedFor_KeepsThatMuchOfTheRing) {
  OneNode node;
  ASSERT_TRUE(node.format());
  GroupOptions options;
  options.consumer_retention_bytes = kLogBytes / 4 * 3;
  ASSERT_TRUE(node.open(options));
  Volume* volume = node.create("pg", 16 * kMiB);
  ASSERT_TRUE(create(node, "backup", ConsumerStart::now));
  for (int i = 0; i < 2000; ++i) {
    ASSERT_TRUE(node.write(volume, static_cast<std::uint64_t>(i % 64), 1, 1));
    ASSERT_LE(node.group->status().log_used_bytes, kLogBytes / 2);
  }
}

// The oldest retained header is whole, what follows it is not: what comes before the break is forgotten, nothing else.
TEST(Consumers, RetainedPartDamaged_ForgetsWhatIsBeforeAndServes) {
  OneNode node;
  Volume* volume = node.serve(16 * kMiB);
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(node.write(volume, static_cast<std::uint64_t>(i % 8), 1, i + 1));
  ASSERT_TRUE(node.run(node.group->checkpoint()));
  node.power_loss();
  node.disk.flip_bit(snapshot::kLogOffset + 20 * kBlockBytes + 40, 2);  // A header: batches here are two blocks each.
  node.disk.flip_bit(snapshot::kLogOffset + 21 * kBlockBytes + 40, 2);
  ASSERT_TRUE(node.open());
  const LogBatch batch = read(node, Lsn(1));
  ASSERT_TRUE(batch.gap);
  EXPECT_GT(batch.gap->end, Lsn(5));
  EXPECT_LT(batch.gap->end, Lsn(30));
  Replay replay;
  replay.follow(node, batch.next);
  EXPECT_FALSE(replay.gap);
  EXPECT_EQ(replay.blocks.at(3), node.value_at(node.volume(), 3));
}

TEST(Consumers, RottenChunkOfARecord_IsToldAsCorruptNotAsSuperseded) {
  OneNode node;
  Volume* volume = node.serve(16 * kMiB);
  ASSERT_TRUE(create(node, "backup", ConsumerStart::now));
  ASSERT_TRUE(node.write(volume, 0, 16, 42));
  ASSERT_TRUE(node.run(node.group->checkpoint()));
  std::uint64_t at = 0;
  for (std::uint64_t chunk = 2 + kLogBytes / kChunkBytes; chunk < 2048 && at == 0; ++chunk) {
    const auto block = node.disk.peek(chunk * kChunkBytes, kBlockBytes);
    if (block[0] == std::byte{42} && block[4095] == std::byte{42}) at = chunk * kChunkBytes;
  }
  ASSERT_NE(at, 0u);
  node.disk.flip_bit(at + 5, 1);
  const auto batch = node.run(node.group->read_log(confirmed(node, "backup").next(), {}));
  ASSERT_FALSE(batch);
  EXPECT_EQ(batch.error().code, Errc::corrupt);
}

TEST(Consumers, ReadLog_NothingNew_WaitsForACommit) {
  OneNode node;
  Volume* volume = node.serve(16 * kMiB);
  const Lsn next = node.group->status().commit_lsn.next();
  LogReadLimits limits;
  limits.wait_ms = 500;
  EXPECT_TRUE(read(node, next, limits).entries.empty());
  std::optional<Result<LogBatch>> waiting;
  node.begin(node.group->read_log(next, limits), &waiting);
  ASSERT_TRUE(node.write(volume, 1, 1, 5));
  ASSERT_TRUE(node.run_until([&] { return waiting.has_value(); }));
  ASSERT_TRUE(*waiting);
  ASSERT_EQ((*waiting)->entries.size(), 1u);
  EXPECT_EQ((*waiting)->entries[0].lsn, next);
  std::optional<Result<LogBatch>> stopped;
  limits.wait_ms = 1'000'000;
  node.begin(node.group->read_log(next.next(), limits), &stopped);
  ASSERT_TRUE(node.run(node.group->stop()));
  ASSERT_TRUE(stopped.has_value());
  EXPECT_FALSE(*stopped);
}

TEST(Consumers, BadRequests_AreRefused) {
  OneNode node;
  node.serve(16 * kMiB);
  EXPECT_EQ(create(node, "", ConsumerStart::now).error().code, Errc::invalid_argument);
  EXPECT_EQ(create(node, "Back up", ConsumerStart::now).error().code, Errc::invalid_argument);
  for (std::size_t i = 0; i < snapshot::kConsumersMax; ++i)
    ASSERT_TRUE(create(node, ("c" + std::to_string(i)).c_str(), ConsumerStart::now));
  EXPECT_EQ(create(node, "c0", ConsumerStart::now).error().code, Errc::exists);
  EXPECT_EQ(create(node, "one-more", ConsumerStart::now).error().code, Errc::overloaded);
  EXPECT_EQ(node.run(node.group->delete_consumer("nobody")).error().code, Errc::not_found);
  const Lsn future = node.group->status().commit_lsn.next();
  EXPECT_EQ(node.run(node.group->confirm_consumer("c0", future, Confirm::soon)).error().code, Errc::out_of_range);
  EXPECT_EQ(node.run(node.group->read_log(future.next(), {})).error().code, Errc::out_of_range);
  EXPECT_EQ(node.run(node.group->read_log(Lsn(), {})).error().code, Errc::invalid_argument);
}

}  // namespace
}  // namespace holdfast::engine_test
