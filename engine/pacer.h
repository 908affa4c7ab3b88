// A rate for work in the background: who is to move bytes is told how long to wait before. What was not used for a while is not
// saved up beyond kBurstMs.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/types.h"

namespace holdfast::engine {

class Pacer {
 public:
  static constexpr std::int64_t kBurstMs = 50;

  // Zero: no limit.
  explicit Pacer(std::uint64_t bytes_per_second) : rate_(bytes_per_second) {}

  // How long whoever comes now would wait.
  DurationNs debt(BootNs now) const { return rate_ == 0 || due_ <= now ? DurationNs{} : due_ - now; }
  // The bytes are moved after the returned time; whoever comes next waits for them, too.
  DurationNs take(BootNs now, std::uint64_t bytes) {
    if (rate_ == 0) return {};
    const BootNs from = std::max(due_, now + DurationNs{-milliseconds(kBurstMs).value});
    due_ = from + DurationNs{static_cast<std::int64_t>(bytes * 1'000'000'000 / rate_)};
    return from <= now ? DurationNs{} : from - now;
  }

 private:
  std::uint64_t rate_;
  BootNs due_{};  // What was taken so far is paid for then.
};

}  // namespace holdfast::engine
