// The Clock port. Time above `io` is BOOTTIME and only from here; wall time is for display and comes with the log port.
#pragma once

#include <coroutine>
#include <vector>

#include "base/executor.h"
#include "base/types.h"

namespace holdfast {

class Clock;

enum class Wake : std::uint8_t { fired, cancelled };

// One waiter's timer. Lives with its owner; destroying it disarms it.
class Timer {
 public:
  explicit Timer(Clock& clock) : clock_(&clock) {}
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;
  ~Timer();

  // co_await timer.until(t): fired at or after t, or cancelled. One waiter at a time.
  struct Awaiter {
    Timer* timer;
    BootNs due;
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> h);
    Wake await_resume() const noexcept { return timer->wake_; }
  };
  Awaiter until(BootNs due) { return Awaiter{this, due}; }
  Awaiter after(DurationNs delay);
  // Wakes the waiter, if any, with Wake::cancelled.
  void cancel();
  bool armed() const { return slot_ != kUnarmed; }

 private:
  friend class TimerQueue;
  friend class Clock;
  static constexpr std::size_t kUnarmed = ~std::size_t{0};
  Clock* clock_;
  BootNs due_{};
  std::uint64_t order_ = 0;
  std::size_t slot_ = kUnarmed;  // Position in the queue's heap; written by TimerQueue.
  std::coroutine_handle<> handle_;
  Wake wake_ = Wake::fired;
};

// A binary heap of armed timers: ties fire in the order of arming.
class TimerQueue {
 public:
  void add(Timer& timer, BootNs due);
  void remove(Timer& timer);
  bool empty() const { return heap_.empty(); }
  BootNs next_due() const { return heap_.front()->due_; }
  // Removes the timers that are due and posts their waiters.
  void fire(BootNs now, Executor& executor);

 private:
  static bool before(const Timer& a, const Timer& b) {
    return a.due_ != b.due_ ? a.due_ < b.due_ : a.order_ < b.order_;
  }
  void place(std::size_t slot, Timer* timer) { heap_[slot] = timer; timer->slot_ = slot; }
  void sift_up(std::size_t slot);
  void sift_down(std::size_t slot);
  std::vector<Timer*> heap_;
  std::uint64_t next_order_ = 0;
};

// Implementations provide the time, the executor, and a turn of their loop that calls timers().fire().
class Clock {
 public:
  explicit Clock(Executor& executor) : executor_(&executor) {}
  virtual ~Clock() = default;
  virtual BootNs now() const = 0;
  TimerQueue& timers() { return timers_; }
  Executor& executor() const { return *executor_; }

 private:
  Executor* executor_;
  TimerQueue timers_;
};

}  // namespace holdfast
