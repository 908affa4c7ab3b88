// Reads durable batches back from the ring: for members that catch up. What is read may be overwritten meanwhile; then it is
// gone, and whoever wanted it needs another way.
#pragma once

#include "wal/log.h"
#include "wal/log_scan.h"

namespace holdfast::wal {

struct BatchRead {
  DecodedBatch batch;
  Lsn last;        // Records after it were cut.
  std::uint64_t written_before = 0;  // LogCursor::written_blocks, where it begins.
  Buffer payload;  // All of the batch's payload blocks; empty when it has none.
};

// The batch that holds the record, checked whole. Errors: not_found (the ring holds it no more), corrupt (it should, but what
// lies there is something else), io_error.
Task<Result<BatchRead>> read_batch(Disk* disk, BufferPool* buffers, const Log* log, Lsn lsn);

}  // namespace holdfast::wal
