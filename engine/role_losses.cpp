// What this copy is known to have lost: a copy in sync has applied it, and the log here does not have it. Whoever knows so does not lead.
#include <algorithm>

#include "base/marks.h"
#include "engine/role.h"

namespace holdfast::engine {
namespace {

using Committed = RoleMachine::Committed;

Committed record_at(const wal::EpochHistory& history, Lsn lsn) { return {{history.at(lsn), lsn}, history.content(lsn)}; }

// Where the history does not reach: by what it knows of what it has forgotten, which counts no starts of epochs.
bool has_record(const wal::EpochHistory& history, Lsn end, const Committed& what) {
  if (what.record.end > end) return false;
  const Epoch there = history.at(what.record.end);
  if (there != Epoch()) return there == what.record.epoch;
  return history.forgotten().epoch == Epoch() || history.forgotten() >= what.content;
}

}  // namespace

// What a copy in sync has applied was committed. Where I have something else there, or nothing, the end of my log is gone without a trace:
// then patience has no end, for nothing could make up for whoever still has it. What a copy said before is over with its next word; that
// the record was committed is not, as long as another one has it, or a part of what led to it.
void RoleMachine::notice_loss(BootNs now, const Peer& from) {
  if (!from.hello) return;
  const Hello& hello = *from.hello;
  const Committed applied = record_at(hello.history, hello.applied);
  if (is_whole(from) && applied.record > committed_.record && !is_settled(Lacks{hello.copy, applied, now})) {
    committed_ = applied;
    committed_history_ = hello.history;
  }
  const auto before = std::ranges::find(lacks_, from.node, [](const Lacks& known) { return known.copy.node; });
  const BootNs noticed = before == lacks_.end() ? now : before->noticed;
  if (before != lacks_.end()) lacks_.erase(before);
  for (const Peer& p : peers_) note_holder(p.node == from.node ? noticed : now, p);
  if (is_over(committed_)) committed_ = {};
}

// By its own word, and as far as the register knows.
bool RoleMachine::is_whole(const Peer& from) const {
  const Hello& hello = *from.hello;
  const bool of_a_lost_history = hello.history.last() < view_.forced_epoch || from.distrusted == hello.copy.incarnation;
  return view_.has_in_sync(hello.copy) && view_.is_member(from.node) && !hello.needs_rebuild && !hello.unfit && !hello.maps_lost && !of_a_lost_history;
}

void RoleMachine::note_holder(BootNs now, const Peer& p) {
  if (!p.hello || !is_whole(p)) return;
  const Hello& hello = *p.hello;
  Committed what = record_at(hello.history, hello.applied);
  if (committed_.record.epoch != Epoch() && !p.cut_since) {
    const auto part = wal::common_end(committed_history_, committed_.record.end, hello.history, hello.end);
    if (part && Content{hello.history.at(*part), *part} > what.record) what = record_at(hello.history, *part);
  }
  if (what.record.epoch == Epoch() || is_settled(Lacks{hello.copy, what, now})) return;
  const auto known = std::ranges::find(lacks_, p.node, [](const Lacks& one) { return one.copy.node; });
  if (known != lacks_.end()) {
    known->copy = hello.copy;
    known->what = what;
    return;
  }
  if (view_.has_in_sync(self())) mark(Mark::role_end_was_lost);
  lacks_.push_back(Lacks{hello.copy, what, now});
}

// Without the start of an epoch that I lead.
Lsn RoleMachine::end_before_epoch() const {
  return role_ == Role::primary && epoch_start_ != Lsn() ? Lsn(epoch_start_.value - 1) : log_->end;
}

// It is here, an operator has accepted its loss, or a later epoch has opened without it, and what that has committed is here.
bool RoleMachine::is_over(const Committed& what) const {
  return view_.forced_epoch > what.record.epoch || log_->history.at(commit_) > what.record.epoch || has_record(log_->history, end_before_epoch(), what);
}

// Or whoever has it does not count any more.
bool RoleMachine::is_settled(const Lacks& lacks) const {
  return !view_.has_in_sync(lacks.copy) || !view_.is_member(lacks.copy.node) || is_over(lacks.what);
}

bool RoleMachine::has_all_i_lack(const Hello& hello) const {
  return std::ranges::all_of(lacks_, [&](const Lacks& lacks) { return is_settled(lacks) || has_record(hello.history, hello.end, lacks.what); });
}

std::optional<RoleMachine::Lacks> RoleMachine::known_loss() const {
  const auto found = std::ranges::find_if(lacks_, [&](const Lacks& lacks) { return !is_settled(lacks); });
  return found == lacks_.end() ? std::nullopt : std::optional(*found);
}

// What is seen by an old view, or for a moment, may be nothing: I may be out of the set by then, and lack something by my nature.
std::optional<RoleMachine::Lacks> RoleMachine::loss_to_tell() const {
  const auto lacks = known_loss();
  const bool fresh = lacks && coordinator_heard_ - lacks->noticed > milliseconds(start_.timing.register_poll_ms);
  return fresh && view_.has_in_sync(self()) ? lacks : std::nullopt;
}

}  // namespace holdfast::engine
