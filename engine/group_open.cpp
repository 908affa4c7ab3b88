// Format and recovery of a group.
#include <cstring>

#include "base/checksum.h"
#include "base/log.h"
#include "base/planted.h"
#include "base/text.h"
#include "engine/group_impl.h"
#include "engine/volume_impl.h"

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
  auto group = std::make_unique<engine::GroupImpl>(ports, options, wal::LogGeometry{snapshot::kLogOffset, pair->newest.log_blocks});
  auto recovered = co_await group->recover();
  if (!recovered) co_return fail(recovered.error());
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
  scratch_ = co_await ports_.buffers.acquire(kChunkBytes);
  CO_TRY(co_await store_.open());
  const snapshot::Superblock sb = store_.superblock();
  if (store_.superblock_copy_lost()) log_warning("one copy of the superblock was unreadable; it is rewritten now");
  wal::ScanInput input;
  input.geometry = store_.log_geometry();
  input.tail = store_.log_tail();
  input.store_id = store_.store_id();
  input.generation = sb.log_generation;
  input.durable_lsn = sb.durable_lsn;
  input.clean = (sb.flags & snapshot::kFlagClean) != 0;
  const wal::RecordVisitor visitor = [this](const wal::RecoveredRecord& record) { return note_recovered(record); };
  auto scanned = co_await wal::scan_log(ports_.disk, ports_.buffers, input, visitor);
  if (!scanned) co_return fail(scanned.error());
  const Lsn end(scanned->head.first_lsn - 1);
  if (end.value < sb.applied_lsn) co_return fail(Errc::damaged, "the log ends before what the map has applied");
  CO_TRY(co_await wal::rewrite_unproven(ports_.disk, ports_.buffers, input.geometry, *scanned));
  CO_TRY(co_await store_.establish());
  // What was read may still lie in a volatile cache: only now does it count as durable.
  CO_TRY(co_await ports_.disk.sync());
  commit_lsn_ = checkpoint_lsn_ = sb.applied_lsn;
  epoch_ = sb.bound_epoch + 1;
  const std::uint64_t generation = planted(Bug::generation_not_bumped) ? sb.log_generation : sb.log_generation + 1;
  const BootNs before = ports_.clock.now();
  CO_TRY(co_await store_.update_superblock([&](snapshot::Superblock& next) {
    next.log_generation = generation;
    next.durable_lsn = end.value;
    next.bound_epoch = epoch_;
    next.bound_as_primary = 1;
    next.flags &= ~snapshot::kFlagClean;
  }));
  sync_latency_us_ = static_cast<std::uint64_t>((ports_.clock.now() - before).value / 2000);
  log_.start(input.tail, scanned->head, input.store_id, generation, scanned->batches);
  for (auto& stored : store_.volumes()) add_volume_object(stored.get());
  CO_TRY(co_await replay_all());
  commit_lsn_ = end.value;
  recovered_records_ = end.value - sb.applied_lsn;
  // A crash may leave the ring full to the last block: the epoch's start then needs what a checkpoint frees.
  if (log_.claimed_blocks() == log_.geometry().blocks) CO_TRY(co_await checkpoint());
  CO_TRY(co_await begin_epoch(end));
  recovery_ms_ = static_cast<std::uint64_t>((ports_.clock.now() - begin).value / 1'000'000);
  scope_.spawn(checkpoint_loop());
  applier_.kick();
  for (auto& stored : store_.volumes())
    if (stored->deleting()) scope_.spawn(purge(stored->id()));
  co_return Result<void>{};
}

// Called while the log is being read: remembers what is newer than the map, and which chunks it needs.
Result<void> GroupImpl::note_recovered(const wal::RecoveredRecord& record) {
  const wal::RecordHeader& h = record.header;
  if (h.lsn <= store_.superblock().applied_lsn) return {};
  for (std::size_t i = 0; i < h.chunk_count; ++i)
    if (!store_.space().mark_used(record.chunks[i]))
      return fail(Errc::corrupt, concat("the record of LSN ", h.lsn, " refers to chunk ", record.chunks[i], ", which cannot be"));
  const std::size_t count = std::size_t{h.head_blocks} + h.tail_blocks + std::size_t{h.chunk_count} * (kChunkBlocks + 1);
  replay_.push_back({h, replay_numbers_.size(), record.payload_position});
  replay_numbers_.insert(replay_numbers_.end(), record.chunks, record.chunks + count);
  return {};
}

Task<Result<void>> GroupImpl::replay_all() {
  constexpr std::size_t kRecordsInATurn = 8;
  pending_.keep_places(true);
  for (std::size_t i = 0; i < replay_.size(); ++i) {
    if (i % kRecordsInATurn == 0) co_await Yield{ports_.executor};  // Others live on this thread.
    const Replayed& record = replay_[i];
    commit_lsn_ = record.header.lsn;
    CO_TRY(co_await replay(&record));
  }
  pending_.keep_places(false);
  replay_.clear();
  replay_.shrink_to_fit();
  replay_numbers_.clear();
  replay_numbers_.shrink_to_fit();
  co_return Result<void>{};
}

