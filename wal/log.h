// The writing side of a replica's log: group commit by arrival, pipelined batches.
// Invariants: LSNs are contiguous; a batch is one write; durable_lsn() only grows and names a prefix; a failed write is final.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/buffer.h"
#include "base/disk.h"
#include "base/scope.h"
#include "base/sync.h"
#include "wal/record.h"

namespace holdfast::wal {

struct LogGeometry {
  std::uint64_t offset_bytes = 0;   // Of the ring in the store.
  std::uint64_t blocks = 0;
};

// Where the log goes on, and what its chain looked like there. Kept in the superblock for the tail.
struct LogCursor {
  std::uint64_t position = 0;       // Block, ever growing; the slot is position % blocks.
  std::uint64_t first_lsn = 1;      // LSN of the first record at or after the position.
  std::uint64_t previous_xxh3 = 0;  // Of the batch before.
  std::uint64_t chain_xxh3 = 0;     // Of the record before.
  std::uint64_t written_blocks = 0; // By the records before (written_blocks_of), modulo 2^64: differences count.
};

// What a history looks like at one of its records: the same on every member that has it.
struct LogPoint {
  Lsn lsn;
  std::uint64_t chain_xxh3 = 0;
  std::uint64_t written_blocks = 0;
};

struct LogOptions {
  std::uint32_t batches_in_flight = 2;
  std::uint32_t batch_bytes_max = 1u << 20;
  std::uint64_t kept_back_blocks = 0;  // For starts of epochs alone.
};
inline constexpr std::uint64_t kKeptBackBlocks = 32;  // Of a copy among others. A lone one commits whatever is durable.

class LogListener {
 public:
  // Everything up to the LSN is durable here.
  virtual void log_durable(Lsn lsn) = 0;
  // A write failed: final. The store must stop serving.
  virtual void log_failed(Error error) = 0;
  virtual Lsn commit_lsn() const = 0;
  // A writer begins to wait for room: only a checkpoint gives it.
  virtual void log_full() = 0;

 protected:
  ~LogListener() = default;
};

class Log {
 public:
  Log(Disk& disk, BufferPool& buffers, LogGeometry geometry, LogOptions options, LogListener& listener);

  // Takes the memory for headers. Comes first.
  Task<void> prepare();
  // After recovery: goes on at `head`; everything from `tail` on is still needed. batches: all that the ring has, oldest
  // first, also what it retained from before the tail.
  void start(LogCursor tail, LogCursor head, Uuid store_id, std::uint64_t generation,
             std::span<const LogCursor> batches);

  // Room for one record; waits while the ring is full. The caller must then append, or give the room back. Errors: closed,
  // and what fail() said.
  Task<Result<std::uint64_t>> reserve(std::size_t logged_blocks, std::size_t header_bytes);
  // The same without waiting: nothing when there is no room now.
  std::optional<std::uint64_t> try_reserve(std::size_t logged_blocks, std::size_t header_bytes);
  // One block, for the start of an epoch: also of what is kept back for that, because who leads alone with a log that is full of what is
  // not committed gets room by committing it, and can commit nothing before its epoch has begun. Each failed epoch costs one.
  std::optional<std::uint64_t> reserve_epoch_start();
  void give_back(std::uint64_t reserved_blocks) { give_room(reserved_blocks); }

  // Names the record and queues it; `reserved` is what reserve() gave. Never suspends, so whoever checked epoch and lease
  // just before still holds them.
  Lsn append(LogRecord& record, std::uint64_t reserved_blocks);

  // What the record's chain will be if it is appended next.
  std::uint64_t next_chain(const LogRecord& record) const;
  // Drops the records after the LSN, which nobody was promised. Nothing is queued or in flight, and the superblock knows of
  // the cut and of the new generation. The room of what was cut comes back with the tail.
  void cut(const LogPoint& last_kept, std::uint64_t generation);

  // Another copy's log is followed from the record after the LSN on; nothing of this one counts any more. First the cursor, for
  // the superblock, then the restart there. Nothing is queued or in flight.
  LogCursor cursor_for_restart(const LogPoint& last) const {
    return {head_.position, last.lsn.value + 1, head_.previous_xxh3, last.chain_xxh3, last.written_blocks};
  }
  void restart(const LogCursor& at);

