// Writing: admit (space first), place whole chunks, log, commit. Everything that may fail for lack of space happens before
// the record enters the log.
#include <cstring>

#include "base/checksum.h"
#include "base/ensure.h"
#include "base/planted.h"
#include "base/scope.h"
#include "engine/volume_impl.h"
#include "engine/volume_operation.h"

namespace holdfast::engine {

using snapshot::Frame;
using snapshot::MapEntry;
using wal::RecordKind;

// What a write holds until it is committed: an intent on each chunk it touches. Gives everything back when it dies.
class VolumeImpl::Admission {
 public:
  static constexpr std::size_t kChunksMax = kTransferBlocksMax / kChunkBlocks + 1;
  explicit Admission(GroupImpl& group) : group_(&group) {}
  Admission(const Admission&) = delete;
  Admission& operator=(const Admission&) = delete;
  ~Admission() {
    for (std::size_t i = 0; i < count_; ++i) {
      --chunks_[i]->intents;
      group_->pending().release_if_idle(chunks_[i]);
    }
    while (taken_ > 0) group_->store().space().untake_chunk(locations_[--taken_]);
    group_->store().space().unreserve(whole_reserved_);
  }
  void add(PendingChunk* chunk) {
    ++chunk->intents;
    chunks_[count_++] = chunk;
  }
  std::size_t count() const { return count_; }

  // Whole chunks: reserved, then taken, then the record's.
  std::uint64_t first_whole = 0;
  std::size_t whole_count = 0;
  void hold_whole() { whole_reserved_ = whole_count; }
  void take_whole() {
    for (; whole_reserved_ > 0; --whole_reserved_) locations_[taken_++] = group_->store().space().take_chunk();
  }
  std::uint64_t location(std::size_t i) const { return locations_[i]; }
  void keep_whole() { taken_ = 0; }  // The record refers to them now.

