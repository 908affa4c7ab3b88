// A record on its way: made by a writer or received, placed by the log, committed by the engine.
#pragma once

#include <array>
#include <cstdint>

#include "base/buffer.h"
#include "base/intrusive_list.h"
#include "base/result.h"
#include "base/types.h"
#include "wal/log_format.h"

namespace holdfast::wal {

struct QueueTag;

class LogRecord : public ListNode<LogRecord, QueueTag> {
 public:
  RecordKind kind = RecordKind::write;
  Lsn lsn;                              // Written by Log::append.
  Epoch epoch;
  VolumeId volume;
  Lba first;
  std::uint64_t count = 0;              // Blocks; bytes for reservations.
  std::uint16_t head_blocks = 0;
  std::uint16_t chunk_count = 0;
  std::uint16_t tail_blocks = 0;
  Buffer payload;                       // All blocks in order, also those of whole chunks (they are not logged).
  std::array<std::uint64_t, kRecordChunksMax> chunks;      // Locations; valid for chunk_count.
  std::array<std::uint64_t, kRecordBlocksMax> checksums;   // XXH3 a block; valid for data_blocks().
  std::uint64_t chain_xxh3 = 0;         // Written by Log::append.
  std::uint64_t written_blocks = 0;     // By this record and all before it; written by Log::append.
  std::uint64_t reserved_blocks = 0;    // Room in the ring, held until the record is sealed into a batch.

  std::size_t logged_blocks() const { return std::size_t{head_blocks} + tail_blocks; }
  std::size_t data_blocks() const { return logged_blocks() + std::size_t{chunk_count} * kChunkBlocks; }
};

// What recovery hands out: a record that is whole, in LSN order.
struct RecoveredRecord {
  RecordHeader header;
  const std::uint64_t* chunks;       // header.chunk_count locations.
  const std::uint64_t* checksums;    // One a data block.
  std::uint64_t payload_position;    // Log position of the record's first payload block.
  std::uint64_t written_blocks;      // By this record and all before it.
};

// The identity of a record chained to its predecessor's: equal chains mean equal histories.
std::uint64_t chain_of(const RecordHeader& header, std::span<const std::uint64_t> checksums, std::uint64_t previous);

}  // namespace holdfast::wal
