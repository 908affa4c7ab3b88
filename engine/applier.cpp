#include "engine/applier.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "base/checksum.h"
#include "base/ensure.h"
#include "base/marks.h"
#include "base/planted.h"
#include "base/text.h"

namespace holdfast::engine {

using snapshot::Frame;
using snapshot::Given;
using snapshot::MapEntry;

Applier::Applier(snapshot::Store& store, PendingIndex& pending, Clock& clock, ApplierOwner& owner,
                 std::uint64_t backlog_bytes)
    : store_(&store), pending_(&pending), owner_(&owner), backlog_bytes_(backlog_bytes),
      sets_max_(2 * backlog_bytes / kBlockBytes), progress_(clock.executor()), tick_timer_(clock), space_timer_(clock), space_turn_(clock.executor(), 1),
      scope_(clock.executor()) {
  for (std::size_t i = 0; i < kInFlightMax; ++i) free_slots_.push_back(static_cast<std::uint8_t>(i));
}

Task<void> Applier::prepare() { copy_space_ = co_await store_->buffers().acquire(kInFlightMax * kBlockBytes); }

void Applier::kick() {
  if (!ticking_ && !stopping_ && pending_->anything_waiting()) {
    ticking_ = true;
    scope_.spawn(tick());
  }
  pump();
}

// Up to which LSN sets should be applied now.
std::uint64_t Applier::target() const {
  const bool pressed = pending_->bytes() > backlog_bytes_ / 2 || pending_->sets() > sets_max_ / 2 || stopping_;
  return pressed ? owner_->commit_lsn().value : drain_lsn_;
}

void Applier::pump() {
  while (in_flight_ < kInFlightMax && !owner_->has_failed()) {
    PendingChunk* chunk = pending_->start_next(target());
    if (!chunk) return;
    ++in_flight_;
    scope_.spawn(apply(chunk));
  }
}

Task<void> Applier::tick() {
  while (pending_->anything_waiting() && !stopping_ && !owner_->has_failed()) {
    ticked_lsn_ = owner_->commit_lsn().value;
    co_await tick_timer_.after(milliseconds(kTickMs));
    drain_lsn_ = std::max(drain_lsn_, ticked_lsn_);
    pump();
  }
  ticking_ = false;
}

Task<void> Applier::drain(Lsn up_to) {
  drain_lsn_ = std::max(drain_lsn_, up_to.value);
  pump();
  while (!owner_->has_failed() && !is_starved() && pending_->applied(owner_->commit_lsn()) < up_to) co_await progress_.wait();
}

Task<void> Applier::wait_until_applied(Lsn up_to) {
  while (!owner_->has_failed() && !closing_ && pending_->applied(owner_->commit_lsn()) < up_to) co_await progress_.wait();
}

Task<void> Applier::wait_for_room() {
  while (!owner_->has_failed() && !closing_ && !has_room()) {
    pump();
    co_await progress_.wait();
  }
}

void Applier::owner_failed() {
  progress_.notify_all();
  tick_timer_.cancel();
  space_timer_.cancel();
}

void Applier::close() {
  closing_ = true;
  progress_.notify_all();
}

Task<void> Applier::stop() {
  stopping_ = true;
  tick_timer_.cancel();
  space_timer_.cancel();
  co_await scope_.join();
}

Task<void> Applier::apply(PendingChunk* chunk) {
  auto done = co_await apply_set(chunk);
  while (!done && done.error().code == Errc::corrupt) {
    ++waiting_for_pages_;
    progress_.notify_all();
    const bool given_up = co_await owner_->pages_are_given_up();
    --waiting_for_pages_;
    if (!given_up) break;
    done = co_await apply_set(chunk);
  }
  --in_flight_;
  if (!done) {
    // What was being applied stays visible to whoever still looks; the store is out of service. A stop in a full file system,
    // or with an unreadable page, is no failure: the next start applies from the log.
    const bool left_to_the_log = (stopping_ && done.error().code == Errc::no_space) || (closing_ && done.error().code == Errc::corrupt);
    was_left_to_the_log_ = was_left_to_the_log_ || left_to_the_log;
    if (!owner_->has_failed() && !left_to_the_log) owner_->store_failed(done.error());
  } else {
    pending_->finish(chunk);
    pump();
  }
  progress_.notify_all();
}

namespace {
// False when applying the set to a hole leaves a hole.
bool has_data(const PendingSet& set) {
  for (const PendingBlock* block = set.blocks; block; block = block->next)
    if (block->source != BlockSource::zero) return true;
  return set.whole_location != 0;
}
}  // namespace

// A leaf that can be changed, pinned by the chunk; nullptr when there is nothing to change because all of it is a hole.
Task<Result<Frame*>> Applier::leaf_for(PendingChunk* chunk) {
  if (chunk->leaf) co_return chunk->leaf;
  snapshot::PageTree* map = chunk->volume->map.get();
  const std::uint64_t index = chunk->chunk / snapshot::kLeafChunks;
  for (bool reserved = false;;) {
    auto leaf = co_await map->load_leaf(index);
    if (!leaf) co_return leaf;
    if (!*leaf && !has_data(chunk->applying)) co_return nullptr;
    if (!*leaf && !reserved) {
      CO_TRY(co_await reserve_patiently(0, map->new_leaf_pages()));
      reserved = true;
      continue;  // Somebody else may have made it meanwhile.
    }
    if (*leaf && reserved) store_->space().settle_pages(map->new_leaf_pages(), 0, 0);
    if (chunk->leaf) co_return chunk->leaf;  // A writer pinned it while we waited.
    chunk->leaf = *leaf ? *leaf : map->create_leaf(index);
    ++chunk->leaf->pins;
    co_return chunk->leaf;
  }
}

// After a crash the map may be ahead of the log's tail: what it has already must not be done twice.
void Applier::drop_stale(PendingChunk* chunk, const MapEntry& entry) {
  PendingSet& set = chunk->applying;
  if (set.whole_lsn != 0 && set.whole_lsn <= entry.modified_lsn) {
    if (set.whole_location != 0 && set.whole_location != entry.location)
      store_->space().give_chunk(set.whole_location, Lsn(set.last_lsn), Given::replaced);
    set.whole_lsn = set.whole_location = 0;
  }
  for (PendingBlock* block = set.blocks; block; block = block->next)
    if (block->lsn <= entry.modified_lsn) block->block = kChunkBlocks;  // Marked: skipped below.
}

// The chunk that the map has is not given up here, but when the map lets go of it.
void Applier::give_superseded(const PendingSet& set, std::uint64_t mapped) {
  for (const PendingBlock* old = set.superseded; old; old = old->next)
    if (old->position != mapped) store_->space().give_chunk(old->position, Lsn(old->lsn), Given::replaced);
}

Task<Result<void>> Applier::apply_set(PendingChunk* chunk) {
  auto leaf = co_await leaf_for(chunk);
  if (!leaf) co_return fail(leaf.error());
  MapEntry entry{};
  if (*leaf) std::memcpy(&entry, (*leaf)->body() + chunk->chunk % snapshot::kLeafChunks * sizeof entry, sizeof entry);
  give_superseded(chunk->applying, entry.location);
  if (!*leaf) {
    // After a crash: what was written there and emptied again, which a member may still have.
    if (!planted(Bug::delta_without_holes)) store_->changes_are_known_since(Lsn(chunk->applying.last_lsn));
    co_return Result<void>{};
  }
  drop_stale(chunk, entry);
  PendingSet& set = chunk->applying;
  if (set.last_lsn <= entry.modified_lsn) {
    mark(Mark::apply_stale_dropped);
    co_return Result<void>{};
  }
  auto location = co_await place_for(chunk, set.whole_location != 0 ? set.whole_location : entry.location);
  if (!location) co_return fail(location.error());
  CO_TRY(co_await write_blocks(&chunk->applying, *location));
  update_entry(chunk, *leaf, *location);
  chunk->placing = false;
  co_return Result<void>{};
}

Task<Result<std::uint64_t>> Applier::place_for(PendingChunk* chunk, std::uint64_t location) {
  if (location != 0) co_return location;
  bool needed = false;
  for (PendingBlock* block = chunk->applying.blocks; block; block = block->next)
    needed = needed || (block->block < kChunkBlocks && block->source != BlockSource::zero);
  if (!needed) co_return 0;
  if (!chunk->reserved) {
    // Only after a crash: before it, the reservation was made when the write was admitted.
    CO_TRY(co_await reserve_patiently(1, 0));
    if (chunk->reserved) store_->space().unreserve(1);
  }
  chunk->reserved = false;
  chunk->placing = true;
  co_return store_->space().take_chunk();
}

// After a restart into a full file system, applying waits for space; reads are served from the log meanwhile.
Task<Result<void>> Applier::reserve_patiently(std::uint64_t chunks, std::uint64_t pages) {
  ++waiting_for_space_;
  progress_.notify_all();
  co_await space_turn_.acquire();
  for (;;) {
    auto reserved = co_await store_->space().reserve_owed(chunks, pages);
    const bool wait = !reserved && reserved.error().code == Errc::no_space && !stopping_ && !owner_->has_failed();
    const bool changed = std::exchange(no_space_, wait) || wait;
    if (changed) owner_->space_changed();
    if (!wait) {
      --waiting_for_space_;
      space_turn_.release();
      co_return reserved;
    }
    progress_.notify_all();
    co_await space_timer_.after(milliseconds(kSpaceRetryMs));
  }
}

Task<Result<void>> Applier::copy_from_log(PendingBlock* block, std::uint64_t to) {
  struct Slot {
    std::vector<std::uint8_t>* free;
    std::uint8_t index;
    ~Slot() { free->push_back(index); }
  } slot{&free_slots_, free_slots_.back()};
  free_slots_.pop_back();
  mark(Mark::apply_from_log);
  const MutableBytes bytes = copy_space_.bytes().subspan(slot.index * kBlockBytes, kBlockBytes);
  CO_TRY(co_await store_->disk().read(owner_->log_offset_of(block->position), bytes));
  if (xxh3(bytes) != block->checksum)
    co_return fail(Errc::damaged, concat("the log's copy of LSN ", block->lsn, " changed since it was read at the start"));
  CO_TRY(co_await store_->disk().write(to, bytes, Durability::cached));
  co_return Result<void>{};
}

// Neighbours in memory share a write; blocks that lie in the log are copied one by one.
Task<Result<void>> Applier::write_blocks(PendingSet* set, std::uint64_t location) {
  std::array<PendingBlock*, kChunkBlocks> by_index{};
  for (PendingBlock* block = set->blocks; block; block = block->next)
    if (block->block < kChunkBlocks) by_index[block->block] = block;
  const std::uint64_t base = location * kChunkBytes;
  std::array<iovec, kChunkBlocks> segments;
  for (std::size_t i = 0; i < kChunkBlocks;) {
    PendingBlock* block = by_index[i];
    if (block && block->source == BlockSource::log) CO_TRY(co_await copy_from_log(block, base + i * kBlockBytes));
    if (!block || block->source != BlockSource::memory) {
      ++i;
      continue;
    }
    const std::size_t begin = i;
    std::size_t count = 0;
    for (; i < kChunkBlocks && by_index[i] && by_index[i]->source == BlockSource::memory; ++i) {
      std::byte* data = by_index[i]->data.data();
      const bool adjoins = count > 0 && static_cast<std::byte*>(segments[count - 1].iov_base) + segments[count - 1].iov_len == data;
      if (adjoins) segments[count - 1].iov_len += kBlockBytes;
      else segments[count++] = {data, kBlockBytes};
    }
    const std::uint64_t length = (i - begin) * kBlockBytes;
    const std::span<const iovec> run(segments.data(), count);
    CO_TRY(co_await store_->disk().write(base + begin * kBlockBytes, length, run, Durability::cached));
  }
  co_return Result<void>{};
}

// Never suspends: the entry, the space it takes and the reads that follow change together.
void Applier::update_entry(PendingChunk* chunk, Frame* leaf, std::uint64_t location) {
  PendingSet& set = chunk->applying;
  const Lsn by(set.last_lsn);
  std::byte* place = chunk->volume->map->writable(leaf, by) + chunk->chunk % snapshot::kLeafChunks * sizeof(MapEntry);
  MapEntry entry;
  std::memcpy(&entry, place, sizeof entry);
  const std::uint64_t old = entry.location;
  if (set.whole_lsn != 0) entry.valid_mask = 0;
  for (PendingBlock* block = set.blocks; block; block = block->next) {
    if (block->block >= kChunkBlocks) continue;
    const auto bit = static_cast<std::uint16_t>(1u << block->block);
    const bool zero = block->source == BlockSource::zero;
    entry.valid_mask = static_cast<std::uint16_t>(zero ? entry.valid_mask & ~bit : entry.valid_mask | bit);
    entry.checksums[block->block] = zero ? 0 : block->checksum;
  }
  if (entry.valid_mask == 0 && location != 0 && (chunk->intents > 0 || !chunk->waiting.empty())) mark(Mark::apply_place_kept);
  // An emptied chunk goes, unless a write that was admitted meanwhile counts on it.
  if (entry.valid_mask == 0 && location != 0 && chunk->intents == 0 && chunk->waiting.empty()) {
    if (location != old) store_->space().give_chunk(location, by, Given::discarded);
    location = 0;
  }
  if (location != old) {
    entry.birth_lsn = location != 0 ? by.value : 0;
    if (location != 0) store_->space().note(location, true);
    if (old != 0) {
      store_->space().note(old, false);
      store_->space().give_chunk(old, by, location == 0 ? Given::discarded : Given::replaced);
    }
    chunk->volume->mapped_chunks = chunk->volume->mapped_chunks + (location != 0) - (old != 0);
  }
  entry.location = location;
  entry.modified_lsn = by.value;
  std::memcpy(place, &entry, sizeof entry);
}

}  // namespace holdfast::engine