Task<Result<std::vector<std::byte>>> GroupImpl::read_payload(const Replayed* record) {
  std::vector<std::byte> bytes;
  Buffer block = co_await ports_.buffers.acquire(kBlockBytes);
  for (std::uint64_t i = 0; i < record->header.head_blocks; ++i) {
    auto done = co_await ports_.disk.read(log_.offset_of(record->payload_position + i), block.bytes());
    if (!done) co_return fail(done.error());
    bytes.insert(bytes.end(), block.data(), block.data() + kBlockBytes);
  }
  bytes.resize(record->header.count);
  co_return bytes;
}

Task<Result<void>> GroupImpl::replay(const Replayed* record) {
  const wal::RecordHeader& h = record->header;
  const Lsn lsn(h.lsn);
  StoredVolume* volume = store_.find(VolumeId(h.volume_id));
  switch (static_cast<RecordKind>(h.kind)) {
    case RecordKind::write:
      // Also of a volume that is going: its map may have the chunks already, and the purge gives up what the map has.
      if (volume) replay_write(*record, volume);
      else
        for (std::size_t i = 0; i < h.chunk_count; ++i)
          store_.space().give_chunk(replay_numbers_[record->numbers + i], lsn, snapshot::Given::discarded);
      break;
    case RecordKind::unmap:
      if (volume) co_await replay_unmap(volume, lsn, BlockRange{Lba(h.first_block), BlockCount(h.count)});
      break;
    case RecordKind::epoch_start: store_.note_epoch(Epoch(h.epoch), lsn); break;
    case RecordKind::volume_create: {
      if (volume) break;
      auto payload = co_await read_payload(record);
      if (!payload) co_return fail(payload.error());
      if (payload->size() < sizeof(snapshot::VolumeDescription)) co_return fail(Errc::corrupt, "a volume's description is too short");
      snapshot::VolumeDescription description;
      std::memcpy(&description, payload->data(), sizeof description);
      CO_TRY(co_await store_.prepare_volume());
      add_volume_object(store_.add_volume(VolumeId(h.volume_id), description, lsn));
      break;
    }
    case RecordKind::volume_delete:
      if (!volume || volume->deleting()) break;
      store_.mark_deleting(volume, lsn);
      std::erase_if(volumes_, [&](const auto& v) { return &v->stored() == volume; });
      break;
    case RecordKind::reservations: {
      if (!volume || volume->deleting() || h.lsn <= volume->entry.modified_lsn) break;
      auto payload = co_await read_payload(record);
      if (!payload) co_return fail(payload.error());
      CO_TRY(co_await store_.prepare_reservations(volume));
      store_.set_reservations(volume, std::move(*payload), lsn);
      break;
    }
  }
  co_return Result<void>{};
}

void GroupImpl::replay_write(const Replayed& record, StoredVolume* volume) {
  const wal::RecordHeader& h = record.header;
  const std::uint64_t* chunks = replay_numbers_.data() + record.numbers;
  const std::uint64_t* checksums = chunks + h.chunk_count;
  std::uint64_t payload = record.payload_position;
  for (std::uint64_t i = 0; i < h.count; ++i) {
    const std::uint64_t block = h.first_block + i;
    PendingChunk* chunk = pending_.obtain(*volume, block / kChunkBlocks);
    PendingBlock pending;
    pending.block = static_cast<std::uint8_t>(block % kChunkBlocks);
    pending.checksum = checksums[i];
    const bool direct = i >= h.head_blocks && i < h.count - h.tail_blocks;
    if (direct) {
      const std::uint64_t location = chunks[(i - h.head_blocks) / kChunkBlocks];
      if (pending.block == 0) pending_.replace_whole(chunk, Lsn(h.lsn), location);
      pending.source = BlockSource::chunk;
      pending.position = location;
    } else {
      pending.source = BlockSource::log;
      pending.position = payload++;
    }
    pending_.add_block(chunk, Lsn(h.lsn), std::move(pending));
  }
}

// Page by page of the map, so that holes need no work. The map may be ahead of the record: what is a hole then is one for
// what of the record remains, too. A page that cannot be read is left to whoever applies the record.
Task<void> GroupImpl::replay_unmap(StoredVolume* volume, Lsn lsn, BlockRange range) {
  constexpr std::uint64_t kLeafBlocks = snapshot::kLeafChunks * kChunkBlocks;
  for (std::uint64_t block = range.first.value, end = 0; block < range.end().value; block = end) {
    end = std::min(range.end().value, (block / kLeafBlocks + 1) * kLeafBlocks);
    auto leaf = co_await volume->map->load_leaf(block / kLeafBlocks);
    commit_unmap(volume, lsn, BlockRange{Lba(block), BlockCount(end - block)},
                 leaf ? PendingIndex::Absent::hole : PendingIndex::Absent::unknown);
  }
}

// A reign of its own for every start: records of before are told from records of after.
Task<Result<void>> GroupImpl::begin_epoch(Lsn recovered_end) {
  EngineRecord record;
  record.kind = RecordKind::epoch_start;
  record.epoch = Epoch(epoch_);
  auto room = co_await log_.reserve(0, wal::record_bytes(0, 0));
  if (!room) co_return fail(room.error());
  ENSURE(log_.last_lsn() == recovered_end);
  auto committed = co_await commit(&record, *room);
  co_return committed;
}

}  // namespace engine
}  // namespace holdfast
