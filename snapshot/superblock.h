// The two copies of the superblock. Written one after the other, each durably, so that one is always whole.
#pragma once

#include <optional>

#include "base/buffer.h"
#include "base/disk.h"
#include "base/result.h"
#include "base/task.h"
#include "snapshot/store_format.h"

namespace holdfast::snapshot {

// Checks one copy's bytes. Errors: foreign (another magic, or all zeros), version_too_new, corrupt. Pure; the fuzzer's entry.
Result<Superblock> decode_superblock(Bytes block);
void encode_superblock(Superblock superblock, MutableBytes block);

struct SuperblockPair {
  Superblock newest;
  std::optional<std::size_t> lost_copy;  // Unreadable, while the other is whole: it is rewritten at the next write.
};
// Errors: foreign when neither copy is ours, version_too_new, corrupt when both are damaged, truncated, io_error.
Task<Result<SuperblockPair>> read_superblocks(Disk& disk, BufferPool& buffers);

// Raises the generation and writes both copies, a lost one first: at each moment one is whole. Effects may follow only after
// it returned (rule 21). Each is read again: errors are those of the disk, and io_error when it is not what was written.
// two_blocks: 8 KiB to build them in, and to read them into.
Task<Result<void>> write_superblocks(Disk& disk, Buffer two_blocks, Superblock* superblock, std::optional<std::size_t> lost_copy);

}  // namespace holdfast::snapshot
