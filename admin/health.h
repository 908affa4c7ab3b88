// Probes for supervisors and load balancers: the status code is the answer, the body explains it.
#pragma once

#include "admin/http.h"
#include "engine/node.h"

namespace holdfast::admin {

// 200 as long as the node's threads answer: restart the process otherwise.
Response healthz_response(const NodeStatus& node, const Target& target);
// 200 when every volume serves, 503 with the reasons otherwise. A volume that is out of space still serves.
Response readyz_response(const NodeStatus& node, const Target& target);
// 200 where the node may serve the volume (?volume=NAME) or, without one, all of its volumes.
Response primary_response(const NodeStatus& node, const Target& target);
// 200 where the node is a standby copy: never, with one node.
Response replica_response(const NodeStatus& node, const Target& target);

}  // namespace holdfast::admin
