#include "test/cluster/disk_look.h"

#include <algorithm>

#include "base/bytes.h"
#include "base/checksum.h"
#include "base/ensure.h"
#include "snapshot/superblock.h"

namespace holdfast::cluster {
namespace {

std::vector<std::byte> log_block(const sim::SimDisk& disk, const snapshot::Superblock& superblock, std::uint64_t position) {
  return disk.peek(snapshot::kLogOffset + position % superblock.log_blocks * kBlockBytes, kBlockBytes);
}

bool payload_is_whole(const sim::SimDisk& disk, const snapshot::Superblock& superblock, const wal::DecodedBatch& batch) {
  const std::uint64_t payload = batch.header.position + batch.header.header_blocks;
  for (std::size_t i = 0; i < batch.records.size(); ++i) {
    const wal::RecordHeader& record = batch.records[i];
    const std::uint64_t* checksums = batch.numbers.data() + batch.numbers_begin[i] + record.chunk_count;
    const std::size_t placed = std::size_t{record.chunk_count} * kChunkBlocks;
    for (std::size_t b = 0; b < std::size_t{record.head_blocks} + record.tail_blocks; ++b) {
      const std::size_t in_record = b < record.head_blocks ? b : b + placed;
      if (xxh3(log_block(disk, superblock, payload + record.payload_block + b)) != checksums[in_record]) return false;
    }
  }
  return true;
}

}  // namespace

bool superblock_is_whole(const sim::SimDisk& disk, std::size_t copy) {
  return snapshot::decode_superblock(disk.peek(snapshot::kSuperblockOffsets[copy], kBlockBytes)).has_value();
}

snapshot::Superblock superblock_of(const sim::SimDisk& disk) {
  const auto a = snapshot::decode_superblock(disk.peek(snapshot::kSuperblockOffsets[0], kBlockBytes));
  const auto b = snapshot::decode_superblock(disk.peek(snapshot::kSuperblockOffsets[1], kBlockBytes));
  ENSURE(a || b);
  if (!a || !b) return a ? *a : *b;
  return a->generation >= b->generation ? *a : *b;
}

std::uint64_t log_offset(const sim::SimDisk& disk, std::uint64_t position) {
  return snapshot::kLogOffset + position % superblock_of(disk).log_blocks * kBlockBytes;
}

LogOnDisk log_of(const sim::SimDisk& disk) {
  const snapshot::Superblock superblock = superblock_of(disk);
  LogOnDisk log;
  log.end = superblock.tail_position;
  std::uint64_t previous = superblock.tail_previous_xxh3;
  while (log.end - superblock.tail_position < superblock.log_blocks) {
    std::vector<std::byte> region = log_block(disk, superblock, log.end);
    const auto fixed = wal::peek_batch(region);
    if (!fixed || fixed->position != log.end || !std::equal(std::begin(fixed->store_id), std::end(fixed->store_id), superblock.store_id)) break;
    for (std::uint64_t i = 1; i < fixed->header_blocks; ++i) {
      const auto more = log_block(disk, superblock, log.end + i);
      region.insert(region.end(), more.begin(), more.end());
    }
    const auto batch = wal::decode_batch(region);
    if (batch && batch->header.previous_xxh3 != previous) break;
    log.torn = !batch || !payload_is_whole(disk, superblock, *batch);
    if (log.torn) break;
    log.batches.push_back({log.end, Lsn(batch->header.first_lsn), Lsn(batch->header.first_lsn + batch->records.size() - 1)});
    previous = batch->header.header_xxh3;
    log.end += batch->header.header_blocks + batch->header.payload_blocks;
  }
  return log;
}

std::size_t rot_pages(sim::SimDisk& disk, snapshot::TreeKind kind, unsigned level, PageRange which) {
  std::size_t count = 0;
  for (std::uint64_t page = snapshot::kLogOffset / kBlockBytes; page < disk.size_bytes() / kBlockBytes; ++page) {
    if (disk.media().visible(page).is_zero()) continue;
    const auto bytes = disk.peek(page * kBlockBytes, sizeof(snapshot::PageHeader));
    snapshot::PageHeader header;
    std::memcpy(&header, bytes.data(), sizeof header);
    const bool wanted = header.magic == snapshot::kPageMagic && header.level == level && header.kind == static_cast<std::uint16_t>(kind) &&
                        header.index >= which.first && header.index <= which.last;
    if (!wanted) continue;
    disk.flip_bit(page * kBlockBytes + 200, 1);
    ++count;
  }
  return count;
}

std::vector<std::uint64_t> data_blocks(const sim::SimDisk& disk) {
  std::vector<std::uint64_t> blocks;
  const std::uint64_t first = snapshot::kLogOffset / kBlockBytes + superblock_of(disk).log_blocks;
  for (std::uint64_t block = first; block < disk.size_bytes() / kBlockBytes; ++block) {
    const sim::PageRef& page = disk.media().visible(block);
    if (!page.is_zero() && load_le<std::uint32_t>(page.data()) != snapshot::kPageMagic) blocks.push_back(block);
  }
  return blocks;
}

}  // namespace holdfast::cluster
