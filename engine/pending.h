// Committed but not yet applied: what reads must see before the map has it, and what the applier works off, by chunk.
// Invariants: a set's LSNs are newer than those of the set before it and of the map; the waiting queue is ordered by the
// sets' first LSN; a chunk with intents keeps its place in the store even when nothing of it is left.
#pragma once

#include <cstdint>

#include "base/buffer.h"
#include "base/hash_index.h"
#include "base/intrusive_list.h"
#include "base/object_pool.h"
#include "snapshot/store.h"

namespace holdfast::engine {

enum class BlockSource : std::uint8_t {
  memory,  // `data` holds it; it has to be written.
  log,     // It lies in the log at `position`; it has to be copied. Recovery only.
  chunk,   // It lies in the set's new chunk already.
  zero,    // It reads as zeros.
};

struct PendingBlock {
  PendingBlock* next = nullptr;
  std::uint64_t lsn = 0;
  std::uint64_t checksum = 0;   // Not for zero.
  std::uint64_t position = 0;   // log: log position; chunk: the chunk's location.
  Buffer data;
  std::uint8_t block = 0;       // 0 … 15
  BlockSource source = BlockSource::zero;
};

// Changes of one chunk that are applied together.
struct PendingSet {
  std::uint64_t first_lsn = 0;       // Zero: the set is empty.
  std::uint64_t last_lsn = 0;
  std::uint64_t whole_lsn = 0;       // Nonzero: the chunk's old content was replaced as a whole by this record …
  std::uint64_t whole_location = 0;  // … with this chunk, or with zeros.
  PendingBlock* blocks = nullptr;
  // Chunks (`position`) that came and were replaced again before they were applied. After a crash the map may have one of
  // them already: it is then the map's to give up.
  PendingBlock* superseded = nullptr;
  bool empty() const { return first_lsn == 0; }
};

struct WaitingTag;
struct ApplyingTag;

struct PendingChunk : ListNode<PendingChunk, WaitingTag>, ListNode<PendingChunk, ApplyingTag> {
  std::uint64_t index_key = 0;
  PendingChunk* index_next = nullptr;
  snapshot::StoredVolume* volume = nullptr;
  std::uint64_t chunk = 0;
  snapshot::Frame* leaf = nullptr;  // Pinned while set.
  std::uint32_t intents = 0;        // Admitted writes that are not committed yet.
  bool reserved = false;            // Holds the reservation of one chunk.
  bool placing = false;             // The applying set has taken a chunk that the map does not have yet.
  bool held = false;                // What is on the disk is being repaired: nothing is applied meanwhile.
  PendingSet waiting;
  PendingSet applying;
  bool idle() const { return intents == 0 && !held && waiting.empty() && applying.empty(); }
};

class PendingIndex {
 public:
  explicit PendingIndex(snapshot::Store& store) : store_(&store) {}
  ~PendingIndex();

  PendingChunk* find(const snapshot::StoredVolume& volume, std::uint64_t chunk) const { return index_.find(key(volume, chunk)); }
  PendingChunk* obtain(snapshot::StoredVolume& volume, std::uint64_t chunk);
  // For an unmap: nullptr when nothing of the chunk is there to unmap. What is known of a map page that is not in memory:
  enum class Absent : std::uint8_t { hole, unknown };
  PendingChunk* obtain_mapped(snapshot::StoredVolume& volume, std::uint64_t chunk, Absent absent);
  // Nothing of the chunk is applied until let_go(). nullptr when something is being applied, or somebody holds it.
  PendingChunk* hold(snapshot::StoredVolume& volume, std::uint64_t chunk);
  void let_go(PendingChunk* chunk);
  // Forgets the chunk when nothing is left to do for it.
  void release_if_idle(PendingChunk* chunk);

  void add_block(PendingChunk* chunk, Lsn lsn, PendingBlock block);
  // The chunk's content is replaced by a new chunk (its blocks follow by add_block) or by zeros (location 0).
  void replace_whole(PendingChunk* chunk, Lsn lsn, std::uint64_t location);
  // Replay: which chunks counted on a place is not known any more, so each place that was to come is kept.
  void keep_places(bool keep) { keep_places_ = keep; }

  // The newest pending state of a block: the block, `zeros`, or nothing (then the map knows).
  struct Found {
    const PendingBlock* block = nullptr;
    bool zeros = false;
    explicit operator bool() const { return block || zeros; }
  };
  static Found look_up(const PendingChunk& chunk, std::uint8_t block);

  // Moves the first waiting set that may be applied to `applying`; nullptr when there is none up to the LSN.
  PendingChunk* start_next(std::uint64_t up_to_lsn);
  void finish(PendingChunk* chunk);

  // Everything up to this LSN is applied when `committed` is the newest committed one.
  Lsn applied(Lsn committed);
  bool anything_waiting() { return !waiting_.empty(); }
  std::uint64_t bytes() const { return bytes_; }
  // Sets that wait or are being applied.
  std::size_t sets() const { return sets_; }
  // Chunks of the store that will be given up when what waits is applied: at least so many.
  std::uint64_t superseded() const { return superseded_; }
  bool volume_is_busy(const snapshot::StoredVolume& volume) const;

 private:
  static constexpr int kSkipMax = 64;  // Chunks under way that the search for work may pass.
  static std::uint64_t key(const snapshot::StoredVolume& volume, std::uint64_t chunk) {
    return std::uint64_t{volume.map->number()} << 44 | chunk;
  }
  void touch(PendingChunk* chunk, Lsn lsn);
  void drop_all(PendingBlock*& list);
  void drop_block(PendingBlock* block);

  snapshot::Store* store_;
  HashIndex<PendingChunk> index_{12};
  ObjectPool<PendingChunk> chunk_pool_;
  ObjectPool<PendingBlock> block_pool_;
  IntrusiveList<PendingChunk, WaitingTag> waiting_;
  IntrusiveList<PendingChunk, ApplyingTag> applying_;
  std::uint64_t bytes_ = 0;  // Of payload held in memory.
  std::uint64_t superseded_ = 0;
  std::size_t sets_ = 0;
  bool keep_places_ = false;
};

}  // namespace holdfast::engine
