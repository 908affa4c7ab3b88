// One thread's world without devices: a loop, BOOTTIME, payload memory and a disk in memory.
// What runs in it costs its own CPU and nothing else: for allocation tests and microbenchmarks.
#pragma once

#include <time.h>

#include <optional>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/scope.h"
#include "test/support/manual_executor.h"
#include "test/support/memory_disk.h"

namespace holdfast::test {

class BootClock final : public Clock {
 public:
  using Clock::Clock;
  BootNs now() const override {
    timespec time{};
    ::clock_gettime(CLOCK_BOOTTIME, &time);
    return BootNs{time.tv_sec * 1'000'000'000 + time.tv_nsec};
  }
};

class MemoryWorld {
 public:
  MemoryWorld(std::uint64_t disk_bytes, std::size_t pool_bytes)
      : clock(executor), buffers(executor, pool_bytes), disk(executor, disk_bytes) {}

  // Runs until nothing is ready; timers that are due fire.
  void run_ready() {
    for (;;) {
      executor.run();
      if (clock.timers().empty()) return;
      clock.timers().fire(clock.now(), executor);
      if (executor.idle()) return;
    }
  }

  // Runs until the task is done; timers may have to pass first.
  template <class T>
  T wait(Task<T> task) {
    std::optional<T> result;
    Scope scope(executor);
    scope.spawn(store(std::move(task), &result));
    while (!result) run_ready();
    return std::move(*result);
  }

  ManualExecutor executor;
  BootClock clock;
  CountingRandom random;
  BufferPool buffers;
  MemoryDisk disk;

 private:
  template <class T>
  static Task<void> store(Task<T> task, std::optional<T>* result) {
    result->emplace(co_await std::move(task));
  }
};

}  // namespace holdfast::test
