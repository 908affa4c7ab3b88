// The log on disk; the grammar is in docs/formats.md. A ring of 4 KiB blocks, named by a position that only grows.
//   batch  = header block(s) payload block*
//   header = BatchHeader record*                 (padded with zeros to whole blocks)
//   record = RecordHeader location* checksum*    (one location a whole chunk, one checksum a block)
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "base/types.h"

namespace holdfast::wal {

inline constexpr std::uint64_t kBatchMagic = 0x31474f4c54534c48ULL;  // "HLSTLOG1" read as bytes.
inline constexpr std::uint16_t kLogVersion = 1;

struct BatchHeader {
  std::uint64_t magic;
  std::uint64_t header_xxh3;      // Covers [16, header_blocks × 4096): trust nothing before it matches.
  std::uint16_t format_version;
  std::uint16_t header_blocks;    // 1 … kHeaderBlocksMax.
  std::uint32_t record_count;     // 1 … kBatchRecordsMax.
  std::uint32_t payload_blocks;
  std::uint32_t reserved0;
  std::uint64_t position;         // Of this batch: names the slot, so a stale lap or a misdirected write is noticed.
  std::uint64_t log_generation;   // Bumped durably at each start and each cut.
  std::uint64_t previous_xxh3;    // header_xxh3 of the batch before: the chain.
  std::uint64_t first_lsn;
  std::uint64_t durable_lsn;      // Proven durable when this batch was sealed (rule 20).
  std::uint64_t commit_lsn;       // Known committed when this batch was sealed.
  std::uint8_t store_id[16];      // The incarnation: foreign batches are noticed.
  std::uint8_t reserved1[32];
};
static_assert(sizeof(BatchHeader) == 128);
static_assert(std::has_unique_object_representations_v<BatchHeader>);

enum class RecordKind : std::uint16_t {
  write = 1,          // Payload blocks and whole chunks.
  unmap = 2,
  epoch_start = 3,
  volume_create = 4,  // Payload: VolumeDescription.
  volume_delete = 5,
  reservations = 6,   // Payload: the state; `count` holds its bytes.
  consumer = 7,       // Payload: ConsumerChange.
};

struct RecordHeader {
  std::uint64_t chain_xxh3;       // Of this record's identity, seeded with the record's before: same on every member.
  std::uint64_t lsn;
  std::uint64_t epoch;
  std::uint64_t volume_id;        // Zero when the record belongs to the whole group.
  std::uint64_t first_block;
  std::uint64_t count;            // Blocks; bytes for reservations.
  std::uint16_t kind;             // RecordKind; zero is never valid.
  std::uint16_t head_blocks;      // Payload blocks before the whole chunks.
  std::uint16_t chunk_count;      // Whole chunks whose data is in the data area already.
  std::uint16_t tail_blocks;      // Payload blocks after the whole chunks.
  std::uint32_t payload_block;    // Index of the first payload block within the batch's payload.
  std::uint32_t reserved;
};
static_assert(sizeof(RecordHeader) == 64);
static_assert(std::has_unique_object_representations_v<RecordHeader>);

// Blocks of data that the record brings into its volume. The sum of them measures the log for whoever reads all of it: it is
// the same on every member, whatever the placement.
constexpr std::uint64_t written_blocks_of(std::uint16_t kind, std::uint64_t count) {
  return kind == static_cast<std::uint16_t>(RecordKind::write) ? count : 0;
}

inline constexpr std::size_t kHeaderBlocksMax = 16;
inline constexpr std::size_t kHeaderBytesMax = kHeaderBlocksMax * kBlockBytes;
inline constexpr std::size_t kRecordBlocksMax = 256;   // 1 MiB of payload and chunks.
inline constexpr std::size_t kRecordChunksMax = kRecordBlocksMax / kChunkBlocks;
inline constexpr std::size_t kBatchRecordsMax = 480;   // Two payload segments each and the header fit one vectored write.
inline constexpr std::size_t kBatchesInFlightMax = 8;
inline constexpr std::size_t kLogBlocksMin = 640;      // 2.5 MiB: two of the largest records and their headers fit.
static_assert(kLogBlocksMin >= 2 * (kRecordBlocksMax + kHeaderBlocksMax));

constexpr std::size_t record_bytes(std::size_t blocks, std::size_t chunks) {
  return sizeof(RecordHeader) + 8 * (blocks + chunks);
}
constexpr std::size_t header_blocks_for(std::size_t bytes) {
  return (sizeof(BatchHeader) + bytes + kBlockBytes - 1) / kBlockBytes;
}
static_assert(header_blocks_for(record_bytes(kRecordBlocksMax, kRecordChunksMax)) <= kHeaderBlocksMax);

}  // namespace holdfast::wal
