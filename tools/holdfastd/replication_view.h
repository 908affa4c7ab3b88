// How a copy stands to the others, as operators are told.
#pragma once

#include "engine/group.h"
#include "engine/node.h"

namespace holdfast::daemon {

ReplicationStatus replication_status(const ReplicaStatus& replica, NodeId self);

// How the volume is, seen from this copy, and why it is not well and what to do. Says nothing about the store (GroupStatus does).
struct Judgement {
  VolumeHealth health = VolumeHealth::serving;
  std::string reason;  // Empty when all is well.
};
Judgement judge(const ReplicationStatus& replication);

// Why the copy of that node may not be let lead; empty: nothing is known against it.
std::string unfit_to_lead(const ReplicationStatus& replication, NodeId candidate);

}  // namespace holdfast::daemon
