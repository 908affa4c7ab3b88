#include "engine/pending.h"

#include <algorithm>

#include "base/ensure.h"

namespace holdfast::engine {

PendingIndex::~PendingIndex() {
  index_.for_each([this](PendingChunk& chunk) {
    for (PendingSet* set : {&chunk.waiting, &chunk.applying}) {
      drop_all(set->blocks);
      drop_all(set->superseded);
    }
    chunk_pool_.release(&chunk);
  });
}

PendingChunk* PendingIndex::obtain(snapshot::StoredVolume& volume, std::uint64_t chunk) {
  if (PendingChunk* known = find(volume, chunk)) return known;
  PendingChunk* made = chunk_pool_.make();
  made->index_key = key(volume, chunk);
  made->volume = &volume;
  made->chunk = chunk;
  index_.insert(*made);
  return made;
}

PendingChunk* PendingIndex::obtain_mapped(snapshot::StoredVolume& volume, std::uint64_t chunk, Absent absent) {
  PendingChunk* known = find(volume, chunk);
  if (known && known->leaf) return known;
  snapshot::Frame* leaf = volume.map->cached_leaf(chunk / snapshot::kLeafChunks);
  if (!known) {
    if (!leaf && absent == Absent::hole) return nullptr;
    if (leaf && snapshot::entry_of(leaf, chunk).location == 0) return nullptr;
    known = obtain(volume, chunk);
  }
  // Whoever applies this must not depend on a page that can be read now and perhaps not later.
  if (leaf) {
    known->leaf = leaf;
    ++leaf->pins;
  }
  return known;
}

PendingChunk* PendingIndex::hold(snapshot::StoredVolume& volume, std::uint64_t chunk) {
  PendingChunk* held = obtain(volume, chunk);
  if (held->held || !held->applying.empty()) return nullptr;
  held->held = true;
  return held;
}

void PendingIndex::let_go(PendingChunk* chunk) {
  ENSURE(chunk->held);
  chunk->held = false;
  release_if_idle(chunk);
}

void PendingIndex::release_if_idle(PendingChunk* chunk) {
  if (!chunk->idle()) return;
  if (chunk->reserved) store_->space().unreserve(1);
  if (chunk->leaf) --chunk->leaf->pins;
  index_.erase(*chunk);
  chunk_pool_.release(chunk);
}

void PendingIndex::touch(PendingChunk* chunk, Lsn lsn) {
  PendingSet& set = chunk->waiting;
  ENSURE(lsn.value >= set.last_lsn);
  if (set.empty()) {
    set.first_lsn = lsn.value;
    waiting_.push_back(*chunk);
    ++sets_;
  }
  set.last_lsn = lsn.value;
}

void PendingIndex::drop_block(PendingBlock* block) {
  if (block->source == BlockSource::memory) bytes_ -= kBlockBytes;
  block_pool_.release(block);
}

void PendingIndex::drop_all(PendingBlock*& list) {
  while (list) drop_block(std::exchange(list, list->next));
}

void PendingIndex::add_block(PendingChunk* chunk, Lsn lsn, PendingBlock block) {
  ENSURE(block.block < kChunkBlocks);
  touch(chunk, lsn);
  block.lsn = lsn.value;
  if (block.source == BlockSource::memory) bytes_ += kBlockBytes;
  for (PendingBlock** link = &chunk->waiting.blocks; *link; link = &(*link)->next) {
    PendingBlock* old = *link;
    if (old->block != block.block) continue;
    if (old->source == BlockSource::memory) bytes_ -= kBlockBytes;
    block.next = old->next;
    *old = std::move(block);
    return;
  }
  block.next = chunk->waiting.blocks;
  chunk->waiting.blocks = block_pool_.make(std::move(block));
}

void PendingIndex::replace_whole(PendingChunk* chunk, Lsn lsn, std::uint64_t location) {
  touch(chunk, lsn);
  PendingSet& set = chunk->waiting;
  // A write that was admitted meanwhile may count on the chunk that was to come: it then comes, empty.
  if (location == 0 && set.whole_location != 0 && (chunk->intents > 0 || keep_places_)) location = set.whole_location;
  else if (set.whole_location != 0) {
    PendingBlock old;
    old.next = set.superseded;
    old.lsn = lsn.value;
    old.position = set.whole_location;
    set.superseded = block_pool_.make(std::move(old));
    ++superseded_;
  }
  drop_all(set.blocks);
  set.whole_lsn = lsn.value;
  set.whole_location = location;
}

PendingIndex::Found PendingIndex::look_up(const PendingChunk& chunk, std::uint8_t block) {
  for (const PendingSet* set : {&chunk.waiting, &chunk.applying}) {
    if (set->empty()) continue;
    for (const PendingBlock* b = set->blocks; b; b = b->next)
      if (b->block == block) return {b, false};
    if (set->whole_lsn != 0) return {nullptr, true};
  }
  return {};
}

PendingChunk* PendingIndex::start_next(std::uint64_t up_to_lsn) {
  int skipped = 0;
  for (auto it = waiting_.begin(); it != waiting_.end() && skipped < kSkipMax; ++it, ++skipped) {
    PendingChunk& chunk = *it;
    if (chunk.waiting.first_lsn > up_to_lsn) return nullptr;
    if (chunk.held || !chunk.applying.empty()) continue;
    chunk.ListNode<PendingChunk, WaitingTag>::unlink();
    chunk.applying = std::exchange(chunk.waiting, PendingSet{});
    applying_.push_back(chunk);
    return &chunk;
  }
  return nullptr;
}

void PendingIndex::finish(PendingChunk* chunk) {
  drop_all(chunk->applying.blocks);
  for (const PendingBlock* old = chunk->applying.superseded; old; old = old->next) --superseded_;
  drop_all(chunk->applying.superseded);
  chunk->applying = PendingSet{};
  chunk->ListNode<PendingChunk, ApplyingTag>::unlink();
  --sets_;
  release_if_idle(chunk);
}

Lsn PendingIndex::applied(Lsn committed) {
  std::uint64_t oldest = committed.value + 1;
  if (!waiting_.empty()) oldest = std::min(oldest, waiting_.front().waiting.first_lsn);
  for (PendingChunk& chunk : applying_) oldest = std::min(oldest, chunk.applying.first_lsn);
  return Lsn(oldest - 1);
}

bool PendingIndex::volume_is_busy(const snapshot::StoredVolume& volume) const {
  bool busy = false;
  index_.for_each([&](const PendingChunk& chunk) { busy = busy || chunk.volume == &volume; });
  return busy;
}

}  // namespace holdfast::engine
