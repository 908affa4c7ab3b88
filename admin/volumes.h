// The bodies and parameters of requests about volumes, checked field by field.
#pragma once

#include "admin/http.h"
#include "engine/node.h"

namespace holdfast::admin {

// {"name": "pg", "size": "10GiB" | bytes, "log_size": …, "device": "/dev/…"}: unknown fields are refused.
// unsupported: another content type than application/json.
Result<CreateVolume> parse_create_volume(const Request& request);
bool is_json(std::string_view content_type);
// As problem(), but a wrong content type is 415.
Response body_problem(const Error& error);
// ?force=true
Result<bool> parse_force(const Target& target);

}  // namespace holdfast::admin
