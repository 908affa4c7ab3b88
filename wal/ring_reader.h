// Reads the ring through a few aligned windows, several at once: for whoever goes over all of it at the start.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

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
  Task<Result<void>> load(std::uint64_t slot) {
    Scope scope(disk_->executor());
    error_.reset();
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
    if (error_) co_return fail(*error_);
    co_return Result<void>{};
  }

 private:
  static constexpr std::size_t kWindowBytes = kWindowBlocks * kBlockBytes;
  static constexpr std::size_t kWindows = 8;
  struct Window {
    Buffer buffer;
    std::uint64_t number = 0;
    bool valid = false;
  };
  Task<void> fill(Window* window) {
    const std::uint64_t begin = window->number * kWindowBlocks;
    const std::uint64_t blocks = std::min(kWindowBlocks, geometry_.blocks - begin);
    const MutableBytes into = window->buffer.bytes().first(blocks * kBlockBytes);
    auto done = co_await disk_->read(geometry_.offset_bytes + begin * kBlockBytes, into);
    if (!done) error_ = done.error().code;
    else window->valid = true;
  }
  Disk* disk_;
  BufferPool* buffers_;
  LogGeometry geometry_;
  Window windows_[kWindows];
  std::optional<Errc> error_;
};

}  // namespace holdfast::wal
