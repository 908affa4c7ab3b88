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
// then patience has no end, for nothing could make up for that copy. What it said before is over when it says that it has lost it, too.
void RoleMachine::notice_loss(const Peer& from, Lsn mine) {
  if (!from.hello) return;
  const Hello& hello = *from.hello;
  const bool whole = view_.has_in_sync(hello.copy) && view_.is_member(from.node) && !hello.needs_rebuild && !hello.unfit && !hello.maps_lost;
  const bool of_a_lost_history = hello.history.last() < view_.forced_epoch || from.distrusted == hello.copy.incarnation;
  std::erase_if(lacks_, [&](const Lacks& known) {
    return known.copy.node == from.node && (!whole || of_a_lost_history || known.copy != hello.copy || !has_record(hello.history, hello.end, known.what));
  });
  const wal::EpochHistory::Content what{hello.history.at(hello.applied), hello.applied};
  if (!whole || of_a_lost_history || what.epoch == Epoch() || has_record(log_->history, mine, what)) return;
  if (view_.has_in_sync(self())) mark(Mark::role_end_was_lost);
  std::erase_if(lacks_, [&](const Lacks& known) { return known.copy.node == from.node; });
  lacks_.push_back(Lacks{hello.copy, what});
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
