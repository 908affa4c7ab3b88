// The cluster's part of the API: nodes, members, who leads.
#pragma once

#include "admin/http.h"
#include "engine/node.h"

namespace holdfast::admin {

Response cluster_response(const ClusterStatus& cluster);
Response cluster_id_response(const std::string& id);
Response drained_response(const std::vector<std::string>& volumes);

// {"node": 4}
Result<MemberChange> parse_add_member(const Request& request, const Target& target);
// {"replacement": 4} or {"renew": true}
Result<MemberChange> parse_change_member(const Request& request, const Target& target);
Result<MemberChange> parse_remove_member(const Target& target);
// {"candidate": 2}, or an empty object.
Result<Switchover> parse_switchover(const Request& request, const Target& target);
// {"candidate": 2, "accept_data_loss": true, "others_fenced": true}
Result<ForcedFailOver> parse_fail_over(const Request& request, const Target& target);
// {"min_in_sync": 2, "lease_ms": 600}
Result<VolumeSettings> parse_settings(const Request& request, const Target& target);
// A candidate that is not fit is no mistake of the request: 412.
Response switchover_problem(const Error& error);

}  // namespace holdfast::admin
