// A log without room for the next record: a checkpoint makes some at once, and a stop does not wait for one.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "test/engine/one_node.h"

namespace holdfast::engine_test {
namespace {

using Writes = std::vector<std::optional<Result<void>>>;

bool all_answered(const Writes& writes) {
  return std::all_of(writes.begin(), writes.end(), [](const auto& one) { return one.has_value(); });
}

// The log takes three writes of 1 MiB, and a checkpoint is due at 90 %: less than the fourth needs is left, and it is not due.
// The store is full, so that all of their payload goes through the log.
Volume* serve_without_fresh_chunks(OneNode& node) {
  EXPECT_TRUE(node.format(1024 * kBlockBytes));
  GroupOptions options{};
  options.checkpoint_log_percent = 90;
  EXPECT_TRUE(node.open(options));
  Volume* volume = node.create("pg", 512 * kMiB);
  node.disk.set_capacity(40 * kMiB);
  std::uint64_t chunk = 0;
  const auto fill = [&] {
    while (node.write(volume, chunk * kChunkBlocks, kChunkBlocks, 1)) ++chunk;
  };
  fill();
  EXPECT_TRUE(node.run(node.group->checkpoint()));
  fill();
  return volume;
}

void begin_four(OneNode& node, Volume* volume, Writes& writes) {
  writes.resize(4);
  for (std::size_t i = 0; i < writes.size(); ++i)
    node.begin(volume->write(BlockRange{Lba(i * 256), BlockCount(256)}, node.filled(256, 2)), &writes[i]);
}

TEST(FullLog, NextRecordNeedsMoreThanIsFree_CheckpointComesAtOnce) {
  OneNode node(3);
  Volume* volume = serve_without_fresh_chunks(node);
  Writes writes;
  begin_four(node, volume, writes);
  ASSERT_TRUE(node.run_until_within(1'000, [&] { return all_answered(writes); })) << "it waits for the checkpoint's timer";
  for (auto& one : writes) EXPECT_TRUE(one->has_value());
}

TEST(FullLog, StopWhileAWriterWaitsForRoom_RefusesItAndEnds) {
  OneNode node(3);
  Volume* volume = serve_without_fresh_chunks(node);
  Writes writes;
  begin_four(node, volume, writes);
  ASSERT_TRUE(node.run_until([&] { return writes[0] && writes[1] && writes[2]; }));
  ASSERT_FALSE(writes[3].has_value());
  std::optional<Result<void>> stopped;
  node.begin(node.group->stop(), &stopped);
  ASSERT_TRUE(node.run_until_within(300'000, [&] { return stopped.has_value(); }));
  EXPECT_TRUE(stopped->has_value());
  ASSERT_TRUE(node.run_until([&] { return writes[3].has_value(); }));
  EXPECT_EQ((*writes[3]).error().code, Errc::closed);
}

// At many moments of a burst that fills the ring.
TEST(FullLog, StopAtAnyMoment_EndsAndEveryWriterIsAnswered) {
  for (std::uint64_t steps = 0; steps < 1500; steps += 37) {
    OneNode node(7);
    ASSERT_TRUE(node.format(640 * kBlockBytes));
    ASSERT_TRUE(node.open());
    Volume* volume = node.create("pg", 64 * kMiB);
    Writes writes(90);
    for (std::size_t i = 0; i < writes.size(); ++i)
      node.begin(volume->write(BlockRange{Lba(i * kChunkBlocks), BlockCount(15)}, node.filled(15, 1)), &writes[i]);
    for (std::uint64_t step = 0; step < steps; ++step) node.world.step();
    std::optional<Result<void>> stopped;
    node.begin(node.group->stop(), &stopped);
    ASSERT_TRUE(node.run_until_within(120'000, [&] { return stopped.has_value(); })) << "after step " << steps;
    ASSERT_TRUE(node.run_until([&] { return all_answered(writes); }));
    std::size_t acknowledged = 0;
    for (; acknowledged < writes.size() && *writes[acknowledged]; ++acknowledged) {}
    node.power_loss();
    ASSERT_TRUE(node.open());
    for (std::size_t i = 0; i < acknowledged; i += 10) EXPECT_EQ(node.value_at(node.volume(), i * kChunkBlocks), 1);
  }
}

// The same burst, and the power fails: a ring that is full to the brim is replayed, and the store opens.
TEST(FullLog, PowerLossAtAnyMoment_OpensAndHasWhatWasAcknowledged) {
  bool was_full = false;
  for (std::uint64_t steps = 0; steps < 1500; steps += 37) {
    OneNode node(11);
    ASSERT_TRUE(node.format(640 * kBlockBytes));
    ASSERT_TRUE(node.open());
    Volume* volume = node.create("pg", 64 * kMiB);
    Writes writes(90);
    for (std::size_t i = 0; i < writes.size(); ++i)
      node.begin(volume->write(BlockRange{Lba(i * kChunkBlocks), BlockCount(15)}, node.filled(15, 1)), &writes[i]);
    for (std::uint64_t step = 0; step < steps; ++step) node.world.step();
    const GroupStatus status = node.group->status();
    was_full = was_full || status.log_used_bytes + 16 * kBlockBytes > status.log_bytes * 9 / 10;
    std::size_t acknowledged = 0;
    for (; acknowledged < writes.size() && writes[acknowledged] && *writes[acknowledged]; ++acknowledged) {}
    node.power_loss();
    std::optional<Result<void>> opened;
    node.begin_open(&opened);
    ASSERT_TRUE(node.run_until_within(60'000, [&] { return opened.has_value(); })) << "after step " << steps;
    ASSERT_TRUE(opened->has_value()) << opened->error().text();
    for (std::size_t i = 0; i < acknowledged; i += 10) EXPECT_EQ(node.value_at(node.volume(), i * kChunkBlocks), 1);
    EXPECT_TRUE(node.write(node.volume(), 0, 15, 2));
  }
  EXPECT_TRUE(was_full) << "the burst has to fill the ring";
}

}  // namespace
}  // namespace holdfast::engine_test
