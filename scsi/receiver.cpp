#include "scsi/receiver.h"

#include <algorithm>
#include <cstring>

#include "base/checksum.h"
#include "base/ensure.h"

namespace holdfast::scsi {

Task<Result<void>> Receiver::fill(std::size_t bytes) {
  ENSURE(bytes <= kStagingBytes);
  while (available() < bytes) {
    if (begin_ == end_) {
      begin_ = end_ = 0;
    } else if (kStagingBytes - begin_ < bytes || end_ == kStagingBytes) {
      std::memmove(staging_.get(), staged(), available());
      end_ -= begin_;
      begin_ = 0;
    }
    const iovec segment{staging_.get() + end_, kStagingBytes - end_};
    const auto got = co_await stream_->read_some({&segment, 1});
    if (!got) co_return fail(got.error());
    end_ += *got;
  }
  co_return Result<void>();
}

bool Receiver::take_staged_data(DataSink sink, std::size_t data_bytes, bool has_digest) {
  ENSURE(sink.bytes() <= data_bytes && available() >= padded(data_bytes) + (has_digest ? kDigestBytes : 0));
  const std::byte* from = staged();
  for (const MutableBytes part : sink.parts) {
    if (!part.empty()) std::memcpy(part.data(), from, part.size());
    from += part.size();
  }
  bool matches = true;
  if (has_digest)
    matches = crc32c({staged(), padded(data_bytes)}) == load_le<std::uint32_t>(staged() + padded(data_bytes));
  consume(padded(data_bytes) + (has_digest ? kDigestBytes : 0));
  return matches;
}

Task<Result<void>> Receiver::read_directly(MutableBytes into) {
  while (!into.empty()) {
    if (const std::size_t staged_part = std::min(available(), into.size()); staged_part > 0) {
      std::memcpy(into.data(), staged(), staged_part);
      consume(staged_part);
      into = into.subspan(staged_part);
      continue;
    }
    begin_ = end_ = 0;
    const std::size_t ahead = into.size() >= kDirectBytesMin ? kReadAheadBytes : kStagingBytes;
    const iovec segments[2] = {{into.data(), into.size()}, {staging_.get(), ahead}};
    const auto got = co_await stream_->read_some(segments);
    if (!got) co_return fail(got.error());
    const std::size_t placed = std::min(*got, into.size());
    into = into.subspan(placed);
    end_ = *got - placed;
  }
  co_return Result<void>();
}

Task<Result<bool>> Receiver::take_data(DataSink sink, std::size_t data_bytes, bool has_digest) {
  ENSURE(sink.bytes() <= data_bytes);
  std::uint32_t crc = 0;
  for (const MutableBytes part : sink.parts) {
    const auto read = co_await read_directly(part);
    if (!read) co_return fail(read.error());
    if (has_digest) crc = crc32c(part, crc);
  }
  // What nobody wants, and the padding: both are covered by the digest.
  std::size_t rest = padded(data_bytes) - sink.bytes();
  while (rest > 0) {
    const auto filled = co_await fill(1);
    if (!filled) co_return fail(filled.error());
    const std::size_t piece = std::min(rest, available());
    if (has_digest) crc = crc32c({staged(), piece}, crc);
    consume(piece);
    rest -= piece;
  }
  if (!has_digest) co_return true;
  const auto filled = co_await fill(kDigestBytes);
  if (!filled) co_return fail(filled.error());
  const bool matches = crc == load_le<std::uint32_t>(staged());
  consume(kDigestBytes);
  co_return matches;
}

}  // namespace holdfast::scsi
