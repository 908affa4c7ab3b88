// An executor and a clock that the test turns by hand: nothing happens between two calls.
#pragma once

#include <algorithm>
#include <deque>
#include <functional>

#include "base/clock.h"
#include "base/executor.h"
#include "base/random.h"

namespace holdfast::test {

class ManualExecutor final : public Executor {
 public:
  void post_remote(std::move_only_function<void()> job) override { remote_.push_back(std::move(job)); }

  // Runs whatever is ready and becomes ready; false when it does not come to rest.
  bool run(std::size_t turns_max = 10'000'000) {
    for (std::size_t i = 0; i < turns_max; ++i) {
      if (!remote_.empty()) {
        auto job = std::move(remote_.front());
        remote_.pop_front();
        job();
      } else if (!run_one()) {
        return true;
      }
    }
    return false;
  }

 private:
  std::deque<std::move_only_function<void()>> remote_;
};

class ManualClock final : public Clock {
 public:
  explicit ManualClock(ManualExecutor& executor) : Clock(executor), manual_(&executor) {}
  BootNs now() const override { return now_; }

  // Lets time pass from timer to timer, running what they wake.
  void advance(DurationNs by) {
    const BootNs end = now_ + by;
    manual_->run();
    while (!timers().empty() && timers().next_due() <= end) {
      now_ = std::max(now_, timers().next_due());
      timers().fire(now_, *manual_);
      manual_->run();
    }
    now_ = end;
  }

 private:
  ManualExecutor* manual_;
  BootNs now_{1'000'000'000};
};

// The same bytes in every run.
class CountingRandom final : public Random {
 public:
  void fill(MutableBytes bytes) override {
    for (auto& b : bytes) {
      state_ = state_ * 6364136223846793005ULL + 1442695040888963407ULL;
      b = std::byte(state_ >> 56);
    }
  }

 private:
  std::uint64_t state_ = 1;
};

}  // namespace holdfast::test
