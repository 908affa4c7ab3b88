// Unmapping. The map's pages of a record are in memory before it enters the log, and stay until it is committed: what cannot
// be carried out is not promised, and what is a hole needs no work.
#include <algorithm>

#include "base/ensure.h"
#include "engine/volume_impl.h"
#include "engine/volume_operation.h"

namespace holdfast::engine {

using wal::RecordKind;

constexpr std::uint64_t kLeafBlocks = snapshot::kLeafChunks * kChunkBlocks;

Task<Result<void>> VolumeImpl::unmap(BlockRange range) {
  if (obstacle() != Errc{}) co_return fail(obstacle());
  if (!range_fits(range, capacity_)) co_return fail(Errc::out_of_range);
  if (range.count.value > kUnmapBlocksMax) co_return fail(Errc::invalid_argument);
  VolumeOperation operation(*this);
  const std::uint64_t reign = group_->reign();
  co_await enter_shared();
  auto done = co_await unmap_pieces(range, reign);
  leave_shared();
  unmaps_.add();
  co_return done;
}

// Pieces end at multiples of 64 MiB, so that no chunk is cut in two.
Task<Result<void>> VolumeImpl::unmap_pieces(BlockRange range, std::uint64_t reign) {
  for (std::uint64_t block = range.first.value; block < range.end().value;) {
    const std::uint64_t piece_end = (block / kUnmapRecordBlocks + 1) * kUnmapRecordBlocks;
    const std::uint64_t end = std::min(piece_end, range.end().value);
    CO_TRY(co_await unmap_piece(BlockRange{Lba(block), BlockCount(end - block)}, reign));
    block = end;
  }
  co_return Result<void>{};
}

Task<Result<void>> VolumeImpl::unmap_piece(BlockRange range, std::uint64_t reign) {
  CO_TRY(co_await group_->await_admission(reign, 0));
  Tail::Handle record = group_->tail().make_admitted(0);
  record->kind = RecordKind::unmap;
  record->volume = stored_->id();
  record->first = range.first;
  record->count = range.count.value;
  // Room first: who waits for it must not hold pages that the checkpoint it waits for may need.
  auto room = co_await group_->log().reserve(0, wal::record_bytes(0, 0));
  if (!room) co_return fail(room.error());
  auto prepared = co_await prepare_unmap(record.get());
  if (!prepared) {
    group_->log().give_back(*room);
    record.reset();
    auto failed = co_await group_->after_damage(prepared.error(), reign);
    co_return failed;
  }
  auto committed = co_await group_->commit(std::move(record), *room, reign);
  co_return committed;
}

Task<Result<void>> VolumeImpl::prepare_unmap(TailRecord* record) {
  record->target = stored_;
  record->map_moves = stored_->map->moves();
  for (std::uint64_t index = record->first.value / kLeafBlocks; index * kLeafBlocks < record->first.value + record->count; ++index) {
    auto leaf = co_await stored_->map->load_leaf(index);
    if (!leaf) {
      if (leaf.error().code == Errc::corrupt) group_->count_checksum_error();
      co_return fail(leaf.error());
    }
    if (*leaf) record->add_page(*leaf);
  }
  co_return Result<void>{};
}

}  // namespace holdfast::engine
