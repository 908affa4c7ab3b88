// What must hold of a cluster at every instant, in one place. Compared with what held before.
//   - Who acknowledges serves alone, and never in an older epoch than one that has acknowledged before (P3, C8).
//   - A node's epoch, and what it knows to be committed, only grow; the epoch also across its crashes (C1).
//   - What anybody knows to be committed is durable on every member of the register's in-sync set (P1, C17).
//   - Who is confirmed to be active has served since that was asked.
//   - Nothing is applied that is not committed, nothing is committed that is not logged.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>

#include "engine/register.h"
#include "test/cluster/cluster_node.h"

namespace holdfast::cluster {

class Invariants {
 public:
  using Nodes = std::vector<std::unique_ptr<ClusterNode>>;
  using Fail = std::function<void(std::string)>;
  Invariants(const sim::SimWorld& world, const Nodes& nodes, Fail fail) : world_(&world), nodes_(&nodes), fail_(std::move(fail)) {}

  void register_changed(const engine::Register& now);
  // After an event.
  void check();
  // At the instant at which a node acknowledges.
  void acknowledged(NodeId node);
  // At the instant at which a node that was asked then says who is active.
  void told_view(NodeId by, NodeId named, BootNs asked);

  // Of this instant, from the last check.
  std::optional<NodeId> serving() const { return serving_; }
  const engine::Register& truth() const { return truth_; }
  Lsn committed() const { return committed_; }
  std::uint64_t checks() const { return checks_; }
  // A disk was replaced: what its node knew is gone.
  void forget(NodeId node) { seen_.erase(node); }
  // Then a scrub that finds a difference between copies is a violation.
  bool copies_agree = false;
  // The copy on the bad disk came back with less than it had made durable, nothing on it had said that there was more, and it was the
  // last one in sync then. That is no excuse where another one was there that had it, and was taken out.
  bool rotten_tail = false;
  // How long a frame between the two takes, in the slower direction; nothing: it does not arrive.
  std::function<std::optional<DurationNs>(NodeId, NodeId)> way = [](NodeId, NodeId) { return DurationNs(); };
  bool in_sync_is_fit = true;          // No disk is damaged but the one that rots.
  std::optional<engine::Copy> rotten;  // Whose disk rots.
  // Told what a node's role has become, for the story.
  std::function<void(NodeId, const ReplicaStatus&, Epoch)> on_role;

 private:
  struct Seen {
    std::uint64_t life = 0;
    Epoch epoch;
    Lsn commit;
    Lsn durable, noted;                // Noted: what the superblock proves of it.
    GroupRole role = GroupRole::follower;
    bool serving = false;
  };
  void check_node(const ClusterNode& node, const GroupStatus& status, const ReplicaStatus& replica);
  void check_rotten(const ReplicaStatus& replica, Lsn lost);
  void look_who_is_heard();
  bool is_there(const engine::Copy& copy) const;
  void check_in_sync(const ClusterNode& node, const ReplicaStatus& replica);

  const sim::SimWorld* world_;
  const Nodes* nodes_;
  Fail fail_;
  std::map<NodeId, Seen> seen_;
  engine::Register truth_;
  std::optional<NodeId> serving_;
  std::map<NodeId, BootNs> last_served_;
  struct Heard {
    std::uint64_t life = 0, bad_life = 0;  // Of the copy, and of the one on the bad disk.
    DurationNs way{};
    BootNs by;                             // From then on it must have heard the other one.
  };
  std::map<NodeId, Heard> heard_;          // By the copy on the bad disk, who is up and linked to it.
  Lsn lacks_;                   // Of the copy on the bad disk: up to there it had more, in an earlier life.
  bool dropped_living_ = false; // While it lacked that, a copy that had it was taken out although it was there.
  bool forced_ = false;         // An operator accepted that data is lost.
  Lsn committed_;               // The highest that any node knew to be committed …
  Lsn committed_content_;       // … and the same without the starts of epochs at its end.
  Epoch acknowledged_epoch_;    // The highest in which a node has acknowledged.
  NodeId acknowledged_by_;
  std::uint64_t checks_ = 0;
};

}  // namespace holdfast::cluster
