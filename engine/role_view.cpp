// How the group stands, confirmed: what a host is told must have been so at some instant after it asked. The primary knows while it
// holds the promises of all of O; a follower asks it, and waits when there is none, or when a change of primary is under way.
#include <algorithm>

#include "base/marks.h"
#include "engine/role.h"

namespace holdfast::engine {

GroupView RoleMachine::own_view() const {
  GroupView view;
  view.primary = self().node;
  for (const NodeId node : view_.members) view.members.push_back({node, view_.find_in_sync(node) != nullptr});
  // An operator may have taken the primary itself out; it leads until somebody else does.
  const GroupView::Member me{self().node, true};
  const auto at = std::lower_bound(view.members.begin(), view.members.end(), me, [](const auto& a, const auto& b) { return a.node < b.node; });
  if (at == view.members.end() || at->node != me.node) view.members.insert(at, me);
  return view;
}

std::uint64_t RoleMachine::ask_view() {
  ++view_asked_;
  if (role_ != Role::primary && leader_session_ != SessionId()) send_question(peer(leader_));
  return view_asked_;
}

// In a session that is new, or whose primary's epoch was bound just now, what is not answered is asked again.
void RoleMachine::send_question(Peer& leader) {
  if (view_asked_ > view_told_) send(leader, AskView{bound_.epoch, bound_.claim, view_asked_});
}

void RoleMachine::on_ask_view(BootNs now, Peer& from, const AskView& ask) {
  if (role_ != Role::primary || ask.epoch != bound_.epoch || ask.claim != bound_.claim) return;
  from.view_question = std::max(from.view_question, ask.question);
  views_owed_ = true;
  tell_views(now);
  if (views_owed_) mark(Mark::role_view_waits);
}

void RoleMachine::tell_views(BootNs now) {
  if (!views_owed_ || !knows_view(now)) return;
  views_owed_ = false;
  for (Peer& p : peers_)
    if (p.view_question != 0) send(p, TellView{bound_.epoch, bound_.claim, std::exchange(p.view_question, 0), own_view()});
}

void RoleMachine::on_tell_view(const Peer& from, const TellView& tell) {
  const bool mine = from.session == leader_session_ && tell.epoch == bound_.epoch && tell.claim == bound_.claim;
  if (!mine || binding_to_ || role_ == Role::primary || tell.view.primary != from.node) return;
  if (tell.question <= view_told_ || tell.question > view_asked_) return;
  view_told_ = tell.question;
  told_view_ = tell.view;
}

}  // namespace holdfast::engine
