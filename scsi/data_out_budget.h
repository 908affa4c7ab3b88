// Memory that waits for initiators to send the data they have announced: at most half of a thread's payload memory, over
// all connections of all its targets. The other half goes to commands that wait for nobody but the volume, so that
// initiators who announce and stay silent slow down each other's writes and nobody else.
#pragma once

#include <algorithm>
#include <coroutine>
#include <cstdint>

#include "base/buffer.h"
#include "base/intrusive_list.h"
#include "scsi/command.h"

namespace holdfast::scsi {

class DataOutBudget {
 public:
  // One task's part; in line while linked. Outlives the wait for it.
  struct Share : ListNode<Share> {
    std::uint64_t bytes = 0;          // Held; zero while it is waited for.

   private:
    friend class DataOutBudget;
    std::uint64_t wanted = 0;         // Valid while linked, like the waiter.
    std::coroutine_handle<> waiter;
  };

  // Large enough for the largest command, however small the pool is: it would wait for ever.
  DataOutBudget(Executor& executor, const BufferPool& pool)
      : executor_(&executor), free_bytes_(std::max<std::uint64_t>(pool.memory().size() / 2, kTransferBytesMax)) {}

  // Nobody overtakes those who wait.
  bool try_take(Share& share, std::uint64_t bytes);
  // co_await: first come first served. Holds the share afterwards, unless it was given up.
  struct Awaiter {
    DataOutBudget* budget;
    Share* share;
    std::uint64_t bytes;
    bool await_ready() const { return budget->try_take(*share, bytes); }
    void await_suspend(std::coroutine_handle<> h) const { budget->wait(*share, bytes, h); }
    void await_resume() const noexcept {}
  };
  Awaiter take(Share& share, std::uint64_t bytes) { return Awaiter{this, &share, bytes}; }
  // Ends a wait; nothing happens when there is none.
  void give_up(Share& share);
  // What is held, if anything, goes to the next in line.
  void release(Share& share);

  std::uint64_t free_bytes() const { return free_bytes_; }

 private:
  void wait(Share& share, std::uint64_t bytes, std::coroutine_handle<> waiter);
  void serve();

  Executor* executor_;
  std::uint64_t free_bytes_;
  IntrusiveList<Share> line_;
};

}  // namespace holdfast::scsi
