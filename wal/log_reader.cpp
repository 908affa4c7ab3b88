
#include "base/checksum.h"
#include "base/marks.h"
#include "wal/log_reader.h"

namespace holdfast::wal {
namespace {

// Blocks of the ring from the position on, around its end if need be.
Task<Result<void>> read_ring(Disk* disk, const Log* log, std::uint64_t position, MutableBytes into) {
  const std::uint64_t blocks = log->geometry().blocks;
  const std::uint64_t until_end = (blocks - position % blocks) * kBlockBytes;
  const std::size_t first = std::min<std::uint64_t>(into.size(), until_end);
  CO_TRY(co_await disk->read(log->offset_of(position), into.first(first)));
  if (first < into.size()) CO_TRY(co_await disk->read(log->geometry().offset_bytes, into.subspan(first)));
  co_return Result<void>{};
}

// Every logged block against its record's checksum: what is rotten here must not go to another copy as if it were right.
bool payload_is_right(const DecodedBatch& batch, const Buffer& payload) {
  for (std::size_t i = 0; i < batch.records.size(); ++i) {
    const RecordHeader& record = batch.records[i];
    const std::uint64_t* checksums = batch.numbers.data() + batch.numbers_begin[i] + record.chunk_count;
    const std::size_t direct = std::size_t{record.chunk_count} * kChunkBlocks, logged = std::size_t{record.head_blocks} + record.tail_blocks;
    for (std::size_t b = 0; b < logged; ++b) {
      const Bytes block(payload.data() + (record.payload_block + b) * kBlockBytes, kBlockBytes);
      if (xxh3(block) != checksums[b < record.head_blocks ? b : b + direct]) return false;
    }
  }
  return true;
}

}  // namespace

Task<Result<BatchRead>> read_batch(Disk* disk, BufferPool* buffers, const Log* log, Lsn lsn) {
  const auto place = log->find(lsn);
  if (!place) co_return fail(Errc::not_found);
  const std::uint64_t position = place->start.position;
  Buffer head = co_await buffers->acquire(kBlockBytes);
  CO_TRY(co_await read_ring(disk, log, position, head.bytes()));
  auto fixed = peek_batch(head.bytes());
  if (!log->keeps(position)) co_return fail(Errc::not_found);
  if (!fixed) co_return fail(Errc::corrupt);
  const std::size_t head_bytes = fixed->header_blocks * kBlockBytes;
  if (head_bytes > kBlockBytes) {
    head = co_await buffers->acquire(head_bytes);
    CO_TRY(co_await read_ring(disk, log, position, head.bytes()));
  }
  BatchRead read;
  read.last = place->last;
  auto decoded = decode_batch(head.bytes());
  if (decoded && decoded->header.payload_blocks > 0) {
    const std::size_t bytes = decoded->header.payload_blocks * kBlockBytes;
    if (bytes > BufferPool::kLargestBytes) co_return fail(Errc::corrupt);
    read.payload = co_await buffers->acquire(bytes);
    CO_TRY(co_await read_ring(disk, log, position + decoded->header.header_blocks, read.payload.bytes()));
  }
  if (!log->keeps(position)) {
    mark(Mark::log_overwritten_while_read);
    co_return fail(Errc::not_found);
  }
  if (!decoded || decoded->header.position != position || !payload_is_right(*decoded, read.payload)) co_return fail(Errc::corrupt);
  read.batch = std::move(*decoded);
  co_return read;
}

}  // namespace holdfast::wal
