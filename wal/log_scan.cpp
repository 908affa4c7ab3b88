#include "wal/log_scan.h"

#include <algorithm>
#include <cstring>

#include "base/checksum.h"
#include "base/marks.h"
#include "base/planted.h"
#include "base/text.h"
#include "wal/ring_reader.h"

namespace holdfast::wal {
namespace {

constexpr std::uint64_t kRewriteBytes = 256 << 10;
constexpr std::uint64_t kEvidenceBlocksMax = (std::uint64_t{1} << 30) / kBlockBytes;  // Searched behind the end.

class Scanner {
 public:
  Scanner(Disk& disk, BufferPool& buffers, ScanInput input, const RecordVisitor& visitor)
      : input_(input), visitor_(&visitor), reader_(disk, buffers, input.geometry), cursor_(input.tail),
        generation_(0) {}

  Task<Result<ScanOutput>> run() {
    for (;;) {
      if (cursor_.position - input_.tail.position >= input_.geometry.blocks) break;  // The ring is full.
      auto next = co_await read_batch();
      // A medium that cannot be read is no torn tail: with others to ask, the log ends here for now; alone, nothing is guessed.
      if (!next && input_.damage == Damage::refused) co_return fail(next.error());
      if (!next) mark(Mark::scan_unreadable);
      if (!next) output_.damage = next.error();
      if (!next || !*next) break;
      CO_TRY(deliver());
    }
    // A cut that nothing was written after is in the superblock alone.
    const std::uint64_t cut_lsn = std::max(input_.cut_lsn, input_.tail.first_lsn);
    if (generation_ < input_.generation && cursor_.first_lsn > cut_lsn) {
      mark(Mark::scan_cut_by_superblock);
      cut_from(cut_lsn);
    }
    CO_TRY(co_await judge_end());
    output_.head = cursor_;
    output_.proven_lsn = std::max(output_.proven_lsn, input_.durable_lsn);
    output_.commit_lsn = std::min(output_.commit_lsn, cursor_.first_lsn - 1);
    co_return std::move(output_);
  }

 private:
  Task<Result<const std::byte*>> block(std::uint64_t position) {
    const std::uint64_t slot = position % input_.geometry.blocks;
    const std::byte* found = reader_.peek(slot);
    if (!found) {
      co_await reader_.load(slot);
      found = reader_.peek(slot);
    }
    ENSURE(found != nullptr);
    if (reader_.is_unreadable(slot)) co_return fail(Errc::io_error, concat("the log cannot be read at position ", position));
    co_return found;
  }

  // The batch at the cursor, checked whole; false where the log ends.
  Task<Result<bool>> read_batch() {
    auto first = co_await block(cursor_.position);
    if (!first) co_return fail(first.error());
    auto fixed = peek_batch(Bytes(*first, kBlockBytes));
    if (!fixed) co_return false;
    region_.clear();
    for (std::uint64_t i = 0; i < fixed->header_blocks; ++i) {
      auto part = co_await block(cursor_.position + i);
      if (!part) co_return fail(part.error());
      region_.insert(region_.end(), *part, *part + kBlockBytes);
    }
    auto decoded = decode_batch(region_);
    if (!decoded) co_return false;
    batch_ = std::move(*decoded);
    if (!continues_here(batch_.header)) co_return false;
    // A new generation goes on where the old one was cut.
    if (batch_.header.first_lsn < cursor_.first_lsn) {
      mark(Mark::scan_cut_by_batch);
      cut_from(batch_.header.first_lsn);
    }
    auto payload = co_await payload_matches();
    co_return payload;
  }

  bool continues_here(const BatchHeader& h) const {
    const std::uint64_t used = cursor_.position - input_.tail.position;
    return h.position == cursor_.position && std::equal(input_.store_id.begin(), input_.store_id.end(), h.store_id) &&
           h.log_generation >= generation_ && h.log_generation <= input_.generation &&
           h.previous_xxh3 == cursor_.previous_xxh3 &&
           (h.first_lsn == cursor_.first_lsn || (h.first_lsn < cursor_.first_lsn && h.log_generation > generation_)) &&
           h.first_lsn >= input_.tail.first_lsn && used + h.header_blocks + h.payload_blocks <= input_.geometry.blocks;
  }

