#include "engine/replica.h"

#include <algorithm>

#include "base/ensure.h"
#include "base/log.h"
#include "base/marks.h"
#include "base/text.h"
#include "engine/group_impl.h"
#include "engine/solo_coordinator.h"

namespace holdfast::engine {
namespace {

constexpr std::size_t kFrameMemoryBytes = 1 << 20;
constexpr std::int64_t kWatchPauseMs = 20;

// One copy and no coordinator: the register says what the copy was bound to.
Register solo_register(const Replica::Start& start) {
  Register value = first_register(start.group, {start.self}, FirstRegister{1, static_cast<std::uint32_t>(start.timing.lease_ms)});
  value.seq = start.seq_seen + 1;
  value.epoch = start.bound.epoch;
  value.claim = start.bound.claim;
  if (start.bound.epoch != Epoch()) value.primary = start.self.node;
  return value;
}

RoleMachine::Start machine_start(const Replica::Start& start, BootNs now) {
  return {start.self, start.group, start.timing, start.bound, start.seq_seen, now};
}

}  // namespace

Replica::Replica(GroupImpl& group, Start start, const LogFacts& facts)
    : group_(&group), start_(std::move(start)),
      machine_(machine_start(start_, group.ports().clock.now()), facts, group.ports().random),
      coordinator_(group.ports().coordinator), connector_(group.ports().connector), key_(register_key(start_.group)),
      jobs_ready_(group.ports().executor), session_gone_(group.ports().executor), frames_(group.ports().executor, kFrameMemoryBytes),
      rebuild_pacer_(start_.rebuild_bytes_per_second),
      tick_timer_(group.ports().clock), watch_timer_(group.ports().clock), receiver_(group, *this),
      outside_(group.ports().executor), scope_(group.ports().executor) {
  if (coordinator_) return;
  solo_ = std::make_unique<SoloCoordinator>(group.ports().executor, solo_register(start_));
  coordinator_ = solo_.get();
}

Replica::~Replica() = default;

BootNs Replica::now() const { return group_->ports().clock.now(); }
bool Replica::may_admit() const { return machine_.may_admit(now()); }
bool Replica::may_acknowledge() const { return machine_.may_acknowledge(now()); }
bool Replica::may_serve() const { return machine_.may_serve(now()); }

void Replica::start() {
  scope_.spawn(work_off());
  scope_.spawn(tick_loop());
  if (!solo_) outside_.spawn(watch_register());
  receiver_.start();
  event([&](RoleMachine& m) { m.tick(now()); });
}

Task<void> Replica::stop() {
  stopping_ = true;
  tick_timer_.cancel();
  watch_timer_.cancel();
  receiver_.stop();
  jobs_ready_.notify_all();
  for (Session* session : sessions_) {
    session->ended = true;
    session->link->close();
    session->work.notify_all();
  }
  while (!sessions_.empty()) co_await session_gone_.wait();
  co_await receiver_.join();
  co_await scope_.join();
  // Who waits for the coordinator or for a connection may do so for ever, and ends with the group; the one of a single copy answers.
  if (solo_) co_await outside_.join();
}

void Replica::perform() {
  if (performing_) return;
  performing_ = true;
  while (machine_.take_actions(actions_))
    for (Action& action : actions_) carry_out(action);
  performing_ = false;
  group_->role_changed();
}

void Replica::carry_out(Action& action) {
  if (const auto* message = std::get_if<SendTo>(&action)) return send(*message);
  if (const auto* commit = std::get_if<CommitTo>(&action)) return group_->commit_to(commit->lsn);
  if (std::get_if<ReadRegister>(&action)) return ask_coordinator(read_register());
  if (auto* swap = std::get_if<SwapRegister>(&action)) return ask_coordinator(swap_register(std::move(*swap)));
  if (std::get_if<Open>(&action)) return group_->begin_serving();
  if (std::get_if<Cease>(&action)) return group_->end_serving();
  if (std::get_if<AskInitiators>(&action)) return group_->ask_initiators();
  jobs_.push_back(std::move(action));
  jobs_ready_.notify_all();
}

void Replica::send(const SendTo& action) {
  Session* session = find_session(action.node);
  if (!session || session->id != action.session) return;
  if (const auto* lagging = std::get_if<Lagging>(&action.message))
    log_info(concat(group_->title(), "node ", action.node.value, " is to be rebuilt: its log agrees with this one up to LSN ", lagging->shared.value,
                    ", and this one keeps records from ", group_->log().first_kept().value, " on"));
  // Acks are cumulative: one that waits says what the newest would.
  const auto* ack = std::get_if<Ack>(&action.message);
  Ack* last = session->outbox.empty() ? nullptr : std::get_if<Ack>(&session->outbox.back());
  if (ack && last && last->epoch == ack->epoch) *last = *ack;
  else session->outbox.push_back(action.message);
  if (auto* beat = std::get_if<Beat>(&session->outbox.back())) beat->free_chunks = group_->reservable_chunks();
  if (auto* newest = std::get_if<Ack>(&session->outbox.back())) newest->free_chunks = group_->reservable_chunks();
  session->work.notify_all();
}

Task<void> Replica::tick_loop() {
  const DurationNs interval = milliseconds(std::max<std::int64_t>(1, start_.timing.heartbeat_ms / 2));
  BootNs last = now();
  // Who is alone and leads has nobody to hear from.
  while (!stopping_ && !(solo_ && machine_.is_open())) {
    co_await tick_timer_.after(interval);
    if (stopping_) break;
    // After a stall of the process, what arrived meanwhile is heard before anybody is called silent.
    const bool stalled = now() - last > DurationNs{interval.value * 4};
    if (stalled) {
      mark(Mark::session_stalled);
      co_await tick_timer_.after(milliseconds(2));
    }
    last = now();
    machine_.initiators_attached(group_->initiators());
    group_->look_after_space();
    event([&](RoleMachine& m) { m.tick(last); });
    lag_meter_.note(last, {group_->log().last_lsn(), group_->log().written_blocks()});
    look_at_learners();
    close_silent_sessions();
    give_up_questions();
    tell_losses();
    dial_members();
  }
}

std::string Replica::loss() const {
  const auto lacks = machine_.loss_to_tell();
  if (!lacks) return {};
  return concat("the end of its log is gone: node ", lacks->copy.node.value, " has applied record ", lacks->what.record.end.value, " of epoch ", lacks->what.record.epoch.value,
                ", which is not here. It follows whoever has it, and gets it back");
}

void Replica::tell_losses() {
  const auto lacks = machine_.loss_to_tell();
  if (lacks == told_loss_) return;
  told_loss_ = lacks;
  if (lacks) log_error(concat("this copy must not lead: ", loss()));
  else log_info("what this copy had lost is here again, or counts no more: it may lead");
}

Task<void> Replica::watch_register() {
  while (!stopping_) {
    co_await coordinator_->until_changed(key_, machine_.view_revision());
    if (stopping_) break;
    event([&](RoleMachine& m) { m.register_changed(now()); });
    co_await watch_timer_.after(milliseconds(kWatchPauseMs));
  }
}

Task<void> Replica::read_register() {
  auto entry = co_await coordinator_->get(key_);
  Result<Register> value = entry && entry->revision > 0 ? decode_register(entry->value) : fail(Errc::not_found);
  if (entry && entry->revision > 0 && !value) log_error(concat("the group's register is unreadable: ", value.error().text()));
  const bool usable = value && value->group == start_.group && group_->knows_coordinator(coordinator_->cluster_id());
  event([&](RoleMachine& m) {
    if (usable) m.register_read(now(), entry->revision, *value);
    else m.register_unreadable(now());
  });
}

Task<void> Replica::swap_register(SwapRegister swap) {
  using Done = RoleMachine::SwapResult;
  auto outcome = co_await coordinator_->compare_and_swap(key_, swap.base_revision, encode_register(swap.value));
  if (outcome.status == CasStatus::applied)
    co_return event([&](RoleMachine& m) { m.swap_done(now(), Done::applied, outcome.entry.revision, swap.value); });
  Result<Register> value = outcome.status == CasStatus::conflict ? decode_register(outcome.entry.value) : fail(Errc::not_found);
  event([&](RoleMachine& m) {
    mark(value ? Mark::register_conflict : Mark::register_unknown);
    if (value) m.swap_done(now(), Done::conflict, outcome.entry.revision, *value);
    else m.swap_done(now(), Done::unknown, 0, Register{});
  });
}

Task<void> Replica::work_off() {
  while (!stopping_) {
    if (jobs_.empty()) {
      co_await jobs_ready_.wait();
      continue;
    }
    Action job = std::move(jobs_.front());
    jobs_.pop_front();
    auto done = co_await do_job(&job);
    if (!done && !failed_ && !stopping_) group_->report_failure(done.error());
  }
}

Task<Result<void>> Replica::do_job(Action* job) {
  if (const auto* bind = std::get_if<BindTo>(job)) {
    const Bound bound = bind->bound;
    CO_TRY(co_await group_->bind(bound, machine_.view().seq));
    event([&](RoleMachine& m) { m.bound_done(now(), bound); });
  } else if (const auto* cut = std::get_if<CutTo>(job)) {
    const CutTo what = *cut;
    co_await receiver_.settle();
    if (what.end.value < group_->commit_lsn().value) {  // It was asked for before a rebuild.
      close_session(what.session);
      co_return Result<void>{};
    }
    CO_TRY(co_await group_->cut_log(what.end));
    group_->heard_end(what.reach);
    receiver_.restart(what.session, group_->log().last_lsn());
    event([&](RoleMachine& m) { m.cut_done(now(), what.session); });
  } else if (const auto* begin = std::get_if<BeginEpoch>(job)) {
    const Epoch epoch = begin->epoch;
    co_await receiver_.settle();
    auto first = co_await group_->begin_epoch(epoch);
    if (!first) co_return fail(first.error());
    if (*first != Lsn()) event([&](RoleMachine& m) { m.epoch_begun(now(), *first); });
  } else if (const auto* rebuild = std::get_if<RebuildFrom>(job)) {
    CO_TRY(co_await rebuild_from(*rebuild));
  }
  co_return Result<void>{};
}

void Replica::appended() {
  for (Session* session : sessions_) session->work.notify_all();
}

void Replica::log_changed() {
  event([&](RoleMachine& m) { m.log_changed(now()); });
}

void Replica::store_failed() {
  if (std::exchange(failed_, true)) return;
  event([&](RoleMachine& m) { m.store_failed(now()); });
}

void Replica::initiator_heard(BootNs when) {
  if (!solo_) machine_.initiator_heard(when);
}

void Replica::initiator_lost() {
  if (!solo_) machine_.initiator_lost(now());
}

std::uint64_t Replica::ask_view() {
  const std::uint64_t question = machine_.ask_view();
  if (!stopping_) perform();
  return question;
}

bool Replica::knows_view() const { return machine_.knows_view(now()); }

void Replica::cancel_hand_over() {
  machine_.cancel_hand_over();
  perform();
}

bool Replica::hand_over(NodeId candidate) {
  const bool done = machine_.hand_over(now(), candidate);
  perform();
  return done;
}

void Replica::leave(RoleMachine::Leaves why) {
  event([&](RoleMachine& m) { m.leave(now(), why); });
}

void Replica::cannot_take(SessionId session) {
  event([&](RoleMachine& m) { m.cannot_take(session); });
}

std::uint64_t Replica::least_free_chunks() const {
  std::uint64_t least = ~std::uint64_t{0};
  for (const Copy& copy : machine_.obligations())
    if (const Session* session = find_session(copy.node)) least = std::min(least, session->free_chunks);
  return least;
}

std::vector<NodeId> Replica::connected() const {
  std::vector<NodeId> nodes;
  for (const Session* session : sessions_)
    if (!session->ended) nodes.push_back(session->node);
  return nodes;
}

LagMeter::Lag Replica::lag_of(Lsn has) const { return lag_meter_.lag_of(has, now(), {group_->log().last_lsn(), group_->log().written_blocks()}); }

}  // namespace holdfast::engine
