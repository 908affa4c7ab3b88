// Format and recovery of a group.
#include <algorithm>
#include <cstring>

#include "base/checksum.h"
#include "base/log.h"
#include "base/marks.h"
#include "base/planted.h"
#include "base/text.h"
#include "engine/group_impl.h"
#include "engine/mender.h"
#include "engine/scrubber.h"
#include "engine/volume_impl.h"
#include "wal/log_retained.h"

namespace holdfast {

Task<Result<void>> Group::format(GroupPorts ports, FormatOptions options, Existing existing) {
  const snapshot::Store::FormatInput input{options.log_bytes, existing == Existing::overwrite, options.group};
  auto done = co_await snapshot::Store::format(ports.disk, ports.buffers, ports.random, input);
  co_return done;
}

Task<Result<std::unique_ptr<Group>>> Group::open(GroupPorts ports, GroupOptions options) {
  // The log's geometry stands in the superblock, so it is read before the group is made.
  auto pair = co_await snapshot::read_superblocks(ports.disk, ports.buffers);
  if (!pair) co_return fail(pair.error());
  if (pair->newest.log_blocks < wal::kLogBlocksMin) co_return fail(Errc::corrupt, "the superblock's log is impossibly small");
  options.log_batches_in_flight = std::clamp<std::uint32_t>(options.log_batches_in_flight, 1, wal::kBatchesInFlightMax);
  // What is read back of a batch must fit a buffer.
  options.log_batch_bytes_max = std::min<std::uint32_t>(options.log_batch_bytes_max, BufferPool::kLargestBytes);
  auto group = std::make_unique<engine::GroupImpl>(ports, options, wal::LogGeometry{snapshot::kLogOffset, pair->newest.log_blocks});
  auto recovered = co_await group->recover();
  if (!recovered) {
    co_await group->abandon();
    co_return fail(recovered.error());
  }
  co_return std::unique_ptr<Group>(std::move(group));
}

Task<Result<StoreIdentity>> Group::identify(GroupPorts ports) {
  auto pair = co_await snapshot::read_superblocks(ports.disk, ports.buffers);
  if (!pair) co_return fail(pair.error());
  StoreIdentity identity;
  std::memcpy(identity.group.data(), pair->newest.group, identity.group.size());
  std::memcpy(identity.incarnation.data(), pair->newest.store_id, identity.incarnation.size());
  co_return identity;
}

namespace engine {

using snapshot::StoredVolume;
using wal::RecordKind;

Task<Result<void>> GroupImpl::recover() {
  const BootNs begin = ports_.clock.now();
  // Others that share the thread's memory may hold all of it just now.
  co_await applier_.prepare();
  co_await log_.prepare();
  co_await mender_->prepare();
  scratch_ = co_await ports_.buffers.acquire(kChunkBytes);
  CO_TRY(co_await store_.open(ports_.coordinator ? snapshot::Store::Loss::taken : snapshot::Store::Loss::refused));
  const snapshot::Superblock sb = store_.superblock();
  maps_lost_ = (sb.flags & snapshot::kFlagMapsLost) != 0;
  if (store_.superblock_copy_lost()) log_warning("one copy of the superblock was unreadable; it is rewritten now");
  wal::ScanInput input;
  input.geometry = store_.log_geometry();
  input.tail = store_.log_tail();
  input.store_id = store_.store_id();
  input.generation = sb.log_generation;
  input.durable_lsn = sb.durable_lsn;
  input.durable_position = sb.durable_position;
  input.cut_lsn = sb.cut_lsn;
  input.clean = (sb.flags & snapshot::kFlagClean) != 0;
  input.damage = ports_.coordinator ? wal::Damage::cut : wal::Damage::refused;
  const wal::RecordVisitor visitor = [this](const wal::RecoveredRecord& record) { return note_recovered(record); };
  auto scanned = co_await wal::scan_log(ports_.disk, ports_.buffers, input, visitor);
  if (!scanned) co_return fail(scanned.error());
  log_lost_ = (sb.flags & snapshot::kFlagLogLost) != 0;
  unfit_ = (sb.flags & snapshot::kFlagUnfit) != 0 || scanned->damage;
  if (scanned->damage) {
    unfit_because_ = concat(scanned->damage->text(), "; what is missing comes from the primary's log, or by a rebuild");
    log_error(unfit_because_);
  }
  if (maps_lost_ || store_.catalogue_lost()) {
    unfit_ = true;
    unfit_because_ = "its catalogue or maps are unreadable; all of it is compared with the primary's copy";
    start_log_anew(&*scanned);  // There is nothing that its records could be applied to.
  }
  if (scanned->damage && scanned->head.first_lsn <= sb.applied_lsn) start_log_anew(&*scanned);
  const Lsn end(scanned->head.first_lsn - 1);
  if (end.value < sb.applied_lsn) co_return fail(Errc::damaged, "the log ends before what the map has applied");
  CO_TRY(claim_recovered_chunks(end));
  CO_TRY(co_await wal::rewrite_unproven(ports_.disk, ports_.buffers, input.geometry, *scanned));
  CO_TRY(co_await store_.establish());
  // What was read may still lie in a volatile cache: only now does it count as durable.
  CO_TRY(co_await ports_.disk.sync());
  const std::uint64_t generation = planted(Bug::generation_not_bumped) ? sb.log_generation : sb.log_generation + 1;
  const BootNs before = ports_.clock.now();
  // Without its catalogue a copy changes nothing on its disk before there is a primary that it can be rebuilt from.
  if (!store_.catalogue_lost()) CO_TRY(co_await store_.update_superblock([&](snapshot::Superblock& next) {
    next.log_generation = generation;
    next.cut_lsn = end.value + 1;
    next.durable_lsn = end.value;
    next.durable_position = scanned->head.position;
    next.flags &= ~snapshot::kFlagClean;
    if (unfit_) next.flags |= snapshot::kFlagUnfit;
    if (!log_lost_ || scanned->head.first_lsn != sb.applied_lsn + 1) return;
    next.flags |= snapshot::kFlagLogLost;
    next.tail_position = scanned->head.position;
    next.tail_first_lsn = scanned->head.first_lsn;
    next.tail_previous_xxh3 = next.tail_chain_xxh3 = 0;
  }));
  sync_latency_us_ = static_cast<std::uint64_t>((ports_.clock.now() - before).value / 2000);
  if (log_lost_) input.tail = scanned->head;
  const wal::RetainedInput retained{input.geometry, input.tail, input.store_id, sb.log_generation, scanned->head.position, sb.retained_position};
  std::vector<wal::LogCursor> batches;
  if (!log_lost_) {
    auto found = co_await wal::find_retained(&ports_.disk, &ports_.buffers, retained);
    batches = std::move(found);
  }
  batches.insert(batches.end(), scanned->batches.begin(), scanned->batches.end());
  log_.start(input.tail, scanned->head, input.store_id, generation, batches);
  for (auto& stored : store_.volumes()) add_volume_object(stored.get());
  checkpoint_lsn_ = sb.applied_lsn;
  committed_at(recovered_point_.value_or(wal::LogPoint{Lsn(sb.applied_lsn), input.tail.chain_xxh3, input.tail.written_blocks}));
  log_service_.noted(RecordKind::write, Lsn(sb.applied_lsn));  // Of whatever kind it was.
  std::memcpy(coordinator_.data(), sb.coordinator, coordinator_.size());
  // A single copy is all that has to have a record.
  // The maps may be ahead of what the log's headers know: a checkpoint takes what is applied out of order.
  const std::uint64_t known = std::max({sb.applied_lsn, scanned->commit_lsn, std::min(sb.commit_lsn, end.value)});
  const std::uint64_t committed = ports_.coordinator ? known : end.value;
  CO_TRY(co_await replay_all(Lsn(committed)));
  replayed_lsn_ = end.value;
  // A chunk for each, and the pages that may be new above it, twice.
  store_.space().owe(pending_.sets() + pending_.sets() / 2);
  recovered_records_ = end.value - sb.applied_lsn;
  if (!ports_.coordinator && unfit_)
    co_return fail(Errc::damaged, "this copy lacks data that other copies of its group have, and no coordinator is configured to find them");
  scope_.spawn(checkpoint_loop());  // A log that is full to the last block waits for it.
  scope_.spawn(note_durable_end());
  start_replica();
  if (!ports_.coordinator) CO_TRY(co_await await_open());
  recovery_ms_ = static_cast<std::uint64_t>((ports_.clock.now() - begin).value / 1'000'000);
  running_ = true;
  if (store_.damage().met > 0) page_unreadable();
  scrubber_->start();
  applier_.kick();
  for (auto& stored : store_.volumes())
    if (stored->deleting() && !store_.catalogue_lost()) start_purge(stored->id());
  co_return Result<void>{};
}

// Flows may be under way already.
Task<void> GroupImpl::abandon() {
  if (!replica_) co_return;
  if (!failed_) store_failed(Error(Errc::closed, "the group was not opened"));
  (void)co_await stop();
}

void GroupImpl::start_replica() {
  const snapshot::Superblock& sb = store_.superblock();
  Replica::Start start;
  start.self = Copy{options_.node, store_.store_id()};
  std::memcpy(start.group.data(), sb.group, start.group.size());
  start.timing = options_.timing;
  start.bound = Bound{Epoch(sb.bound_epoch), sb.bound_claim, sb.bound_as_primary != 0};
  start.seq_seen = sb.seq_seen;
  start.ship_window_bytes = options_.ship_window_bytes;
  start.rebuild_bytes_per_second = options_.rebuild_bytes_per_second;
  update_facts();
  replica_ = std::make_unique<Replica>(*this, start, facts_);
  replica_->start();
}

Task<Result<void>> GroupImpl::await_open() {
  while (!failed_ && !replica_->is_open()) co_await progress_.wait();
  if (failed_) co_return fail(failure_code_, failure_);
  co_return Result<void>{};
}

// The damage lies before what is applied already: what is left of the log is of no use. It goes on where the maps are, far enough
// from every position there was that nothing in the ring is taken for a part of it; what was the chain there is not known.
void GroupImpl::start_log_anew(wal::ScanOutput* scanned) {
  const snapshot::Superblock& sb = store_.superblock();
  const std::uint64_t furthest = std::max({scanned->head.position, sb.durable_position, sb.tail_position});
  scanned->head = wal::LogCursor{furthest + store_.log_geometry().blocks, sb.applied_lsn + 1, 0, 0};
  scanned->batches.clear();
  scanned->proven_lsn = sb.applied_lsn;
  scanned->commit_lsn = sb.applied_lsn;
  replay_.clear();
  recovered_point_.reset();
  log_lost_ = true;
}

// Called while the log is being read: remembers what is newer than the map. What comes again was cut, and counts now.
Result<void> GroupImpl::note_recovered(const wal::RecoveredRecord& record) {
  const wal::RecordHeader& h = record.header;
  while (!replay_.empty() && replay_.back().header.lsn >= h.lsn) replay_.pop_back();
  if (h.lsn <= store_.superblock().applied_lsn) {
    recovered_point_ = wal::LogPoint{Lsn(h.lsn), h.chain_xxh3, record.written_blocks};
    return {};
  }
  const std::size_t count = std::size_t{h.head_blocks} + h.tail_blocks + std::size_t{h.chunk_count} * (kChunkBlocks + 1);
  replay_.push_back({h, replay_numbers_.size(), record.payload_position, record.written_blocks});
  replay_numbers_.insert(replay_numbers_.end(), record.chunks, record.chunks + count);
  return {};
}

// The chunks that the log's records refer to are in use. Before any other is handed out.
Result<void> GroupImpl::claim_recovered_chunks(Lsn end) {
  while (!replay_.empty() && replay_.back().header.lsn > end.value) replay_.pop_back();
  for (const Replayed& record : replay_)
    for (std::size_t i = 0; i < record.header.chunk_count; ++i)
      if (const std::uint64_t chunk = replay_numbers_[record.numbers + i]; !store_.space().mark_used(chunk))
        return fail(Errc::corrupt, concat("the record of LSN ", record.header.lsn, " refers to chunk ", chunk, ", which cannot be"));
  return {};
}

// Records up to `committed` take effect; what follows is the tail, until a primary says what becomes of it.
Task<Result<void>> GroupImpl::replay_all(Lsn committed) {
  constexpr std::size_t kRecordsInATurn = 8;
  const snapshot::Superblock& sb = store_.superblock();
  facts_.history = store_.history(Lsn(sb.applied_lsn));
  pending_.keep_places(true);
  for (std::size_t i = 0; i < replay_.size(); ++i) {
    if (i % kRecordsInATurn == 0) co_await Yield{ports_.executor};  // Others live on this thread.
    const wal::RecordHeader& h = replay_[i].header;
    if (h.lsn > committed.value) pending_.keep_places(false);
    if (Epoch(h.epoch) < facts_.history.last()) co_return fail(Errc::corrupt, concat("the log's epochs go backwards at LSN ", h.lsn));
    facts_.history.note(Epoch(h.epoch), Lsn(h.lsn));
    auto record = co_await recovered_record(&replay_[i]);
    if (!record) co_return fail(record.error());
    if (h.lsn > committed.value) {
      mark(Mark::tail_recovered);
      tail_.push(std::move(*record));
      continue;
    }
    committed_at({Lsn(h.lsn), h.chain_xxh3, replay_[i].written_blocks});
    (*record)->committed = true;
    apply_to_memory(**record);
    log_service_.noted((*record)->kind, Lsn(h.lsn));
  }
  pending_.keep_places(false);
  facts_.history.keep_newest(snapshot::kEpochsKept);
  replay_.clear();
  replay_.shrink_to_fit();
  replay_numbers_.clear();
  replay_numbers_.shrink_to_fit();
  co_return Result<void>{};
}

// The record as it was, ready to be committed. Its payload stays in the log, except for the catalogue's.
Task<Result<Tail::Handle>> GroupImpl::recovered_record(const Replayed* replayed) {
  const wal::RecordHeader& h = replayed->header;
  Tail::Handle record = tail_.make();
  record->kind = static_cast<RecordKind>(h.kind);
  record->lsn = Lsn(h.lsn);
  record->epoch = Epoch(h.epoch);
  record->volume = VolumeId(h.volume_id);
  record->first = Lba(h.first_block);
  record->count = h.count;
  record->head_blocks = h.head_blocks;
  record->chunk_count = h.chunk_count;
  record->tail_blocks = h.tail_blocks;
  record->chain_xxh3 = h.chain_xxh3;
  record->written_blocks = replayed->written_blocks;
  record->payload_position = replayed->payload_position;
  record->committed = true;  // Until it is whole, its chunks stay where they are.
  const std::uint64_t* numbers = replay_numbers_.data() + replayed->numbers;
  std::copy(numbers, numbers + h.chunk_count, record->chunks.begin());
  std::copy(numbers + h.chunk_count, numbers + h.chunk_count + record->data_blocks(), record->checksums.begin());
  record->target = store_.find(record->volume);
  // A rebuild dropped it, and the log has been followed from before its deletion since.
  if (record->target && record->target->deleting() && h.lsn > record->target->entry.modified_lsn) record->target = nullptr;
  switch (record->kind) {
    case RecordKind::write:
      for (std::uint64_t i = 0, end = h.first_block + h.count; record->target && h.first_block / kChunkBlocks + i <= (end - 1) / kChunkBlocks; ++i)
        record->add_intent(pending_.obtain(*record->target, h.first_block / kChunkBlocks + i));
      break;
    case RecordKind::unmap: {
      if (h.count > kUnmapRecordBlocks) co_return fail(Errc::corrupt, concat("the record of LSN ", h.lsn, " unmaps too much"));
      VolumeImpl* volume = record->target ? volume_of(record->volume) : nullptr;
      Result<void> loaded = fail(Errc::not_found);
      if (volume) {
        auto prepared = co_await volume->prepare_unmap(record.get());
        loaded = std::move(prepared);
      }
      if (!loaded) record->map_moves = ~std::uint64_t{0};  // Whoever applies it finds out what is there.
      break;
    }
    case RecordKind::volume_create:
      if (record->target) break;
      CO_TRY(co_await recovered_payload(record.get()));
      CO_TRY(co_await store_.prepare_volume());
      break;
    case RecordKind::consumer: CO_TRY(co_await recovered_payload(record.get())); break;
    case RecordKind::reservations:
      if (!record->target || record->target->deleting()) break;
      CO_TRY(co_await recovered_payload(record.get()));
      CO_TRY(co_await store_.prepare_reservations(record->target));
      record->state.assign(record->payload.data(), record->payload.data() + record->count);
      break;
    case RecordKind::epoch_start:
    case RecordKind::volume_delete: break;
  }
  record->committed = false;
  co_return record;
}

Task<Result<void>> GroupImpl::recovered_payload(TailRecord* record) {
  if (record->head_blocks == 0) co_return Result<void>{};
  const std::size_t bytes = record->head_blocks * kBlockBytes;
  if (record->count > bytes || bytes > BufferPool::kLargestBytes) co_return fail(Errc::corrupt, "a record of the catalogue is too short");
  record->payload = co_await ports_.buffers.acquire(bytes);
  for (std::size_t i = 0; i < record->head_blocks; ++i) {
    const MutableBytes block = record->payload.bytes().subspan(i * kBlockBytes, kBlockBytes);
    CO_TRY(co_await ports_.disk.read(log_.offset_of(record->payload_position + i), block));
    if (xxh3(block) != record->checksums[i]) co_return fail(Errc::damaged, "a record of the catalogue changed since it was read");
  }
  co_return Result<void>{};
}

}  // namespace engine
}  // namespace holdfast