  void cut_from(std::uint64_t lsn) {
    while (!output_.batches.empty() && output_.batches.back().first_lsn >= lsn) output_.batches.pop_back();
    output_.records -= cursor_.first_lsn - lsn;
    output_.proven_lsn = std::min(output_.proven_lsn, lsn - 1);
    output_.commit_lsn = std::min(output_.commit_lsn, lsn - 1);
    cursor_.first_lsn = lsn;
    points_.resize(lsn - input_.tail.first_lsn);
    cursor_.chain_xxh3 = points_.empty() ? input_.tail.chain_xxh3 : points_.back().chain_xxh3;
    cursor_.written_blocks = points_.empty() ? input_.tail.written_blocks : points_.back().written_blocks;
  }

  Task<Result<bool>> payload_matches() {
    const std::uint64_t payload = cursor_.position + batch_.header.header_blocks;
    std::uint64_t chain = cursor_.chain_xxh3;
    for (std::size_t i = 0; i < batch_.records.size(); ++i) {
      const RecordHeader& record = batch_.records[i];
      const std::uint64_t* checksums = batch_.numbers.data() + batch_.numbers_begin[i] + record.chunk_count;
      const std::size_t direct = std::size_t{record.chunk_count} * kChunkBlocks;
      const std::size_t total = std::size_t{record.head_blocks} + direct + record.tail_blocks;
      chain = chain_of(record, {checksums, total}, chain);
      if (chain != record.chain_xxh3) co_return false;
      std::uint64_t position = payload + record.payload_block;
      for (std::size_t b = 0; b < total; ++b) {
        if (b >= record.head_blocks && b < record.head_blocks + direct) continue;
        const std::uint64_t here = position++;
        auto bytes = co_await block(here);
        if (!bytes) co_return fail(bytes.error());
        const bool trusting = planted(Bug::batch_checksum_ignored) || planted(Bug::torn_tail_accepted);
        if (!trusting && xxh3(Bytes(*bytes, kBlockBytes)) != checksums[b]) co_return false;
      }
    }
    co_return true;
  }

  Result<void> deliver() {
    const std::uint64_t payload = cursor_.position + batch_.header.header_blocks;
    std::uint64_t written_blocks = cursor_.written_blocks;
    for (std::size_t i = 0; i < batch_.records.size(); ++i) {
      const RecordHeader& header = batch_.records[i];
      written_blocks += written_blocks_of(header.kind, header.count);
      points_.push_back({Lsn(header.lsn), header.chain_xxh3, written_blocks});
      const std::uint64_t* numbers = batch_.numbers.data() + batch_.numbers_begin[i];
      TRY((*visitor_)(RecoveredRecord{header, numbers, numbers + header.chunk_count, payload + header.payload_block, written_blocks}));
    }
    output_.batches.push_back(cursor_);
    output_.records += batch_.records.size();
    output_.proven_lsn = std::max(output_.proven_lsn, batch_.header.durable_lsn);
    output_.commit_lsn = std::max(output_.commit_lsn, batch_.header.commit_lsn);
    generation_ = batch_.header.log_generation;
    cursor_.position += batch_.header.header_blocks + batch_.header.payload_blocks;
    cursor_.first_lsn += batch_.records.size();
    cursor_.previous_xxh3 = batch_.header.header_xxh3;
    cursor_.chain_xxh3 = points_.back().chain_xxh3;
    cursor_.written_blocks = written_blocks;
    return {};
  }

