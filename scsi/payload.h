// Memory for a command's payload: one pool buffer up to 1 MiB, pieces of 1 MiB beyond.
#pragma once

#include <cstdint>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/task.h"
#include "scsi/command.h"

namespace holdfast::scsi {

// What so many bytes (0 … kTransferBytesMax) take of the pool: up to twice as much, for buffers are powers of two. At most kTransferBytesMax, too.
constexpr std::uint32_t payload_claim(std::uint32_t bytes) {
  const std::uint32_t rest = bytes % kPieceBytes;
  return bytes - rest + (rest > 0 ? static_cast<std::uint32_t>(BufferPool::run_bytes(rest)) : 0);
}

// All buffers are taken at once or none: two large commands that each held half of the pool would wait for ever. False when
// it was given up, or the pool had no room for kPayloadWaitMs: answer TASK SET FULL.
// bytes: 1 … kTransferBytesMax. `first`, `more` and `given_up` outlive the task.
inline constexpr std::int64_t kPayloadWaitMs = 2000;
Task<bool> acquire_payload(Clock* clock, BufferPool* pool, std::uint32_t bytes, Buffer* first, MorePieces* more, const bool* given_up);

// The same without waiting: all of it or nothing.
bool try_acquire_payload(BufferPool* pool, std::uint32_t bytes, Buffer* first, MorePieces* more);

// The piece that holds byte `offset`.
inline Buffer& payload_piece(Buffer& first, MorePieces& more, std::uint32_t offset) {
  const std::size_t index = offset / kPieceBytes;
  return index == 0 ? first : more[index - 1];
}

}  // namespace holdfast::scsi
