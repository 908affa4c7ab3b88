// The receiving side of a connection's stream: a staging buffer that one read fills with as many PDUs as have come.
// Payload that has been staged is copied; the rest of it is read straight into its buffer.
#pragma once

#include <memory>

#include "base/stream.h"
#include "scsi/pdu.h"

namespace holdfast::scsi {

// Where a PDU's data segment goes: its beginning into the parts in order (two where it crosses from one payload piece into
// the next), the rest is dropped.
struct DataSink {
  std::array<MutableBytes, 2> parts;
  std::size_t bytes() const { return parts[0].size() + parts[1].size(); }
};

class Receiver {
 public:
  static constexpr std::size_t kStagingBytes = 64 * 1024;
  // When a large payload is read directly, this much more is taken along: a digest and the next headers.
  static constexpr std::size_t kReadAheadBytes = 4096;
  static constexpr std::size_t kDirectBytesMin = 16 * 1024;

  explicit Receiver(Stream* stream) : stream_(stream), staging_(new std::byte[kStagingBytes]) {}

  std::size_t available() const { return end_ - begin_; }
  const std::byte* staged() const { return staging_.get() + begin_; }
  void consume(std::size_t bytes) { begin_ += bytes; }
  // Until at least `bytes` (≤ kStagingBytes) are staged.
  Task<Result<void>> fill(std::size_t bytes);
  // One data segment with its padding and, when asked for, its digest. False: the digest does not match.
  Task<Result<bool>> take_data(DataSink sink, std::size_t data_bytes, bool has_digest);
  // The same when all of it is staged already.
  bool take_staged_data(DataSink sink, std::size_t data_bytes, bool has_digest);

 private:
  Task<Result<void>> read_directly(MutableBytes into);

  Stream* stream_;
  std::unique_ptr<std::byte[]> staging_;  // Uninitialized: pages are touched as data comes.
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

}  // namespace holdfast::scsi
