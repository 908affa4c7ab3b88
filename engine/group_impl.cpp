#include "engine/group_impl.h"

#include <algorithm>
#include <cstring>

#include "base/checksum.h"
#include "base/ensure.h"
#include "base/log.h"
#include "base/planted.h"
#include "base/text.h"
#include "engine/volume_impl.h"

namespace holdfast::engine {

using snapshot::StoredVolume;
using wal::RecordKind;

GroupImpl::GroupImpl(GroupPorts ports, GroupOptions options, wal::LogGeometry geometry)
    : ports_(ports), options_(std::move(options)), store_(ports.disk, ports.buffers, options_.map_cache_bytes),
      pending_(store_), log_(ports.disk, ports.buffers, geometry,
                             wal::LogOptions{options_.log_batches_in_flight, options_.log_batch_bytes_max}, *this),
      applier_(store_, pending_, ports.clock, *this, options_.apply_backlog_bytes), idle_(ports.executor),
      checkpoint_turn_(ports.executor, 1), scratch_turn_(ports.executor, 1), catalogue_turn_(ports.executor, 1),
      checkpoint_timer_(ports.clock), scope_(ports.executor) {}

GroupImpl::~GroupImpl() = default;

void GroupImpl::add_volume_object(StoredVolume* stored) {
  if (!stored->deleting()) volumes_.push_back(std::make_unique<VolumeImpl>(*this, *stored));
}

Task<Result<void>> GroupImpl::commit(EngineRecord* record, std::uint64_t reserved) {
  record->epoch = Epoch(epoch_);
  log_.append(*record, reserved);
  uncommitted_.push_back(*record);
  if (planted(Bug::apply_before_commit)) apply_to_memory(*record);
  struct Settled {
    EngineRecord* record;
    bool await_ready() const noexcept { return record->settled; }
    void await_suspend(std::coroutine_handle<> h) noexcept { record->waiter = h; }
    void await_resume() const noexcept {}
  };
  co_await Settled{record};
  if (record->outcome != Errc{}) co_return fail(record->outcome);
  co_return Result<void>{};
}

// With one copy, durable here is committed. Records become visible in LSN order, and only now.
void GroupImpl::log_durable(Lsn lsn) {
  while (!uncommitted_.empty() && uncommitted_.front().lsn <= lsn) {
    EngineRecord& record = uncommitted_.pop_front();
    ENSURE(record.lsn.value == commit_lsn_ + 1);
    commit_lsn_ = record.lsn.value;
    if (!planted(Bug::apply_before_commit)) apply_to_memory(record);
    settle(record, Errc{});
  }
  applier_.kick();
  check_log_use();
}

void GroupImpl::settle(EngineRecord& record, Errc outcome) {
  record.settled = true;
  record.outcome = outcome;
  if (record.waiter) ports_.executor.post(record.waiter);
}

void GroupImpl::apply_to_memory(EngineRecord& record) {
  switch (record.kind) {
    case RecordKind::write: commit_write(record); break;
    case RecordKind::unmap: {
      // What was no page when the pages were loaded is none now, if no checkpoint has written any meanwhile.
      const bool known = record.map_moves == record.target->map->moves();
      commit_unmap(record.target, record.lsn, BlockRange{record.first, BlockCount(record.count)},
                   known ? PendingIndex::Absent::hole : PendingIndex::Absent::unknown);
      break;
    }
    case RecordKind::epoch_start: store_.note_epoch(record.epoch, record.lsn); break;
    case RecordKind::volume_create: commit_create(record); break;
    case RecordKind::volume_delete: store_.mark_deleting(record.target, record.lsn); break;
    case RecordKind::reservations: store_.set_reservations(record.target, std::move(record.state), record.lsn); break;
  }
}

void GroupImpl::commit_write(EngineRecord& record) {
  const std::uint64_t count = record.count;
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t block = record.first.value + i;
    PendingChunk* chunk = pending_.find(*record.target, block / kChunkBlocks);
    ENSURE(chunk != nullptr);  // The writer's intent holds it.
    PendingBlock pending;
    pending.block = static_cast<std::uint8_t>(block % kChunkBlocks);
    pending.checksum = record.checksums[i];
    if (i >= record.head_blocks && i < count - record.tail_blocks) {
      const std::uint64_t location = record.chunks[(i - record.head_blocks) / kChunkBlocks];
      if (pending.block == 0) pending_.replace_whole(chunk, record.lsn, location);
      pending.source = BlockSource::chunk;
      pending.position = location;
    } else {
      pending.source = BlockSource::memory;
      pending.data = record.payload.slice(i * kBlockBytes, kBlockBytes);
    }
    pending_.add_block(chunk, record.lsn, std::move(pending));
  }
}

