// Moves committed changes from memory (after a crash: from the log) to their chunks and into the map, chunk by chunk.
// Lazy on purpose: what is overwritten soon is written once. It runs when memory fills, when a checkpoint needs it, and
// for whatever has waited a tick.
#pragma once

#include "base/clock.h"
#include "base/scope.h"
#include "engine/pending.h"
#include "wal/log.h"

namespace holdfast::engine {

class ApplierOwner {
 public:
  virtual Lsn commit_lsn() const = 0;
  // A write or a map page failed: the store goes out of service.
  virtual void store_failed(Error error) = 0;
  virtual std::uint64_t log_offset_of(std::uint64_t position) const = 0;
  virtual bool has_failed() const = 0;
  // A map page is unreadable. Waits until that is settled: true when such pages are taken as empty from now on, since all is
  // compared with another copy; false when nothing can be done about it.
  virtual Task<bool> pages_are_given_up() = 0;
  // Applying waits for space, or waited and goes on. Told again each time that it asks in vain.
  virtual void space_changed() = 0;

 protected:
  ~ApplierOwner() = default;
};

class Applier {
 public:
  Applier(snapshot::Store& store, PendingIndex& pending, Clock& clock, ApplierOwner& owner, std::uint64_t backlog_bytes);

  // Takes the memory that applying needs. Comes first.
  Task<void> prepare();
  // Something was committed.
  void kick();
  // Waits until everything up to the LSN is applied, or the store has failed, or whoever applies waits for space: only a
  // checkpoint may give some, and it then comes with what is applied by now.
  Task<void> drain(Lsn up_to);
  // Waits until it is applied, however long space lacks; or until close(), or the store has failed.
  Task<void> wait_until_applied(Lsn up_to);
  bool is_starved() const {
    const bool waits = no_space_ || waiting_for_pages_ > 0 || was_left_to_the_log_;
    return waits && in_flight_ == waiting_for_space_ + waiting_for_pages_;
  }
  // Waits while too much is pending.
  Task<void> wait_for_room();
  // Payload has a bound, and so have sets without any: unmaps, and chunks that were written whole.
  bool has_room() const { return pending_->bytes() < backlog_bytes_ && pending_->sets() < sets_max_; }
  void owner_failed();
  // The owner is about to stop: nobody who waits for room or progress is kept.
  void close();
  Task<void> stop();

 private:
  static constexpr std::size_t kInFlightMax = 32;
  static constexpr std::int64_t kTickMs = 100;
  static constexpr std::int64_t kSpaceRetryMs = 500;

  void pump();
  std::uint64_t target() const;
  Task<void> tick();
  Task<void> apply(PendingChunk* chunk);
  Task<Result<void>> apply_set(PendingChunk* chunk);
  Task<Result<snapshot::Frame*>> leaf_for(PendingChunk* chunk);
  void give_superseded(const PendingSet& set, std::uint64_t mapped);
  void drop_stale(PendingChunk* chunk, const snapshot::MapEntry& entry);
  Task<Result<std::uint64_t>> place_for(PendingChunk* chunk, std::uint64_t location);
  Task<Result<void>> write_blocks(PendingSet* set, std::uint64_t location);
  Task<Result<void>> copy_from_log(PendingBlock* block, std::uint64_t to);
  void update_entry(PendingChunk* chunk, snapshot::Frame* leaf, std::uint64_t location);
  Task<Result<void>> reserve_patiently(std::uint64_t chunks, std::uint64_t pages);

  snapshot::Store* store_;
  PendingIndex* pending_;
  ApplierOwner* owner_;
  std::uint64_t backlog_bytes_;
  std::size_t sets_max_;          // Each may pin a map page: they take at most twice the memory of the payload.
  std::uint64_t drain_lsn_ = 0;   // Asked for by checkpoints and ticks.
  std::uint64_t ticked_lsn_ = 0;
  std::size_t in_flight_ = 0;
  std::size_t waiting_for_space_ = 0;  // Of those in flight.
  std::size_t waiting_for_pages_ = 0;  // The same, because their map page is unreadable.
  bool no_space_ = false;         // Whoever asked last found none, and asks again.
  bool ticking_ = false;
  bool closing_ = false;
  bool was_left_to_the_log_ = false;  // By a stop: what is still pending stays so.
  bool stopping_ = false;
  WaitList progress_;
  Timer tick_timer_;
  Timer space_timer_;
  Semaphore space_turn_;
  // One block for each apply under way, held for good: writers that wait for a checkpoint may hold all of the pool.
  Buffer copy_space_;
  std::vector<std::uint8_t> free_slots_;
  Scope scope_;
};

}  // namespace holdfast::engine
