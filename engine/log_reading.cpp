// Consumers of the log: from batches in the ring to entries.
#include <algorithm>
#include <cstring>

#include "base/checksum.h"
#include "base/text.h"
#include "engine/group_impl.h"
#include "engine/log_service.h"
#include "engine/operation.h"
#include "engine/volume_impl.h"
#include "engine/volume_operation.h"

namespace holdfast::engine {

using wal::RecordKind;

namespace {

// Nothing for what consumers are not told of.
std::optional<LogEntryKind> entry_kind(std::uint16_t kind) {
  switch (static_cast<RecordKind>(kind)) {
    case RecordKind::write: return LogEntryKind::write;
    case RecordKind::unmap: return LogEntryKind::unmap;
    case RecordKind::epoch_start: return LogEntryKind::epoch_start;
    case RecordKind::volume_create: return LogEntryKind::volume_create;
    case RecordKind::volume_delete: return LogEntryKind::volume_delete;
    case RecordKind::reservations: return LogEntryKind::reservations;
    case RecordKind::consumer: break;
  }
  return std::nullopt;
}

void add_superseded(LogEntry& entry, Lba block) {
  if (!entry.superseded.empty() && entry.superseded.back().end() == block) ++entry.superseded.back().count.value;
  else entry.superseded.push_back(BlockRange{block, BlockCount(1)});
}

}  // namespace

Task<void> LogService::await_commit(Lsn lsn, BootNs deadline) {
  const GroupPorts& ports = group_->ports();
  while (group_->commit_lsn() < lsn && ports.clock.now() < deadline && !stopping_ && group_->obstacle() == Errc{}) {
    Waiting here(ports.clock);
    waiting_.push_back(here);
    co_await here.timer.until(deadline);
  }
}

Task<Result<LogBatch>> LogService::read(Lsn from, LogReadLimits limits) {
  Operation operation(*group_);
  if (from == Lsn()) co_return fail(Errc::invalid_argument, "from: the first record has LSN 1");
  const BootNs deadline = group_->ports().clock.now() + milliseconds(limits.wait_ms);
  LogBatch batch;
  batch.next = from;
  for (;;) {
    co_await await_commit(batch.next, deadline);
    if (group_->obstacle() != Errc{}) co_return fail(group_->obstacle());
    batch.commit = group_->commit_lsn();
    if (batch.next > batch.commit.next())
      co_return fail(Errc::out_of_range, concat("from: ", from.value, " is beyond the next record, ", batch.commit.next().value));
    if (batch.next > batch.commit) co_return batch;
    co_await read_turn_.acquire();
    Turn turn(read_turn_);
    CO_TRY(co_await read_more(&batch, limits));
    if (batch.gap || !batch.entries.empty()) co_return batch;
  }
}

// As much as is committed, and as the limits allow.
Task<Result<void>> LogService::read_more(LogBatch* batch, LogReadLimits limits) {
  for (std::uint64_t bytes = 0; batch->next <= batch->commit && bytes < limits.bytes_max && batch->entries.size() < limits.entries_max;) {
    const wal::Log& log = group_->log();
    if (batch->next < log.first_kept()) {
      if (batch->entries.empty()) batch->gap = gap_from(batch->next);
      if (batch->gap) batch->next = batch->gap->end;
      co_return Result<void>{};
    }
    const auto place = log.find(batch->next);
    auto read = co_await wal::read_batch(&group_->ports().disk, buffers(), &log, batch->next);
    if (!read && read.error().code == Errc::not_found && batch->next < log.first_kept()) continue;  // Overwritten meanwhile.
    if (!read && (read.error().code == Errc::io_error || !place)) co_return fail(read.error());
    if (!read) {  // The ring should hold it, and holds something else.
      if (!batch->entries.empty()) co_return Result<void>{};
      batch->gap = LogGap{batch->next, std::min(place->last, batch->commit).next(), std::nullopt};
      batch->next = batch->gap->end;
      co_return Result<void>{};
    }
    std::uint64_t blocks = read->written_before;
    for (std::size_t i = 0; i < read->batch.records.size(); ++i) {
      const wal::RecordHeader& header = read->batch.records[i];
      if (Lsn(header.lsn) > read->last || Lsn(header.lsn) > batch->commit) break;
      const std::uint64_t written = wal::written_blocks_of(header.kind, header.count);
      blocks += written;
      if (Lsn(header.lsn) < batch->next) continue;
      if (bytes >= limits.bytes_max || batch->entries.size() >= limits.entries_max) break;
      if (entry_kind(header.kind)) {
        auto entry = co_await entry_of(&*read, i, limits.payload);
        if (!entry) co_return fail(entry.error());
        batch->entries.push_back(std::move(*entry));
        bytes += written * kBlockBytes;
      }
      batch->next = Lsn(header.lsn).next();
      marks_[next_mark_] = {Lsn(header.lsn), blocks};
    }
    next_mark_ = (next_mark_ + 1) % marks_.size();
  }
  co_return Result<void>{};
}

Task<Result<LogEntry>> LogService::entry_of(const wal::BatchRead* read, std::size_t index, LogReadLimits::Payload payload) {
  const wal::RecordHeader& header = read->batch.records[index];
  LogEntry entry;
  entry.lsn = Lsn(header.lsn);
  entry.epoch = Epoch(header.epoch);
  entry.kind = *entry_kind(header.kind);
  entry.volume = VolumeId(header.volume_id);
  entry.first = Lba(header.first_block);
  entry.count = header.count;
  if (const snapshot::StoredVolume* volume = group_->store().find(entry.volume)) entry.volume_name = volume->name();
  const std::size_t head = header.head_blocks * kBlockBytes, tail = header.tail_blocks * kBlockBytes;
  const std::byte* logged = head + tail > 0 ? read->payload.data() + header.payload_block * kBlockBytes : nullptr;
  if (entry.kind == LogEntryKind::volume_create && head > 0) {
    snapshot::VolumeDescription description;
    std::memcpy(&description, logged, sizeof description);
    description.name[sizeof description.name - 1] = 0;
    entry.volume_name = description.name;
    entry.count = description.block_count;
  }
  if (payload == LogReadLimits::Payload::omitted) co_return entry;
  if (entry.kind == LogEntryKind::reservations) entry.payload.assign(logged, logged + std::min<std::size_t>(header.count, head));
  if (entry.kind != LogEntryKind::write) co_return entry;
  entry.payload.resize(header.count * kBlockBytes);
  const std::size_t whole = header.chunk_count * kChunkBytes;
  if (head > 0) std::memcpy(entry.payload.data(), logged, head);
  if (tail > 0) std::memcpy(entry.payload.data() + head + whole, logged + head, tail);
  const std::uint64_t* numbers = read->batch.numbers.data() + read->batch.numbers_begin[index];
  const std::uint64_t* checksums = numbers + header.chunk_count + header.head_blocks;
  for (std::size_t i = 0; i < header.chunk_count; ++i)
    CO_TRY(co_await read_chunk(&entry, head + i * kChunkBytes, numbers[i], checksums + i * kChunkBlocks));
  co_return entry;
}

// begin: where the chunk goes in the payload.
Task<Result<void>> LogService::read_chunk(LogEntry* entry, std::size_t begin, std::uint64_t location, const std::uint64_t* checksums) {
  Buffer chunk = co_await buffers()->acquire(kChunkBytes);
  CO_TRY(co_await group_->ports().disk.read(location * kChunkBytes, chunk.bytes()));
  std::array<bool, kChunkBlocks> missing{};
  for (std::size_t b = 0; b < kChunkBlocks; ++b) {
    const std::byte* block = chunk.data() + b * kBlockBytes;
    missing[b] = xxh3(Bytes(block, kBlockBytes)) != checksums[b];
    if (!missing[b]) std::memcpy(entry->payload.data() + begin + b * kBlockBytes, block, kBlockBytes);
  }
  if (std::none_of(missing.begin(), missing.end(), [](bool m) { return m; })) co_return Result<void>{};
  // Overwritten since, or rotten? The volume tells: what it has there now is either the same, or newer, or cannot be read.
  VolumeImpl* volume = group_->volume_of(entry->volume);
  if (volume && volume->is_closed()) co_return fail(Errc::busy, "the volume is being deleted");
  const Lba first(entry->first.value + begin / kBlockBytes);
  if (volume) {
    VolumeOperation reading(*volume);
    auto current = co_await volume->read_local(BlockRange{first, BlockCount(kChunkBlocks)}, chunk);
    if (!current) co_return fail(current.error().code, concat("LSN ", entry->lsn.value, ": the data of a record cannot be read any more"));
  }
  for (std::size_t b = 0; b < kChunkBlocks; ++b) {
    if (!missing[b]) continue;
    const std::byte* block = chunk.data() + b * kBlockBytes;
    if (volume && xxh3(Bytes(block, kBlockBytes)) == checksums[b]) std::memcpy(entry->payload.data() + begin + b * kBlockBytes, block, kBlockBytes);
    else add_superseded(*entry, Lba(first.value + b));
  }
  co_return Result<void>{};
}

}  // namespace holdfast::engine
