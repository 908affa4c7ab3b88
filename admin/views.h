// What the API answers: documents of docs/api.md.
#pragma once

#include "admin/http.h"
#include "engine/node.h"

namespace holdfast::admin {

Response volume_list_response(const NodeStatus& node);
Response volume_response(const VolumeStatus& volume);
Response volume_created_response(const VolumeStatus& volume);
Response node_response(const NodeStatus& node);
std::string_view role_name(ReplicaRole role);
std::string_view health_name(VolumeHealth health);

}  // namespace holdfast::admin
