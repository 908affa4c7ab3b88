// After warm-up nothing that an I/O uses of base takes memory from the heap: frames, buffers, waiting, timers, the ready queue.
#include <gtest/gtest.h>

#include <memory>

#include "base/sync.h"
#include "test/support/counting_allocator.h"
#include "test/support/memory_world.h"

namespace holdfast::test {
namespace {

#define SKIP_UNLESS_COUNTED() \
  if (!allocations_are_counted()) GTEST_SKIP() << "a sanitizer owns the allocator"

TEST(AllocationWatch, New_OnTheWatchedThread_IsCountedWithItsSite) {
  SKIP_UNLESS_COUNTED();
  AllocationWatch watch;
  EXPECT_EQ(watch.allocations(), 0U);
  auto number = std::make_unique<std::uint64_t>(7);
  EXPECT_EQ(watch.allocations(), 1U);
  EXPECT_EQ(watch.bytes(), sizeof(std::uint64_t));
  EXPECT_FALSE(watch.sites().empty());
  EXPECT_EQ(*number, 7U);
}

Task<Result<void>> grow(Disk* disk, std::uint64_t bytes) { co_return co_await disk->grow(bytes); }

Task<std::uint64_t> add_one(std::uint64_t value) { co_return value + 1; }

Task<void> write_then_read(Disk* disk, BufferPool* pool, Semaphore* permits, std::uint64_t offset, std::uint64_t* done) {
  co_await permits->acquire();
  Buffer from = co_await pool->acquire(kBlockBytes);
  Buffer into = co_await pool->acquire(kBlockBytes);
  const auto written = co_await disk->write(offset, from.bytes(), Durability::durable);
  const auto read = co_await disk->read(offset, into.bytes());
  if (written && read) *done = co_await add_one(*done);
  permits->release();
}

void run_batch(MemoryWorld& world, Semaphore& permits, std::uint64_t* done) {
  Scope scope(world.executor);
  for (std::uint64_t i = 0; i < 64; ++i) {
    scope.spawn(write_then_read(&world.disk, &world.buffers, &permits, i * kBlockBytes, done));
  }
  world.run_ready();
}

TEST(WarmPath, FlowsThroughPoolDiskAndSemaphore_AfterWarmUp_AllocateNothing) {
  SKIP_UNLESS_COUNTED();
  MemoryWorld world(1u << 20, 1u << 20);
  Semaphore permits(world.executor, 32);
  ASSERT_TRUE(world.wait(grow(&world.disk, 1u << 20)));
  std::uint64_t done = 0;
  run_batch(world, permits, &done);

  AllocationWatch watch;
  for (int round = 0; round < 10; ++round) run_batch(world, permits, &done);
  EXPECT_EQ(watch.allocations(), 0U) << watch.sites();
  EXPECT_EQ(done, 11U * 64U);
}

}  // namespace
}  // namespace holdfast::test
