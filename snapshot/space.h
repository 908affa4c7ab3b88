// Which chunks of the store are free, and the promise that applying never meets "no space": a write reserves before it may
// enter the log. Invariants:
//   - reserved chunks are backed by real space and free: backed_free() >= reserved();
//   - for every live page there is room for its successor, so a checkpoint can always be written;
//   - a chunk that is given up is reused only when a durable checkpoint covers the record that gave it up, so that the log
//     never holds two lives of one chunk.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/disk.h"
#include "base/result.h"
#include "base/sync.h"
#include "base/task.h"
#include "snapshot/bitmap.h"
#include "snapshot/store_format.h"

namespace holdfast::snapshot {

enum class Given : std::uint8_t { replaced, discarded };  // Discarded chunks go back to the file system.

// A change of the persistent masks, applied to the space tree by the next checkpoint.
struct SpaceOp {
  std::uint64_t chunk;
  std::uint16_t mask;  // Bits to set or clear.
  bool set;
};

class Space {
 public:
  Space(Disk& disk);

  // At open: masks as the space tree has them, one a chunk from chunk 0 on; pages_live from the superblock.
  void attach(std::uint64_t capacity_chunks, std::uint64_t first_data_chunk, std::vector<std::uint16_t> masks,
              std::uint64_t pages_live);
  // Recovery: a log record refers to this chunk.
  // False when it cannot be: the record is corrupt.
  bool mark_used(std::uint64_t chunk);
  void plan_pages(std::uint64_t pages) { pages_planned_ += pages; }
  Task<Result<void>> establish();

  // Room for data chunks and for pages that do not exist yet (each counts twice: itself and its successor).
  // Errors: no_space, io_error.
  Task<Result<void>> reserve(std::uint64_t chunks, std::uint64_t new_pages);
  bool try_reserve(std::uint64_t chunks, std::uint64_t new_pages);
  // What was reserved for records that replay found, and is not any more: nobody else gets it, only who applies them.
  void owe(std::uint64_t chunks) { owed_ = chunks; }
  std::uint64_t owed() const { return owed_; }
  Task<Result<void>> reserve_owed(std::uint64_t chunks, std::uint64_t new_pages);
  void unreserve(std::uint64_t chunks) { reserved_ -= chunks; }
  // A new page's reservation ends: `actual` pages were really created.
  void settle_pages(std::uint64_t reserved, std::uint64_t created, std::uint64_t dropped);

  std::uint64_t take_chunk();                    // Consumes a reservation.
  void untake_chunk(std::uint64_t chunk);        // Never referred to by any record: free at once.
  Result<std::uint64_t> take_page();             // For checkpoints. no_space only if the invariant was lost at open.
  void give_chunk(std::uint64_t chunk, Lsn by, Given how);
  void free_page(std::uint64_t page);            // After both superblocks ceased to refer to it.
  void note(std::uint64_t chunk, bool used) { ops_.push_back({chunk, 0xffff, used}); }
  void note_mask(std::uint64_t chunk, std::uint16_t mask) { ops_.push_back({chunk, mask, true}); }
  // Frees what is in use by the books and named by no tree (`named`: as of a checkpoint, after which nothing was taken): how many
  // chunks and pages. pages: that are named.
  std::uint64_t free_unnamed(const std::vector<std::uint16_t>& named, std::uint64_t pages, Lsn applied);
  // At the instant of which a checkpoint is. Makes room for as many again, so that noting them does not allocate.
  std::vector<SpaceOp> take_ops() {
    frozen_quarantine_ = quarantine_.size();
    std::vector<SpaceOp> taken;
    taken.reserve(ops_.capacity());
    taken.swap(ops_);
    return taken;
  }

  // A checkpoint at `applied` is durable. Frees what was given before its freeze, and by then: the maps on the disk still name what was
  // given after it, also where that was done without a record, as in a rebuild. Appends the chunks to punch.
  void release_until(Lsn applied, std::vector<std::uint64_t>& to_punch);
  void punched(std::uint64_t chunk) { unbacked_.set(chunk); ++unbacked_count_; }

