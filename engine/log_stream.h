// The log as its named consumers see it: committed records, in order, each once; and a gap that says exactly what is missing
// when the ring no longer holds it. Positions are part of the group: they survive restarts and changes of the primary.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/types.h"

namespace holdfast {

enum class LogEntryKind : std::uint8_t { write, unmap, epoch_start, volume_create, volume_delete, reservations };

struct LogEntry {
  Lsn lsn;
  Epoch epoch;
  LogEntryKind kind = LogEntryKind::write;
  VolumeId volume;                     // Zero: of the whole group.
  std::string volume_name;             // Empty: it is gone by now.
  Lba first;
  std::uint64_t count = 0;             // write, unmap: blocks. volume_create: of the volume. reservations: bytes.
  std::vector<std::byte> payload;      // write: the blocks. reservations: the state. Only when it was asked for.
  // Blocks of a write that were overwritten before they were read here: zeros in the payload. Records that follow have what
  // came instead, so whoever carries all of them out ends with the right state, and sees no wrong one at that end.
  std::vector<BlockRange> superseded;
};

// Records [start, end) can no longer be had.
struct LogGap {
  Lsn start, end;
  std::optional<std::uint64_t> bytes;  // Written by them; nothing when it is not known.
};

// A gap, or entries, or neither: nothing more is committed yet.
struct LogBatch {
  std::optional<LogGap> gap;
  std::vector<LogEntry> entries;
  Lsn next;                            // Where to go on. LSNs may be left out between entries: those are no entries.
  Lsn commit;
};

struct LogReadLimits {
  std::size_t entries_max = 256;
  std::uint64_t bytes_max = 1 << 20;   // Of what the entries write; a single entry may exceed it.
  std::int64_t wait_ms = 0;            // For something to be committed.
  enum class Payload : std::uint8_t { omitted, included } payload = Payload::included;
};

enum class ConsumerStart : std::uint8_t { oldest, now };  // The oldest record that the ring holds, or what comes next.

struct ConsumerStatus {
  std::string name;
  Lsn confirmed;                       // It has everything up to it.
  std::uint64_t lag_records = 0;
  std::optional<std::uint64_t> lag_bytes;  // Written by what it does not have yet; nothing when it is not known.
  std::optional<LogGap> gap;           // What it can no longer get.
};

// How soon a position must survive the loss of this node: before the call returns, or within GroupOptions::consumer_log_ms.
enum class Confirm : std::uint8_t { soon, durably };

}  // namespace holdfast
