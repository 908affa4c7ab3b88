#include "tools/holdfastd/replication_view.h"

namespace holdfast::daemon {
namespace {

ReplicaRole role_of(GroupRole role) {
  switch (role) {
    case GroupRole::follower: return ReplicaRole::follower;
    case GroupRole::opening: return ReplicaRole::opening;
    case GroupRole::primary: return ReplicaRole::primary;
  }
  return ReplicaRole::none;
}

}  // namespace

ReplicationStatus replication_status(const ReplicaStatus& replica, NodeId self) {
  ReplicationStatus out;
  out.role = role_of(replica.role);
  out.serving = replica.serving;
  out.primary_node = replica.view.primary.value;
  out.min_in_sync = replica.view.min_in_sync;
  out.lease_ms = replica.view.lease_ms;
  out.promotable = replica.promotable;
  out.unfit_because = replica.unfit_because;
  out.shipped_records = replica.shipped_records;
  out.shipped_bytes = replica.shipped_bytes;
  out.held_writes = replica.held_writes;
  out.rebuilding = replica.rebuilding;
  out.rebuild_bytes_done = replica.rebuild_bytes_done;
  out.rebuild_bytes_total = replica.rebuild_bytes_total;
  out.rebuilt_bytes = replica.rebuilt_bytes;
  for (const NodeId node : replica.view.members) {
    ReplicationStatus::Member member;
    member.node = node.value;
    member.is_self = node == self;
    member.connected = member.is_self;
    member.in_sync = replica.view.find_in_sync(node) != nullptr;
    if (member.is_self) member.acked_lsn = replica.durable.value;
    for (const ReplicaStatus::Member& other : replica.members) {
      if (other.node != node) continue;
      member.connected = other.connected;
      member.acked_lsn = other.acked.value;
    }
    out.members.push_back(member);
  }
  return out;
}

}  // namespace holdfast::daemon