  Result<void> damage(std::uint64_t proven) {
    Error lost(Errc::damaged, concat("the log is unreadable at LSN ", cursor_.first_lsn, " (position ", cursor_.position, "), but LSN ",
                                     proven, " was durable: this copy lost acknowledged records and must not serve; restore it from a "
                                     "good copy"));
    if (input_.damage == Damage::refused) return fail(std::move(lost));
    output_.damage = std::move(lost);
    return {};
  }

  Task<Result<void>> judge_end() {
    if (output_.damage) co_return Result<void>{};
    const bool lost = input_.durable_lsn >= cursor_.first_lsn || cursor_.position < input_.durable_position;
    if (lost) co_return damage(input_.durable_lsn);
    if (input_.clean) co_return Result<void>{};
    const std::uint64_t used = cursor_.position - input_.tail.position;
    const std::uint64_t behind = std::min(input_.geometry.blocks - used, kEvidenceBlocksMax);
    for (std::uint64_t i = 0; i < behind; ++i) {
      auto bytes = co_await block(cursor_.position + i);
      if (!bytes) continue;  // No evidence, and perhaps of a part of the ring that holds nothing.
      auto fixed = peek_batch(Bytes(*bytes, kBlockBytes));
      if (!fixed) continue;
      auto evidence = co_await evidence_at(cursor_.position + i, *fixed);
      if (!evidence) co_return fail(evidence.error());
      if (*evidence >= cursor_.first_lsn) co_return damage(*evidence);
      if (*evidence > 0) {
        mark(Mark::scan_torn_tail);
        output_.tail_was_torn = true;
      }
    }
    co_return Result<void>{};
  }

  // What a whole header of this generation at the position proves durable; 0 when there is none.
  Task<Result<std::uint64_t>> evidence_at(std::uint64_t position, BatchHeader fixed) {
    if (fixed.position != position || fixed.log_generation != input_.generation) co_return 0;
    if (!std::equal(input_.store_id.begin(), input_.store_id.end(), fixed.store_id)) co_return 0;
    region_.clear();
    for (std::uint64_t i = 0; i < fixed.header_blocks; ++i) {
      auto part = co_await block(position + i);
      if (!part) co_return 0;
      region_.insert(region_.end(), *part, *part + kBlockBytes);
    }
    auto decoded = decode_batch(region_);
    co_return decoded ? decoded->header.durable_lsn : 0;
  }

