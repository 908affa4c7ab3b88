#include "wal/log.h"

#include <cstring>

#include "base/checksum.h"
#include "base/marks.h"
#include "base/planted.h"

namespace holdfast::wal {

Log::Log(Disk& disk, BufferPool& buffers, LogGeometry geometry, LogOptions options, LogListener& listener)
    : disk_(&disk), buffers_(&buffers), geometry_(geometry), options_(options), listener_(&listener),
      batches_(options.batches_in_flight), starts_(geometry.blocks), room_(disk.executor(), 0), idle_(disk.executor()),
      scope_(disk.executor()) {
  ENSURE(geometry.blocks >= kLogBlocksMin);
  ENSURE(options.batches_in_flight >= 1 && options.batches_in_flight <= kBatchesInFlightMax);
  for (Batch& batch : batches_) {
    batch.segments.reserve(kDiskSegmentsMax);
    batch.payloads.reserve(kBatchRecordsMax);
  }
}

Task<void> Log::prepare() {
  for (Batch& batch : batches_) batch.header = co_await buffers_->acquire(kHeaderBytesMax);
}

void Log::start(LogCursor tail, LogCursor head, Uuid store_id, std::uint64_t generation,
                std::span<const LogCursor> batches) {
  ENSURE(tail.position <= head.position && head.position - tail.position <= geometry_.blocks);
  ENSURE(batches.size() <= starts_.size());
  ENSURE(batches_.front().header);  // prepare() came first.
  tail_ = tail;
  head_ = head;
  store_id_ = store_id;
  generation_ = generation;
  next_lsn_ = head.first_lsn;
  durable_lsn_ = head.first_lsn - 1;
  chain_xxh3_ = sealed_chain_xxh3_ = head.chain_xxh3;
  written_blocks_ = sealed_written_blocks_ = head.written_blocks;
  std::copy(batches.begin(), batches.end(), starts_.begin());
  starts_size_ = batches.size();
  give_room(geometry_.blocks - used_blocks());
}

Task<Result<std::uint64_t>> Log::reserve(std::size_t logged_blocks, std::size_t header_bytes) {
  const std::uint64_t blocks = logged_blocks + header_blocks_for(header_bytes);
  ENSURE(blocks <= geometry_.blocks / 2);
  if (!room_.try_acquire(blocks)) {
    mark(Mark::log_room_waited);
    listener_->log_full();
    co_await room_.acquire(blocks);
  }
  if (failure_ != Errc{}) co_return holdfast::fail(failure_);
  if (closed_) co_return holdfast::fail(Errc::closed);
  co_return blocks;
}

std::optional<std::uint64_t> Log::try_reserve(std::size_t logged_blocks, std::size_t header_bytes) {
  const std::uint64_t blocks = logged_blocks + header_blocks_for(header_bytes);
  if (failure_ != Errc{} || closed_) return std::nullopt;
  if (room_.try_acquire(blocks)) return blocks;
  listener_->log_full();
  return std::nullopt;
}

std::optional<std::uint64_t> Log::reserve_epoch_start() {
  constexpr std::uint64_t kBlocks = 1;
  ENSURE(header_blocks_for(record_bytes(0, 0)) == kBlocks);
  if (failure_ != Errc{} || closed_) return std::nullopt;
  if (room_.try_acquire(kBlocks)) return kBlocks;
  if (kept_back_ < kBlocks) return std::nullopt;
  mark(Mark::log_epoch_from_kept);
  kept_back_ -= kBlocks;
  return kBlocks;
}

void Log::give_room(std::uint64_t blocks) {
  const std::uint64_t kept = std::min(options_.kept_back_blocks - kept_back_, blocks);
  kept_back_ += kept;
  room_.release(blocks - kept);
}

std::uint64_t Log::next_chain(const LogRecord& record) const {
  RecordHeader identity{};
  identity.lsn = next_lsn_;
  identity.epoch = record.epoch.value;
  identity.volume_id = record.volume.value;
  identity.first_block = record.first.value;
  identity.count = record.count;
  identity.kind = static_cast<std::uint16_t>(record.kind);
  return chain_of(identity, std::span(record.checksums).first(record.data_blocks()), chain_xxh3_);
}

Lsn Log::append(LogRecord& record, std::uint64_t reserved_blocks) {
  ENSURE(failure_ == Errc{});
  record.chain_xxh3 = chain_xxh3_ = next_chain(record);
  record.written_blocks = written_blocks_ += written_blocks_of(static_cast<std::uint16_t>(record.kind), record.count);
  record.lsn = Lsn(next_lsn_++);
  record.reserved_blocks = reserved_blocks;
  queued_.push_back(record);
  schedule();
  return record.lsn;
}

// The pump runs at the end of this turn, so that all that arrived in the turn shares a batch.
void Log::schedule() {
  if (pump_scheduled_ || in_flight_ == batches_.size() || queued_.empty()) return;
  pump_scheduled_ = true;
  scope_.spawn(pump());
}

Task<void> Log::pump() {
  pump_scheduled_ = false;
  if (failure_ != Errc{} || in_flight_ == batches_.size()) co_return;
  Batch& batch = batches_[(oldest_ + in_flight_) % batches_.size()];
  if (!seal(batch)) co_return;
  ++in_flight_;
  scope_.spawn(write(&batch));
  schedule();
}

bool Log::seal(Batch& batch) {
  if (queued_.empty()) return false;
  batch.start = head_;
  batch.start.chain_xxh3 = sealed_chain_xxh3_;
  batch.start.written_blocks = sealed_written_blocks_;
  batch.payload_blocks = 0;
  batch.done = false;
  batch.payloads.clear();
  batch.segments.clear();
  batch.wrapped.clear();
  batch.segments.push_back({});  // The header, once its size is known.
  std::size_t header_used = sizeof(BatchHeader);
  std::uint32_t record_count = 0;
  std::uint64_t reserved = 0;
  ENSURE(queued_.front().lsn.value == head_.first_lsn);
  while (!queued_.empty() && record_count < kBatchRecordsMax) {
    LogRecord& record = queued_.front();
    const std::size_t bytes = record_bytes(record.data_blocks(), record.chunk_count);
    if (header_used + bytes > kHeaderBytesMax) break;
    const std::size_t payload = (batch.payload_blocks + record.logged_blocks()) * kBlockBytes;
    if (record_count > 0 && payload > options_.batch_bytes_max) break;
    header_used = put_record(batch, record, header_used);
    batch.last_lsn = record.lsn.value;
    sealed_chain_xxh3_ = record.chain_xxh3;
    sealed_written_blocks_ = record.written_blocks;
    reserved += record.reserved_blocks;
    ++record_count;
    queued_.pop_front();
  }
  finish_header(batch, header_used, record_count);
  split_at_ring_end(batch);
  const std::uint64_t used = batch.header_blocks + batch.payload_blocks;
  ENSURE(used <= reserved);
  head_.position += used;
  forget_overwritten();
  ENSURE(starts_size_ < starts_.size());
  starts_[(starts_head_ + starts_size_++) % starts_.size()] = batch.start;
  head_.first_lsn = batch.last_lsn + 1;
  head_.chain_xxh3 = sealed_chain_xxh3_;
  head_.written_blocks = sealed_written_blocks_;
  give_room(reserved - used);
  return true;
}

std::size_t Log::put_record(Batch& batch, LogRecord& record, std::size_t header_used) {
  RecordHeader header{};
  header.chain_xxh3 = record.chain_xxh3;
  header.lsn = record.lsn.value;
  header.epoch = record.epoch.value;
  header.volume_id = record.volume.value;
  header.first_block = record.first.value;
  header.count = record.count;
  header.kind = static_cast<std::uint16_t>(record.kind);
  header.head_blocks = record.head_blocks;
  header.chunk_count = record.chunk_count;
  header.tail_blocks = record.tail_blocks;
  header.payload_block = batch.payload_blocks;
  std::byte* out = batch.header.data() + header_used;
  std::memcpy(out, &header, sizeof header);
  out += sizeof header;
  std::memcpy(out, record.chunks.data(), 8 * record.chunk_count);
  out += 8 * record.chunk_count;
  std::memcpy(out, record.checksums.data(), 8 * record.data_blocks());
  if (record.head_blocks > 0) batch.segments.push_back({record.payload.data(), record.head_blocks * kBlockBytes});
  if (record.tail_blocks > 0) {
    const std::size_t skipped = (record.head_blocks + record.chunk_count * kChunkBlocks) * kBlockBytes;
    batch.segments.push_back({record.payload.data() + skipped, record.tail_blocks * kBlockBytes});
  }
  if (record.logged_blocks() > 0) batch.payloads.push_back(record.payload);
  batch.payload_blocks += static_cast<std::uint32_t>(record.logged_blocks());
  return header_used + record_bytes(record.data_blocks(), record.chunk_count);
}

void Log::finish_header(Batch& batch, std::size_t header_used, std::uint32_t record_count) {
  batch.header_blocks = static_cast<std::uint32_t>(divide_up(header_used, kBlockBytes));
  const std::size_t bytes = batch.header_blocks * kBlockBytes;
  std::memset(batch.header.data() + header_used, 0, bytes - header_used);
  BatchHeader header{};
  header.magic = kBatchMagic;
  header.format_version = kLogVersion;
  header.header_blocks = static_cast<std::uint16_t>(batch.header_blocks);
  header.record_count = record_count;
  header.payload_blocks = batch.payload_blocks;
  header.position = batch.start.position;
  header.log_generation = generation_;
  header.previous_xxh3 = head_.previous_xxh3;
  header.first_lsn = batch.start.first_lsn;
  header.durable_lsn = durable_lsn_;
  header.commit_lsn = listener_->commit_lsn().value;
  std::memcpy(header.store_id, store_id_.data(), store_id_.size());
  std::memcpy(batch.header.data(), &header, sizeof header);
  header.header_xxh3 = xxh3(Bytes(batch.header.data(), bytes).subspan(16));
  std::memcpy(batch.header.data(), &header, sizeof header);
  batch.segments.front() = {batch.header.data(), bytes};
  head_.previous_xxh3 = header.header_xxh3;
}

// A batch that reaches past the ring's end goes on at its start: two writes instead of one.
void Log::split_at_ring_end(Batch& batch) {
  const std::uint64_t room_blocks = geometry_.blocks - batch.start.position % geometry_.blocks;
  if (batch.header_blocks + batch.payload_blocks <= room_blocks) return;
  mark(Mark::log_batch_wraps);
  std::uint64_t left = room_blocks * kBlockBytes;
  std::size_t i = 0;
  while (left >= batch.segments[i].iov_len) left -= batch.segments[i++].iov_len;
  std::size_t kept = i;
  if (left > 0) {
    iovec& cut = batch.segments[i];
    batch.wrapped.push_back({static_cast<std::byte*>(cut.iov_base) + left, cut.iov_len - left});
    cut.iov_len = left;
    kept = ++i;
  }
  for (; i < batch.segments.size(); ++i) batch.wrapped.push_back(batch.segments[i]);
  batch.segments.resize(kept);
}

Task<Result<void>> Log::write_segments(Batch* batch) {
  const std::uint64_t total = (std::uint64_t{batch->header_blocks} + batch->payload_blocks) * kBlockBytes;
  std::uint64_t first = total;
  for (const iovec& segment : batch->wrapped) first -= segment.iov_len;
  const Durability durability = planted(Bug::log_write_not_durable) ? Durability::cached : Durability::durable;
  auto written = co_await disk_->write(offset_of(batch->start.position), first, batch->segments, durability);
  if (!written || batch->wrapped.empty()) co_return written;
  auto rest = co_await disk_->write(geometry_.offset_bytes, total - first, batch->wrapped, durability);
  co_return rest;
}

Task<void> Log::write(Batch* batch) {
  auto written = co_await write_segments(batch);
  batch->payloads.clear();
  if (failure_ != Errc{}) co_return;
  if (!written) {
    fail(written.error().code);
    listener_->log_failed(written.error());
    co_return;
  }
  batch->done = true;
  settle_done();
}

void Log::settle_done() {
  std::uint64_t durable = durable_lsn_;
  while (in_flight_ > 0 && batches_[oldest_].done) {
    durable = batches_[oldest_].last_lsn;
    oldest_ = (oldest_ + 1) % batches_.size();
    --in_flight_;
  }
  if (durable == durable_lsn_) return;
  ENSURE(durable > durable_lsn_ && durable < next_lsn_);
  durable_lsn_ = durable;
  schedule();
  if (in_flight_ == 0 && queued_.empty()) idle_.notify_all();
  listener_->log_durable(Lsn(durable));
}

// Of the last batch that begins at or before the LSN.
std::size_t Log::start_index(std::uint64_t lsn) const {
  std::size_t low = 0, high = starts_size_;
  while (high - low > 1) {
    const std::size_t middle = (low + high) / 2;
    if (starts_[(starts_head_ + middle) % starts_.size()].first_lsn <= lsn) low = middle;
    else high = middle;
  }
  return low;
}

LogCursor Log::tail_for(Lsn applied) const {
  const std::uint64_t wanted = applied.value + 1;
  if (head_.first_lsn <= wanted) return head_;
  ENSURE(starts_size_ > 0);
  return starts_[(starts_head_ + start_index(wanted)) % starts_.size()];
}

std::optional<Log::Place> Log::find(Lsn lsn) const {
  if (lsn < first_kept() || lsn.value > durable_lsn_ || starts_size_ == 0) return std::nullopt;
  const std::size_t index = start_index(lsn.value);
  const bool newest = index + 1 == starts_size_;
  const LogCursor& next = newest ? head_ : starts_[(starts_head_ + index + 1) % starts_.size()];
  return Place{starts_[(starts_head_ + index) % starts_.size()], Lsn(next.first_lsn - 1)};
}

std::optional<std::uint64_t> Log::blocks_until_overwritten(Lsn lsn) const {
  if (lsn < first_kept()) return std::nullopt;
  if (lsn.value > durable_lsn_ || starts_size_ == 0) return geometry_.blocks;
  const std::uint64_t behind = head_.position - starts_[(starts_head_ + start_index(lsn.value)) % starts_.size()].position;
  return geometry_.blocks - std::min(geometry_.blocks, behind);
}

void Log::cut(const LogPoint& last_kept, std::uint64_t generation) {
  const std::uint64_t last = last_kept.lsn.value;
  ENSURE(in_flight_ == 0 && queued_.empty() && last < next_lsn_ && generation > generation_);
  ENSURE(last + 1 >= tail_.first_lsn);
  mark(Mark::log_cut);
  while (starts_size_ > 0 && starts_[(starts_head_ + starts_size_ - 1) % starts_.size()].first_lsn > last) --starts_size_;
  next_lsn_ = head_.first_lsn = last + 1;
  durable_lsn_ = last;
  chain_xxh3_ = sealed_chain_xxh3_ = head_.chain_xxh3 = last_kept.chain_xxh3;
  written_blocks_ = sealed_written_blocks_ = head_.written_blocks = last_kept.written_blocks;
  generation_ = generation;
}

void Log::restart(const LogCursor& at) {
  ENSURE(in_flight_ == 0 && queued_.empty() && at.position == head_.position);
  mark(Mark::log_restart);
  give_room(used_blocks());
  tail_ = head_ = at;
  starts_size_ = 0;
  next_lsn_ = at.first_lsn;
  durable_lsn_ = at.first_lsn - 1;
  chain_xxh3_ = sealed_chain_xxh3_ = at.chain_xxh3;
  written_blocks_ = sealed_written_blocks_ = at.written_blocks;
}

void Log::forget_overwritten() {
  while (starts_size_ > 0 && starts_[starts_head_].position + geometry_.blocks < head_.position) {
    starts_head_ = (starts_head_ + 1) % starts_.size();
    --starts_size_;
  }
}

void Log::release_until(const LogCursor& tail) {
  ENSURE(tail.position >= tail_.position && tail.position <= head_.position);
  const std::uint64_t freed = tail.position - tail_.position;
  tail_ = tail;
  give_room(freed);
}

void Log::fail(Errc code) {
  if (failure_ != Errc{}) return;
  failure_ = code;
  while (!queued_.empty()) queued_.pop_front();
  idle_.notify_all();
  room_.release(std::uint64_t{1} << 62);
}

void Log::close() {
  if (closed_) return;
  closed_ = true;
  room_.release(std::uint64_t{1} << 62);
}

Task<void> Log::drain() {
  while (failure_ == Errc{} && (in_flight_ > 0 || !queued_.empty())) co_await idle_.wait();
  co_await scope_.join();
}

}  // namespace holdfast::wal
