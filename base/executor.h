// The ready queue of one thread. Completions never resume a flow inline: they post it here.
// In production a reactor (io) drains it; in tests and the simulator the test does.
#pragma once

#include <coroutine>
#include <cstddef>
#include <functional>
#include <vector>

#include "base/ensure.h"

namespace holdfast {

class Executor {
 public:
  Executor() : ring_(1024) {}
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;
  virtual ~Executor() = default;

  // From the executor's own thread only.
  void post(std::coroutine_handle<> h) {
    if (size_ == ring_.size()) grow();
    ring_[(head_ + size_) & (ring_.size() - 1)] = h;
    ++size_;
  }

  // From any thread: runs the job on the executor's own thread.
  virtual void post_remote(std::move_only_function<void()> job) = 0;

  bool idle() const { return size_ == 0; }
  std::size_t ready() const { return size_; }

  // Resumes the oldest ready flow; false when there was none.
  bool run_one() {
    if (size_ == 0) return false;
    auto h = ring_[head_];
    head_ = (head_ + 1) & (ring_.size() - 1);
    --size_;
    h.resume();
    return true;
  }

  // A crash in simulation: what was ready never happens. Destroy the flows' scopes after this.
  void drop_ready() { size_ = 0; }

 private:
  void grow() {
    std::vector<std::coroutine_handle<>> bigger(ring_.size() * 2);
    for (std::size_t i = 0; i < size_; ++i) bigger[i] = ring_[(head_ + i) & (ring_.size() - 1)];
    ring_.swap(bigger);
    head_ = 0;
  }

  std::vector<std::coroutine_handle<>> ring_;  // Power of two.
  std::size_t head_ = 0;
  std::size_t size_ = 0;
};

}  // namespace holdfast
