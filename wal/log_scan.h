// Recovery of the log: reads from the superblock's cursor to the end, hands out whole records, and judges the end.
// Rule 20: what ends the log is a torn tail, which is cut, unless a superblock or a header of the same generation proves
// that it was durable: then it is damage, and this replica must not serve. It never guesses.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "base/buffer.h"
#include "base/disk.h"
#include "wal/log.h"

namespace holdfast::wal {

// What becomes of a log that lost durable records: a copy among others goes on with what is left and gets the rest from them.
enum class Damage : std::uint8_t { refused, cut };

struct ScanInput {
  LogGeometry geometry;
  LogCursor tail;
  Uuid store_id;
  std::uint64_t generation = 0;    // Of the superblock: batches of a later one are foreign.
  std::uint64_t durable_lsn = 0;       // What the superblock proves …
  std::uint64_t durable_position = 0;  // … and where that ends in the ring: records that were cut lie there, too.
  std::uint64_t cut_lsn = 1;           // Older generations' records from here on were cut.
  Damage damage = Damage::refused;
  bool clean = false;              // A clean stop left nothing after the durable LSN: no search for evidence is needed.
};

struct ScanOutput {
  LogCursor head;                  // Where to go on.
  std::vector<LogCursor> batches;  // Starts of the batches found.
  std::uint64_t records = 0;
  std::uint64_t commit_lsn = 0;    // Known to be committed: headers say so.
  std::uint64_t proven_lsn = 0;    // Durable for certain: superblock and headers say so. What follows is merely readable.
  std::optional<Error> damage;     // Durable records are missing from the head on; only when they may be (ScanInput::damage).
  bool tail_was_torn = false;      // Something unreadable followed the last batch.
};

// Called in order. An LSN that came before comes again when the records from there on were cut: the later one counts, and in
// the end only those before ScanOutput::head do.
using RecordVisitor = std::function<Result<void>(const RecoveredRecord&)>;

// Errors: damaged (the message names the LSN and the position), io_error, or the visitor's.
Task<Result<ScanOutput>> scan_log(Disk& disk, BufferPool& buffers, ScanInput input, const RecordVisitor& visitor);

// Writes the batches after proven_lsn once more, durably. Being readable does not make them durable: a sync may have failed
// before the restart, and then a later one need not bring back what it dropped. Same bytes, same place: it may tear.
Task<Result<void>> rewrite_unproven(Disk& disk, BufferPool& buffers, LogGeometry geometry, const ScanOutput& scanned);

// Checks one header region (header_blocks × 4096 bytes at most kHeaderBytesMax). Pure; also the fuzzer's entry.
struct DecodedBatch {
  BatchHeader header;
  std::vector<RecordHeader> records;
  std::vector<std::uint64_t> numbers;       // Locations and checksums of all records.
  std::vector<std::size_t> numbers_begin;   // Per record.
};
Result<DecodedBatch> decode_batch(Bytes header_region);
// Just the fixed part: enough to know how many header blocks to read. Nothing but the magic and the bounds is checked.
Result<BatchHeader> peek_batch(Bytes first_block);

}  // namespace holdfast::wal
