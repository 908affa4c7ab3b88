// Counters of one thread's volumes and sessions. Written by their owning thread with relaxed stores, read by admin from
// another thread: no lock and no contended line on the path of an I/O.
#pragma once

#include <atomic>
#include <cstdint>

namespace holdfast {

class Counter {
 public:
  void add(std::uint64_t n = 1) { value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed); }
  void set(std::uint64_t n) { value_.store(n, std::memory_order_relaxed); }
  std::uint64_t get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

}  // namespace holdfast
