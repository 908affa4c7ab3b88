// What the group does for its replica: beginning and ceasing to serve, bindings and cuts, and the planned change of primary.
#include <algorithm>
#include <cstring>

#include "base/checksum.h"
#include "base/ensure.h"
#include "base/log.h"
#include "base/marks.h"
#include "base/planted.h"
#include "base/text.h"
#include "engine/group_impl.h"
#include "engine/operation.h"
#include "engine/volume_impl.h"

namespace holdfast::engine {
namespace {

constexpr std::int64_t kHandOverMs = 5'000;  // For everything that is under way to be committed.
constexpr std::int64_t kViewHoldMs = 20'000;  // A host that asks gives up after 30 s; it is to try another path before.
constexpr std::int64_t kLeaveMs = 1'000;      // For the primary to take this copy out of in_sync …
constexpr std::int64_t kLeaveAgainMs = 10;    // … asked as often.

}  // namespace

void GroupImpl::begin_serving() {
  ++reign_;
  if (ports_.coordinator) log_info(concat(title(), "this node leads, in epoch ", replica_->machine().epoch().value));
  log_service_.role_changed();
  progress_.notify_all();
  for (auto& volume : volumes_) volume->tell(VolumeEvent::begins_to_serve);
}

// What was not committed may be yet, by the next primary; whoever waits for it here is not told.
void GroupImpl::end_serving() {
  if (!tail_.empty()) mark(Mark::tail_lost_role);
  if (ports_.coordinator && !stopping_) log_info(concat(title(), "this node does not lead any more"));
  ++reign_;
  for (std::uint64_t lsn = commit_lsn_ + 1; TailRecord* record = tail_.find(Lsn(lsn)); ++lsn) settle(*record, Errc::fenced);
  log_service_.role_changed();
  progress_.notify_all();
  for (auto& volume : volumes_) volume->tell(VolumeEvent::ceases_to_serve);
}

void GroupImpl::ask_initiators() {
  for (auto& volume : volumes_) volume->tell(VolumeEvent::ask_initiators);
}

// Hosts keep what they were told of the groups: who has not asked since is told to, once the change is over.
Task<void> GroupImpl::tell_of_new_primary() {
  for (;;) {
    auto view = co_await confirmed_view();
    if (!view && view.error().code == Errc::timed_out && initiators() > 0) continue;  // A take-over may take its time.
    telling_of_primary_ = false;
    if (!view || view->primary == options_.node) co_return;
    for (auto& volume : volumes_) volume->tell(VolumeEvent::alua_changed);
    co_return;
  }
}

Task<Result<void>> GroupImpl::bind(Bound bound, std::uint64_t seq) {
  if (planted(Bug::bound_epoch_not_durable)) co_return Result<void>{};
  const Uuid coordinator = coordinator_;
  auto done = co_await update_superblock([=](snapshot::Superblock& next) {
    next.bound_epoch = bound.epoch.value;
    next.bound_claim = bound.claim;
    next.bound_as_primary = bound.as_primary ? 1 : 0;
    next.seq_seen = std::max(next.seq_seen, seq);
    std::memcpy(next.coordinator, coordinator.data(), coordinator.size());
  });
  if (done && !bound.as_primary && initiators() > 0 && !std::exchange(telling_of_primary_, true)) scope_.spawn(tell_of_new_primary());
  co_return done;
}

// Under the checkpoint's turn: one that was taken before must not bring back what is cut.
Task<Result<void>> GroupImpl::cut_log(Lsn end) {
  co_await log_.drain();
  if (failed_) co_return fail(Errc::io_error);
  ENSURE(end.value >= commit_lsn_);
  if (log_.last_lsn() <= end) co_return Result<void>{};
  co_await checkpoint_turn_.acquire();
  Turn turn(checkpoint_turn_);
  wal::LogPoint last = commit_point();
  if (const TailRecord* record = tail_.find(end)) last = {end, record->chain_xxh3, record->written_blocks};
  const std::uint64_t generation = log_.generation() + 1, position = log_.durable_position();
  if (!planted(Bug::cut_not_durable)) CO_TRY(co_await update_superblock([=](snapshot::Superblock& next) {
    next.log_generation = generation;
    next.cut_lsn = end.value + 1;
    next.durable_lsn = end.value;
    next.durable_position = position;
  }));
  log_.cut(last, generation);
  // What is cut will not be committed: nobody is behind for it.
  replayed_lsn_ = std::min(replayed_lsn_, end.value);
  fit_from_lsn_ = std::min(fit_from_lsn_, end.value);
  while (!tail_.empty() && tail_.back().lsn > end) {
    Tail::Handle dropped = tail_.pop_back();
    VolumeImpl* volume = dropped->kind == wal::RecordKind::volume_delete ? volume_of(dropped->volume) : nullptr;
    if (volume) volume->reopen();
    settle(*dropped, Errc::fenced);
  }
  facts_.history.cut(end);
  update_facts();
  co_return Result<void>{};
}

Task<Result<Lsn>> GroupImpl::begin_epoch(Epoch epoch) {
  std::optional<std::uint64_t> room = log_.reserve_epoch_start();
  if (!room) {
    // Crashes may have left the ring full to the last block: what a checkpoint frees is needed first.
    CO_TRY(co_await checkpoint());
    // Not for ever: what comes after it, a newer primary for one, waits behind it.
    const auto still_leads = [&] { return replica_->machine().role() == Role::primary && replica_->machine().epoch() == epoch; };
    while (!(room = log_.reserve_epoch_start())) {
      if (failed_ || stopping_) co_return fail(failed_ ? Errc::io_error : Errc::closed);
      if (!still_leads()) {
        mark(Mark::epoch_start_too_late);
        co_return Lsn();
      }
      co_await progress_.wait();  // Each tick of the replica looks.
    }
  }
  const RoleMachine& machine = replica_->machine();
  if (machine.role() != Role::primary || machine.epoch() != epoch || facts_.history.last() >= epoch) {
    mark(Mark::epoch_start_too_late);
    log_.give_back(*room);
    co_return Lsn();
  }
  Tail::Handle record = tail_.make();
  record->kind = wal::RecordKind::epoch_start;
  record->epoch = epoch;
  append(std::move(record), *room);
  co_return log_.last_lsn();
}

Task<Result<void>> GroupImpl::become_unfit(Lsn until) {
  if (planted(Bug::elided_copy_fit) && until != Lsn()) co_return Result<void>{};
  while (fitting_) co_await progress_.wait();
  reach_ = std::max(reach_, until);
  if (unfit_) co_return Result<void>{};
  mark(Mark::unfit);
  unfit_ = true;
  update_facts();
  auto done = co_await update_superblock([](snapshot::Superblock& next) { next.flags |= snapshot::kFlagUnfit; });
  co_return done;
}

void GroupImpl::heard_end(Lsn end) {
  if (!unfit_) return;
  primary_end_ = end;  // What an earlier one had beyond it may never have been committed.
  update_facts();
  consider_fitness();  // Nothing may follow.
}

void GroupImpl::consider_fitness() {
  const Lsn reach = std::max(reach_, primary_end_);
  if (!unfit_ || fitting_ || log_lost_ || reach == Lsn() || log_.durable_lsn() < reach) return;
  fitting_ = true;
  scope_.spawn(become_fit());
}

Task<void> GroupImpl::become_fit() {
  auto done = co_await update_superblock([](snapshot::Superblock& next) { next.flags &= ~snapshot::kFlagUnfit; });
  fitting_ = false;
  progress_.notify_all();
  if (!done) co_return;
  mark(Mark::fit_again);
  unfit_ = false;
  unfit_because_.clear();
  fit_from_lsn_ = std::max({fit_from_lsn_, reach_.value, primary_end_.value});
  reach_ = primary_end_ = Lsn();
  update_facts();
  replica_->log_changed();
}

// Another cluster's coordinator, or one that was emptied, knows nothing of this group.
bool GroupImpl::knows_coordinator(const std::string& cluster_id) {
  if (cluster_id.empty()) return true;
  const std::uint64_t hash = xxh3(std::as_bytes(std::span(cluster_id)));
  Uuid id{};
  std::memcpy(id.data(), &hash, sizeof hash);
  id[15] = 1;
  if (coordinator_ == Uuid{}) coordinator_ = id;
  if (coordinator_ == id) return true;
  log_error("the coordinator is another cluster's than this copy has followed so far: it is not believed");
  return false;
}

std::size_t GroupImpl::initiators() const {
  std::size_t count = 0;
  for (const auto& volume : volumes_) count += volume->initiators();
  return count;
}

void GroupImpl::accept(NodeId from, std::unique_ptr<Link> link) {
  if (failed_ || stopping_) link->close();
  else replica_->accept(from, std::move(link));
}

Task<Result<void>> GroupImpl::switchover(NodeId candidate) {
  if (obstacle() != Errc{}) co_return fail(obstacle());
  if (!replica_->prepare_hand_over(candidate))
    co_return fail(Errc::invalid_argument, concat("candidate: node ", candidate.value, " is not in sync, or another change is under way"));
  const std::uint64_t reign = reign_;
  const BootNs deadline = ports_.clock.now() + milliseconds(kHandOverMs);
  Timer pause(ports_.clock);
  while (obstacle(reign) == Errc{}) {
    if (tail_.empty() && replica_->hand_over(candidate)) co_return Result<void>{};
    if (ports_.clock.now() >= deadline) break;
    co_await pause.after(milliseconds(1));
  }
  if (obstacle(reign) != Errc{}) co_return fail(obstacle(reign));
  replica_->cancel_hand_over();
  co_return fail(Errc::timed_out, concat("node ", candidate.value, " did not confirm what is under way; this node goes on"));
}

Task<Result<GroupView>> GroupImpl::confirmed_view() {
  const BootNs deadline = ports_.clock.now() + milliseconds(kViewHoldMs);
  const std::uint64_t question = replica_->ask_view();
  for (;;) {
    if (failed_ || stopping_) co_return fail(obstacle());
    if (replica_->knows_view()) co_return replica_->machine().own_view();
    if (const GroupView* told = replica_->machine().view_told(question)) co_return *told;
    if (ports_.clock.now() >= deadline) co_return fail(Errc::timed_out, "no primary confirmed how the group stands");
    co_await progress_.wait();  // Each tick of the replica looks.
  }
}

GroupView GroupImpl::known_view() const {
  GroupView view = replica_->machine().own_view();
  if (!replica_->is_open()) view.primary = replica_->machine().view().primary;
  return view;
}

bool GroupImpl::is_in_sync() const {
  const RoleMachine& machine = replica_->machine();
  return machine.view_revision() == 0 || machine.view().find_in_sync(options_.node);
}

// Somebody else leads before this copy goes, when there is somebody; and nobody waits for it once it is gone.
Task<void> GroupImpl::leave_in_order() {
  if (!ports_.coordinator || failed_ || stopping_) co_return;
  const RoleMachine& machine = replica_->machine();
  (void)co_await hand_over_to_anybody();
  if (machine.role() == Role::primary) co_return;
  Timer pause(ports_.clock);
  const BootNs latest = ports_.clock.now() + milliseconds(kLeaveMs);
  while (!failed_ && machine.view().find_in_sync(options_.node) && ports_.clock.now() < latest) {
    replica_->leave(RoleMachine::Leaves::stops);
    co_await pause.after(milliseconds(kLeaveAgainMs));
  }
}

ReplicaStatus GroupImpl::replica_status() const {
  const RoleMachine& machine = replica_->machine();
  ReplicaStatus s;
  s.role = machine.is_open() ? GroupRole::primary : machine.role() == Role::follower ? GroupRole::follower : GroupRole::opening;
  s.serving = obstacle() == Errc{} && replica_->may_serve();
  s.promotable = facts_.promotable;
  s.loss = replica_->loss();
  if (!s.promotable) s.unfit_because = failed_ ? failure_ : !unfit_because_.empty() ? unfit_because_ : "it lacks data that was acknowledged, until it has caught up";
  s.view = machine.view();
  s.view_revision = machine.view_revision();
  s.end = log_.last_lsn();
  s.durable = log_.durable_lsn();
  s.commit = Lsn(commit_lsn_);
  s.shipped_records = replica_->shipped_records();
  s.shipped_bytes = replica_->shipped_bytes();
  s.held_writes = held_writes_;
  s.rebuilding = rebuilding_;
  s.rebuilt_chunks = rebuild_progress_.chunks_fetched;
  s.rebuilt_bytes = rebuild_progress_.bytes_fetched;
  s.rebuild_bytes_done = rebuild_progress_.bytes_done;
  s.rebuild_bytes_total = rebuild_progress_.bytes_total;
  const BootNs now = ports_.clock.now();
  s.hears_primary = machine.hears_primary(now);
  if (rebuilding_) s.rebuilding_for = now - rebuild_began_;
  const auto connected = replica_->connected();
  for (const NodeId node : s.view.members) {
    if (node == options_.node) continue;
    ReplicaStatus::Member member;
    member.node = node;
    member.connected = std::find(connected.begin(), connected.end(), node) != connected.end();
    member.in_sync = s.view.find_in_sync(node) != nullptr;
    member.acked = machine.acked(node);
    member.matched = member.acked != Lsn();
    member.has = machine.ever_acked(node);
    const LagMeter::Lag lag = replica_->lag_of(member.has);
    member.lag_bytes = lag.bytes;
    member.lag = lag.age;
    s.members.push_back(member);
  }
  return s;
}

}  // namespace holdfast::engine
