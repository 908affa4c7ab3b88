// After warm-up nothing that an I/O uses of base takes memory from the heap: frames, buffers, waiting, timers, the ready queue.
#include <gtest/gtest.h>

#include <memory>

#include "base/buffer.h"
#include "base/scope.h"
#include "base/sync.h"
#include "test/support/counting_allocator.h"
#include "test/support/memory_disk.h"

namespace holdfast::test {
namespace {

class LoopExecutor final : public Executor {
 public:
  void post_remote(std::move_only_function<void()> job) override { job(); }
  void run() {
    while (run_one()) {
    }
  }
};

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

void run_batch(LoopExecutor& executor, Disk& disk, BufferPool& pool, Semaphore& permits, std::uint64_t* done) {
  Scope scope(executor);
  for (std::uint64_t i = 0; i < 64; ++i) scope.spawn(write_then_read(&disk, &pool, &permits, i * kBlockBytes, done));
  executor.run();
}

TEST(WarmPath, FlowsThroughPoolDiskAndSemaphore_AfterWarmUp_AllocateNothing) {
  SKIP_UNLESS_COUNTED();
  LoopExecutor executor;
  BufferPool pool(executor, 1u << 20);
  MemoryDisk disk(executor, 1u << 20);
  Semaphore permits(executor, 32);
  DiskRequest grow{};
  grow.op = DiskOp::grow;
  grow.offset = 1u << 20;
  grow.waiter = std::noop_coroutine();
  disk.submit(grow);
  std::uint64_t done = 0;
  run_batch(executor, disk, pool, permits, &done);

  AllocationWatch watch;
  for (int round = 0; round < 10; ++round) run_batch(executor, disk, pool, permits, &done);
  EXPECT_EQ(watch.allocations(), 0U) << watch.sites();
  EXPECT_EQ(done, 11U * 64U);
}

}  // namespace
}  // namespace holdfast::test