  Lsn last_lsn() const { return Lsn(next_lsn_ - 1); }
  std::uint64_t chain() const { return chain_xxh3_; }
  std::uint64_t written_blocks() const { return written_blocks_; }  // By the records up to last_lsn().
  // Everything in the ring before it is durable.
  std::uint64_t durable_position() const { return in_flight_ > 0 ? batches_[oldest_].start.position : head_.position; }
  Lsn durable_lsn() const { return Lsn(durable_lsn_); }
  std::uint64_t used_blocks() const { return head_.position - tail_.position; }
  std::uint64_t claimed_blocks() const { return geometry_.blocks - std::min(geometry_.blocks, room_.available()); }
  bool is_full() const { return room_.has_waiters(); }  // Somebody waits for room.
  const LogCursor& tail() const { return tail_; }
  const LogGeometry& geometry() const { return geometry_; }
  std::uint64_t generation() const { return generation_; }
  // The cursor to keep in the superblock when everything up to `applied` is in the map.
  LogCursor tail_for(Lsn applied) const;
  // The durable batch that holds the record, as long as the ring does: after its release, too, until it is overwritten.
  struct Place {
    LogCursor start;
    Lsn last;  // Of its records that count: later ones were cut.
  };
  std::optional<Place> find(Lsn lsn) const;
  // Where the oldest batch begins that the ring still has; where the log ends when it has none.
  const LogCursor& oldest() const { return starts_size_ > 0 ? starts_[starts_head_] : head_; }
  // The oldest record that is still in the ring, or on its way there.
  Lsn first_kept() const { return starts_size_ > 0 ? Lsn(starts_[starts_head_].first_lsn) : Lsn(durable_lsn_ + 1); }
  // Blocks that can be written before the record is overwritten. Nothing: it was.
  std::optional<std::uint64_t> blocks_until_overwritten(Lsn lsn) const;
  bool keeps(std::uint64_t position) const { return starts_size_ > 0 && position >= starts_[starts_head_].position; }
  // Frees the ring before the cursor: both superblocks know it. What it holds can be read until it is overwritten.
  void release_until(const LogCursor& tail);
  std::uint64_t offset_of(std::uint64_t position) const {
    return geometry_.offset_bytes + position % geometry_.blocks * kBlockBytes;
  }
  // Resolves every reserve() with the error from now on.
  void fail(Errc code);
  // Refuses whoever waits for room, and whoever comes. What is queued is written.
  void close();
  // Returns when nothing is queued or in flight.
  Task<void> drain();

 private:
  struct Batch {
    LogCursor start;
    std::uint64_t last_lsn = 0;
    std::uint32_t header_blocks = 0;
    std::uint32_t payload_blocks = 0;
    bool done = false;
    Buffer header;                   // kHeaderBytesMax, for the slot's lifetime.
    std::vector<Buffer> payloads;    // Held until the write is done, whatever becomes of the writers.
    std::vector<iovec> segments;
    std::vector<iovec> wrapped;      // What lies beyond the ring's end.
  };

  void give_room(std::uint64_t blocks);
  std::size_t start_index(std::uint64_t lsn) const;
  void forget_overwritten();
  void schedule();
  Task<void> pump();
  bool seal(Batch& batch);
  std::size_t put_record(Batch& batch, LogRecord& record, std::size_t header_used);
  void finish_header(Batch& batch, std::size_t header_used, std::uint32_t record_count);
  void split_at_ring_end(Batch& batch);
  Task<void> write(Batch* batch);
  Task<Result<void>> write_segments(Batch* batch);
  void settle_done();

  Disk* disk_;
  BufferPool* buffers_;
  LogGeometry geometry_;
  LogOptions options_;
  LogListener* listener_;
  Uuid store_id_{};
  std::uint64_t generation_ = 0;

  LogCursor tail_;                 // Oldest position still needed.
  LogCursor head_;                 // Where the next batch goes.
  std::uint64_t next_lsn_ = 1;
  std::uint64_t chain_xxh3_ = 0;   // Of the last appended record …
  std::uint64_t written_blocks_ = 0;  // … and up to it.
  std::uint64_t durable_lsn_ = 0;
  std::uint64_t sealed_chain_xxh3_ = 0;  // Of the last record that is in a batch …
  std::uint64_t sealed_written_blocks_ = 0;  // … and up to it.
  Errc failure_{};
  bool closed_ = false;

  IntrusiveList<LogRecord, QueueTag> queued_;
  std::vector<Batch> batches_;               // Slots; in_flight_ of them from oldest_ on are in use.
  std::size_t oldest_ = 0;
  std::size_t in_flight_ = 0;
  bool pump_scheduled_ = false;
  // Starts of the batches in the ring, oldest first: a ring of its own, so that nothing is allocated after warm-up.
  std::vector<LogCursor> starts_;
  std::size_t starts_head_ = 0;
  std::size_t starts_size_ = 0;

  Semaphore room_;   // Permits are free blocks of the ring, …
  std::uint64_t kept_back_ = 0;  // … but for these.
  WaitList idle_;
  Scope scope_;
};

}  // namespace holdfast::wal
