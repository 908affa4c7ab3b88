#include "base/buffer.h"

#include <sys/mman.h>

#include <bit>

#include "base/ensure.h"

namespace holdfast {

Buffer Buffer::slice(std::size_t offset, std::size_t length) const {
  ENSURE(offset <= size_ && length <= size_ - offset);
  Buffer part(*this);
  part.data_ += offset;
  part.size_ = length;
  return part;
}

namespace {
MutableBytes map_memory(std::size_t bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  ENSURE(memory != MAP_FAILED);
  return {static_cast<std::byte*>(memory), bytes};
}
}  // namespace

BufferPool::BufferPool(Executor& executor, std::size_t bytes) : BufferPool(executor, map_memory(bytes)) { owned_ = true; }

BufferPool::BufferPool(Executor& executor, MutableBytes memory)
    : waiters_(executor), released_(executor), base_(memory.data()), owned_(false), bytes_(memory.size()), counts_(bytes_ / kPageBytes),
      orders_(bytes_ / kPageBytes), free_flags_(bytes_ / kPageBytes), runs_(bytes_ / kPageBytes) {
  ENSURE(bytes_ >= kLargestBytes && bytes_ % kLargestBytes == 0);
  for (std::size_t page = bytes_ / kPageBytes; page >= kLargestBytes / kPageBytes; page -= kLargestBytes / kPageBytes)
    put(static_cast<std::uint32_t>(page - kLargestBytes / kPageBytes), kOrders - 1);
}

BufferPool::~BufferPool() {
  if (owned_) munmap(base_, bytes_);
}

unsigned BufferPool::order_of(std::size_t bytes) {
  ENSURE(bytes > 0 && bytes <= kLargestBytes);
  return static_cast<unsigned>(std::bit_width((bytes - 1) / kPageBytes));
}

void BufferPool::put(std::uint32_t page, unsigned order) {
  orders_[page] = static_cast<std::uint8_t>(order);
  free_flags_[page] = 1;
  free_[order].push_front(runs_[page]);
  free_bytes_ += kPageBytes << order;
}

void BufferPool::take(std::uint32_t page) {
  free_flags_[page] = 0;
  runs_[page].unlink();
  free_bytes_ -= kPageBytes << orders_[page];
}

Buffer BufferPool::try_acquire(std::size_t bytes) {
  const unsigned wanted = order_of(bytes);
  unsigned order = wanted;
  while (order < kOrders && free_[order].empty()) ++order;
  if (order == kOrders) return {};
  const auto page = static_cast<std::uint32_t>(&free_[order].front() - runs_.data());
  take(page);
  while (order > wanted) {
    --order;
    put(page + (std::uint32_t{1} << order), order);
  }
  orders_[page] = static_cast<std::uint8_t>(wanted);
  ENSURE(counts_[page] == 0);
  counts_[page] = 1;
  Buffer buffer;
  buffer.pool_ = this;
  buffer.page_ = page;
  buffer.data_ = base_ + std::size_t{page} * kPageBytes;
  buffer.size_ = bytes;
  return buffer;
}

Task<Buffer> BufferPool::acquire(std::size_t bytes) {
  if (waiters_.empty() && !queue_busy_) {
    if (Buffer buffer = try_acquire(bytes)) co_return buffer;
  }
  // One waiter at a time is the head of the line and is woken by releases; the others wait behind it.
  while (queue_busy_) co_await waiters_.wait();
  struct Head {
    BufferPool* pool;
    explicit Head(BufferPool* p) : pool(p) { pool->queue_busy_ = true; }
    ~Head() {
      pool->queue_busy_ = false;
      pool->waiters_.notify_all();
    }
  } head(this);
  for (;;) {
    if (Buffer buffer = try_acquire(bytes)) co_return buffer;
    co_await released_.wait();
  }
}

void BufferPool::release(std::uint32_t page) {
  ENSURE(counts_[page] > 0);
  if (--counts_[page] > 0) return;
  unsigned order = orders_[page];
  while (order + 1 < kOrders) {
    const std::uint32_t buddy = page ^ (std::uint32_t{1} << order);
    if (!free_flags_[buddy] || orders_[buddy] != order) break;
    take(buddy);
    page &= ~(std::uint32_t{1} << order);
    ++order;
  }
  put(page, order);
  released_.notify_one();
}

}  // namespace holdfast
