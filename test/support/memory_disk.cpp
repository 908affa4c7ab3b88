#include "test/support/memory_disk.h"

#include <cerrno>
#include <cstring>

#include "base/ensure.h"

namespace holdfast::test {

MemoryDisk::MemoryDisk(Executor& executor, std::uint64_t capacity_bytes) : Disk(executor), bytes_(capacity_bytes) {}

void MemoryDisk::submit(DiskRequest& request) {
  request.error = perform(request);
  executor().post(request.waiter);
}

int MemoryDisk::perform(DiskRequest& request) {
  switch (request.op) {
    case DiskOp::read:
    case DiskOp::write:
      return transfer(request);
    case DiskOp::sync:
      ++syncs;
      return 0;
    case DiskOp::allocate:
      return request.offset + request.length <= bytes_.size() ? 0 : ENOSPC;
    case DiskOp::punch:
      if (request.offset + request.length > size_bytes_) return EINVAL;
      std::memset(bytes_.data() + request.offset, 0, request.length);
      return 0;
    case DiskOp::grow:
      if (request.offset > bytes_.size()) return ENOSPC;
      if (request.offset > size_bytes_) size_bytes_ = request.offset;
      return 0;
  }
  return EINVAL;
}

int MemoryDisk::transfer(const DiskRequest& request) {
  ENSURE(request.offset % kBlockBytes == 0);
  ENSURE(request.length % kBlockBytes == 0);
  if (request.offset + request.length > size_bytes_) return EINVAL;
  std::byte* at = bytes_.data() + request.offset;
  std::uint64_t left = request.length;
  for (const iovec& segment : request.segments) {
    ENSURE(segment.iov_len <= left);
    if (request.op == DiskOp::read) {
      std::memcpy(segment.iov_base, at, segment.iov_len);
    } else {
      std::memcpy(at, segment.iov_base, segment.iov_len);
    }
    at += segment.iov_len;
    left -= segment.iov_len;
  }
  ENSURE(left == 0);
  if (request.op == DiskOp::read) {
    ++reads;
  } else {
    ++writes;
    written_bytes += request.length;
  }
  return 0;
}

}  // namespace holdfast::test