void GroupImpl::commit_unmap(StoredVolume* volume, Lsn lsn, BlockRange range, PendingIndex::Absent absent) {
  const std::uint64_t range_end = range.end().value;
  for (std::uint64_t block = range.first.value, end = 0; block < range_end; block = end) {
    end = std::min(range_end, (block / kChunkBlocks + 1) * kChunkBlocks);
    PendingChunk* chunk = pending_.obtain_mapped(*volume, block / kChunkBlocks, absent);
    if (!chunk) continue;
    if (end - block == kChunkBlocks) {
      pending_.replace_whole(chunk, lsn, 0);
      continue;
    }
    for (std::uint64_t i = block; i < end; ++i) {
      PendingBlock zero;
      zero.block = static_cast<std::uint8_t>(i % kChunkBlocks);
      pending_.add_block(chunk, lsn, std::move(zero));
    }
  }
}

void GroupImpl::commit_create(EngineRecord& record) {
  snapshot::VolumeDescription description;
  std::memcpy(&description, record.payload.data(), sizeof description);
  add_volume_object(store_.add_volume(record.volume, description, record.lsn));
}

// Final: nothing is retried, everything that waits is told, and the reason stays.
void GroupImpl::store_failed(Error error) {
  if (failed_) return;
  failed_ = true;
  failure_ = concat("the store is out of service: ", error.text(),
                    "; check the device, then restart the node: it recovers everything it acknowledged");
  log_error(failure_);
  store_.take_out_of_service();
  log_.fail(Errc::io_error);
  while (!uncommitted_.empty()) settle(uncommitted_.pop_front(), Errc::io_error);
  applier_.owner_failed();
  checkpoint_timer_.cancel();
  idle_.notify_all();
  for (auto& volume : volumes_) volume->tell(VolumeEvent::stopped_serving);
}

Volume* GroupImpl::find(const std::string& name) {
  for (auto& volume : volumes_)
    if (volume->identity().name == name) return volume.get();
  return nullptr;
}

std::vector<Volume*> GroupImpl::volumes() {
  std::vector<Volume*> all;
  for (auto& volume : volumes_) all.push_back(volume.get());
  return all;
}

GroupStatus GroupImpl::status() const {
  GroupStatus s;
  s.epoch = Epoch(epoch_);
  s.last_lsn = log_.last_lsn();
  s.commit_lsn = Lsn(commit_lsn_);
  s.applied_lsn = const_cast<PendingIndex&>(pending_).applied(Lsn(commit_lsn_));
  s.checkpoint_lsn = Lsn(checkpoint_lsn_);
  s.log_bytes = log_.geometry().blocks * kBlockBytes;
  s.log_used_bytes = log_.used_blocks() * kBlockBytes;
  auto& space = const_cast<snapshot::Store&>(store_).space();
  s.free_bytes = space.free_bytes();
  s.store_bytes = space.capacity_chunks() * kChunkBytes;
  s.recovered_records = recovered_records_;
  s.recovery_ms = recovery_ms_;
  s.sync_latency_us = sync_latency_us_;
  s.checksum_errors = checksum_errors_;
  s.failed = failed_;
  s.failure = failure_;
  return s;
}

ReplicaStatus GroupImpl::replica_status() const {
  ReplicaStatus s;
  s.role = GroupRole::primary;
  s.serving = obstacle() == Errc{};
  s.end = log_.last_lsn();
  s.durable = log_.durable_lsn();
  s.commit = Lsn(commit_lsn_);
  return s;
}

void GroupImpl::accept(NodeId, std::unique_ptr<Link> link) { link->close(); }

Task<Result<void>> GroupImpl::switchover(NodeId) {
  co_return fail(Errc::invalid_argument, "candidate: this group has one copy, there is nobody to hand over to");
}

Result<VolumeFigures> GroupImpl::figures(const std::string& name) const {
  for (const auto& volume : volumes_)
    if (volume->identity().name == name) return volume->figures();
  return fail(Errc::not_found);
}

}  // namespace holdfast::engine
