#include "scsi/payload.h"

#include <algorithm>

#include "base/ensure.h"

namespace holdfast::scsi {

bool try_acquire_payload(BufferPool* pool, std::uint32_t bytes, Buffer* first, MorePieces* more) {
  for (std::uint32_t offset = 0; offset < bytes; offset += kPieceBytes) {
    Buffer piece = pool->try_acquire(std::min<std::size_t>(bytes - offset, kPieceBytes));
    if (!piece) {
      *first = {};
      for (Buffer& held : *more) held = {};
      return false;
    }
    payload_piece(*first, *more, offset) = std::move(piece);
  }
  return true;
}

Task<bool> acquire_payload(Clock* clock, BufferPool* pool, std::uint32_t bytes, Buffer* first, MorePieces* more, const bool* given_up) {
  ENSURE(bytes > 0 && bytes <= kTransferBytesMax);
  if (try_acquire_payload(pool, bytes, first, more)) co_return true;
  const BootNs deadline = clock->now() + milliseconds(kPayloadWaitMs);
  Timer pause(*clock);
  while (!try_acquire_payload(pool, bytes, first, more)) {
    if (*given_up || clock->now() >= deadline) co_return false;
    co_await pause.after(milliseconds(1));
  }
  co_return true;
}

}  // namespace holdfast::scsi
