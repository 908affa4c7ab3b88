// The path of a volume's I/O takes nothing from the heap after warm-up: reads and overwrites at depth, group commit, and the
// moving of committed records into the map. A checkpoint is not on that path: it may allocate, and is kept out.
#include <gtest/gtest.h>

#include <memory>

#include "base/sync.h"
#include "engine/group.h"
#include "test/support/counting_allocator.h"
#include "test/support/memory_world.h"

namespace holdfast::test {
namespace {

constexpr std::uint64_t kVolumeBytes = 32ULL << 20;
constexpr std::uint64_t kVolumeBlocks = kVolumeBytes / kBlockBytes;
constexpr std::uint64_t kDepth = 32;

class GroupAllocations : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!allocations_are_counted()) GTEST_SKIP() << "a sanitizer owns the allocator";
    ASSERT_TRUE(world.wait(Group::format(ports(), {.log_bytes = 128ULL << 20}, Group::Existing::overwrite)));
    // A small backlog, so that the warm-up meets its bounds on a machine of any speed.
    GroupOptions options;
    options.apply_backlog_bytes = 256u << 10;
    auto opened = world.wait(Group::open(ports(), options));
    ASSERT_TRUE(opened) << opened.error().text();
    group = std::move(*opened);
    auto made = world.wait(group->create_volume("pg", Uuid{1}, BlockCount(kVolumeBlocks)));
    ASSERT_TRUE(made) << made.error().text();
    volume = *made;
  }

  void TearDown() override {
    if (!group) return;
    EXPECT_TRUE(world.wait(group->stop()));
  }

  GroupPorts ports() { return {world.executor, world.clock, world.random, world.buffers, world.disk}; }

  // Writes and reads back `count` times at depth 32, all over the volume.
  void churn(std::uint64_t count, std::uint64_t blocks) {
    Scope scope(world.executor);
    Semaphore permits(world.executor, kDepth);
    for (std::uint64_t done = 0; done < count; done += kDepth) {
      for (std::uint64_t i = 0; i < kDepth; ++i) {
        next_ = (next_ * 2862933555777941757ULL + 3037000493ULL);
        const Lba first(next_ % (kVolumeBlocks / blocks) * blocks);
        scope.spawn(write_then_read(this, BlockRange{first, BlockCount(blocks)}));
      }
      while (scope.running() > 0) world.run_ready();
    }
  }

  static Task<void> write_then_read(GroupAllocations* self, BlockRange range) {
    const std::size_t bytes = range.count.value * kBlockBytes;
    Buffer from = co_await self->world.buffers.acquire(bytes);
    const auto written = co_await self->volume->write(range, from);
    Buffer into = co_await self->world.buffers.acquire(bytes);
    const auto read = co_await self->volume->read(range, into);
    if (written && read) ++self->completed;
  }

  MemoryWorld world{1ULL << 30, 128ULL << 20};
  std::unique_ptr<Group> group;
  Volume* volume = nullptr;
  std::uint64_t completed = 0;

 private:
  std::uint64_t next_ = 1;
};

TEST_F(GroupAllocations, SmallWritesAndReads_AfterWarmUp_AllocateNothing) {
  churn(8'192, 1);
  ASSERT_TRUE(world.wait(group->checkpoint()));
  const std::uint64_t before = completed;
  AllocationWatch watch;
  churn(8'192, 1);
  EXPECT_EQ(watch.allocations(), 0U) << watch.sites();
  EXPECT_EQ(completed - before, 8'192U);
}

TEST_F(GroupAllocations, WholeChunkWritesAndReads_AfterWarmUp_AllocateNothing) {
  churn(4'096, 16);
  ASSERT_TRUE(world.wait(group->checkpoint()));
  const std::uint64_t before = completed;
  AllocationWatch watch;
  churn(1'024, 16);
  EXPECT_EQ(watch.allocations(), 0U) << watch.sites();
  EXPECT_EQ(completed - before, 1'024U);
}

}  // namespace
}  // namespace holdfast::test
