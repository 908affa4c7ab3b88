#include "admin/api.h"

#include <algorithm>
#include <array>
#include <span>

#include "admin/cluster.h"
#include "admin/health.h"
#include "admin/log.h"
#include "admin/metrics.h"
#include "admin/names.h"
#include "admin/views.h"
#include "admin/volumes.h"

namespace holdfast::admin {
namespace {

struct Call {
  NodeControl& node;
  Request request;
  Target target;
};
using Handler = void (*)(Call call, Respond respond);

void list_volumes(Call call, Respond respond) {
  call.node.status([respond = std::move(respond)](Result<NodeStatus> status) mutable {
    respond(status ? volume_list_response(*status) : problem(status.error()));
  });
}

void create_volume(Call call, Respond respond) {
  auto wanted = parse_create_volume(call.request);
  if (!wanted) return respond(body_problem(wanted.error()));
  call.node.create_volume(std::move(*wanted), [respond = std::move(respond)](Result<VolumeStatus> made) mutable {
    respond(made ? volume_created_response(*made) : problem(made.error()));
  });
}

void show_volume(Call call, Respond respond) {
  call.node.volume_status(call.target.segments[2], [respond = std::move(respond)](Result<VolumeStatus> status) mutable {
    respond(status ? volume_response(*status) : problem(status.error()));
  });
}

Response no_content() { return Response{.status = 204, .content_type = {}, .body = {}, .headers = {}}; }

void delete_volume(Call call, Respond respond) {
  const auto force = parse_force(call.target);
  if (!force) return respond(problem(force.error()));
  call.node.delete_volume(call.target.segments[2], *force, [respond = std::move(respond)](Result<void> gone) mutable {
    respond(gone ? no_content() : problem(gone.error()));
  });
}

void read_log(Call call, Respond respond) {
  auto wanted = parse_read_log(call.target);
  if (!wanted) return respond(problem(wanted.error()));
  call.node.read_log(std::move(*wanted), [respond = std::move(respond)](Result<LogBatch> batch) mutable {
    respond(batch ? log_response(*batch) : problem(batch.error()));
  });
}

void list_consumers(Call call, Respond respond) {
  call.node.consumers(call.target.segments[2], [respond = std::move(respond)](Result<std::vector<ConsumerStatus>> all) mutable {
    respond(all ? consumers_response(*all) : problem(all.error()));
  });
}

void create_consumer(Call call, Respond respond) {
  auto wanted = parse_create_consumer(call.request);
  if (!wanted) return respond(body_problem(wanted.error()));
  call.node.create_consumer({call.target.segments[2], std::move(wanted->name)}, wanted->start,
                            [respond = std::move(respond)](Result<ConsumerStatus> made) mutable {
                              respond(made ? consumer_created_response(*made) : problem(made.error()));
                            });
}

void confirm_consumer(Call call, Respond respond) {
  const auto wanted = parse_confirm_consumer(call.request);
  if (!wanted) return respond(body_problem(wanted.error()));
  call.node.confirm_consumer({call.target.segments[2], call.target.segments[4]}, wanted->lsn, wanted->when,
                             [respond = std::move(respond)](Result<void> done) mutable {
                               respond(done ? no_content() : problem(done.error()));
                             });
}

void drop_consumer(Call call, Respond respond) {
  call.node.drop_consumer({call.target.segments[2], call.target.segments[4]}, [respond = std::move(respond)](Result<void> done) mutable {
    respond(done ? no_content() : problem(done.error()));
  });
}

auto nothing_or_problem(Respond respond) {
  return [respond = std::move(respond)](Result<void> done) mutable { respond(done ? no_content() : problem(done.error())); };
}

void show_cluster(Call call, Respond respond) {
  call.node.cluster([respond = std::move(respond)](Result<ClusterStatus> cluster) mutable {
    respond(cluster ? cluster_response(*cluster) : problem(cluster.error()));
  });
}

void set_up_cluster(Call call, Respond respond) {
  call.node.set_up_cluster([respond = std::move(respond)](Result<std::string> id) mutable { respond(id ? cluster_id_response(*id) : problem(id.error())); });
}

void take_over_etcd(Call call, Respond respond) {
  call.node.take_over_etcd([respond = std::move(respond)](Result<std::string> id) mutable { respond(id ? cluster_id_response(*id) : problem(id.error())); });
}

void change_member_as(Call& call, Result<MemberChange> wanted, Respond respond) {
  if (!wanted) return respond(body_problem(wanted.error()));
  call.node.change_member(std::move(*wanted), nothing_or_problem(std::move(respond)));
}
void add_member(Call call, Respond respond) { change_member_as(call, parse_add_member(call.request, call.target), std::move(respond)); }
void change_member(Call call, Respond respond) { change_member_as(call, parse_change_member(call.request, call.target), std::move(respond)); }
void remove_member(Call call, Respond respond) { change_member_as(call, parse_remove_member(call.target), std::move(respond)); }

void switch_over(Call call, Respond respond) {
  auto wanted = parse_switchover(call.request, call.target);
  if (!wanted) return respond(body_problem(wanted.error()));
  call.node.switch_over(std::move(*wanted), [respond = std::move(respond)](Result<void> done) mutable {
    respond(done ? no_content() : switchover_problem(done.error()));
  });
}

void fail_over(Call call, Respond respond) {
  auto wanted = parse_fail_over(call.request, call.target);
  if (!wanted) return respond(body_problem(wanted.error()));
  call.node.fail_over(std::move(*wanted), nothing_or_problem(std::move(respond)));
}

void set_volume(Call call, Respond respond) {
  auto wanted = parse_settings(call.request, call.target);
  if (!wanted) return respond(body_problem(wanted.error()));
  call.node.set_volume(std::move(*wanted), nothing_or_problem(std::move(respond)));
}

void drain(Call call, Respond respond) {
  call.node.drain([respond = std::move(respond)](Result<std::vector<std::string>> done) mutable {
    respond(done ? drained_response(*done) : problem(done.error()));
  });
}

void show_status(Call call, Respond respond) {
  call.node.status([respond = std::move(respond)](Result<NodeStatus> status) mutable {
    respond(status ? node_response(*status) : problem(status.error()));
  });
}

template <Response (*view)(const NodeStatus&, const Target&)>
void probe(Call call, Respond respond) {
  call.node.status([target = std::move(call.target), respond = std::move(respond)](Result<NodeStatus> status) mutable {
    respond(status ? view(*status, target) : problem(503, "not answering", status.error().text()));
  });
}

void metrics(Call call, Respond respond) {
  call.node.status([respond = std::move(respond)](Result<NodeStatus> status) mutable {
    respond(status ? metrics_response(*status) : problem(status.error()));
  });
}

enum class Access : std::uint8_t { token, open };

struct Route {
  std::string_view method;
  std::array<std::string_view, 5> path;  // "*" is any one segment; empty ones end the path.
  Access access;
  std::array<std::string_view, 5> parameters;  // The query parameters it knows; empty ones end them.
  Handler handler;
};

constexpr Route kRoutes[] = {
    {"GET", {"v1", "volumes", ""}, Access::token, {}, list_volumes},
    {"POST", {"v1", "volumes", ""}, Access::token, {}, create_volume},
    {"GET", {"v1", "volumes", "*"}, Access::token, {}, show_volume},
    {"DELETE", {"v1", "volumes", "*"}, Access::token, {"force"}, delete_volume},
    {"GET", {"v1", "volumes", "*", "log"}, Access::token, {"from", "consumer", "limit", "wait_ms", "payload"}, read_log},
    {"GET", {"v1", "volumes", "*", "consumers"}, Access::token, {}, list_consumers},
    {"POST", {"v1", "volumes", "*", "consumers"}, Access::token, {}, create_consumer},
    {"PUT", {"v1", "volumes", "*", "consumers", "*"}, Access::token, {}, confirm_consumer},
    {"DELETE", {"v1", "volumes", "*", "consumers", "*"}, Access::token, {}, drop_consumer},
    {"PATCH", {"v1", "volumes", "*"}, Access::token, {}, set_volume},
    {"POST", {"v1", "volumes", "*", "members"}, Access::token, {}, add_member},
    {"PUT", {"v1", "volumes", "*", "members", "*"}, Access::token, {}, change_member},
    {"DELETE", {"v1", "volumes", "*", "members", "*"}, Access::token, {}, remove_member},
    {"POST", {"v1", "volumes", "*", "switchover"}, Access::token, {}, switch_over},
    {"POST", {"v1", "volumes", "*", "failover"}, Access::token, {}, fail_over},
    {"GET", {"v1", "cluster", ""}, Access::token, {}, show_cluster},
    {"POST", {"v1", "cluster", ""}, Access::token, {}, set_up_cluster},
    {"POST", {"v1", "cluster", "takeover"}, Access::token, {}, take_over_etcd},
    {"POST", {"v1", "drain", ""}, Access::token, {}, drain},
    {"GET", {"v1", "status", ""}, Access::token, {}, show_status},
    {"GET", {"healthz", "", ""}, Access::open, {}, probe<healthz_response>},
    {"GET", {"readyz", "", ""}, Access::open, {}, probe<readyz_response>},
    {"GET", {"primary", "", ""}, Access::open, {"volume"}, probe<primary_response>},
    {"GET", {"replica", "", ""}, Access::open, {"volume"}, probe<replica_response>},
    {"GET", {"metrics", "", ""}, Access::token, {}, metrics},
};

bool knows(const Route& route, std::string_view parameter) {
  return std::find(route.parameters.begin(), route.parameters.end(), parameter) != route.parameters.end();
}

std::string known_parameters(const Route& route) {
  std::string out;
  for (const std::string_view name : route.parameters) out.append(out.empty() || name.empty() ? "" : ", ").append(name);
  return out;
}

bool path_matches(const Route& route, const std::vector<std::string>& segments) {
  std::size_t length = 0;
  while (length < route.path.size() && !route.path[length].empty()) ++length;
  if (segments.size() != length) return false;
  for (std::size_t i = 0; i < length; ++i) {
    if (route.path[i] != "*" && route.path[i] != segments[i]) return false;
  }
  return true;
}

bool method_matches(const Route& route, std::string_view method) {
  return route.method == method || (route.method == "GET" && method == "HEAD");
}

// Takes as long for a wrong first byte as for a wrong last one.
bool equal_constant_time(std::string_view a, std::string_view b) {
  unsigned difference = a.size() == b.size() ? 0 : 1;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const unsigned char other = b.empty() ? 0 : static_cast<unsigned char>(b[i % b.size()]);
    difference |= static_cast<unsigned>(static_cast<unsigned char>(a[i]) ^ other);
  }
  return difference == 0;
}

bool authorized(std::string_view header, std::string_view token) {
  constexpr std::string_view kScheme = "Bearer ";
  if (token.empty()) return true;
  return header.starts_with(kScheme) && equal_constant_time(header.substr(kScheme.size()), token);
}

Response unauthorized() {
  Response response = problem(401, "token required", "this node asks for a bearer token: send \"Authorization: Bearer "
                                                     "TOKEN\" with the token of its admin.token_file");
  response.headers.emplace_back("WWW-Authenticate", "Bearer realm=\"holdfast\"");
  return response;
}

Response no_such_path(const Target& target) {
  std::string path;
  for (const std::string& segment : target.segments) path.append("/").append(segment);
  return problem(404, "no such path", "there is nothing at " + printable(path.empty() ? "/" : path) +
                                          "; see /v1/volumes, /v1/status, /metrics, /healthz, /readyz, /primary, /replica");
}

Response method_not_allowed(std::string_view method, std::string allowed) {
  Response response = problem(405, "method not allowed", printable(method) + " is not possible here; allowed: " + allowed);
  response.headers.emplace_back("Allow", std::move(allowed));
  return response;
}

}  // namespace