 private:
  GroupImpl* group_;
  std::array<PendingChunk*, kChunksMax> chunks_;
  std::size_t count_ = 0;
  std::array<std::uint64_t, kChunksMax> locations_;
  std::size_t taken_ = 0;
  std::size_t whole_reserved_ = 0;
};

Task<Result<void>> VolumeImpl::write(BlockRange range, Buffer from) {
  if (auto ok = check(range, from.size()); !ok) co_return ok;
  VolumeOperation operation(*this);
  co_await enter_shared();
  auto done = co_await write_admitted(range, std::move(from));
  leave_shared();
  if (done) {
    writes_.add();
    write_bytes_.add(range.count.value * kBlockBytes);
  }
  co_return done;
}

Task<Result<void>> VolumeImpl::write_admitted(BlockRange range, Buffer from) {
  if (!group_->applier().has_room()) co_await group_->applier().wait_for_room();
  Admission admission(*group_);
  CO_TRY(co_await admit(&admission, range));
  EngineRecord record;
  record.kind = RecordKind::write;
  record.volume = stored_->id();
  record.target = stored_;
  record.first = range.first;
  record.count = range.count.value;
  record.payload = std::move(from);
  for (std::size_t i = 0; i < record.count; ++i)
    record.checksums[i] = xxh3(Bytes(record.payload.data() + i * kBlockBytes, kBlockBytes));
  if (admission.whole_count > 0) CO_TRY(co_await write_chunks(&record, &admission));
  place_blocks(record, admission, range);
  const std::size_t header = wal::record_bytes(record.data_blocks(), record.chunk_count);
  auto room = co_await group_->log().reserve(record.logged_blocks(), header);
  if (!room) co_return fail(room.error());
  if (obstacle() != Errc{}) {
    group_->log().give_back(*room);
    co_return fail(obstacle());
  }
  admission.keep_whole();
  auto committed = co_await group_->commit(&record, *room);
  co_return committed;
}

void VolumeImpl::place_blocks(EngineRecord& record, const Admission& admission, BlockRange range) const {
  if (admission.whole_count == 0) {
    record.head_blocks = static_cast<std::uint16_t>(range.count.value);
    return;
  }
  const std::uint64_t whole_begin = admission.first_whole * kChunkBlocks;
  const std::uint64_t whole_end = whole_begin + admission.whole_count * kChunkBlocks;
  record.head_blocks = static_cast<std::uint16_t>(whole_begin - range.first.value);
  record.tail_blocks = static_cast<std::uint16_t>(range.end().value - whole_end);
  record.chunk_count = static_cast<std::uint16_t>(admission.whole_count);
  for (std::size_t i = 0; i < admission.whole_count; ++i) record.chunks[i] = admission.location(i);
}

// Intents and reservations for every chunk of the range.
Task<Result<void>> VolumeImpl::admit(Admission* admission, BlockRange range) {
  const std::uint64_t first = range.first.value / kChunkBlocks;
  const std::uint64_t last = (range.end().value - 1) / kChunkBlocks;
  const std::uint64_t whole_first = divide_up(range.first.value, kChunkBlocks);
  const std::uint64_t whole_end = range.end().value / kChunkBlocks;
  if (whole_end > whole_first) {
    // Straight to fresh chunks if there are any; a full store still takes overwrites, in place.
    const std::size_t count = whole_end - whole_first;
    auto reserved = co_await group_->store().space().reserve(count, 0);
    if (!reserved && reserved.error().code != Errc::no_space) co_return reserved;
    if (reserved) {
      admission->first_whole = whole_first;
      admission->whole_count = count;
      admission->hold_whole();
    }
  }
  for (std::uint64_t chunk = first; chunk <= last; ++chunk) CO_TRY(co_await admit_chunk(admission, chunk));
  co_return Result<void>{};
}

Task<Result<void>> VolumeImpl::admit_chunk(Admission* admission, std::uint64_t chunk) {
  PendingChunk* pending = group_->pending().obtain(*stored_, chunk);
  admission->add(pending);  // Held from here on, whatever happens.
  const bool whole = admission->whole_count > 0 && chunk >= admission->first_whole &&
                     chunk < admission->first_whole + admission->whole_count;
  snapshot::PageTree* map = stored_->map.get();
  const std::uint64_t index = chunk / snapshot::kLeafChunks;
  std::uint64_t pages_held = 0;
  while (!pending->leaf) {
    Frame* leaf = map->cached_leaf(index);
    if (!leaf) {
      auto loaded = co_await map->load_leaf(index);
      if (!loaded) {
        group_->store().space().settle_pages(pages_held, 0, 0);
        co_return fail(loaded.error());
      }
      leaf = *loaded;
    }
    if (pending->leaf) break;
    if (!leaf && pages_held == 0) {
      auto reserved = co_await group_->reserve_space(0, map->new_leaf_pages());
      if (!reserved) co_return reserved;
      pages_held = map->new_leaf_pages();
      continue;
    }
    if (!leaf) {
      leaf = map->create_leaf(index);
      pages_held = 0;
    }
    pending->leaf = leaf;
    ++leaf->pins;
  }
  if (pages_held > 0) group_->store().space().settle_pages(pages_held, 0, 0);
  if (whole) co_return Result<void>{};
  for (;;) {
    MapEntry entry;
    std::memcpy(&entry, pending->leaf->body() + chunk % snapshot::kLeafChunks * sizeof entry, sizeof entry);
    if (reserve_now(pending, entry)) co_return Result<void>{};
    auto reserved = co_await group_->reserve_space(1, 0);
    if (!reserved) co_return reserved;
    if (pending->reserved) group_->store().space().unreserve(1);
    pending->reserved = true;
  }
}

// True when the chunk has its place, or a reservation for one.
bool VolumeImpl::reserve_now(PendingChunk* chunk, const MapEntry& entry) {
  if (chunk->reserved || chunk->placing || entry.location != 0) return true;
  if (chunk->waiting.whole_location != 0 || chunk->applying.whole_location != 0) return true;
  if (!group_->store().space().try_reserve(1, 0)) return false;
  chunk->reserved = true;
  return true;
}

// The data of whole chunks is durable before the record that refers to it enters the log. Neighbours share a write; a run in
// chunks that were written before needs no journal commit of the file system, so each is made durable by itself.
Task<Result<void>> VolumeImpl::write_chunks(EngineRecord* record, Admission* admission) {
  admission->take_whole();
  const std::uint64_t skipped = admission->first_whole * kChunkBlocks - record->first.value;
  const std::byte* data = record->payload.data() + skipped * kBlockBytes;
  Errc error{};
  Scope scope(executor());
  for (std::size_t i = 0; i < admission->whole_count;) {
    std::size_t end = i + 1;
    while (end < admission->whole_count && admission->location(end) == admission->location(end - 1) + 1) ++end;
    const Bytes run(data + i * kChunkBytes, (end - i) * kChunkBytes);
    scope.spawn(write_run(admission->location(i) * kChunkBytes, run, &error));
    i = end;
  }
  co_await scope.join();
  if (error != Errc{}) co_return fail(error);
  co_return Result<void>{};
}

Task<void> VolumeImpl::write_run(std::uint64_t offset, Bytes run, Errc* error) {
  const auto durability = planted(Bug::direct_data_not_synced) ? Durability::cached : Durability::durable;
  auto written = co_await group_->ports().disk.write(offset, run, durability);
  if (written) co_return;
  *error = written.error().code;
  group_->report_failure(written.error());
}

}  // namespace holdfast::engine
