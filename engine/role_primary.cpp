// Leading: beats and promises, the commit LSN, and changes of the in-sync set.
#include <algorithm>

#include "base/ensure.h"
#include "base/marks.h"
#include "base/planted.h"
#include "engine/role.h"

namespace holdfast::engine {
namespace {

// What a fresh primary knows to be committed lags behind what its predecessor knew, and what the register says already.
void raise_floor(Register& next, const wal::EpochHistory& history, Lsn commit) {
  const Epoch epoch = history.at(commit);
  if (commit <= next.floor_commit || epoch < next.floor_epoch) return;  // Of a commit older than what is remembered: no floor.
  next.floor_epoch = epoch;
  next.floor_commit = commit;
  const wal::EpochHistory::Content content = history.content(commit);
  next.floor_content_epoch = content.epoch;
  next.floor_content_end = content.end;
}

}  // namespace

void RoleMachine::become_primary(BootNs now) {
  const bool still = view_.epoch == bound_.epoch && view_.claim == bound_.claim && view_.primary == self().node;
  if (!still) {
    role_ = Role::follower;
    return;
  }
  role_ = Role::primary;
  obligations_ = promised_ = view_.in_sync;
  for (Peer& p : peers_) {
    p.match_sent = p.matched = p.rebuild_asked = p.fit = p.unreadable_here = false;
    p.goes_first_since.reset();
    p.lagging_at.reset();
    p.acked = p.ever_acked = Lsn();
    p.view_question = 0;
    p.promise_until = BootNs{};
    p.next_beat = now;
    p.leaving = false;  // What the last primary said of itself; it may be well again later.
    p.progress = Progress{};
  }
  own_progress_ = Progress{};
  progress_looked_at_ = now;
  epoch_start_ = Lsn();
  handing_over_ = false;
  open_ = planted(Bug::opened_before_epoch_start);
  leading_since_ = helpless_since_ = leaseless_since_ = now;
  ask(BeginEpoch{bound_.epoch});
  send_beats(now);
}

// What rule 3 forbids, for who looks whether it would be found.
void RoleMachine::readopt(BootNs now) {
  role_ = Role::primary;
  obligations_ = promised_ = view_.in_sync;
  for (Peer& p : peers_) {
    p.match_sent = p.matched = false;
    p.acked = Lsn();
  }
  leading_since_ = now;
  for (const wal::EpochBegin& e : log_->history.epochs())
    if (e.epoch == bound_.epoch) epoch_start_ = e.first;
  for (Peer& p : peers_)
    if (p.hello) on_hello(now, p);
  update_commit();
}

void RoleMachine::epoch_begun(BootNs now, Lsn first) {
  if (role_ != Role::primary || epoch_start_ != Lsn()) return;
  ENSURE(first == log_->end && log_->history.last() == bound_.epoch);
  epoch_start_ = first;
  // Who said hello before the epoch had its record is matched now.
  for (Peer& p : peers_)
    if (p.hello) on_hello(now, p);
  update_commit();
}

// Irrevocable: whoever wants to lead again claims a new epoch.
void RoleMachine::demote(BootNs now) {
  if (role_ != Role::primary) return;
  role_ = Role::follower;
  obligations_.clear();
  open_ = handing_over_ = false;
  epoch_start_ = Lsn();
  quiet_since_ = now;
  if (pending_ && !pending_->is_claim && !pending_->in_flight) pending_.reset();
  ask(Cease{});
  next_read_ = now;
}

// The end of a log may go without a trace; what it held was acknowledged, perhaps. A copy in sync that still has it, and is heard only
// now, goes first: once, and as long as nothing is open, for until then nobody was told anything in this epoch. True: not matched yet.
bool RoleMachine::gives_way_to(BootNs now, Peer& from) {
  const Hello& hello = *from.hello;
  const Lsn mine(epoch_start_.value - 1);
  const bool whole = view_.has_in_sync(hello.copy) && view_.is_member(from.node) && !hello.needs_rebuild && !hello.unfit;
  const bool fit = whole && !from.leaving;
  const bool of_mine = hello.history.at(hello.end) >= bound_.epoch;  // It followed me before.
  const bool longer = fit && !of_mine && hello.history.content(hello.end) > log_->history.content(mine);
  if (open_ || handing_over_) return false;
  notice_loss(now, from);
  const bool proven = knows_it_lacks();
  if (!longer && !proven) return false;
  const auto its = hello.history.content(hello.end);
  if (!from.goes_first_since) from.goes_first_since = now;
  if (!proven) {
    if (let_first_ && its <= *let_first_) return false;  // Once is enough, unless somebody has still more.
    if (now - *from.goes_first_since > milliseconds(start_.timing.hello_wait_ms)) return false;
  } else if (!whole || !has_all_i_lack(hello)) {
    return true;  // Nobody is cut to what I have.
  }
  if (!from.coordinator_reached) return true;  // Who has just started will say so in a moment.
  mark(Mark::role_gave_way_to_longer);
  let_first_ = its;
  const Epoch ceased = bound_.epoch;
  no_claim_before_ = now + milliseconds(start_.timing.takeover_patience_ms);
  demote(now);
  send(from, Release{ceased});
  return true;
}

// A follower's log meets mine: cut it to what we share, then ship the rest.
void RoleMachine::on_hello(BootNs now, Peer& from) {
  if (role_ != Role::primary) return;
  const Hello& hello = *from.hello;
  if (hello.bound.epoch > bound_.epoch) return demote(now);
  if (hello.bound.epoch < bound_.epoch || hello.bound.claim != bound_.claim) return beat_to(now, from);
  if (from.match_sent || epoch_start_ == Lsn()) return;
  if (gives_way_to(now, from)) {
    from.rebuild_asked = false;  // Its newest word counts. What has to be rebuilt is asked for anew when its turn comes.
    return from.lagging_at.reset();
  }
  auto shared = wal::common_end(log_->history, log_->end, hello.history, hello.end);
  if (planted(Bug::matched_by_lsn)) shared = std::min(log_->end, hello.end);
  const bool went_back = from.promise_of == hello.copy.incarnation && hello.end < from.ever_acked;
  if (went_back) mark(Mark::role_disk_went_back);
  const bool beyond_log = shared && shared->next() < log_->first_kept;
  // A copy's map may be ahead of what its log is known to have committed; a forced fail-over took some of that back.
  const bool of_a_lost_history = hello.history.last() < view_.forced_epoch;
  if (hello.maps_lost || from.distrusted != hello.copy.incarnation) from.distrusted = Uuid{};
  const bool distrusted = from.distrusted == hello.copy.incarnation;
  if (of_a_lost_history || distrusted) shared.reset();
  if (!shared || *shared < hello.applied || went_back || beyond_log || hello.needs_rebuild) {
    beat_to(now, from);  // Whom it follows, before what that says.
    return asks_for_rebuild(from, shared.value_or(Lsn()));
  }
  from.match_sent = from.cut_since = true;
  from.matched = from.rebuild_asked = from.fit = false;
  from.acked = Lsn();
  beat_to(now, from);  // Whom it follows, before what it follows.
  send(from, MatchAt{bound_.epoch, *shared, log_->end});
}

void RoleMachine::store_failed(BootNs now) {
  if (role_ != Role::primary) return;
  mark(Mark::role_store_failed);
  if (!open_ && release_to_somebody(now, Stays::no) == Released::yes) return;
  const bool all_have_it = open_;
  const Epoch ceased = bound_.epoch;
  const Register last = view_;
  demote(now);
  for (const Copy& copy : last.in_sync)
    if (copy.node != self().node) {
      send(peer(copy.node), Leaving{ceased});  // Its claim leaves me out: nobody waits for my acks.
      // Whoever is released asks nobody whether there is more. Otherwise they find that out, in their time.
      if (all_have_it) send(peer(copy.node), Release{ceased});
    }
}

void RoleMachine::fell_behind(NodeId node, SessionId session) {
  Peer& p = peer(node);
  if (role_ != Role::primary || p.session != session || !p.match_sent) return;
  p.match_sent = p.matched = false;
  asks_for_rebuild(p, std::exchange(p.acked, Lsn()));
}

void RoleMachine::cannot_read_tail(BootNs now, NodeId node, SessionId session) {
  if (role_ != Role::primary) return;
  Peer& p = peer(node);
  if (p.session != session || !p.match_sent) return;
  // What cannot be read here is not there: this copy must not stay in sync with it.
  const Released released = handing_over_ ? Released::to_nobody : release_to_somebody(now, Stays::no);
  p.unreadable_here = released == Released::not_yet;
  if (released == Released::to_nobody) return fell_behind(node, session);
  mark(released == Released::yes ? Mark::role_released_unreadable_tail : Mark::role_release_waits);
}

// Others have been heard meanwhile, or are out.
void RoleMachine::release_if_unreadable(BootNs now) {
  for (Peer& p : peers_)
    if (role_ == Role::primary && p.unreadable_here) cannot_read_tail(now, p.node, p.session);
}

// Whoever hears it gives up what it has beyond what it knows to be committed. As long as the register may count on it that is
// something which may be the last there is: it leaves first (judge_members), and O tells when it has.
void RoleMachine::asks_for_rebuild(Peer& p, Lsn shared) {
  p.rebuild_asked = true;
  p.lagging_at = shared;
  tell_lagging(p);
}

void RoleMachine::tell_lagging(Peer& p) {
  if (!p.lagging_at || !p.hello || p.session == SessionId()) return;
  if (owes(p.hello->copy)) return mark(Mark::role_lagging_waits);
  send(p, Lagging{bound_.epoch, *std::exchange(p.lagging_at, std::nullopt)});
}

void RoleMachine::distrust(NodeId node) {
  Peer& p = peer(node);
  if (role_ != Role::primary) return;
  // The message may be lost with its connection, or come too soon.
  if (p.hello) p.distrusted = p.hello->copy.incarnation;
  else if (const Copy* copy = view_.find_in_sync(node)) p.distrusted = copy->incarnation;
  if (p.session == SessionId() || !p.match_sent) return;
  p.match_sent = p.matched = false;
  p.acked = Lsn();
  asks_for_rebuild(p, Lsn());
}

std::optional<Lsn> RoleMachine::ship_after(NodeId node, SessionId session) const {
  const Peer* p = find_peer(node);
  if (role_ != Role::primary || !p || p->session != session || !p->matched || p->unreadable_here) return std::nullopt;
  return p->acked;
}

void RoleMachine::on_ack(Peer& from, const Ack& ack) {
  if (role_ != Role::primary || ack.epoch != bound_.epoch || !from.match_sent || ack.durable > log_->end) return;
  from.matched = true;
  from.fit = ack.fit;
  from.acked = std::max(from.acked, ack.durable);
  from.ever_acked = std::max(from.ever_acked, from.acked);
  update_commit();
}

void RoleMachine::on_promise(Peer& from, const Beat& beat) {
  if (!beat.grants || beat.epoch != bound_.epoch || beat.claim != bound_.claim || !from.hello) return;
  const Uuid incarnation = from.hello->copy.incarnation;
  if (from.promise_of != incarnation) {
    from.promise_of = incarnation;
    from.ever_acked = from.acked;
    from.promise_until = BootNs{};
  }
  from.promise_until = std::max(from.promise_until, beat.echo + lease_held(beat.lease_ms, start_.timing));
}

bool RoleMachine::holds_lease(BootNs now) const {
  if (planted(Bug::read_without_lease)) return true;
  const std::vector<Copy>& needed = planted(Bug::joined_without_promise) ? promised_ : obligations_;
  return std::all_of(needed.begin(), needed.end(), [&](const Copy& copy) {
    if (copy.node == self().node) return true;
    const Peer* p = find_peer(copy.node);
    const bool same = p && (p->promise_of == copy.incarnation || planted(Bug::wiped_disk_keeps_membership));
    return same && now < p->promise_until;
  });
}

std::uint64_t RoleMachine::least_ring_blocks() const {
  std::uint64_t least = log_->ring_blocks;
  for (const Copy& copy : obligations_)
    if (const Peer* p = find_peer(copy.node); p && p->ring_blocks != 0) least = std::min(least, p->ring_blocks);
  return least;
}

bool RoleMachine::owes(const Copy& copy) const {
  return std::find(obligations_.begin(), obligations_.end(), copy) != obligations_.end();
}

bool RoleMachine::is_needed(NodeId node) const {
  return std::any_of(obligations_.begin(), obligations_.end(), [&](const Copy& copy) { return copy.node == node; });
}

// What the copy is known to have, in this epoch and session and of this incarnation (14, 19).
Lsn RoleMachine::durable_on(const Copy& copy) const {
  if (copy.node == self().node) return planted(Bug::own_copy_not_durable) ? log_->end : log_->durable;
  const Peer* p = find_peer(copy.node);
  const bool same = p && p->hello && (p->hello->copy == copy || planted(Bug::wiped_disk_keeps_membership));
  if (!same || !p->matched) return Lsn();
  return p->acked;
}

void RoleMachine::update_commit() {
  if (role_ != Role::primary || epoch_start_ == Lsn()) return;
  Lsn everywhere = durable_on(self());
  if (!planted(Bug::committed_on_own_copy))
    for (const Copy& copy : obligations_) everywhere = std::min(everywhere, durable_on(copy));
  if (everywhere > commit_) {
    commit_ = everywhere;
    ask(CommitTo{commit_});
  }
  if (open_ || commit_ < epoch_start_) return;
  open_ = true;
  let_first_.reset();
  ask(Open{});
}

void RoleMachine::send_beats(BootNs now) {
  for (Peer& p : peers_)
    if (p.session != SessionId() && now >= p.next_beat) beat_to(now, p);
}

void RoleMachine::beat_to(BootNs now, Peer& to) {
  to.next_beat = now + milliseconds(start_.timing.heartbeat_ms);
  Beat beat;
  beat.epoch = bound_.epoch;
  beat.claim = bound_.claim;
  beat.sent = now;
  beat.echo = to.newest_sent;
  beat.leads = true;
  beat.fit = log_->promotable;
  beat.needed = is_needed(to.node);
  beat.lease_ms = view_.lease_ms;
  beat.commit = commit_;
  send(to, beat);
}

// Whose connection was reset, and who does not come back, is dead or behind a port that refuses. The latter may claim as soon as its
// promise is over: by then it has to be out.
bool RoleMachine::is_silent(const Peer& member, BootNs now) const {
  const bool gone = member.was_reset && member.session == SessionId();
  const DurationNs timeout = milliseconds(start_.timing.replica_timeout_ms);
  return now - std::max(member.heard, leading_since_) > (gone ? DurationNs{timeout.value / 2} : timeout);
}

void RoleMachine::Progress::look(Lsn durable_now, Lsn wanted, DurationNs passed) {
  if (durable_now >= wanted || durable_now > durable) standing = DurationNs{};
  else standing = DurationNs{standing.value + passed.value};
  durable = std::max(durable, durable_now);
}

// Whoever beats is alive, but its disk may have stopped answering: without an error, and for good.
void RoleMachine::watch_progress(BootNs now) {
  const DurationNs passed = std::min(now - progress_looked_at_, milliseconds(2 * start_.timing.heartbeat_ms));
  progress_looked_at_ = now;
  const bool begun = epoch_start_ != Lsn();  // Otherwise that is what is to be written, and waits for this disk, too.
  own_progress_.look(log_->durable, begun ? log_->end : log_->end.next(), passed);
  // While my own log stands still, or lacks what was committed, I may be what the others wait for; and who lacks what cannot be read here does.
  const bool mine = own_progress_.standing > DurationNs{} || knows_it_lacks();
  for (const Copy& copy : view_.in_sync) {
    if (copy.node == self().node) continue;
    Peer& p = peer(copy.node);
    p.progress.look(durable_on(copy), log_->end, mine || p.unreadable_here ? DurationNs{} : passed);
  }
}

// My own disk does not answer: somebody else has everything, and a disk that does.
void RoleMachine::release_if_stuck(BootNs now) {
  if (!is_stuck(own_progress_) || handing_over_) return;
  if (release_to_somebody(now, Stays::no) == Released::yes) mark(Mark::role_released_stuck);
}

// Members that are silent, or stuck, have another store now, or are no longer wanted leave by CAS, all at once; O keeps them until the
// register is known to have lost them (17).
void RoleMachine::judge_members(BootNs now) {
  if (pending_ || view_revision_ == 0 || handing_over_ || knows_it_lacks()) return;
  Register next = view_;
  bool silence = false;
  BootNs silent_since = leading_since_;  // The last word of those who are silent.
  for (const Copy& copy : view_.in_sync) {
    if (copy.node == self().node) continue;
    const Peer* p = find_peer(copy.node);
    // Whoever has not connected since is given the same time from the beginning of the reign.
    const bool silent = is_silent(p ? *p : Peer{}, now);
    const bool replaced = p && p->hello && p->hello->copy.incarnation != copy.incarnation && !planted(Bug::wiped_disk_keeps_membership);
    const bool rolled_back = p && p->rebuild_asked;
    const bool leaves = p && p->leaving;
    const bool stuck = p && is_stuck(p->progress);
    if (stuck) mark(Mark::role_removed_stuck);
    if (!silent && !stuck && !replaced && !rolled_back && !leaves && view_.is_member(copy.node)) continue;
    if (planted(Bug::removed_without_cas) || planted(Bug::removed_at_send)) std::erase(obligations_, copy);
    silence = silence || silent;
    if (silent && p) silent_since = std::max(silent_since, p->heard);
    next.remove_in_sync(copy.node);
  }
  if (next.in_sync.size() == view_.in_sync.size()) return;
  if (next.in_sync.size() + 1 < view_.in_sync.size()) mark(Mark::role_removed_several);
  if (planted(Bug::removed_without_cas)) return update_commit();
  // Cut off from all others: it may be me. Whoever serves nobody must not lock the volume up: without the others' promises
  // nothing is served here, and one of them may claim.
  const bool alone = next.in_sync.size() == 1 && view_.in_sync.size() > 1 && silence;
  if (alone && !serves_somebody(now)) return mark(Mark::role_gave_way);
  // Fewer than min_in_sync would be left here, which admit nothing, and those who are silent are enough to go on: they are given
  // the time to do so. When none of them has claimed by then, they are not there; then at least reads are served.
  const bool others_suffice = view_.in_sync.size() - next.in_sync.size() >= view_.min_in_sync;
  if (silence && next.in_sync.size() < view_.min_in_sync && others_suffice && now - silent_since < time_for_others()) return mark(Mark::role_let_others_go_on);
  // Nor one by one: what cuts this one off from all of them is not felt at the same instant.
  if (silence && is_anybody_faint(next, now)) return mark(Mark::role_waits_for_the_faint);
  raise_floor(next, log_->history, commit_);
  swap(now, false, std::move(next));
}

// No word for some beats, or since its connection was reset: it may be about to fall silent as well. (A word of a member that is far away
// is as old as the way is long, and counts from when it comes.)
bool RoleMachine::is_anybody_faint(const Register& left, BootNs now) const {
  constexpr std::int64_t kBeats = 4;
  return std::any_of(left.in_sync.begin(), left.in_sync.end(), [&](const Copy& copy) {
    const Peer* p = copy.node == self().node ? nullptr : find_peer(copy.node);
    if (!p) return false;
    const bool gone = p->was_reset && p->session == SessionId();
    return gone || now - std::max(p->last_word, leading_since_) > milliseconds(kBeats * start_.timing.heartbeat_ms);
  });
}

// Until somebody else must have claimed who hears nothing of me: it is patient, waits for the end of its promise, and asks the coordinator.
DurationNs RoleMachine::time_for_others() const {
  const DurationNs promise = lease_granted(std::max(view_.lease_ms, view_.previous_lease_ms), start_.timing);
  return DurationNs{2 * milliseconds(start_.timing.takeover_patience_ms).value + promise.value};
}

// Has an initiator been heard since the others fell silent? What cuts one off from all of them may cut off the hosts, too. Where no session
// is there is nobody; but of sessions that were lost a moment ago the hosts are dead, or look for one of the others now, and that must
// not be out by then. A host that comes back logs in, and is heard. Without one nothing but the operator's own work waits, so the time is
// long enough for a coordinator that one of the others cannot reach.
bool RoleMachine::serves_somebody(BootNs now) const {
  const DurationNs timeout = milliseconds(start_.timing.replica_timeout_ms);
  const bool heard = now - initiator_heard_ < timeout && initiator_heard_ - others_heard() > DurationNs{timeout.value / 2};
  const bool lost = initiator_lost_ && now - *initiator_lost_ < milliseconds(start_.timing.lost_hosts_ms);
  return heard || (initiators_ == 0 && !lost);
}

// The last word of those who could lead instead of me; who is to be taken out for another reason may go on talking for ever.
BootNs RoleMachine::others_heard() const {
  BootNs heard = leading_since_;
  for (const Copy& copy : view_.in_sync) {
    const Peer* p = find_peer(copy.node);
    if (!p || p->rebuild_asked || p->leaving || is_stuck(p->progress)) continue;
    const bool replaced = p->hello && p->hello->copy.incarnation != copy.incarnation;
    if (!replaced) heard = std::max(heard, p->heard);
  }
  return heard;
}

// A host whose commands all wait, for the lease say, has nothing to say of its own accord: it is asked, in time to answer before
// serves_somebody() counts. Whoever answered is asked again only when the answer grows old: removals may wait for other reasons.
void RoleMachine::consider_initiators(BootNs now) {
  if (initiators_ == 0 || pending_ || view_.in_sync.size() < 2 || now < next_initiator_question_) return;
  const DurationNs timeout = milliseconds(start_.timing.replica_timeout_ms);
  const DurationNs half{timeout.value / 2};
  if (now - others_heard() <= half) return;
  if (initiator_heard_ - others_heard() > half && now - initiator_heard_ < half) return;
  next_initiator_question_ = now + DurationNs{timeout.value / 8};
  mark(Mark::role_asked_initiators);
  ask(AskInitiators{});
}

// Nothing is committed as long as a member of O is stuck, or wants out and takes nothing; it may well go on promising.
bool RoleMachine::waits_for_a_removal() const {
  return std::any_of(view_.in_sync.begin(), view_.in_sync.end(), [&](const Copy& copy) {
    const Peer* p = copy.node == self().node ? nullptr : find_peer(copy.node);
    // Who leaves goes on acknowledging for as long as it can.
    const bool holds_up = p && (p->leaving || p->rebuild_asked) && (!p->matched || p->progress.standing > DurationNs{});
    return holds_up || (p && is_stuck(p->progress));
  });
}

// Without the lease, or without a member that has to go, and without the coordinator that could end that: somebody else has both
// within reach. To release is to cease for good (8).
void RoleMachine::release_if_helpless(BootNs now) {
  const bool well = holds_lease(now) && !waits_for_a_removal();
  if (well || reaches_coordinator(now) || handing_over_) helpless_since_ = now;
  if (now - helpless_since_ <= milliseconds(start_.timing.replica_timeout_ms)) return;
  if (release_to_somebody(now, Stays::yes) == Released::yes) mark(Mark::role_released_helpless);
}

// Several others are silent, and so is the coordinator: it is me that is cut off, and one of them must have claimed by now. A host that
// still reaches me has to look there; here it would wait for as long as its commands may take. Of a single other one and the coordinator
// both may be down: then nobody else serves, and it stays.
void RoleMachine::cease_if_cut_off(BootNs now) {
  if (holds_lease(now) || handing_over_) leaseless_since_ = now;
  if (view_.in_sync.size() < 3 || reaches_coordinator(now) || now - leaseless_since_ <= milliseconds(2 * start_.timing.takeover_patience_ms)) return;
  for (const NodeId node : view_.members) {
    const Peer* p = find_peer(node);
    if (node != self().node && !is_silent(p ? *p : Peer{}, now)) return;
  }
  mark(Mark::role_ceased_cut_off);
  demote(now);
}

// What a copy is known to have. Nothing: it is not known, or it has to be compared.
std::optional<wal::EpochHistory::Content> RoleMachine::content_of(const Copy& copy) const {
  const Peer* p = find_peer(copy.node);
  if (!p || !p->hello || p->hello->copy != copy || p->rebuild_asked) return std::nullopt;
  if (epoch_start_ == Lsn()) return p->hello->history.content(p->hello->end);  // Nobody is matched yet.
  if (!p->matched) return std::nullopt;
  return log_->history.content(p->acked);
}

// Nobody in sync has more than this copy, as far as they may be whole: then what it lacks was never acknowledged.
bool RoleMachine::nobody_has_more_than(const Copy& candidate) const {
  const auto its = content_of(candidate);
  return its && std::ranges::all_of(view_.in_sync, [&](const Copy& copy) {
    if (copy == candidate || copy.node == self().node) return true;
    const Peer* p = find_peer(copy.node);
    const bool lost = p && p->hello && (p->hello->copy != copy || p->hello->unfit || p->hello->needs_rebuild);
    const auto other = content_of(copy);
    return lost || (other && *other <= *its);
  });
}

// Until my epoch is open, what was acknowledged before may be all of my log. Who stays would be cut to what the next one has, so that has to
// have all of it. Who leaves cannot give away what it has, and there may be nobody who has the end of its log, for it was never acknowledged:
// then it is enough that no other copy in sync has more. While one of them is not heard that is not known.
RoleMachine::Released RoleMachine::release_to_somebody(BootNs now, Stays stays) {
  const bool begun = epoch_start_ != Lsn();
  if (begun && knows_it_lacks()) return Released::not_yet;  // gives_way_to() finds who has it.
  bool waits = false;
  for (const Copy& copy : view_.in_sync) {
    const Peer* p = find_peer(copy.node);
    const bool there = copy.node != self().node && p && p->hello && p->hello->copy == copy && !is_silent(*p, now);
    // It would be no better off.
    if (!there || p->leaving || p->rebuild_asked || is_stuck(p->progress) || p->hello->needs_rebuild || (p->matched ? !p->fit : p->hello->unfit)) continue;
    // It could not claim now, but perhaps in a moment.
    if (!p->coordinator_reached || (begun && !p->matched)) {
      waits = true;
      continue;
    }
    const bool has_everything = open_ ? durable_on(copy) >= commit_
                                      : begun ? durable_on(copy) >= Lsn(epoch_start_.value - 1)
                                              : p->hello->history.content(p->hello->end) >= log_->history.content(log_->end);
    const bool will_do = has_all_i_lack(*p->hello) && (has_everything || (stays == Stays::no && !open_ && nobody_has_more_than(copy)));
    waits = waits || !will_do;
    if (!will_do) continue;
    const Epoch ceased = bound_.epoch;
    no_claim_before_ = now + milliseconds(start_.timing.takeover_patience_ms);
    demote(now);
    if (stays == Stays::no) send(peer(copy.node), Leaving{ceased});
    send(peer(copy.node), Release{ceased});
    return Released::yes;
  }
  return waits ? Released::not_yet : Released::to_nobody;
}

// Caught up to the commit LSN and to the start of this epoch: a fresh primary's commit lags what was acknowledged before (18).
bool RoleMachine::ready_to_join(const Peer& learner, BootNs now) const {
  if (!learner.hello || !learner.matched || learner.rebuild_asked || learner.leaving) return false;
  if (planted(Bug::joined_without_acks)) return true;
  // What is needed may have to lead. One that waits for more of the log, to be whole, may be left without it.
  if (!learner.fit) return false;
  const Lsn start = planted(Bug::joined_at_lagging_commit) ? Lsn() : epoch_start_;
  return learner.acked >= std::max(commit_, start) && fit_to_join(learner, now);
}

bool RoleMachine::fit_to_join(const Peer& learner, BootNs now) const {
  return learner.promise_of == learner.hello->copy.incarnation && now < learner.promise_until && !is_silent(learner, now);
}

bool RoleMachine::only_lacks_records(NodeId node, BootNs now) const {
  const Peer* p = find_peer(node);
  if (!is_open() || pending_ || handing_over_ || !p || !p->hello || !p->matched || p->rebuild_asked || p->leaving) return false;
  return view_.is_member(node) && !view_.find_in_sync(node) && fit_to_join(*p, now);
}

void RoleMachine::consider_joins(BootNs now) {
  if (pending_ || (!open_ && !planted(Bug::joined_at_lagging_commit)) || epoch_start_ == Lsn() || handing_over_) return;
  for (Peer& p : peers_) {
    if (!p.hello || !view_.is_member(p.node) || view_.find_in_sync(p.node) || !ready_to_join(p, now)) continue;
    // First its acks and its promise are needed, then the register may say so.
    if (!owes(p.hello->copy) && !planted(Bug::joined_without_acks)) obligations_.push_back(p.hello->copy);
    mark(Mark::role_joined);
    Register next = view_;
    next.add_in_sync(p.hello->copy);
    raise_floor(next, log_->history, commit_);
    return swap(now, false, std::move(next));
  }
}

// In sync, connected and matched: it will have everything once what is under way is there.
bool RoleMachine::is_in_step(NodeId candidate) const {
  const Copy* copy = view_.find_in_sync(candidate);
  const Peer* p = find_peer(candidate);
  return role_ == Role::primary && open_ && copy && candidate != self().node && owes(*copy) && p && p->matched &&
         p->hello && p->hello->copy == *copy && p->coordinator_reached && p->fit;
}

bool RoleMachine::prepare_hand_over(NodeId candidate) {
  if (pending_ || handing_over_ || !is_in_step(candidate)) return false;
  handing_over_ = true;
  return true;
}

bool RoleMachine::hand_over(BootNs now, NodeId candidate) {
  if (pending_ || !handing_over_ || !is_in_step(candidate) || commit_ != log_->end) return false;
  mark(Mark::role_handed_over);
  const Epoch ceased = bound_.epoch;
  no_claim_before_ = now + milliseconds(start_.timing.takeover_patience_ms);
  if (planted(Bug::resumed_after_release)) handing_over_ = false;
  else demote(now);
  send(peer(candidate), Release{ceased});
  return true;
}

}  // namespace holdfast::engine
