// Following a primary, promising not to take over, and taking over.
#include <algorithm>
#include <utility>

#include "base/ensure.h"
#include "base/marks.h"
#include "base/planted.h"
#include "engine/role.h"

namespace holdfast::engine {

// A primary speaks. Its epoch decides what it is to us (13).
void RoleMachine::follow(BootNs now, Peer& leader, const Beat& beat) {
  if (beat.epoch < bound_.epoch && !planted(Bug::stale_epoch_accepted)) return send(leader, Fenced{bound_.epoch});
  if (beat.epoch != bound_.epoch) {
    if (role_ == Role::primary) demote(now);
    return bind(Bound{beat.epoch, beat.claim, false});
  }
  if (role_ == Role::primary || beat.claim != bound_.claim || binding_to_) return;
  if (leader_session_ != leader.session) {
    leader_ = leader.node;
    leader_session_ = leader.session;
    matched_ = cutting_ = false;
    acked_ = Lsn();
    lagging_.reset();
    send_question(leader);
  }
  deferral_.reset();
  let_first_.reset();
  released_ = Epoch();
  leader.leaving = false;
  leader_heard_ = now;
  told_commit(now, leader.session, beat.commit);
  if (claim_pending() && beat.echo > pending_->since) abandon_claim();
  grant(now, leader, beat);
  if (wants_out_) {
    const bool known = out_said_in_ == leader.session && beat.echo > out_said_;
    if (known && !beat.needed) out_in_ = leader.session;
    // Until then nothing may be committed without its acks: its primary cannot take it out, perhaps, for want of a coordinator.
    if (gives_up_now()) matched_ = false;
    say_leaving(now, leader);  // In the next session anew.
  }
  if (lagging_ && role_ == Role::follower) on_lagging(leader, *lagging_);
}

// Answers each beat, with a promise unless a claim of mine may still land (5).
void RoleMachine::grant(BootNs now, Peer& leader, const Beat& beat) {
  Beat answer;
  answer.epoch = bound_.epoch;
  answer.claim = bound_.claim;
  answer.sent = now;
  answer.echo = beat.sent;
  answer.lease_ms = beat.lease_ms;
  answer.coordinator_reached = reaches_coordinator(now);
  answer.fit = log_->promotable;
  answer.grants = (role_ == Role::follower && !claim_pending()) || planted(Bug::granted_while_claiming);
  if (answer.grants) granted_until_ = std::max(granted_until_, now + lease_granted(beat.lease_ms, start_.timing));
  send(leader, answer);
}

// Between copies that do not lead: that I am here, and whether I reach the coordinator. Whoever hears nothing at all over a
// connection for long makes a new one.
void RoleMachine::send_signs_of_life(BootNs now) {
  for (Peer& p : peers_) {
    if (p.session == SessionId() || now < p.next_beat) continue;
    p.next_beat = now + milliseconds(start_.timing.replica_timeout_ms / 2);
    Beat sign;
    sign.epoch = bound_.epoch;
    sign.claim = bound_.claim;
    sign.sent = now;
    sign.echo = p.newest_sent;
    sign.coordinator_reached = reaches_coordinator(now);
    sign.fit = log_->promotable;
    send(p, sign);
  }
}

bool RoleMachine::reaches_coordinator(BootNs now) const {
  return now - coordinator_heard_ < milliseconds(2 * start_.timing.register_poll_ms);
}

// The nonce is forgotten: if the claim lands, it is nobody's, and whoever wants to lead claims anew (5).
void RoleMachine::abandon_claim() {
  mark(Mark::role_claim_abandoned);
  pending_->abandoned = true;
  if (role_ == Role::claiming) role_ = Role::follower;
}

void RoleMachine::on_match(Peer& leader, const MatchAt& match) {
  const bool mine = leader.session == leader_session_ && match.epoch == bound_.epoch && !binding_to_ && role_ != Role::primary;
  if (!mine || matched_ || cutting_) return;  // The first one in a session counts: a later one was made of an older hello.
  if (match.lsn < log_->applied) {
    wants_out_ = takes_nothing_ = true;  // All of it is to be compared; not before it is out.
    return ask(RebuildFrom{leader.session, true});
  }
  if (gives_up_now()) return;
  cutting_ = true;
  ask(CutTo{leader.session, match.lsn, match.end});
}

// The primary cannot ship what I lack; nothing is cut, and nothing follows in this session.
void RoleMachine::on_lagging(Peer& leader, const Lagging& lagging) {
  const bool mine = leader.session == leader_session_ && lagging.epoch == bound_.epoch && !binding_to_ && role_ != Role::primary;
  if (!mine) return;
  matched_ = false;
  lagging_ = lagging;
  if (cutting_ || role_ != Role::follower) return;  // A claim may still land. It is said once, and heeded when the claim is given up.
  lagging_.reset();
  wants_out_ = takes_nothing_ = false;
  told_to_leave_.reset();
  out_in_ = leader.session;  // Nobody is told so before it is out, and it does not join in this session.
  ask(RebuildFrom{leader.session, lagging.shared < log_->applied});
}

void RoleMachine::leave(BootNs now, Leaves why) {
  if (role_ == Role::primary) return;
  wants_out_ = true;
  takes_nothing_ = takes_nothing_ || why == Leaves::gives_up;
  if (!told_to_leave_ || why == Leaves::gives_up) told_to_leave_ = why;
  if (leader_session_ != SessionId()) say_leaving(now, peer(leader_));
}

void RoleMachine::cannot_take(SessionId session) {
  if (takes_nothing_ && session == leader_session_ && role_ != Role::primary) matched_ = false;
}

void RoleMachine::say_leaving(BootNs now, Peer& leader) {
  send(leader, Leaving{bound_.epoch});
  if (std::exchange(out_said_in_, leader.session) != leader.session) out_said_ = now;
}

void RoleMachine::rebuilt(BootNs) {
  if (role_ == Role::primary) return;
  commit_ = log_->applied;
  matched_ = cutting_ = false;
  wants_out_ = told_to_leave_.has_value();  // What it lacked it has.
  takes_nothing_ = told_to_leave_ == Leaves::gives_up;
}

void RoleMachine::cut_done(BootNs, SessionId session) {
  if (!cutting_ || session != leader_session_) return;
  cutting_ = false;
  if (lagging_) return on_lagging(peer(leader_), Lagging(*lagging_));
  if (gives_up_now()) return;
  matched_ = true;
  send(peer(leader_), Ack{bound_.epoch, log_->durable, Ack{}.free_chunks, log_->promotable});
  acked_ = log_->durable;
}

void RoleMachine::send_ack() {
  if (log_->durable <= acked_) return;
  acked_ = log_->durable;
  send(peer(leader_), Ack{bound_.epoch, acked_, Ack{}.free_chunks, log_->promotable});
}

bool RoleMachine::accepts(SessionId session, Epoch epoch) const {
  return role_ != Role::primary && matched_ && !binding_to_ && session == leader_session_ && epoch == bound_.epoch;
}

// apply ≤ min(told, matched end), and what is applied must not be lost by a crash (16).
void RoleMachine::told_commit(BootNs, SessionId session, Lsn commit) {
  if ((!matched_ && !planted(Bug::applied_unmatched)) || session != leader_session_ || role_ == Role::primary) return;
  const Lsn upto = planted(Bug::applied_before_commit) ? log_->durable : std::min(commit, log_->durable);
  if (upto <= commit_) return;
  commit_ = upto;
  ask(CommitTo{upto});
}

// A process that has just started does not know what it promised before: it lets the longest promise run out (11).
bool RoleMachine::start_wait_is_over(BootNs now) const {
  const bool bound_as_it = bound_.as_primary && bound_.epoch == view_.epoch && bound_.claim == view_.claim;
  if (bound_as_it && view_.primary == self().node) return true;
  if (planted(Bug::restart_wait_skipped)) return true;
  if (planted(Bug::reclaimed_without_wait) && view_.primary == self().node) return true;
  if (planted(Bug::reclaimed_alone_without_wait) && view_.in_sync.size() == 1) return true;
  if (view_.epoch == Epoch()) return true;  // Nobody has ever led, so nobody was promised anything.
  const std::int64_t longest_ms = std::max(view_.lease_ms, view_.previous_lease_ms);
  return now >= start_.now + lease_granted(longest_ms, start_.timing);
}

bool RoleMachine::has_reason_to_claim(BootNs now) const {
  if (view_revision_ == 0 || now < no_claim_before_) return false;
  if (view_.primary == self().node || view_.epoch == Epoch()) return true;
  if (released_ != Epoch() && released_ == bound_.epoch && released_ == view_.epoch) return true;
  const Peer* leader = find_peer(view_.primary);
  // A reset hints at a dead process. Whose connections to all others are gone, too, is rather the one whose port refuses, and could serve nobody:
  // whoever leads drops it first.
  if (leader && leader->was_reset && leader->session == SessionId() && !lost_all_others()) return true;
  const BootNs heard = leader && leader->node == leader_ ? std::max(leader->led, quiet_since_) : quiet_since_;
  return now - heard > milliseconds(start_.timing.takeover_patience_ms);
}

// Of those in sync beside me and who leads there are some, and none is connected.
bool RoleMachine::lost_all_others() const {
  bool others = false;
  for (const Copy& copy : view_.in_sync) {
    if (copy.node == self().node || copy.node == view_.primary) continue;
    const Peer* p = find_peer(copy.node);
    if (p && p->session != SessionId()) return false;
    others = true;
  }
  return others;
}

// Is the very record there that the floor names? What is in its place or beyond it may be no more than the start of an epoch of mine.
bool RoleMachine::reaches_floor() const {
  if (log_->end < view_.floor_commit) return false;
  const Epoch there = log_->history.at(view_.floor_commit);
  if (view_.floor_epoch == Epoch() || there != Epoch()) return there == view_.floor_epoch || view_.floor_epoch == Epoch();
  // The history has forgotten it, but not what the log had then, beside starts of epochs; of these the floor itself may be one.
  const wal::EpochHistory::Content& forgotten = log_->history.forgotten();
  return forgotten.epoch == Epoch() || forgotten >= wal::EpochHistory::Content{view_.floor_content_epoch, view_.floor_content_end};
}

// Rules 9 to 11.
bool RoleMachine::may_claim(BootNs now) const {
  if (role_ != Role::follower || pending_ || binding_to_ || view_revision_ == 0) return false;
  const bool in_sync = view_.has_in_sync(self()) || planted(Bug::promoted_outside_in_sync) ||
                       (planted(Bug::wiped_disk_keeps_membership) && view_.find_in_sync(self().node));
  if (!in_sync || !log_->promotable || !view_.is_member(self().node)) return false;
  if (knows_it_lacks()) return false;
  if (!reaches_floor() && !planted(Bug::promoted_outside_in_sync) && !planted(Bug::wiped_disk_keeps_membership)) return false;
  if (planted(Bug::lease_not_waited_out)) return true;
  return now >= granted_until_ && (start_wait_is_over(now) || released_ == view_.epoch);
}

// The decision falls on a fresh view: when one seems due by the known view, the register is read (register_read).
void RoleMachine::consider_claim(BootNs now) {
  if (deferral_) deferral_->look(now, reaches_coordinator(now));
  if (role_ != Role::follower || pending_ || binding_to_ || read_in_flight_) return;
  if (view_revision_ == 0) return;
  if (!has_reason_to_claim(now) || !may_claim(now)) return;
  const BootNs last = next_read_ + DurationNs{-milliseconds(start_.timing.register_poll_ms).value};
  if (released_ == Epoch() && now - last < milliseconds(start_.timing.register_retry_ms)) return;
  if (lets_a_longer_log_go_first(now)) return;
  read_register(now);
}

// A process that has just started knows nothing of the other copies yet: may one of them have more?
bool RoleMachine::waits_for_hellos(BootNs now) const {
  return view_.epoch != Epoch() && now < start_.now + milliseconds(start_.timing.hello_wait_ms);
}

// The end of a log that rots while its node is down looks like a torn tail and is cut, though it was acknowledged. Who still
// has it leads, if it is there and can; what of it was never acknowledged may commit as well. Not for ever: what a hello says
// was so at the time of the hello.
bool RoleMachine::lets_a_longer_log_go_first(BootNs now) {
  if (released_ != Epoch() && released_ == view_.epoch) return false;  // I am the one who is to go first.
  const bool early = waits_for_hellos(now);
  const bool known_early = early || deferral_.has_value();  // What was heard in time counts for all of the patience.
  bool unheard = false;
  bool longer = false;
  for (const Copy& copy : view_.in_sync) {
    if (copy == self()) continue;
    const Peer* p = find_peer(copy.node);
    if (!p || p->session == SessionId() || !p->hello) {
      unheard = true;
      continue;
    }
    const Hello& hello = *p->hello;
    longer = longer || ((p->coordinator_reached || known_early) && hello.copy == copy && !hello.needs_rebuild && !hello.unfit &&
                        hello.history.content(hello.end) > log_->history.content(log_->end));
  }
  if (!longer) {
    deferral_.reset();
    if (early && unheard) mark(Mark::role_waited_for_hellos);
    return early && unheard;
  }
  if (!deferral_) {
    mark(Mark::role_longer_log_first);
    deferral_ = Deferral{now, now, {}};
  }
  // It may have to wait for the end of a promise that it does not remember, where I, who led, have none to wait for.
  const DurationNs promise = lease_granted(std::max(view_.lease_ms, view_.previous_lease_ms), start_.timing);
  return deferral_->goes_on(now, DurationNs{milliseconds(start_.timing.takeover_patience_ms).value + promise.value});
}

// Without the coordinator nobody can go first: the time begins anew then. But not for ever with one that comes and goes.
void RoleMachine::Deferral::look(BootNs now, bool reaches_coordinator) {
  if (reaches_coordinator) total = DurationNs{total.value + (now - looked_at).value};
  else since = now;
  looked_at = now;
}

bool RoleMachine::Deferral::goes_on(BootNs now, DurationNs patience) const {
  constexpr int kTriesMax = 4;
  return now - since < patience && total < DurationNs{kTriesMax * patience.value};
}

void RoleMachine::claim(BootNs now) {
  const bool old_life = view_.primary == self().node && bound_.as_primary && bound_.epoch == view_.epoch;
  if (planted(Bug::own_old_claim_readopted) && old_life && log_->history.last() == bound_.epoch) return readopt(now);
  Register next = view_;
  next.epoch = Epoch(std::max(view_.epoch, bound_.epoch).value + 1);
  next.primary = self().node;
  next.claim = last_claim_ = nonces_->next_u64();
  // Without the one that is gone; with it when it handed over and stays; as it is when I claim anew (12).
  const bool handed_over = released_ != Epoch() && released_ == view_.epoch && !releaser_leaves_;
  if (released_ != Epoch() && released_ == view_.epoch) let_first_ = log_->history.content(log_->end);  // I am the one who was let first.
  if (view_.primary != self().node && !handed_over) next.remove_in_sync(view_.primary);
  if (planted(Bug::promoted_outside_in_sync) || planted(Bug::wiped_disk_keeps_membership)) next.add_in_sync(self());
  ENSURE(next.has_in_sync(self()));
  role_ = Role::claiming;
  swap(now, true, std::move(next));
}

void RoleMachine::won(BootNs) {
  // Bound to a later one meanwhile, or about to be.
  if (view_.epoch <= bound_.epoch || (binding_to_ && binding_to_->epoch >= view_.epoch)) return;
  if (bind_next_ && bind_next_->epoch >= view_.epoch) return;
  role_ = Role::binding;
  won_claim_ = view_.claim;
  bind(Bound{view_.epoch, view_.claim, true});
}

}  // namespace holdfast::engine
