// The Disk port: one file or block device of a store, in aligned 4 KiB blocks.
// A write is durable only after it completed with Durability::durable, or after a later sync completed.
// Requests may complete in any order; whoever needs an order awaits.
#pragma once

#include <sys/uio.h>

#include <coroutine>
#include <cstdint>
#include <span>

#include "base/bytes.h"
#include "base/executor.h"
#include "base/result.h"
#include "base/types.h"

namespace holdfast {

enum class DiskOp : std::uint8_t { read, write, sync, allocate, punch, grow };
enum class Durability : std::uint8_t { cached, durable };

// One request. It lives in the submitting frame until it is completed.
struct DiskRequest {
  DiskOp op;
  Durability durability = Durability::cached;  // Writes only.
  std::uint64_t offset = 0;                    // Bytes, multiple of 4096. For grow: the new size.
  std::uint64_t length = 0;                    // Bytes, multiple of 4096.
  std::span<const iovec> segments;             // Reads and writes; at most kDiskSegmentsMax, each a multiple of 4096.
  // Written by the disk before the waiter is posted: 0 or an errno (ENOSPC, EIO, …).
  int error = 0;
  std::coroutine_handle<> waiter;
};

inline constexpr std::size_t kDiskSegmentsMax = 1024;  // IOV_MAX of Linux.

class Disk {
 public:
  explicit Disk(Executor& executor) : executor_(&executor) {}
  virtual ~Disk() = default;
  virtual void submit(DiskRequest& request) = 0;
  virtual std::uint64_t size_bytes() const = 0;
  // False for block devices: grow is refused, allocate is a no-op, punch is a discard.
  virtual bool is_file() const = 0;
  // What the file system could still give to a file, in bytes; zero for a block device. May ask the kernel: for status only.
  virtual std::uint64_t available_bytes() const { return 0; }
  // Memory that reads and writes will mostly use; may be ignored.
  virtual void register_memory(MutableBytes) {}
  Executor& executor() const { return *executor_; }

  class Awaiter {
   public:
    Awaiter(Disk* disk, DiskOp op, std::uint64_t offset, std::uint64_t length, std::span<const iovec> segments,
            Durability durability)
        : disk_(disk) {
      request_.op = op;
      request_.offset = offset;
      request_.length = length;
      request_.segments = segments;
      request_.durability = durability;
    }
    // One segment: kept here, so that the caller needs no array.
    Awaiter(Disk* disk, DiskOp op, std::uint64_t offset, iovec segment, Durability durability)
        : disk_(disk), single_(segment), has_single_(true) {
      request_.op = op;
      request_.offset = offset;
      request_.length = segment.iov_len;
      request_.durability = durability;
    }
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> h) {
      if (has_single_) request_.segments = std::span<const iovec>(&single_, 1);
      request_.waiter = h;
      disk_->submit(request_);
    }
    Result<void> await_resume() const;

   private:
    Disk* disk_;
    iovec single_{};
    bool has_single_ = false;
    DiskRequest request_{};
  };

  Awaiter read(std::uint64_t offset, MutableBytes into) {
    return Awaiter(this, DiskOp::read, offset, iovec{into.data(), into.size()}, Durability::cached);
  }
  Awaiter read(std::uint64_t offset, std::uint64_t length, std::span<const iovec> into) {
    return Awaiter(this, DiskOp::read, offset, length, into, Durability::cached);
  }
  Awaiter write(std::uint64_t offset, Bytes from, Durability durability) {
    return Awaiter(this, DiskOp::write, offset, iovec{const_cast<std::byte*>(from.data()), from.size()}, durability);
  }
  Awaiter write(std::uint64_t offset, std::uint64_t length, std::span<const iovec> from, Durability durability) {
    return Awaiter(this, DiskOp::write, offset, length, from, durability);
  }
  Awaiter sync() { return Awaiter(this, DiskOp::sync, 0, 0, {}, Durability::cached); }
  // Backs a range with real space: a later write there cannot fail for lack of it. Idempotent; contents stay or are zeros. The
  // range may lie beyond a file's end: for the growth that follows.
  Awaiter allocate(std::uint64_t offset, std::uint64_t length) {
    return Awaiter(this, DiskOp::allocate, offset, length, {}, Durability::cached);
  }
  // Gives the range's space back; it reads as zeros or as anything until written again.
  Awaiter punch(std::uint64_t offset, std::uint64_t length) {
    return Awaiter(this, DiskOp::punch, offset, length, {}, Durability::cached);
  }
  // Extends a file (sparse). Durable when it completes.
  Awaiter grow(std::uint64_t new_size) { return Awaiter(this, DiskOp::grow, new_size, 0, {}, Durability::cached); }

 private:
  Executor* executor_;
};

}  // namespace holdfast
