// What the ring holds from before the tail: recovery does not need it, but whoever catches up or follows the log does. It is
// found again at the start by the batches' headers alone; payload is held against its checksums when it is read.
#pragma once

#include <vector>

#include "base/buffer.h"
#include "base/disk.h"
#include "wal/log.h"

namespace holdfast::wal {

struct RetainedInput {
  LogGeometry geometry;
  LogCursor tail;
  Uuid store_id;
  std::uint64_t generation = 0;         // Of the superblock: batches of a later one are foreign.
  std::uint64_t head_position = 0;      // Where the log ends.
  std::uint64_t retained_position = 0;  // Nothing before it counts.
};

// The batches that lead up to the tail without a break, oldest first: each names the checksum of the one before, and the tail
// that of the last. What does not verify ends them, and what comes before that is forgotten. Never fails: what cannot be read
// is not retained. Their chain_xxh3 is not known.
Task<std::vector<LogCursor>> find_retained(Disk* disk, BufferPool* buffers, RetainedInput input);

}  // namespace holdfast::wal
