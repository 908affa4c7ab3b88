// The node's figures in the Prometheus text format.
#pragma once

#include "admin/http.h"
#include "engine/node.h"

namespace holdfast::admin {

Response metrics_response(const NodeStatus& node);

}  // namespace holdfast::admin
