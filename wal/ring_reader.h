// Reads the ring through a few aligned windows, several at once: for whoever goes over all of it at the start.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/buffer.h"
#include "base/disk.h"
#include "base/scope.h"
#include "wal/log.h"

namespace holdfast::wal {

class RingReader {
 public:
  static constexpr std::uint64_t kWindowBlocks = 64;

  RingReader(Disk& disk, BufferPool& buffers, LogGeometry geometry)
      : disk_(&disk), buffers_(&buffers), geometry_(geometry) {}

  // The block at a slot of the ring, or nullptr when it is not in memory: then load() it.
  const std::byte* peek(std::uint64_t slot) const {
    const std::uint64_t window = slot / kWindowBlocks;
    for (const Window& w : windows_)
      if (w.valid && w.number == window) return w.buffer.data() + slot % kWindowBlocks * kBlockBytes;
    return nullptr;
  }
  // Of a block that is in memory: it could not be read, and has no content.
  bool is_unreadable(std::uint64_t slot) const {
    const std::uint64_t window = slot / kWindowBlocks;
    for (const Window& w : windows_)
      if (w.valid && w.number == window) return (w.unreadable >> slot % kWindowBlocks & 1) != 0;
    return false;
  }
  Task<void> load(std::uint64_t slot) {
    Scope scope(disk_->executor());
    const std::uint64_t first = slot / kWindowBlocks;
    const std::uint64_t count = divide_up(geometry_.blocks, kWindowBlocks);
    for (std::size_t i = 0; i < kWindows; ++i) {
      windows_[i].valid = false;
      if (i > 0 && i >= count) continue;
      windows_[i].number = (first + i) % count;
      if (!windows_[i].buffer) windows_[i].buffer = co_await buffers_->acquire(kWindowBytes);
      scope.spawn(fill(&windows_[i]));
    }
    co_await scope.join();
  }

 private:
  static constexpr std::size_t kWindowBytes = kWindowBlocks * kBlockBytes;
  static constexpr std::size_t kWindows = 8;
  struct Window {
    Buffer buffer;
    std::uint64_t number = 0;
    std::uint64_t unreadable = 0;  // A bit a block.
    bool valid = false;
  };
  static_assert(kWindowBlocks == 64);
  Task<void> fill(Window* window) {
    const std::uint64_t begin = window->number * kWindowBlocks;
    const std::uint64_t blocks = std::min(kWindowBlocks, geometry_.blocks - begin);
    const MutableBytes into = window->buffer.bytes().first(blocks * kBlockBytes);
    auto done = co_await disk_->read(geometry_.offset_bytes + begin * kBlockBytes, into);
    window->unreadable = 0;
    for (std::uint64_t i = 0; !done && i < blocks; ++i) {
      const MutableBytes one = into.subspan(i * kBlockBytes, kBlockBytes);
      auto again = co_await disk_->read(geometry_.offset_bytes + (begin + i) * kBlockBytes, one);
      if (again) continue;
      window->unreadable |= std::uint64_t{1} << i;
      std::fill(one.begin(), one.end(), std::byte{0});
    }
    window->valid = true;
  }
  Disk* disk_;
  BufferPool* buffers_;
  LogGeometry geometry_;
  Window windows_[kWindows];
};

}  // namespace holdfast::wal
