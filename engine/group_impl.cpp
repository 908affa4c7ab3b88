#include "engine/group_impl.h"

#include <algorithm>
#include <cstring>

#include "base/checksum.h"
#include "base/ensure.h"
#include "base/log.h"
#include "base/marks.h"
#include "base/planted.h"
#include "base/text.h"
#include "engine/mender.h"
#include "engine/scrubber.h"
#include "engine/volume_impl.h"

namespace holdfast::engine {

using snapshot::StoredVolume;
using wal::RecordKind;

GroupImpl::GroupImpl(GroupPorts ports, GroupOptions options, wal::LogGeometry geometry)
    : ports_(ports), options_(std::move(options)), progress_(ports.executor), idle_(ports.executor),
      checkpoint_turn_(ports.executor, 1), scratch_turn_(ports.executor, 1), catalogue_turn_(ports.executor, 1),
      store_(ports.disk, ports.buffers, options_.map_cache_bytes),
      pending_(store_), log_(ports.disk, ports.buffers, geometry,
                             wal::LogOptions{options_.log_batches_in_flight, options_.log_batch_bytes_max, ports.coordinator ? wal::kKeptBackBlocks : 0}, *this),
      applier_(store_, pending_, ports.clock, *this, options_.apply_backlog_bytes), tail_(pending_, store_.space(), progress_),
      checkpoint_timer_(ports.clock), quiet_timer_(ports.clock), log_service_(*this), scope_(ports.executor) {
  mender_ = std::make_unique<Mender>(*this);
  scrubber_ = std::make_unique<Scrubber>(*this);
  store_.damage().told = [this] { page_unreadable(); };
}

GroupImpl::~GroupImpl() = default;

void GroupImpl::add_volume_object(StoredVolume* stored) {
  if (!stored->deleting()) volumes_.push_back(std::make_unique<VolumeImpl>(*this, *stored));
}

Errc GroupImpl::obstacle() const {
  if (failed_) return Errc::io_error;
  if (stopping_) return Errc::closed;
  return replica_->is_open() ? Errc{} : Errc::fenced;
}

std::string GroupImpl::title() const {
  std::string names;
  for (const auto& volume : volumes_) names += (names.empty() ? "volume " : ", ") + volume->stored().name();
  return names.empty() ? names : names + ": ";
}

VolumeImpl* GroupImpl::volume_of(VolumeId id) {
  for (auto& volume : volumes_)
    if (volume->stored().id() == id) return volume.get();
  return nullptr;
}

Task<Result<void>> GroupImpl::await_admission(std::uint64_t reign, std::uint64_t bytes) {
  const DurationNs held = replica_->held_for_each_write();
  if (held > DurationNs{} && obstacle(reign) == Errc{}) {
    ++held_writes_;
    Timer pause(ports_.clock);
    co_await pause.after(held);
  }
  for (bool closed = false;;) {
    if (obstacle(reign) != Errc{}) co_return fail(obstacle(reign));
    const bool tail_has_room = tail_.claimed_bytes() == 0 || tail_.claimed_bytes() + bytes <= tail_bytes_max();
    if (!applier_.has_room()) {
      co_await applier_.wait_for_room();
    } else if (replica_->is_closed_for_joining()) {
      held_writes_ += !std::exchange(closed, true);
      co_await progress_.wait();  // Each tick of the replica looks.
    } else if (tail_has_room && replica_->may_admit()) {
      co_return Result<void>{};
    } else {
      if (replica_->may_admit()) mark(Mark::tail_full);
      co_await progress_.wait();
    }
  }
}

Task<Result<void>> GroupImpl::log_and_commit(Tail::Handle record, std::uint64_t reign) {
  auto room = co_await log_.reserve(record->logged_blocks(), wal::record_bytes(record->data_blocks(), record->chunk_count));
  if (!room) co_return fail(room.error());
  auto committed = co_await commit(std::move(record), *room, reign);
  co_return committed;
}

Task<Result<void>> GroupImpl::commit(Tail::Handle record, std::uint64_t room, std::uint64_t reign) {
  if (obstacle(reign) != Errc{}) {
    mark(Mark::reign_over);
    log_.give_back(room);
    co_return fail(obstacle(reign));
  }
  struct Known {
    Outcome* outcome;
    bool await_ready() const noexcept { return outcome->known; }
    void await_suspend(std::coroutine_handle<> h) noexcept { outcome->waiter = h; }
    void await_resume() const noexcept {}
  };
  Outcome outcome;
  record->outcome = &outcome;
  record->epoch = replica_->machine().epoch();
  logged_deletions_ += record->kind == RecordKind::volume_delete;
  append(std::move(record), room);
  co_await Known{&outcome};
  if (outcome.code != Errc{}) co_return fail(outcome.code);
  // Committed, whatever comes; but only a primary with its lease and with enough copies says so.
  while (obstacle(reign) == Errc{} && !replica_->may_acknowledge()) {
    mark(Mark::commit_waits_to_answer);
    co_await progress_.wait();
  }
  if (reign != reign_) co_return fail(Errc::fenced);
  if (!replica_->may_acknowledge()) co_return fail(obstacle());
  co_return Result<void>{};
}

Task<Result<void>> GroupImpl::await_lease(std::uint64_t reign) {
  for (;;) {
    if (reign != reign_ || !replica_->is_open()) co_return fail(Errc::fenced);
    if (replica_->may_serve()) co_return Result<void>{};
    mark(Mark::read_waits_for_lease);
    co_await progress_.wait();
  }
}

void GroupImpl::append(Tail::Handle record, std::uint64_t room) {
  log_.append(*record, room);
  facts_.history.note(record->epoch, record->lsn);
  facts_.history.keep_newest(snapshot::kEpochsKept);
  if (planted(Bug::apply_before_commit)) apply_to_memory(*record);
  tail_.push(std::move(record));
  update_facts();
  replica_->appended();
}

void GroupImpl::update_facts() {
  facts_.first_kept = log_.first_kept();
  facts_.end = log_.last_lsn();
  facts_.durable = log_.durable_lsn();
  facts_.applied = Lsn(commit_lsn_);
  facts_.promotable = !unfit_ && !failed_;
  facts_.needs_rebuild = log_lost_;
  facts_.maps_lost = maps_lost_;
  facts_.ring_blocks = log_.geometry().blocks;
  // Whoever is not fit yet does not count as having the last of what it needs.
  const Lsn reach = std::max(reach_, primary_end_);
  if (unfit_ && reach != Lsn() && facts_.durable >= reach) facts_.durable = std::max(facts_.applied, Lsn(reach.value - 1));
}

void GroupImpl::log_durable(Lsn) {
  update_facts();
  consider_fitness();
  replica_->log_changed();
  check_log_use();
  if (end_is_noted_) quiet_timer_.cancel();
}

// Records become visible in LSN order, and only once they are committed.
void GroupImpl::commit_to(Lsn lsn) {
  while (!tail_.empty() && tail_.front().lsn <= lsn) {
    Tail::Handle record = tail_.pop_front();
    ENSURE(record->lsn.value == commit_lsn_ + 1);
    committed_at({record->lsn, record->chain_xxh3, record->written_blocks});
    if (!planted(Bug::apply_before_commit)) apply_to_memory(*record);
    log_service_.noted(record->kind, record->lsn);
    record->committed = true;
    settle(*record, Errc{});
  }
  update_facts();
  log_service_.commit_moved();
  applier_.kick();
  replica_->committed();
}

void GroupImpl::committed_at(const wal::LogPoint& point) {
  commit_lsn_ = point.lsn.value;
  commit_chain_ = point.chain_xxh3;
  commit_written_ = point.written_blocks;
}

void GroupImpl::settle(TailRecord& record, Errc outcome) {
  Outcome* waiting = std::exchange(record.outcome, nullptr);
  if (!waiting) return;
  waiting->known = true;
  waiting->code = outcome;
  if (waiting->waiter) ports_.executor.post(waiting->waiter);
}

void GroupImpl::apply_to_memory(TailRecord& record) {
  switch (record.kind) {
    case RecordKind::write: commit_write(record); break;
    case RecordKind::unmap: {
      if (!record.target) break;
      // What was no page when the pages were loaded is none now, if no checkpoint has written any meanwhile.
      const bool known = record.map_moves == record.target->map->moves();
      commit_unmap(record.target, record.lsn, BlockRange{record.first, BlockCount(record.count)},
                   known ? PendingIndex::Absent::hole : PendingIndex::Absent::unknown);
      break;
    }
    case RecordKind::epoch_start: store_.note_epoch(record.epoch, record.lsn); break;
    case RecordKind::volume_create: commit_create(record); break;
    case RecordKind::volume_delete: commit_delete(record); break;
    case RecordKind::consumer: log_service_.committed(record); break;
    case RecordKind::reservations:
      if (!record.target || record.target->deleting() || record.lsn.value <= record.target->entry.modified_lsn) break;
      store_.set_reservations(record.target, std::move(record.state), record.lsn);
      break;
  }
}

void GroupImpl::commit_write(TailRecord& record) {
  if (!record.target) {  // Replayed: the volume was deleted, and its map is gone.
    for (std::size_t i = 0; i < record.chunk_count; ++i)
      store_.space().give_chunk(record.chunks[i], record.lsn, snapshot::Given::discarded);
    return;
  }
  const std::uint64_t count = record.count;
  std::uint64_t logged = record.payload_position;
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t block = record.first.value + i;
    PendingChunk* chunk = pending_.obtain(*record.target, block / kChunkBlocks);
    PendingBlock pending;
    pending.block = static_cast<std::uint8_t>(block % kChunkBlocks);
    pending.checksum = record.checksums[i];
    if (i >= record.head_blocks && i < count - record.tail_blocks) {
      const std::uint64_t location = record.chunks[(i - record.head_blocks) / kChunkBlocks];
      if (pending.block == 0) pending_.replace_whole(chunk, record.lsn, location);
      pending.source = BlockSource::chunk;
      pending.position = location;
    } else if (record.payload) {
      pending.source = BlockSource::memory;
      pending.data = record.payload.slice(i * kBlockBytes, kBlockBytes);
    } else {
      pending.source = BlockSource::log;
      pending.position = logged++;
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

void GroupImpl::commit_create(TailRecord& record) {
  if (store_.find(record.volume)) return;  // Replayed.
  snapshot::VolumeDescription description;
  std::memcpy(&description, record.payload.data(), sizeof description);
  add_volume_object(store_.add_volume(record.volume, description, record.lsn));
}

void GroupImpl::commit_delete(TailRecord& record) {
  StoredVolume* volume = record.target;
  if (!volume || volume->deleting()) return;  // Replayed.
  store_.mark_deleting(volume, record.lsn);
  const auto found = std::find_if(volumes_.begin(), volumes_.end(), [&](const auto& v) { return &v->stored() == volume; });
  if (found != volumes_.end()) {
    (*found)->refuse();
    (*found)->tell(VolumeEvent::deleted);
    deleted_.push_back(std::move(*found));
    volumes_.erase(found);
  }
  if (running_) start_purge(record.volume);
}

// Final: nothing is retried, everything that waits is told, and the reason stays.
void GroupImpl::store_failed(Error error) {
  if (failed_) return;
  failed_ = true;
  failure_code_ = error.code;
  failure_ = concat("the store is out of service: ", error.text(),
                    "; check the device, then restart the node: it recovers everything it acknowledged");
  log_error(failure_);
  store_.take_out_of_service();
  log_.fail(Errc::io_error);
  for (std::uint64_t lsn = commit_lsn_ + 1; TailRecord* record = tail_.find(Lsn(lsn)); ++lsn) settle(*record, Errc::io_error);
  update_facts();
  if (replica_) replica_->store_failed();
  applier_.owner_failed();
  checkpoint_timer_.cancel();
  quiet_timer_.cancel();
  idle_.notify_all();
  progress_.notify_all();
  log_service_.role_changed();
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
  s.epoch = replica_->machine().epoch();
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
  s.repaired_blocks = mender_->blocks_repaired();
  s.lost_blocks = mender_->blocks_lost();
  s.scrub = scrubber_->status();
  s.failed = failed_;
  s.failure = failure_;
  return s;
}

Result<VolumeFigures> GroupImpl::figures(const std::string& name) const {
  for (const auto& volume : volumes_)
    if (volume->identity().name == name) return volume->figures();
  return fail(Errc::not_found);
}

}  // namespace holdfast::engine
