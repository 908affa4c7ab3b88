// All payload memory is taken by writers: who needs some of it must not hold what the writers wait for.
#include <gtest/gtest.h>

#include <vector>

#include "test/engine/one_node.h"

namespace holdfast::engine_test {
namespace {

TEST(FullPool, FirstCompareAndWriteAmongWriters_AllEnd) {
  OneNode node;
  Volume* volume = node.serve(64 * kMiB);
  std::optional<Result<Volume::CompareResult>> compared;
  node.begin(volume->compare_and_write(BlockRange{Lba(0), BlockCount(1)}, node.filled(1, 0), node.filled(1, 1)), &compared);
  std::vector<std::optional<Result<void>>> written(64);
  std::size_t writers = 0;
  for (; writers < written.size(); ++writers) {
    Buffer payload = node.pool->try_acquire(1 * kMiB);
    if (!payload) break;
    std::memset(payload.data(), 3, payload.size());
    node.begin(volume->write(BlockRange{Lba(256 * (1 + writers)), BlockCount(256)}, std::move(payload)), &written[writers]);
  }
  const BootNs late = node.host.clock().now() + milliseconds(10'000);
  node.run_until([&] { return compared.has_value() || node.host.clock().now() > late; });
  ASSERT_TRUE(compared.has_value()) << "the compare waits for memory, the writers behind it hold all of it";
  for (std::size_t i = 0; i < writers; ++i) EXPECT_TRUE(node.run_until([&] { return written[i].has_value(); }));
}

// The first COMPARE AND WRITEs together hold all of the pool, and each needs room to read into.
TEST(FullPool, CompareAndWritesHoldAllOfIt_AllEnd) {
  OneNode node;
  Volume* volume = node.serve(64 * kMiB);
  std::vector<std::optional<Result<Volume::CompareResult>>> compared(64);
  std::size_t count = 0;
  for (; count < compared.size(); ++count) {
    Buffer both = node.pool->try_acquire(kMiB);  // As the door does: expected and desired in one buffer.
    if (!both) break;
    std::memset(both.data(), 0, both.size());
    const std::size_t half = kMiB / 2;
    const BlockRange range{Lba(128 * count), BlockCount(128)};
    node.begin(volume->compare_and_write(range, both.slice(0, half), both.slice(half, half)), &compared[count]);
  }
  ASSERT_GT(count, 4u);
  for (std::size_t i = 0; i < count; ++i) {
    ASSERT_TRUE(node.run_until_within(60'000, [&] { return compared[i].has_value(); })) << i << " of " << count;
    EXPECT_TRUE(*compared[i] && (*compared[i])->matched);
  }
}

TEST(FullPool, OpeningAGroup_WaitsForMemory) {
  OneNode node;
  node.serve(64 * kMiB);
  ASSERT_TRUE(node.run(node.group->stop()));
  node.power_loss();
  std::vector<Buffer> held;
  while (Buffer buffer = node.pool->try_acquire(kBlockBytes)) held.push_back(std::move(buffer));
  std::optional<Result<std::unique_ptr<Group>>> opened;
  node.begin(Group::open(GroupPorts{node.host.executor(), node.host.clock(), node.world.random(), *node.pool, node.disk}, {}), &opened);
  node.run_until([&] { return opened.has_value(); });
  EXPECT_FALSE(opened.has_value());
  while (!held.empty()) {
    held.pop_back();
    node.run_until([&] { return opened.has_value(); });
  }
  ASSERT_TRUE(opened.has_value());
  ASSERT_TRUE(opened->has_value());
  node.group = std::move(**opened);
}

}  // namespace
}  // namespace holdfast::engine_test
