// Payload memory: one aligned region per thread, sized at start and registered with the ring. A buddy allocator hands out
// power-of-two runs of 4 KiB pages, 1 MiB at most. Single-threaded: the counts are plain integers.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/sync.h"
#include "base/task.h"

namespace holdfast {

class BufferPool;

// A counted reference to (a part of) one allocation.
class Buffer {
 public:
  Buffer() = default;
  Buffer(const Buffer& other);
  Buffer(Buffer&& other) noexcept
      : pool_(std::exchange(other.pool_, nullptr)), page_(other.page_), data_(std::exchange(other.data_, nullptr)),
        size_(std::exchange(other.size_, 0)) {}
  Buffer& operator=(Buffer other) noexcept {
    std::swap(pool_, other.pool_);
    std::swap(page_, other.page_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~Buffer();

  std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  explicit operator bool() const { return pool_ != nullptr; }
  MutableBytes bytes() const { return {data_, size_}; }
  // Shares the allocation.
  Buffer slice(std::size_t offset, std::size_t length) const;

 private:
  friend class BufferPool;
  BufferPool* pool_ = nullptr;
  std::uint32_t page_ = 0;  // First page of the allocation.
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

class BufferPool {
 public:
  static constexpr std::size_t kPageBytes = 4096;
  static constexpr std::size_t kLargestBytes = std::size_t{1} << 20;

  // bytes: multiple of 1 MiB, at least 1 MiB.
  BufferPool(Executor& executor, std::size_t bytes);
  // Over memory of the caller's, page-aligned, which outlives the pool and everything taken from it.
  BufferPool(Executor& executor, MutableBytes memory);
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;
  ~BufferPool();

  // What a buffer of so many bytes (1 … 1 MiB) takes of the pool.
  static constexpr std::size_t run_bytes(std::size_t bytes) { return std::max(std::bit_ceil(bytes), kPageBytes); }

  // A buffer of exactly `bytes` (1 … 1 MiB), contents unspecified; empty when there is no room.
  Buffer try_acquire(std::size_t bytes);
  // Waits for room, first come first served.
  Task<Buffer> acquire(std::size_t bytes);
  MutableBytes memory() const { return {base_, bytes_}; }
  std::size_t free_bytes() const { return free_bytes_; }

 private:
  friend class Buffer;
  static constexpr unsigned kOrders = 9;  // 4 KiB … 1 MiB.
  struct FreeRun : ListNode<FreeRun> {};  // Lives in the side table, not in the memory it names.
  static unsigned order_of(std::size_t bytes);
  void retain(std::uint32_t page) { ++counts_[page]; }
  void release(std::uint32_t page);
  void put(std::uint32_t page, unsigned order);
  void take(std::uint32_t page);

  WaitList waiters_;   // Behind the head of the line.
  WaitList released_;  // The head of the line.
  bool queue_busy_ = false;  // Somebody is first in line: newcomers wait behind.
  std::byte* base_;
  bool owned_;  // Mapped here.
  std::size_t bytes_;
  std::size_t free_bytes_ = 0;
  std::vector<std::uint32_t> counts_;       // References, at an allocation's first page.
  std::vector<std::uint8_t> orders_;        // Order of the allocation or free run that starts at the page.
  std::vector<std::uint8_t> free_flags_;    // 1 at the first page of a free run.
  std::vector<FreeRun> runs_;               // One node a page.
  IntrusiveList<FreeRun> free_[kOrders];
};

inline Buffer::Buffer(const Buffer& other)
    : pool_(other.pool_), page_(other.page_), data_(other.data_), size_(other.size_) {
  if (pool_) pool_->retain(page_);
}
inline Buffer::~Buffer() {
  if (pool_) pool_->release(page_);
}

}  // namespace holdfast