Api::Api(NodeControl& node, ApiOptions options) : node_(node), token_(std::make_shared<Token>()) { token_->text = std::move(options.token); }

void Api::set_token(std::string token) {
  const std::lock_guard lock(token_->mutex);
  token_->text = std::move(token);
}

bool Api::is_authorized(const std::string& header) const {
  const std::lock_guard lock(token_->mutex);
  return authorized(header, token_->text);
}

void Api::handle(Request request, Respond respond) const {
  auto target = parse_target(request.target);
  if (!target) return respond(problem(target.error()));
  const Route* found = nullptr;
  std::string allowed;
  bool open = false;
  for (const Route& route : kRoutes) {
    if (!path_matches(route, target->segments)) continue;
    if (method_matches(route, request.method)) found = &route;
    allowed.append(allowed.empty() ? "" : ", ").append(route.method == "GET" ? "GET, HEAD" : route.method);
    open = open || route.access == Access::open;
  }
  // Before anything about the node is told, also which paths there are.
  if (!open && !is_authorized(request.authorization)) return respond(unauthorized());
  if (allowed.empty()) return respond(no_such_path(*target));
  if (!found) return respond(method_not_allowed(request.method, std::move(allowed)));
  for (const auto& [name, value] : target->query) {
    if (!name.empty() && knows(*found, name)) continue;
    const std::string all = known_parameters(*found);
    const std::string known = all.empty() ? "there are none here" : "known here: " + all;
    return respond(problem(400, "invalid argument", "unknown query parameter; " + known, printable(name)));
  }
  found->handler(Call{node_, std::move(request), std::move(*target)}, std::move(respond));
}

}  // namespace holdfast::admin
