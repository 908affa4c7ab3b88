// How a copy stands to the others, as operators are told.
#pragma once

#include "engine/group.h"
#include "engine/node.h"

namespace holdfast::daemon {

ReplicationStatus replication_status(const ReplicaStatus& replica, NodeId self);

}  // namespace holdfast::daemon
