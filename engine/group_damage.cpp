// Map pages of this copy that cannot be read. What is below such a page is neither read nor written here: it is not known where it
// lies, and a hole is zeros only where a page says so. Alone, that is all there is to say. Among others:
//   - a primary hands over to a copy that has everything;
//   - a follower that hears a primary leaves the in-sync set, and then gives its maps up, durably: it is unfit, such pages are empty from then on, and all of it is
//     compared with the primary's copy. It is fit again after a comparison in which every page could be read.
// Whoever hears no primary waits: it may be the one that is needed.
#include <algorithm>

#include "base/ensure.h"
#include "base/log.h"
#include "base/marks.h"
#include "base/text.h"
#include "engine/group_impl.h"
#include "engine/operation.h"

namespace holdfast::engine {
namespace {

constexpr std::int64_t kLookMs = 20;
constexpr std::int64_t kHandOverWaitMs = 10;  // Of an operation that meets such a page …
constexpr int kHandOverWaits = 200;           // … at most so often: then its host is told that it failed.

}  // namespace

void GroupImpl::page_unreadable() {
  if (!ports_.coordinator || !running_ || maps_lost_ || looking_after_pages_) return;
  looking_after_pages_ = true;
  scope_.spawn(look_after_pages());
}

void GroupImpl::distrust_own_copy() { page_unreadable(); }

Task<void> GroupImpl::look_after_pages() {
  co_await Yield{ports_.executor};  // Whoever met the page is in the middle of something.
  log_error("a page of this copy's maps is unreadable or wrong: another copy is to serve, and this one is to be rebuilt from it");
  Timer pause(ports_.clock);
  while (!failed_ && !stopping_ && !maps_lost_) {
    progress_.notify_all();
    if (fitting_) co_await progress_.wait();
    else if (replica_->machine().hears_primary(ports_.clock.now())) co_await leave_and_give_up_maps();
    else if (co_await hand_over_to_anybody()) mark(Mark::page_hands_over);
    co_await pause.after(milliseconds(kLookMs));
  }
  looking_after_pages_ = false;
  progress_.notify_all();
}

Task<bool> GroupImpl::hand_over_to_anybody() {
  const RoleMachine& machine = replica_->machine();
  const std::vector<Copy> in_sync = machine.view().in_sync;
  for (const Copy& copy : in_sync) {
    if (obstacle() != Errc{} || copy.node == options_.node || !machine.is_in_step(copy.node)) continue;
    auto handed_over = co_await switchover(copy.node);
    if (handed_over) co_return true;
  }
  co_return false;
}

// As long as the register counts on this copy it may be the one that is needed: the primary may be gone already, and what is
// left of this copy is all that there is. The primary takes it out of in_sync first.
Task<void> GroupImpl::leave_and_give_up_maps() {
  if (!replica_->machine().is_counted_on()) co_return co_await give_up_maps();
  replica_->leave(RoleMachine::Leaves::gives_up);
}

// In the turn of checkpoints, in which a rebuild that is just ending would say that all is well. From then on this copy claims
// nothing; what it says of itself follows when it is durable.
Task<void> GroupImpl::give_up_maps() {
  co_await checkpoint_turn_.acquire();
  Turn turn(checkpoint_turn_);
  if (failed_ || stopping_ || fitting_ || maps_lost_) co_return;
  if (!replica_->machine().hears_primary(ports_.clock.now()) || replica_->machine().is_counted_on()) co_return;
  mark(Mark::maps_given_up);
  unfit_ = log_lost_ = true;
  unfit_because_ = "a page of its maps is unreadable or wrong; all of it is compared with the primary's copy";
  update_facts();
  auto noted = co_await note_maps_lost();
  if (!noted) co_return;
  replica_->say_hello_again();
  progress_.notify_all();
  applier_.kick();
  checkpoint_timer_.cancel();
}

// From here on unreadable pages are empty: nothing of this copy is believed before all of it was compared.
Task<Result<void>> GroupImpl::note_maps_lost() {
  const std::uint64_t generation = log_.generation();
  CO_TRY(co_await update_superblock([=](snapshot::Superblock& next) {
    next.flags |= snapshot::kFlagUnfit | snapshot::kFlagLogLost | snapshot::kFlagMapsLost;
    next.log_generation = std::max(next.log_generation, generation);
  }));
  store_.accept_loss();
  store_.damage().taken_as_empty = true;
  maps_lost_ = true;
  update_facts();
  for (auto& stored : store_.volumes())
    if (stored->deleting()) start_purge(stored->id());
  co_return Result<void>{};
}

// Chunks that only unreadable pages named are nobody's now. Each look may find more such pages, which a checkpoint then replaces.
Task<Result<void>> GroupImpl::free_unnamed() {
  constexpr int kLooksMax = 8;
  co_await checkpoint_turn_.acquire();
  Turn turn(checkpoint_turn_);
  for (int look = 0; look < kLooksMax; ++look) {
    CO_TRY(co_await checkpoint_locked(false));
    if (checkpoint_lsn_ != commit_lsn_) co_return fail(Errc::busy, "what is committed cannot be applied now");
    auto freed = co_await store_.free_unnamed(Lsn(checkpoint_lsn_));
    if (!freed && freed.error().code == Errc::busy) continue;
    if (!freed) co_return fail(freed.error());
    log_info(concat(*freed, " chunks that unreadable pages named are free again"));
    auto released = co_await checkpoint_locked(false);
    co_return released;
  }
  co_return fail(Errc::busy, "ever more pages are unreadable");
}

// False as well when this copy leads alone, and its log is full of what cannot be applied: waiting would never end.
Task<bool> GroupImpl::pages_are_given_up() {
  while (ports_.coordinator && !failed_ && !stopping_ && !maps_lost_) {
    const RoleMachine& machine = replica_->machine();
    if (log_.is_full() && machine.is_open() && machine.obligations().size() == 1) co_return false;
    page_unreadable();
    co_await progress_.wait();
  }
  co_return maps_lost_ && !failed_ && !stopping_;
}

// The host finds the copy that serves instead, when there is one.
Task<Result<void>> GroupImpl::after_damage(Error error, std::uint64_t reign) {
  Timer pause(ports_.clock);
  for (int i = 0; i < kHandOverWaits && error.code == Errc::corrupt && looking_after_pages_; ++i) {
    if (obstacle(reign) != Errc{}) co_return fail(obstacle(reign));
    if (replica_->machine().view().in_sync.size() < 2) break;
    co_await pause.after(milliseconds(kHandOverWaitMs));
  }
  co_return fail(std::move(error));
}

}  // namespace holdfast::engine
