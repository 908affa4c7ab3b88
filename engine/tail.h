// The tail: records that are in the log, or about to enter it, and not committed. They are the group's, not their writers':
// a primary that loses its role leaves them in the log, and what becomes of them is the next primary's to say.
#pragma once

#include <array>
#include <coroutine>
#include <memory>
#include <vector>

#include "base/object_pool.h"
#include "base/sync.h"
#include "engine/pending.h"
#include "wal/record.h"

namespace holdfast::engine {

// In the frame of whoever waits for the outcome.
struct Outcome {
  bool known = false;
  Errc code{};                     // Zero: committed.
  std::coroutine_handle<> waiter;  // Posted when it is known.
};

inline constexpr std::uint64_t kUnmapRecordBlocks = 16384;  // 64 MiB: bounds what one record makes pending.
inline constexpr std::size_t kRecordPagesMax = kUnmapRecordBlocks / (snapshot::kLeafChunks * kChunkBlocks) + 2;
inline constexpr std::size_t kRecordIntentsMax = wal::kRecordChunksMax + 1;

struct TailRecord : wal::LogRecord {
  snapshot::StoredVolume* target = nullptr;
  std::uint64_t map_moves = 0;        // Unmaps: PageTree::moves() before the map's pages were loaded.
  std::vector<std::byte> state;       // Reservations.
  std::uint64_t payload_position = 0; // Recovered: where the log has the payload; `payload` is then empty.
  Outcome* outcome = nullptr;         // Nobody waits: received, recovered, or the writer was told already.
  // What it holds until it is committed, or dropped. A write: an intent on each chunk that it touches, and whole chunks that
  // are reserved (reserved_chunks) or taken (chunk_count). An unmap: map pages that stay in memory.
  std::array<PendingChunk*, kRecordIntentsMax> intents;
  std::array<snapshot::Frame*, kRecordPagesMax> pages;
  std::size_t intent_count = 0;
  std::size_t page_count = 0;
  std::uint64_t first_whole = 0;      // Chunk of the volume.
  std::uint64_t reserved_chunks = 0;
  std::uint64_t admitted_bytes = 0;   // Claimed of the tail, until it is in it.
  bool superseded = false;            // Received without some of its blocks: the log cannot hold it, only fresh chunks can.
  bool committed = false;             // Its chunks belong to the map now, or to what is pending for it.

  TailRecord() {}  // Not defaulted: value initialization would zero all of the arrays.
  void add_intent(PendingChunk* chunk) {
    ++chunk->intents;
    intents[intent_count++] = chunk;
  }
  void add_page(snapshot::Frame* page) {
    ++page->pins;
    pages[page_count++] = page;
  }
  bool covers_whole(std::uint64_t chunk) const {
    return chunk >= first_whole && chunk - first_whole < reserved_chunks + chunk_count;
  }
  bool in_memory() const { return payload || data_blocks() == 0; }
  std::uint64_t bytes() const { return data_blocks() * kBlockBytes; }
};

class Tail {
 public:
  // room: told when what was admitted does not come.
  Tail(PendingIndex& pending, snapshot::Space& space, WaitList& room) : pending_(&pending), space_(&space), room_(&room) {}
  ~Tail();

  struct Release {
    Tail* tail = nullptr;
    void operator()(TailRecord* record) const { tail->release(record); }
  };
  using Handle = std::unique_ptr<TailRecord, Release>;
  Handle make() { return Handle(pool_.make(), Release{this}); }
  // Of a write that was admitted, with so many bytes: they count from now on, for others are admitted before this one has its LSN.
  Handle make_admitted(std::uint64_t bytes);

  // The next one: it has its LSN.
  void push(Handle record);
  bool empty() const { return size_ == 0; }
  TailRecord& front() { return *ring_[head_]; }
  std::size_t size() const { return size_; }
  TailRecord& back() { return *ring_[(head_ + size_ - 1) & (ring_.size() - 1)]; }
  Handle pop_front();
  Handle pop_back();
  TailRecord* find(Lsn lsn);
  std::uint64_t bytes() const { return bytes_; }  // Payload of what is in the log.
  // Payload, and a block for each record's header; of records that are in the log, and of those that were admitted to it.
  std::uint64_t claimed_bytes() const { return bytes_ + size_ * kBlockBytes + admitted_bytes_; }

 private:
  void end_admission(TailRecord& record);
  void release(TailRecord* record);
  void grow();

  PendingIndex* pending_;
  snapshot::Space* space_;
  WaitList* room_;
  ObjectPool<TailRecord> pool_;
  std::vector<TailRecord*> ring_ = std::vector<TailRecord*>(64);  // Power of two.
  std::size_t head_ = 0, size_ = 0;
  std::uint64_t bytes_ = 0, admitted_bytes_ = 0;
};

}  // namespace holdfast::engine
