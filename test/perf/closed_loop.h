// A closed loop: `depth` flows, each with one operation under way, for a while. What it prints is read by people.
#pragma once

#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <vector>

#include "base/clock.h"
#include "base/scope.h"
#include "base/task.h"

namespace holdfast::test {

struct LoopFigures {
  double operations_per_second = 0, p50_us = 0, p99_us = 0, p999_us = 0, cpu_us = 0;
  std::uint64_t failures = 0;
};

class ClosedLoop {
 public:
  // operation(n): the n-th operation; true when it succeeded.
  using Operation = std::function<Task<bool>(std::uint64_t)>;

  ClosedLoop(Executor& executor, Clock& clock, Operation operation, unsigned depth)
      : clock_(&clock), operation_(std::move(operation)), scope_(executor), depth_(depth) {
    latencies_ns_.reserve(std::size_t{1} << 24);
  }

  // turn(): one turn of the thread's loop.
  LoopFigures run(DurationNs duration, const std::function<void()>& turn) {
    latencies_ns_.clear();
    failures_ = 0;
    const BootNs begun = clock_->now();
    const double cpu_before = cpu_us();
    until_ = begun + duration;
    for (unsigned i = 0; i < depth_; ++i) scope_.spawn(flow(this));
    while (scope_.running() > 0) turn();
    const double seconds = static_cast<double>((clock_->now() - begun).value) / 1e9;
    return summary(seconds, cpu_us() - cpu_before);
  }

 private:
  static Task<void> flow(ClosedLoop* self) {
    for (BootNs start = self->clock_->now(); start < self->until_;) {
      const bool good = co_await self->operation_(self->next_++);
      const BootNs end = self->clock_->now();
      if (!good) ++self->failures_;
      self->latencies_ns_.push_back((end - start).value);
      start = end;
    }
  }

  static double cpu_us() {
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    const auto us = [](timeval t) { return static_cast<double>(t.tv_sec) * 1e6 + static_cast<double>(t.tv_usec); };
    return us(usage.ru_utime) + us(usage.ru_stime);
  }

  LoopFigures summary(double seconds, double cpu_used_us) {
    LoopFigures out;
    if (latencies_ns_.empty()) return out;
    const double count = static_cast<double>(latencies_ns_.size());
    std::sort(latencies_ns_.begin(), latencies_ns_.end());
    const auto at = [&](double part) { return static_cast<double>(latencies_ns_[static_cast<std::size_t>(part * (count - 1))]) / 1e3; };
    out.operations_per_second = count / seconds;
    out.p50_us = at(0.5);
    out.p99_us = at(0.99);
    out.p999_us = at(0.999);
    out.cpu_us = cpu_used_us / count;
    out.failures = failures_;
    return out;
  }

  Clock* clock_;
  Operation operation_;
  Scope scope_;
  unsigned depth_;
  BootNs until_{};
  std::uint64_t next_ = 0;
  std::uint64_t failures_ = 0;
  std::vector<std::int64_t> latencies_ns_;
};

inline void print(const char* what, unsigned depth, const LoopFigures& f) {
  std::printf("%-24s depth %-3u %10.0f/s  p50 %8.1f us  p99 %8.1f us  p99.9 %8.1f us  CPU %6.2f us%s\n", what, depth,
              f.operations_per_second, f.p50_us, f.p99_us, f.p999_us, f.cpu_us, f.failures ? "  FAILURES" : "");
}

}  // namespace holdfast::test
