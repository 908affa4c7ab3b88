#include "test/cluster/invariants.h"

#include <algorithm>

#include "engine/group_impl.h"
#include "test/sim/text.h"

namespace holdfast::cluster {

void Invariants::register_changed(const engine::Register& now) {
  if (now.epoch < truth_.epoch) fail_("the register's epoch went backwards");
  if (now.epoch == truth_.epoch && truth_.claim != 0 && now.claim != truth_.claim) fail_(sim::format("two claims of epoch {}", now.epoch.value));
  if (now.seq <= truth_.seq) fail_("the register's seq did not grow");
  forced_ = forced_ || now.forced_epoch != truth_.forced_epoch;
  if (now.floor_commit < truth_.floor_commit && !forced_) fail_(sim::format("the register's floor went from {} back to {}", truth_.floor_commit.value, now.floor_commit.value));
  if (now.in_sync.empty()) fail_("the register has nobody in sync");
  for (const engine::Copy& copy : truth_.in_sync)
    if (rotten && lacks_ != Lsn() && copy != *rotten && !now.has_in_sync(copy) && now.is_member(copy.node) && is_there(copy)) dropped_living_ = true;
  truth_ = now;
}

void Invariants::check() {
  ++checks_;
  if (serving_) last_served_[*serving_] = world_->now();  // There are steps between two checks: until this one it may have gone on.
  std::optional<NodeId> serving;
  std::array<std::pair<const ClusterNode*, ReplicaStatus>, engine::kMembersMax> open;
  std::size_t count = 0;
  for (const auto& node : *nodes_) {
    if (!node->is_open()) continue;
    const GroupStatus status = node->group()->status();
    ReplicaStatus replica = node->group()->replica_status();
    if (replica.serving) {
      if (serving) fail_(sim::format("nodes {} and {} serve at one instant", serving->value, node->id().value));
      serving = node->id();
      last_served_[node->id()] = world_->now();
    }
    if (replica.commit > committed_) {
      committed_ = replica.commit;
      committed_content_ = std::max(committed_content_, static_cast<engine::GroupImpl*>(node->group())->facts().history.content(committed_).end);
    }
    check_node(*node, status, replica);
    open[count++] = {node.get(), std::move(replica)};
  }
  serving_ = serving;
  if (rotten) look_who_is_heard();
  for (std::size_t i = 0; i < count; ++i) check_in_sync(*open[i].first, open[i].second);
}

void Invariants::check_node(const ClusterNode& node, const GroupStatus& status, const ReplicaStatus& replica) {
  Seen& seen = seen_[node.id()];
  const auto n = node.id().value;
  if (status.epoch < seen.epoch) fail_(sim::format("node {} went back from epoch {} to {}", n, seen.epoch.value, status.epoch.value));
  if (seen.life == node.lives() && replica.commit < seen.commit)
    fail_(sim::format("node {} knew {} to be committed, now only {}", n, seen.commit.value, replica.commit.value));
  if (status.applied_lsn > replica.commit) fail_(sim::format("node {} has applied {}, and {} is committed", n, status.applied_lsn.value, replica.commit.value));
  if (replica.commit > replica.end) fail_(sim::format("node {} takes {} for committed, and its log ends at {}", n, replica.commit.value, replica.end.value));
  if (replica.durable > replica.end) fail_(sim::format("node {} has {} durable, and its log ends at {}", n, replica.durable.value, replica.end.value));
  if (copies_agree && status.scrub.divergent_blocks > 0) fail_(sim::format("node {} finds that copies differ: {}", n, status.scrub.divergent_blocks));
  const bool lost_tail = seen.life != node.lives() && replica.durable < seen.durable && seen.noted <= replica.durable;
  if (rotten == engine::Copy{node.id(), node.incarnation()}) check_rotten(replica, lost_tail ? seen.durable : Lsn());
  const Lsn noted(static_cast<engine::GroupImpl*>(node.group())->store().superblock().durable_lsn);
  const bool news = seen.life != node.lives() || seen.role != replica.role || seen.serving != replica.serving || seen.epoch != status.epoch;
  seen = Seen{node.lives(), status.epoch, replica.commit, replica.durable, noted, replica.role, replica.serving};
  if (news && on_role) on_role(node.id(), replica, status.epoch);
}

// It came back with less than it had made durable. That others have it, too, is no excuse for anything; once it is the last one in
// sync without having got it back, what it lost is lost.
void Invariants::check_rotten(const ReplicaStatus& replica, Lsn lost) {
  if (lost > lacks_) lacks_ = lost;
  if (replica.role == GroupRole::follower && replica.durable >= lacks_) lacks_ = Lsn(), dropped_living_ = false;
  const auto has_it = [&](const engine::Copy& copy) { return copy != *rotten && (*nodes_)[copy.node.value - 1]->incarnation() == copy.incarnation; };
  if (lacks_ != Lsn() && !dropped_living_ && std::none_of(truth_.in_sync.begin(), truth_.in_sync.end(), has_it)) rotten_tail = true;
}

// Nobody can know of a copy before its hello is there: a connection is tried for again every 50 ms, and takes three ways, with the hello.
void Invariants::look_who_is_heard() {
  ClusterNode& bad = *(*nodes_)[rotten->node.value - 1];
  for (const auto& node : *nodes_) {
    const auto takes = way(rotten->node, node->id());
    if (!bad.is_open() || !node->is_open() || bad.host().paused() || node->host().paused() || !takes) {
      heard_.erase(node->id());
      continue;
    }
    Heard& heard = heard_[node->id()];
    const bool same = heard.life == node->lives() && heard.bad_life == bad.lives();
    if (!same || (heard.way != *takes && world_->now() < heard.by)) heard = Heard{node->lives(), bad.lives(), *takes, world_->now() + milliseconds(60) + DurationNs{3 * takes->value}};
  }
}

// Up, heard by the copy on the bad disk, fit, and with all that this one lacks.
bool Invariants::is_there(const engine::Copy& copy) const {
  const ClusterNode& node = *(*nodes_)[copy.node.value - 1];
  if (!node.is_open() || node.incarnation() != copy.incarnation || node.group()->status().failed) return false;
  const auto heard = heard_.find(copy.node);
  if (heard == heard_.end() || world_->now() < heard->second.by) return false;
  const ReplicaStatus replica = node.group()->replica_status();
  return replica.promotable && replica.durable >= lacks_;
}

void Invariants::check_in_sync(const ClusterNode& node, const ReplicaStatus& replica) {
  const engine::Copy copy{node.id(), node.incarnation()};
  if (!truth_.has_in_sync(copy)) return;
  // The end of its log may have gone without a trace; what clients were told is judged by what they read.
  if (rotten == copy || forced_) return;
  if (node.group()->status().failed) return;
  if (in_sync_is_fit && !replica.promotable) fail_(sim::format("node {} is in sync and may not lead: {}", node.id().value, replica.unfit_because));
  if (!replica.unfit_because.empty()) return;  // It has lost some of it by damage, knows that, and leads nobody.
  // Who leads and has lost the bare start of an epoch without a trace, with nothing behind it, has that cut elsewhere, too: no client was told of it.
  if (replica.durable < (rotten ? committed_content_ : committed_))
    fail_(sim::format("node {} is in sync and has {} durable; {} is committed", node.id().value, replica.durable.value, committed_.value));
}

void Invariants::acknowledged(NodeId by) {
  check();
  const ClusterNode& node = *(*nodes_)[by.value - 1];
  const Epoch epoch = node.group()->status().epoch;
  if (epoch < acknowledged_epoch_)
    fail_(sim::format("node {} acknowledges in epoch {}, after node {} did in epoch {}", by.value, epoch.value, acknowledged_by_.value, acknowledged_epoch_.value));
  if (epoch == acknowledged_epoch_ && by != acknowledged_by_)
    fail_(sim::format("nodes {} and {} both acknowledge in epoch {}", by.value, acknowledged_by_.value, epoch.value));
  if (serving_ && *serving_ != by) fail_(sim::format("node {} acknowledges while node {} serves", by.value, serving_->value));
  acknowledged_epoch_ = epoch;
  acknowledged_by_ = by;
}

void Invariants::told_view(NodeId by, NodeId named, BootNs asked) {
  check();
  const auto served = last_served_.find(named);
  if (served == last_served_.end() || served->second < asked)
    fail_(sim::format("node {} confirms that node {} is active, which has not served since that was asked", by.value, named.value));
}

}  // namespace holdfast::cluster
