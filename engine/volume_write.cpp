// Writing: admit (space first), place whole chunks, log, commit. Everything that may fail for lack of space happens before
// the record enters the log.
#include <cstring>

#include "base/checksum.h"
#include "base/ensure.h"
#include "base/marks.h"
#include "base/planted.h"
#include "base/scope.h"
#include "engine/volume_impl.h"
#include "engine/volume_operation.h"

namespace holdfast::engine {

using snapshot::Frame;
using snapshot::MapEntry;
using wal::RecordKind;

Task<Result<void>> VolumeImpl::write(BlockRange range, Buffer from) {
  if (auto ok = check(range, from.size()); !ok) co_return ok;
  VolumeOperation operation(*this);
  const std::uint64_t reign = group_->reign();
  co_await enter_shared();
  auto done = co_await write_admitted(range, std::move(from), reign);
  leave_shared();
  if (done) {
    writes_.add();
    write_bytes_.add(range.count.value * kBlockBytes);
  }
  co_return done;
}

Task<Result<void>> VolumeImpl::write_admitted(BlockRange range, Buffer from, std::uint64_t reign) {
  CO_TRY(co_await group_->await_admission(reign, range.count.value * kBlockBytes));
  Tail::Handle record = group_->tail().make_admitted(range.count.value * kBlockBytes);
  record->kind = RecordKind::write;
  record->volume = stored_->id();
  record->first = range.first;
  record->count = range.count.value;
  record->payload = std::move(from);
  for (std::size_t i = 0; i < record->count; ++i)
    record->checksums[i] = xxh3(Bytes(record->payload.data() + i * kBlockBytes, kBlockBytes));
  auto prepared = co_await prepare_write(record.get());
  if (!prepared) {
    record.reset();
    auto failed = co_await group_->after_damage(prepared.error(), reign);
    co_return failed;
  }
  auto committed = co_await group_->log_and_commit(std::move(record), reign);
  co_return committed;
}

Task<Result<void>> VolumeImpl::prepare_write(TailRecord* record) {
  CO_TRY(co_await admit(record));
  if (record->chunk_count > 0) CO_TRY(co_await write_chunks(record));
  co_return Result<void>{};
}

// Intents and reservations for every chunk of the range.
Task<Result<void>> VolumeImpl::admit(TailRecord* record) {
  record->target = stored_;
  const std::uint64_t end = record->first.value + record->count;
  const std::uint64_t whole_first = divide_up(record->first.value, kChunkBlocks);
  const std::uint64_t whole_end = end / kChunkBlocks;
  if (whole_end > whole_first && !group_->members_are_short()) {
    // Straight to fresh chunks if there are any; a full store still takes overwrites, in place.
    const std::size_t count = whole_end - whole_first;
    auto reserved = co_await group_->store().space().reserve(count, 0);
    if (!reserved && reserved.error().code != Errc::no_space) co_return reserved;
    // Blocks that are not what their checksums say would end the log, for whoever reads it.
    if (!reserved && record->superseded) {
      auto waited = co_await group_->reserve_space(count, 0);
      if (!waited) co_return waited;
      reserved = std::move(waited);
    }
    if (!reserved) mark(Mark::space_full_overwrite);
    if (reserved) {
      record->first_whole = whole_first;
      record->reserved_chunks = count;
    }
  }
  for (std::uint64_t chunk = record->first.value / kChunkBlocks; chunk * kChunkBlocks < end; ++chunk)
    CO_TRY(co_await admit_chunk(record, chunk));
  place(*record, group_->store().space());
  co_return Result<void>{};
}

void VolumeImpl::place(TailRecord& record, snapshot::Space& space) {
  for (; record.reserved_chunks > 0; --record.reserved_chunks) record.chunks[record.chunk_count++] = space.take_chunk();
  if (record.chunk_count == 0) {
    record.head_blocks = static_cast<std::uint16_t>(record.count);
    return;
  }
  const std::uint64_t whole_begin = record.first_whole * kChunkBlocks;
  const std::uint64_t whole_end = whole_begin + record.chunk_count * kChunkBlocks;
  record.head_blocks = static_cast<std::uint16_t>(whole_begin - record.first.value);
  record.tail_blocks = static_cast<std::uint16_t>(record.first.value + record.count - whole_end);
}

Task<Result<void>> VolumeImpl::admit_chunk(TailRecord* record, std::uint64_t chunk) {
  PendingChunk* pending = group_->pending().obtain(*stored_, chunk);
  record->add_intent(pending);  // Held from here on, whatever happens.
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
      if (group_->members_are_short()) co_return fail(Errc::no_space);
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
  if (record->covers_whole(chunk)) co_return Result<void>{};
  for (;;) {
    MapEntry entry;
    std::memcpy(&entry, pending->leaf->body() + chunk % snapshot::kLeafChunks * sizeof entry, sizeof entry);
    if (has_place(*pending, entry)) co_return Result<void>{};
    if (group_->members_are_short()) co_return fail(Errc::no_space);
    if (reserve_now(pending)) co_return Result<void>{};
    auto reserved = co_await group_->reserve_space(1, 0);
    if (!reserved) co_return reserved;
    if (pending->reserved) group_->store().space().unreserve(1);
    pending->reserved = true;
  }
}

// The chunk has its place, or a reservation for one.
bool VolumeImpl::has_place(const PendingChunk& chunk, const MapEntry& entry) {
  if (chunk.reserved || chunk.placing || entry.location != 0) return true;
  return chunk.waiting.whole_location != 0 || chunk.applying.whole_location != 0;
}

bool VolumeImpl::reserve_now(PendingChunk* chunk) {
  if (!group_->store().space().try_reserve(1, 0)) return false;
  chunk->reserved = true;
  return true;
}

// The data of whole chunks is durable before the record that refers to it enters the log. Neighbours share a write; a run in
// chunks that were written before needs no journal commit of the file system, so each is made durable by itself.
Task<Result<void>> VolumeImpl::write_chunks(TailRecord* record) {
  const std::uint64_t skipped = record->first_whole * kChunkBlocks - record->first.value;
  const std::byte* data = record->payload.data() + skipped * kBlockBytes;
  Errc error{};
  Scope scope(executor());
  for (std::size_t i = 0; i < record->chunk_count;) {
    std::size_t end = i + 1;
    while (end < record->chunk_count && record->chunks[end] == record->chunks[end - 1] + 1) ++end;
    const Bytes run(data + i * kChunkBytes, (end - i) * kChunkBytes);
    scope.spawn(write_run(record->chunks[i] * kChunkBytes, run, &error));
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
