// Events, and the register: reads, one pending CAS, and what a view means.
#include "engine/role.h"

#include <algorithm>

#include "base/ensure.h"
#include "base/marks.h"
#include "base/planted.h"

namespace holdfast::engine {

RoleMachine::RoleMachine(Start start, const LogFacts& log, Random& nonces)
    : start_(std::move(start)), log_(&log), nonces_(&nonces), bound_(start_.bound), next_read_(start_.now),
      quiet_since_(start_.now), commit_(log.applied) {
  peers_.reserve(kPeersMax);
}

RoleMachine::Peer& RoleMachine::peer(NodeId node) {
  for (Peer& p : peers_)
    if (p.node == node) return p;
  // References to peers stay valid. A node that is gone, and owes nothing, makes room.
  for (Peer& p : peers_) {
    const bool needed = p.session != SessionId() || view_.is_member(p.node) || view_.find_in_sync(p.node) ||
                        std::any_of(obligations_.begin(), obligations_.end(), [&](const Copy& copy) { return copy.node == p.node; });
    if (peers_.size() < kPeersMax || needed) continue;
    p = Peer{};
    p.node = node;
    return p;
  }
  ENSURE(peers_.size() < kPeersMax);  // The owner refuses strangers.
  peers_.push_back(Peer{});
  peers_.back().node = node;
  return peers_.back();
}

const RoleMachine::Peer* RoleMachine::find_peer(NodeId node) const {
  for (const Peer& p : peers_)
    if (p.node == node) return &p;
  return nullptr;
}

void RoleMachine::send(Peer& to, Message message) {
  if (to.session != SessionId()) ask(SendTo{to.node, to.session, std::move(message)});
}

Hello RoleMachine::my_hello() const {
  return Hello{self(), start_.group, bound_, log_->end, log_->applied, log_->history, log_->needs_rebuild, !log_->promotable, log_->maps_lost, log_->ring_blocks};
}

void RoleMachine::tick(BootNs now) {
  if (now >= next_read_) read_register(now);
  retry_pending(now);
  if (role_ == Role::primary) {
    send_beats(now);
    watch_progress(now);
    consider_initiators(now);
    judge_members(now);
    release_if_stuck(now);
    release_if_unreadable(now);
    release_if_helpless(now);
    if (role_ == Role::primary) cease_if_cut_off(now);
    if (role_ == Role::primary) consider_joins(now);
    tell_views(now);
  } else {
    send_signs_of_life(now);
    consider_claim(now);
  }
}

void RoleMachine::connected(BootNs, NodeId node, SessionId session) {
  Peer& p = peer(node);
  const Peer before = std::exchange(p, Peer{});
  p.node = node;
  p.session = session;
  // What I heard and was promised outlives a connection; what the log of the other side was does not.
  p.heard = before.heard;
  p.last_word = before.last_word;
  p.led = before.led;
  p.promise_until = before.promise_until;
  p.promise_of = before.promise_of;
  p.ever_acked = before.ever_acked;
  p.rebuild_asked = before.rebuild_asked;
  p.distrusted = before.distrusted;
  p.progress = before.progress;
  p.ring_blocks = before.ring_blocks;
  if (leader_ == node) {
    leader_session_ = SessionId();
    matched_ = cutting_ = false;
  }
  send(p, my_hello());
}

void RoleMachine::disconnected(BootNs, NodeId node, SessionId session, LinkEnd how) {
  Peer& p = peer(node);
  if (p.session != session) return;
  p.session = SessionId();
  p.hello.reset();
  p.lagging_at.reset();
  p.match_sent = p.matched = p.fit = p.unreadable_here = false;
  p.goes_first_since.reset();
  p.acked = Lsn();
  p.view_question = 0;
  p.was_reset = how == LinkEnd::reset;
  if (leader_session_ == session) {
    leader_session_ = SessionId();
    matched_ = cutting_ = false;
  }
}

void RoleMachine::received(BootNs now, NodeId node, SessionId session, const Message& message) {
  Peer& from = peer(node);
  if (from.session != session) return;  // Of a connection that is gone.
  if (const auto* hello = std::get_if<Hello>(&message)) {
    if (hello->group != start_.group || hello->copy.node != node) return;
    from.hello = *hello;
    from.cut_since = false;
    from.ring_blocks = hello->log_blocks;
    from.was_reset = false;
    if (!open_) notice_loss(now, from);
    on_hello(now, from);
  } else if (const auto* beat = std::get_if<Beat>(&message)) {
    from.newest_sent = std::max(from.newest_sent, beat->sent);
    if (beat->echo > from.heard) from.last_word = now;
    from.heard = std::max(from.heard, beat->echo);
    if (beat->leads) from.led = std::max(from.led, beat->echo);
    from.coordinator_reached = beat->coordinator_reached;
    if (from.matched) from.fit = beat->fit;
    if (beat->leads) follow(now, from, *beat);
    else if (role_ == Role::primary) on_promise(from, *beat);
    if (role_ == Role::primary && beat->epoch > bound_.epoch) demote(now);
    if (from.goes_first_since && from.hello && !from.match_sent && !from.rebuild_asked) on_hello(now, from);
  } else if (const auto* match = std::get_if<MatchAt>(&message)) {
    on_match(from, *match);
  } else if (const auto* ack = std::get_if<Ack>(&message)) {
    on_ack(from, *ack);
  } else if (const auto* release = std::get_if<Release>(&message)) {
    if (release->epoch == bound_.epoch && role_ == Role::follower && !binding_to_) {
      mark(Mark::role_released);
      released_ = release->epoch;
      releaser_leaves_ = from.leaving;  // It said so before, in this session.
      granted_until_ = no_claim_before_ = BootNs{};  // I am the one who is to go first.
      consider_claim(now);
    }
  } else if (const auto* lagging = std::get_if<Lagging>(&message)) {
    on_lagging(from, *lagging);
  } else if (const auto* leaving = std::get_if<Leaving>(&message)) {
    if (leaving->epoch == bound_.epoch) from.leaving = true;
    if (role_ == Role::primary) judge_members(now);
  } else if (const auto* fenced = std::get_if<Fenced>(&message)) {
    if (role_ == Role::primary && fenced->bound > bound_.epoch) demote(now);
  } else if (const auto* ask = std::get_if<AskView>(&message)) {
    on_ask_view(now, from, *ask);
  } else if (const auto* tell = std::get_if<TellView>(&message)) {
    on_tell_view(from, *tell);
  }
  tell_views(now);  // The lease may have come with it, or the last ack that the epoch needed to open.
}

void RoleMachine::read_register(BootNs now) {
  if (read_in_flight_) return;
  read_in_flight_ = true;
  next_read_ = now + milliseconds(start_.timing.register_poll_ms);
  ask(ReadRegister{});
}

void RoleMachine::register_read(BootNs now, std::uint64_t revision, const Register& value) {
  read_in_flight_ = false;
  coordinator_heard_ = now;
  see(now, revision, value);
  // The view is as fresh as it gets: whoever waited for it decides now.
  const bool due = role_ == Role::follower && !pending_ && revision == view_revision_ && has_reason_to_claim(now) && may_claim(now);
  if (due && !lets_a_longer_log_go_first(now)) claim(now);
}

void RoleMachine::register_unreadable(BootNs now) {
  read_in_flight_ = false;
  next_read_ = std::min(next_read_, now + milliseconds(start_.timing.register_retry_ms * 5));
}

// A view never goes backwards (2).
void RoleMachine::see(BootNs now, std::uint64_t revision, const Register& value) {
  if (revision <= view_revision_ && !planted(Bug::stale_view_used)) {
    const bool forgotten = pending_ && (pending_->is_claim ? planted(Bug::unknown_claim_taken_as_failed)
                                                            : planted(Bug::unknown_join_taken_as_failed));
    if (!forgotten || pending_->in_flight) return;
    pending_.reset();
    if (role_ == Role::claiming) role_ = Role::follower;
    if (role_ == Role::primary) obligations_ = view_.in_sync;
    return;
  }
  if (value.seq < start_.seq_seen && !planted(Bug::stale_view_used)) return;  // Restored from an older state: nothing it says counts.
  if (value.epoch != view_.epoch) quiet_since_ = now;
  view_ = value;
  view_revision_ = revision;
  start_.seq_seen = value.seq;
  std::erase_if(lacks_, [&](const Lacks& lacks) { return is_settled(lacks); });
  for (const Peer& p : peers_)
    if (!open_) notice_loss(now, p);
  resolve_pending(now);
  const bool adopted = value.primary == self().node && role_ == Role::follower &&
                       (planted(Bug::any_claim_adopted) ||
                        (planted(Bug::unknown_claim_taken_as_failed) && value.claim == last_claim_));
  if (adopted && value.epoch > bound_.epoch && !binding_to_) return won(now);
  if (role_ != Role::primary) return;
  const bool mine = value.epoch == bound_.epoch && value.primary == self().node && value.claim == bound_.claim;
  if (!mine) return demote(now);
  // In this epoch only I change in_sync, and no CAS of mine is under way that this view does not show.
  if (pending_) return;
  obligations_ = promised_ = value.in_sync;
  update_commit();
  for (Peer& p : peers_) tell_lagging(p);
}

void RoleMachine::resolve_pending(BootNs now) {
  if (!pending_ || view_revision_ <= pending_->base_revision) return;  // An unchanged revision proves nothing (4).
  const Pending done = *std::exchange(pending_, std::nullopt);
  if (!done.is_claim) return;
  const bool applied = view_.claim == done.value.claim && view_.epoch == done.value.epoch && view_.primary == self().node;
  if (role_ == Role::claiming) role_ = Role::follower;
  if (applied && !done.abandoned) won(now);
}

void RoleMachine::swap(BootNs now, bool is_claim, Register value) {
  ENSURE(!pending_ && view_revision_ > 0);
  value.seq = view_.seq + 1;
  pending_ = Pending{is_claim, view_revision_, std::move(value), true, false, {}, now};
  ask(SwapRegister{pending_->base_revision, pending_->value});
}

void RoleMachine::swap_done(BootNs now, SwapResult result, std::uint64_t revision, const Register& value) {
  if (pending_) pending_->in_flight = false;
  if (result == SwapResult::unknown) {
    if (!pending_) return;
    pending_->retry_at = now + milliseconds(start_.timing.register_retry_ms);
    // Who leads no more does not insist; should it land, it says nothing wrong of the set.
    if (!pending_->is_claim && role_ != Role::primary) pending_.reset();
    return;
  }
  coordinator_heard_ = now;
  see(now, revision, value);
  if (role_ == Role::primary) consider_joins(now);
}

// What would take those out who have what is lost here is not asked for once more.
void RoleMachine::retry_pending(BootNs now) {
  if (!pending_ || pending_->in_flight || now < pending_->retry_at || knows_it_lacks()) return;
  pending_->in_flight = true;
  ask(SwapRegister{pending_->base_revision, pending_->value});  // The same content: whichever lands, it is this.
}

void RoleMachine::log_changed(BootNs now) {
  if (role_ == Role::primary) update_commit();
  else if (matched_) send_ack();
  tell_views(now);
}

void RoleMachine::bind(Bound target) {
  ENSURE(target.epoch > bound_.epoch || planted(Bug::stale_epoch_accepted));
  if (binding_to_) {
    mark(Mark::role_bind_behind_bind);
    if (target.epoch > binding_to_->epoch && (!bind_next_ || target.epoch > bind_next_->epoch)) bind_next_ = target;
    return;
  }
  binding_to_ = target;
  ask(BindTo{target});
}

void RoleMachine::bound_done(BootNs now, Bound bound) {
  ENSURE(binding_to_ && *binding_to_ == bound);
  binding_to_.reset();
  bound_ = bound;
  quiet_since_ = now;
  released_ = Epoch();
  releaser_leaves_ = false;
  leader_session_ = SessionId();
  leader_heard_.reset();
  matched_ = cutting_ = false;
  out_in_ = out_said_in_ = SessionId();  // What another primary said.
  wants_out_ = told_to_leave_.has_value();  // Not for what another primary lacked.
  takes_nothing_ = told_to_leave_ == Leaves::gives_up;
  acked_ = Lsn();
  if (bind_next_) {
    const Bound next = *std::exchange(bind_next_, std::nullopt);
    if (role_ == Role::binding && !next.as_primary) role_ = Role::follower;
    if (next.epoch > bound_.epoch || planted(Bug::stale_epoch_accepted)) return bind(next);
  }
  if (role_ == Role::binding && bound.as_primary) return become_primary(now);
  if (role_ == Role::binding) role_ = Role::follower;
  for (Peer& p : peers_) send(p, my_hello());
}

Lsn RoleMachine::acked(NodeId node) const {
  const Peer* p = find_peer(node);
  return p && p->matched ? p->acked : Lsn();
}

Lsn RoleMachine::ever_acked(NodeId node) const {
  const Peer* p = find_peer(node);
  return p ? std::max(p->ever_acked, acked(node)) : Lsn();
}

}  // namespace holdfast::engine
