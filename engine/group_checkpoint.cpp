// When a group takes checkpoints, and how it stops.
#include <algorithm>

#include "base/ensure.h"
#include "base/log.h"
#include "base/marks.h"
#include "engine/group_impl.h"
#include "engine/operation.h"
#include "engine/scrubber.h"
#include "engine/volume_impl.h"

namespace holdfast::engine {

// Large writes take little of the log, but each leaves a replaced chunk that only a checkpoint sets free.
bool GroupImpl::checkpoint_is_due() {
  const std::uint64_t blocks = log_.geometry().blocks;
  std::uint64_t limit = blocks * options_.checkpoint_log_percent / 100;
  // What is freed early stays to be read: the less of the ring is in use, the more history it has.
  const std::uint64_t retained = std::min(options_.consumer_retention_bytes / kBlockBytes, blocks / 4 * 3);
  if (!store_.consumers().all().empty()) limit = std::min(limit, blocks - retained);
  const bool starved = applier_.is_starved() && pending_.applied(Lsn(commit_lsn_)).value > checkpoint_lsn_;
  return log_.claimed_blocks() >= limit || log_.is_full() || starved || store_.space().quarantined() >= kQuarantinedChunksMax;
}

// Records that were cut take room in the ring until a checkpoint gives it back, though they change nothing in the maps.
bool GroupImpl::nothing_to_checkpoint() const {
  return commit_lsn_ == checkpoint_lsn_ && log_.tail_for(Lsn(commit_lsn_)).position == log_.tail().position;
}

void GroupImpl::check_log_use() {
  if (checkpoint_is_due()) checkpoint_timer_.cancel();  // Wakes the loop now.
}

Task<void> GroupImpl::checkpoint_loop() {
  for (bool vain = false; !stopping_ && !failed_;) {
    // One that frees nothing, because applying waits for space, is not repeated at once.
    if (vain || !checkpoint_is_due() || nothing_to_checkpoint())
      co_await checkpoint_timer_.after(milliseconds(options_.checkpoint_interval_ms));
    if (stopping_ || failed_) break;
    if (nothing_to_checkpoint()) continue;
    const std::uint64_t before = checkpoint_lsn_;
    auto done = co_await checkpoint();
    // A page above what changed is unreadable: looking after that is under way.
    const bool patient = !done && done.error().code == Errc::corrupt;
    if (!done && !failed_ && !patient) store_failed(done.error());
    vain = checkpoint_lsn_ == before;
  }
}

// Each batch says how far the log was durable before it; nothing says it of the last one. When writes pause the superblock does, so
// that an end which rots, or went astray, is told from one that was torn by a crash (rule 20): such a copy may not lead.
Task<void> GroupImpl::note_durable_end() {
  constexpr std::int64_t kQuietMs = 50, kUntilWokenMs = 3'600'000;
  Lsn before;
  while (!stopping_ && !failed_) {
    end_is_noted_ = log_.durable_lsn().value <= store_.superblock().durable_lsn && log_.durable_lsn() == log_.last_lsn();
    co_await quiet_timer_.after(milliseconds(end_is_noted_ ? kUntilWokenMs : kQuietMs));
    end_is_noted_ = false;
    const Lsn durable = log_.durable_lsn();
    const bool quiet = durable == std::exchange(before, durable) && durable == log_.last_lsn();
    if (stopping_ || failed_ || !quiet || durable.value <= store_.superblock().durable_lsn || store_.catalogue_lost()) continue;
    co_await checkpoint_turn_.acquire();  // As with a cut: what is noted is there.
    Turn turn(checkpoint_turn_);
    if (stopping_ || failed_) break;
    mark(Mark::durable_end_noted);
    const std::uint64_t lsn = log_.durable_lsn().value, position = log_.durable_position();
    (void)co_await update_superblock([=](snapshot::Superblock& next) {
      next.durable_lsn = std::max(next.durable_lsn, lsn);
      next.durable_position = std::max(next.durable_position, position);
    });
  }
}

// What it was to say is not known to be there, in either place: the next change would begin with the one that may be whole.
Task<Result<void>> GroupImpl::update_superblock(std::function<void(snapshot::Superblock&)> change) {
  auto done = co_await store_.update_superblock(std::move(change));
  if (!done && !failed_) store_failed(done.error());
  co_return done;
}

Task<Result<void>> GroupImpl::checkpoint() {
  co_await checkpoint_turn_.acquire();
  auto done = co_await checkpoint_locked(false);
  checkpoint_turn_.release();
  co_return done;
}

Task<Result<void>> GroupImpl::checkpoint_locked(bool clean) {
  if (failed_) co_return fail(Errc::io_error, failure_);
  if (store_.catalogue_lost()) co_return Result<void>{};  // What is in memory must not take the place of what is on the disk.
  co_await applier_.drain(Lsn(commit_lsn_));
  if (failed_) co_return fail(Errc::io_error, failure_);
  auto prepared = co_await store_.prepare_checkpoint();
  if (failed_) co_return fail(Errc::io_error, failure_);
  if (!prepared) {
    const bool patient = ports_.coordinator && prepared.error().code == Errc::corrupt && !log_.is_full();
    if (!patient) store_failed(prepared.error());
    co_return prepared;
  }
  // From here to the freeze inside Store::checkpoint nothing suspends: the point and the pages are of one instant.
  snapshot::CheckpointPoint point;
  point.applied = pending_.applied(Lsn(commit_lsn_));
  point.committed = Lsn(commit_lsn_);
  point.durable = log_.durable_lsn();
  point.durable_position = log_.durable_position();
  point.tail = log_.tail_for(point.applied);
  point.retained_position = log_.oldest().position;
  point.clean = clean;
  auto done = co_await store_.checkpoint(point);
  if (!done) {
    store_failed(done.error());
    co_return done;
  }
  log_.release_until(point.tail);
  checkpoint_lsn_ = point.applied.value;
  if (checkpoint_lsn_ >= replayed_lsn_) store_.space().owe(0);
  co_return done;
}

Task<Result<void>> GroupImpl::reserve_space(std::uint64_t chunks, std::uint64_t new_pages) {
  auto reserved = co_await store_.space().reserve(chunks, new_pages);
  const bool full = !reserved && reserved.error().code == Errc::no_space;
  if (!full || store_.space().quarantined() + pending_.superseded() + store_.space().owed() == 0) co_return reserved;
  mark(Mark::space_checkpoint_for_room);
  store_.space().keep_backed();  // What comes free now is wanted here, not in the file system.
  CO_TRY(co_await checkpoint());
  auto again = co_await store_.space().reserve(chunks, new_pages);
  co_return again;
}

namespace {
constexpr std::uint64_t kSpareChunks = 128;        // 8 MiB.
constexpr std::uint64_t kSpareMargin = 32;         // Of them, for what a report does not know of yet.
constexpr std::int64_t kSpareRetryMs = 500;
constexpr std::int64_t kCommitPatienceMs = 2'000;  // Of a stop.
static_assert(kSpareMargin < kSpareChunks);
}  // namespace

void GroupImpl::look_after_space() {
  const snapshot::Space& space = store_.space();
  const bool enough = space.backed_free() - space.reserved() >= kSpareChunks;
  if (enough) short_of_space_ = false;
  if (enough || backing_spare_ || failed_ || stopping_ || ports_.clock.now() < next_spare_look_) return;
  backing_spare_ = true;
  scope_.spawn(back_spare_chunks());
}

Task<void> GroupImpl::back_spare_chunks() {
  auto reserved = co_await store_.space().reserve(kSpareChunks, 0);
  if (reserved) store_.space().unreserve(kSpareChunks);
  short_of_space_ = !reserved && reserved.error().code == Errc::no_space;
  backing_spare_ = false;
  if (!reserved) next_spare_look_ = ports_.clock.now() + milliseconds(kSpareRetryMs);
}

// Also while it is not certain yet that there is nothing more: writes that come meanwhile would use up what is in hand.
std::uint64_t GroupImpl::reservable_chunks() const {
  const snapshot::Space& space = const_cast<snapshot::Store&>(store_).space();
  const std::uint64_t free = space.backed_free() - space.reserved();
  return short_of_space_ || space.is_searching() ? free - std::min(free, space.owed()) : ~std::uint64_t{0};
}

// Each record under way may need a chunk for each end, and those that it covers.
bool GroupImpl::members_are_short() const {
  if (!replica_->is_open()) return false;
  const std::uint64_t under_way = 2 * (log_.last_lsn().value - commit_lsn_) + tail_.bytes() / kChunkBytes;
  return replica_->least_free_chunks() < under_way + kSpareMargin;
}

// What is logged waits for its commit, which takes the others; when they do not answer, its outcome stays unknown.
Task<void> GroupImpl::operations_end() {
  constexpr std::int64_t kPauseMs = 10;
  Timer pause(ports_.clock);
  BootNs latest = ports_.clock.now() + milliseconds(kCommitPatienceMs);
  while (operations_ > 0 && !failed_) {
    if (!ports_.coordinator) {
      co_await idle_.wait();
      continue;
    }
    co_await pause.after(milliseconds(kPauseMs));
    if (ports_.clock.now() < latest) continue;
    end_serving();
    latest = ports_.clock.now() + milliseconds(kCommitPatienceMs);
  }
}

Task<Result<void>> GroupImpl::stop() {
  co_await leave_in_order();
  stopping_ = true;
  checkpoint_timer_.cancel();
  quiet_timer_.cancel();
  // Who waits for what only a checkpoint gives is refused: nobody takes one before they have gone.
  log_.close();
  applier_.close();
  log_service_.close();
  scrubber_->stop();
  co_await operations_end();
  co_await replica_->stop();
  if (!failed_) co_await log_.drain();
  co_await checkpoint_turn_.acquire();
  Result<void> done;
  if (!failed_) done = co_await checkpoint_locked(true);
  checkpoint_turn_.release();
  if (failed_) done = fail(Errc::io_error, failure_);
  progress_.notify_all();
  while (operations_ > 0) co_await idle_.wait();
  co_await applier_.stop();
  co_await log_.drain();
  co_await store_.stop();
  co_await log_service_.join();
  co_await scrubber_->join();
  co_await scope_.join();
  for (auto& volume : volumes_) volume->tell(VolumeEvent::stopped_serving);
  // Who was woken on the way goes first: the owner may destroy the group as soon as this returns.
  co_await Yield{ports_.executor};
  co_return done;
}

}  // namespace holdfast::engine
