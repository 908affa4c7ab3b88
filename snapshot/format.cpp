// Making an empty store.
#include <algorithm>
#include <cstring>

#include "base/text.h"
#include "snapshot/store.h"

namespace holdfast::snapshot {
namespace {

constexpr std::size_t kZeroBytes = 1 << 20;
constexpr std::uint64_t kFirstDataChunks = 1024;  // A new file's data area: 64 MiB of hole; it grows on demand.

Task<Result<void>> zero_log(Disk& disk, BufferPool& buffers, std::uint64_t bytes) {
  Buffer zeros = co_await buffers.acquire(kZeroBytes);
  std::memset(zeros.data(), 0, zeros.size());
  for (std::uint64_t done = 0; done < bytes; done += kZeroBytes) {
    const std::uint64_t length = std::min<std::uint64_t>(kZeroBytes, bytes - done);
    CO_TRY(co_await disk.write(kLogOffset + done, zeros.bytes().first(length), Durability::cached));
  }
  co_return Result<void>{};
}

Task<Result<void>> refuse_existing(Disk& disk, BufferPool& buffers) {
  if (disk.size_bytes() < kLogOffset) co_return Result<void>{};
  auto found = co_await read_superblocks(disk, buffers);
  if (!found && found.error().code == Errc::foreign) co_return Result<void>{};
  co_return fail(Errc::exists, "there is a holdfast store already: delete it first, or choose another place");
}

}  // namespace

Task<Result<void>> Store::format(Disk& disk, BufferPool& buffers, Random& random, FormatInput input) {
  const std::uint64_t log_blocks = input.log_bytes / kBlockBytes;
  if (input.log_bytes % kBlockBytes != 0 || log_blocks < wal::kLogBlocksMin)
    co_return fail(Errc::invalid_argument, concat("log size: must be a multiple of 4096 bytes and at least ",
                                                  wal::kLogBlocksMin * kBlockBytes));
  if (!input.overwrite) CO_TRY(co_await refuse_existing(disk, buffers));
  Superblock s{};
  const Uuid id = random.next_uuid();
  std::memcpy(s.store_id, id.data(), id.size());
  const Uuid group = input.group == Uuid{} ? random.next_uuid() : input.group;
  std::memcpy(s.group, group.data(), group.size());
  const std::uint64_t first_data = 2 + divide_up(log_blocks, kChunkBlocks);
  s.capacity_chunks = disk.is_file() ? first_data + kFirstDataChunks : disk.size_bytes() / kChunkBytes;
  if (s.capacity_chunks > kStoreChunksMax) s.capacity_chunks = kStoreChunksMax;
  if (s.capacity_chunks < first_data + 64)
    co_return fail(Errc::no_space, concat("the device is too small: ", (first_data + 64) * kChunkBytes, " bytes are needed"));
  if (disk.is_file()) {
    if (disk.size_bytes() < s.capacity_chunks * kChunkBytes) CO_TRY(co_await disk.grow(s.capacity_chunks * kChunkBytes));
    // The log's space is real from the start; data chunks get theirs when they are reserved.
    CO_TRY(co_await disk.allocate(0, first_data * kChunkBytes));
  }
  // The old superblocks go first: a crash from here on leaves no store rather than half of one.
  Buffer block = co_await buffers.acquire(2 * kBlockBytes);
  std::memset(block.data(), 0, block.size());
  for (const std::uint64_t offset : kSuperblockOffsets) CO_TRY(co_await disk.write(offset, block.bytes().first(kBlockBytes), Durability::durable));
  CO_TRY(co_await zero_log(disk, buffers, input.log_bytes));
  CO_TRY(co_await disk.sync());
  s.log_blocks = log_blocks;
  s.log_generation = 1;
  s.tail_first_lsn = s.cut_lsn = 1;
  s.next_volume_id = 1;
  s.flags = kFlagClean;
  CO_TRY(co_await write_superblocks(disk, block, &s, std::nullopt));
  co_return Result<void>{};
}

}  // namespace holdfast::snapshot
