// What this copy is known to have lost: a copy in sync has applied it, and the log here does not have it. Whoever knows so does not lead.
#include <algorithm>

#include "base/marks.h"
#include "engine/role.h"

namespace holdfast::engine {
namespace {

// As far as the history reaches.
bool has_record(const wal::EpochHistory& history, Lsn end, const wal::EpochHistory::Content& record) {
  const Epoch there = history.at(record.end);
  return record.end <= end && (there == record.epoch || there == Epoch());
}

}  // namespace

// What a copy in sync has applied was committed. Where I have something else there, or nothing, the end of my log is gone without a trace:
// then patience has no end, for nothing could make up for whoever still has it. What a copy said before is over with its next word; that
// the record was committed is not, as long as another one has it.
void RoleMachine::notice_loss(const Peer& from) {
  if (!from.hello) return;
  const Hello& hello = *from.hello;
  wal::EpochHistory::Content committed;
  for (const Lacks& known : lacks_)
    if (!is_settled(known)) committed = std::max(committed, known.what);
  const wal::EpochHistory::Content applied{hello.history.at(hello.applied), hello.applied};
  if (is_whole(from) && applied.epoch != Epoch()) committed = std::max(committed, applied);
  std::erase_if(lacks_, [&](const Lacks& known) { return known.copy.node == from.node; });
  for (const Peer& p : peers_) note_holder(p, committed);
}

// By its own word, and as far as the register knows.
bool RoleMachine::is_whole(const Peer& from) const {
  const Hello& hello = *from.hello;
  const bool of_a_lost_history = hello.history.last() < view_.forced_epoch || from.distrusted == hello.copy.incarnation;
  const bool counts = view_.has_in_sync(hello.copy) && view_.is_member(from.node) && !from.out_since;
  return counts && !hello.needs_rebuild && !hello.unfit && !hello.maps_lost && !of_a_lost_history;
}

void RoleMachine::note_holder(const Peer& p, const wal::EpochHistory::Content& committed) {
  if (!p.hello || !is_whole(p)) return;
  const Hello& hello = *p.hello;
  const wal::EpochHistory::Content applied{hello.history.at(hello.applied), hello.applied};
  const wal::EpochHistory::Content part{committed.epoch, std::min(committed.end, hello.end)};
  wal::EpochHistory::Content what;
  for (const wal::EpochHistory::Content& candidate : {applied, part}) {
    const bool its = candidate.epoch != Epoch() && has_record(hello.history, hello.end, candidate) && (!p.cut_since || candidate.end <= hello.applied);
    if (its && !has_record(log_->history, end_before_epoch(), candidate)) what = std::max(what, candidate);
  }
  if (what.epoch == Epoch()) return;
  if (view_.has_in_sync(self())) mark(Mark::role_end_was_lost);
  std::erase_if(lacks_, [&](const Lacks& known) { return known.copy.node == p.node; });
  lacks_.push_back(Lacks{hello.copy, what});
}

// Without the start of an epoch that I lead.
Lsn RoleMachine::end_before_epoch() const {
  return role_ == Role::primary && epoch_start_ != Lsn() ? Lsn(epoch_start_.value - 1) : log_->end;
}

// Of no importance any more: it is here, that copy does not count any more, or an operator has accepted the loss.
bool RoleMachine::is_settled(const Lacks& lacks) const {
  const bool counts = view_.has_in_sync(lacks.copy) && view_.is_member(lacks.copy.node) && view_.forced_epoch <= lacks.what.epoch;
  return !counts || has_record(log_->history, log_->end, lacks.what);
}

bool RoleMachine::has_all_i_lack(const Hello& hello) const {
  return std::ranges::all_of(lacks_, [&](const Lacks& lacks) { return is_settled(lacks) || has_record(hello.history, hello.end, lacks.what); });
}

std::optional<RoleMachine::Lacks> RoleMachine::known_loss() const {
  const auto found = std::ranges::find_if(lacks_, [&](const Lacks& lacks) { return !is_settled(lacks); });
  return found == lacks_.end() ? std::nullopt : std::optional(*found);
}

}  // namespace holdfast::engine
