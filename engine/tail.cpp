#include "engine/tail.h"

#include "base/ensure.h"

namespace holdfast::engine {

Tail::~Tail() {
  while (size_ > 0) pop_back();
}

Tail::Handle Tail::make_admitted(std::uint64_t bytes) {
  Handle record = make();
  record->admitted_bytes = bytes + kBlockBytes;
  admitted_bytes_ += record->admitted_bytes;
  return record;
}

void Tail::end_admission(TailRecord& record) {
  admitted_bytes_ -= record.admitted_bytes;
  record.admitted_bytes = 0;
}

void Tail::push(Handle record) {
  end_admission(*record);
  ENSURE(empty() || record->lsn.value == back().lsn.value + 1);
  if (size_ == ring_.size()) grow();
  bytes_ += record->bytes();
  ring_[(head_ + size_++) & (ring_.size() - 1)] = record.release();
}

Tail::Handle Tail::pop_front() {
  ENSURE(size_ > 0);
  TailRecord* record = ring_[head_];
  head_ = (head_ + 1) & (ring_.size() - 1);
  --size_;
  bytes_ -= record->bytes();
  return Handle(record, Release{this});
}

Tail::Handle Tail::pop_back() {
  ENSURE(size_ > 0);
  TailRecord* record = &back();
  --size_;
  bytes_ -= record->bytes();
  return Handle(record, Release{this});
}

TailRecord* Tail::find(Lsn lsn) {
  if (size_ == 0 || lsn < front().lsn || lsn > back().lsn) return nullptr;
  return ring_[(head_ + lsn.value - front().lsn.value) & (ring_.size() - 1)];
}

void Tail::release(TailRecord* record) {
  // Others may have waited for it alone: then nothing else will wake them.
  if (record->admitted_bytes > 0) room_->notify_all();
  end_admission(*record);
  while (record->page_count > 0) --record->pages[--record->page_count]->pins;
  while (record->intent_count > 0) {
    PendingChunk* chunk = record->intents[--record->intent_count];
    --chunk->intents;
    pending_->release_if_idle(chunk);
  }
  space_->unreserve(record->reserved_chunks);
  for (std::size_t i = 0; i < record->chunk_count && !record->committed; ++i) space_->untake_chunk(record->chunks[i]);
  pool_.release(record);
}

void Tail::grow() {
  std::vector<TailRecord*> bigger(ring_.size() * 2);
  for (std::size_t i = 0; i < size_; ++i) bigger[i] = ring_[(head_ + i) & (ring_.size() - 1)];
  ring_.swap(bigger);
  head_ = 0;
}

}  // namespace holdfast::engine