  std::uint64_t capacity_chunks() const { return capacity_; }
  std::uint64_t pages_live() const { return pages_live_; }
  std::uint64_t backed_free() const { return backed_count_; }
  std::uint64_t reserved() const { return reserved_; }
  // The file system gives nothing more, and free chunks that may still have their space are being looked for: that takes its time.
  bool is_searching() const { return searching_; }
  // Chunks that wait for a checkpoint to be free again.
  // Space is short: the chunks that the next checkpoint frees stay backed instead of being punched.
  void keep_backed() { keep_backed_ = true; }
  std::uint64_t quarantined() const { return quarantine_.size(); }
  // A sync failed here: what was written before it may be gone, though later ones succeed.
  bool lost_sync() const { return lost_sync_; }
  // What new allocations can still have, in bytes. Asks the file system: for status only.
  std::uint64_t free_bytes() const;
  bool usable(std::uint64_t chunk) const { return chunk >= first_data_ && chunk < capacity_; }
  bool is_free(std::uint64_t chunk) const { return backed_.test(chunk) || unbacked_.test(chunk); }

 private:
  struct Quarantined {
    std::uint64_t chunk;
    Lsn by;
    Given how;
  };
  static constexpr std::uint64_t kExtendChunks = 1024;     // 64 MiB a step.
  static constexpr std::uint64_t kGrowChunks = 16384;      // 1 GiB of (sparse) file at a time.
  static constexpr std::uint64_t kBackedSpareMax = 4096;   // Beyond this, replaced chunks are punched too.

  std::uint64_t free_by_the_books() const;
  void back(std::uint64_t chunk, bool written);
  void unback(std::uint64_t chunk);
  std::uint64_t meta_chunks_missing(std::uint64_t new_pages) const;
  void commit_reservation(std::uint64_t chunks, std::uint64_t new_pages, std::uint64_t meta_chunks);
  Task<Result<void>> extend(std::uint64_t wanted);
  Task<Result<void>> find_backed(std::uint64_t wanted);
  Task<Result<void>> grow();

  Disk* disk_;
  bool lost_sync_ = false;
  std::uint64_t capacity_ = 0;
  std::uint64_t first_data_ = 0;
  std::vector<std::uint16_t> masks_;      // Pages in use, by chunk, as of now.
  Bitmap backed_;                         // Free and backed by real space.
  Bitmap written_;                        // Of the backed ones: held data before. Their extents need no conversion.
  Bitmap unbacked_;                       // Free, a hole.
  std::uint64_t backed_count_ = 0;
  std::uint64_t written_count_ = 0;
  std::uint64_t unbacked_count_ = 0;
  std::uint64_t reserved_ = 0;
  std::uint64_t owed_ = 0;            // Not reserved, and kept for who has it coming.
  std::uint64_t take_cursor_ = 0;
  std::uint64_t unproven_ = 0;            // Free chunks from here to the end may have their space from before the start.
  std::uint64_t unproven_end_ = 0;
  std::optional<std::uint64_t> refused_with_;  // The last reservation was refused, when the file system had so much.

  std::uint64_t pages_live_ = 0;          // Of the newest durable trees.
  std::uint64_t pages_planned_ = 0;       // Live ones and reserved new ones.
  std::uint64_t pages_used_ = 0;          // Allocated now: live ones and successors under way.
  std::uint64_t page_slots_ = 0;          // Free page slots in chunks that hold pages.
  std::uint64_t meta_reserved_ = 0;       // Reserved chunks that will hold pages.
  std::vector<std::uint64_t> page_chunks_;  // Chunks that may have free slots; checked when popped.
  std::uint64_t page_chunk_ = 0;          // The one being filled, or zero.

  std::vector<Quarantined> quarantine_;
  std::size_t frozen_quarantine_ = 0;     // So many were there when the newest checkpoint froze the maps.
  bool keep_backed_ = false;
  std::vector<SpaceOp> ops_;
  bool searching_ = false;
  Semaphore extending_;
};

}  // namespace holdfast::snapshot