  ScanInput input_;
  const RecordVisitor* visitor_;
  RingReader reader_;
  LogCursor cursor_;
  std::uint64_t generation_;
  std::vector<std::byte> region_;
  DecodedBatch batch_;
  std::vector<LogPoint> points_;  // Of the records since the tail.
  ScanOutput output_;
};

bool record_is_sane(const RecordHeader& r, const BatchHeader& batch, std::uint64_t lsn, std::uint64_t payload_block) {
  if (r.lsn != lsn || r.epoch == 0 || r.reserved != 0 || r.payload_block != payload_block) return false;
  const std::uint64_t blocks = std::uint64_t{r.head_blocks} + r.tail_blocks + std::uint64_t{r.chunk_count} * kChunkBlocks;
  if (blocks > kRecordBlocksMax || payload_block + r.head_blocks + r.tail_blocks > batch.payload_blocks) return false;
  switch (static_cast<RecordKind>(r.kind)) {
    case RecordKind::write:
      return r.count == blocks && blocks > 0 && r.first_block <= ~std::uint64_t{0} - r.count &&
             (r.chunk_count == 0 || (r.first_block + r.head_blocks) % kChunkBlocks == 0);
    case RecordKind::unmap: return blocks == 0 && r.count > 0 && r.first_block <= ~std::uint64_t{0} - r.count;
    case RecordKind::epoch_start:
    case RecordKind::volume_delete: return blocks == 0;
    case RecordKind::volume_create:
    case RecordKind::consumer:
    case RecordKind::reservations: return r.chunk_count == 0 && r.count <= blocks * kBlockBytes;
  }
  return false;
}

}  // namespace

Result<BatchHeader> peek_batch(Bytes first_block) {
  if (first_block.size() < sizeof(BatchHeader)) return fail(Errc::corrupt);
  BatchHeader header;
  std::memcpy(&header, first_block.data(), sizeof header);
  if (header.magic != kBatchMagic) return fail(Errc::foreign);
  if (header.format_version != kLogVersion) return fail(Errc::unsupported);
  if (header.header_blocks == 0 || header.header_blocks > kHeaderBlocksMax) return fail(Errc::corrupt);
  return header;
}

Result<DecodedBatch> decode_batch(Bytes region) {
  auto fixed = peek_batch(region);
  if (!fixed) return fail(fixed.error());
  if (region.size() < fixed->header_blocks * kBlockBytes) return fail(Errc::corrupt);
  region = region.first(fixed->header_blocks * kBlockBytes);
  if (xxh3(region.subspan(16)) != fixed->header_xxh3 && !planted(Bug::batch_checksum_ignored)) return fail(Errc::corrupt);
  if (fixed->record_count == 0 || fixed->record_count > kBatchRecordsMax) return fail(Errc::corrupt);
  if (fixed->durable_lsn >= fixed->first_lsn) return fail(Errc::corrupt);
  DecodedBatch batch{*fixed, {}, {}, {}};
  std::size_t at = sizeof(BatchHeader);
  std::uint64_t payload_block = 0;
  for (std::uint32_t i = 0; i < fixed->record_count; ++i) {
    RecordHeader record;
    if (region.size() - at < sizeof record) return fail(Errc::corrupt);
    std::memcpy(&record, region.data() + at, sizeof record);
    at += sizeof record;
    if (!record_is_sane(record, *fixed, fixed->first_lsn + i, payload_block)) return fail(Errc::corrupt);
    const std::size_t numbers = std::size_t{record.head_blocks} + record.tail_blocks +
                                std::size_t{record.chunk_count} * (kChunkBlocks + 1);
    if ((region.size() - at) / 8 < numbers) return fail(Errc::corrupt);
    batch.numbers_begin.push_back(batch.numbers.size());
    batch.numbers.resize(batch.numbers.size() + numbers);
    if (numbers > 0) std::memcpy(batch.numbers.data() + batch.numbers_begin.back(), region.data() + at, 8 * numbers);
    at += 8 * numbers;
    payload_block += std::uint64_t{record.head_blocks} + record.tail_blocks;
    batch.records.push_back(record);
  }
  if (payload_block != fixed->payload_blocks) return fail(Errc::corrupt);
  return batch;
}

Task<Result<void>> rewrite_unproven(Disk& disk, BufferPool& buffers, LogGeometry geometry, const ScanOutput& scanned) {
  std::uint64_t position = scanned.head.position;
  std::uint64_t next_lsn = scanned.head.first_lsn;
  for (auto batch = scanned.batches.rbegin(); batch != scanned.batches.rend() && next_lsn > scanned.proven_lsn + 1; ++batch) {
    position = batch->position;
    next_lsn = batch->first_lsn;
  }
  Buffer buffer = co_await buffers.acquire(kRewriteBytes);
  while (position < scanned.head.position) {
    const std::uint64_t slot = position % geometry.blocks;
    const std::uint64_t blocks = std::min({scanned.head.position - position, geometry.blocks - slot, kRewriteBytes / kBlockBytes});
    const MutableBytes bytes = buffer.bytes().first(blocks * kBlockBytes);
    const std::uint64_t offset = geometry.offset_bytes + slot * kBlockBytes;
    mark(Mark::scan_rewrites);
    CO_TRY(co_await disk.read(offset, bytes));
    CO_TRY(co_await disk.write(offset, bytes, Durability::durable));
    position += blocks;
  }
  co_return Result<void>{};
}

Task<Result<ScanOutput>> scan_log(Disk& disk, BufferPool& buffers, ScanInput input, const RecordVisitor& visitor) {
  Scanner scanner(disk, buffers, input, visitor);
  auto output = co_await scanner.run();
  co_return output;
}

}  // namespace holdfast::wal
