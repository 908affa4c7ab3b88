// How long something took, in buckets of powers of two, for one writing thread and readers on any other.
#pragma once

#include <array>
#include <bit>

#include "base/counters.h"
#include "base/types.h"

namespace holdfast {

class LatencyHistogram {
 public:
  // Bucket i counts what took less than 2^i µs (and not less than 2^(i-1)); the last one counts all that took longer than 4 s.
  static constexpr std::size_t kBuckets = 24;

  void add(DurationNs took) {
    const std::uint64_t us = took.value > 0 ? static_cast<std::uint64_t>(took.value) / 1'000 : 0;
    const std::size_t bucket = static_cast<std::size_t>(std::bit_width(us));
    buckets_[bucket < kBuckets ? bucket : kBuckets - 1].add();
    sum_us_.add(us);
    if (us > longest_us_.get()) longest_us_.set(us);
  }

  std::uint64_t in_bucket(std::size_t i) const { return buckets_[i].get(); }
  std::uint64_t sum_us() const { return sum_us_.get(); }
  std::uint64_t longest_us() const { return longest_us_.get(); }
  std::uint64_t count() const {
    std::uint64_t count = 0;
    for (const Counter& bucket : buckets_) count += bucket.get();
    return count;
  }
  // The upper bound of the bucket that has the value of this rank; zero when there is none.
  std::uint64_t quantile_us(unsigned percent) const {
    const std::uint64_t rank = (count() * percent + 99) / 100;
    std::uint64_t below = 0;
    for (std::size_t i = 0; i < kBuckets; ++i)
      if ((below += buckets_[i].get()) >= rank && below > 0) return std::uint64_t{1} << i;
    return 0;
  }

 private:
  std::array<Counter, kBuckets> buckets_;
  Counter sum_us_;
  Counter longest_us_;
};

}  // namespace holdfast
