#include "admin/cluster.h"

#include <boost/json.hpp>

#include <charconv>

#include "admin/invalid.h"
#include "admin/names.h"
#include "admin/volumes.h"

namespace holdfast::admin {
namespace {

namespace json = boost::json;

constexpr std::uint64_t kNodeMax = 65'535;

Response cluster_json(const json::object& body) {
  Response response;
  response.body = json::serialize(body) + "\n";
  return response;
}

// The body's fields, of which each must be known.
Result<json::object> fields_of(const Request& request, std::initializer_list<std::string_view> known) {
  if (!is_json(request.content_type)) return fail(Errc::unsupported, "send the body as \"Content-Type: application/json\"");
  json::error_code error;
  json::parse_options limits;
  limits.max_depth = 8;
  const json::value body = json::parse(request.body.empty() ? "{}" : request.body, error, {}, limits);
  if (error || !body.is_object()) return invalid("body: must be a JSON object");
  for (const auto& field : body.get_object()) {
    if (std::find(known.begin(), known.end(), std::string_view(field.key())) != known.end()) continue;
    std::string all;
    for (const std::string_view name : known) all.append(all.empty() ? "" : ", ").append(name);
    return invalid("body: unknown field \"" + printable(field.key()) + "\"; known: " + all);
  }
  return body.get_object();
}

Result<std::uint64_t> whole_number(const json::object& fields, std::string_view field, std::uint64_t max) {
  const json::value* value = fields.if_contains(field);
  if (!value || !value->is_int64() || value->get_int64() < 1 || static_cast<std::uint64_t>(value->get_int64()) > max)
    return invalid(std::string(field) + ": must be a number from 1 to " + std::to_string(max));
  return static_cast<std::uint64_t>(value->get_int64());
}

Result<bool> yes_or_no(const json::object& fields, std::string_view field) {
  const json::value* value = fields.if_contains(field);
  if (!value) return false;
  if (!value->is_bool()) return invalid(std::string(field) + ": must be true or false");
  return value->get_bool();
}

Result<std::uint64_t> node_in_path(const Target& target) {
  const std::string& text = target.segments[4];
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number == 0 || number > kNodeMax)
    return invalid("node: \"" + printable(text) + "\" is no node's number");
  return number;
}

}  // namespace

Response cluster_response(const ClusterStatus& cluster) {
  json::array nodes;
  for (const ClusterNode& node : cluster.nodes) {
    nodes.push_back(json::object{{"node", node.node},
                                 {"name", node.name},
                                 {"self", node.is_self},
                                 {"links", json::array(node.links.begin(), node.links.end())},
                                 {"portals", json::array(node.portals.begin(), node.portals.end())},
                                 {"admin", node.admin}});
  }
  return cluster_json({{"name", cluster.name}, {"id", cluster.id}, {"node", cluster.node}, {"trouble", cluster.trouble}, {"nodes", std::move(nodes)}});
}

Response cluster_id_response(const std::string& id) { return cluster_json({{"id", id}}); }

Response drained_response(const std::vector<std::string>& volumes) {
  return cluster_json({{"handed_over", json::array(volumes.begin(), volumes.end())}});
}

Result<MemberChange> parse_add_member(const Request& request, const Target& target) {
  const auto fields = fields_of(request, {"node"});
  if (!fields) return fail(fields.error());
  const auto node = whole_number(*fields, "node", kNodeMax);
  if (!node) return fail(node.error());
  return MemberChange{MemberChange::Kind::add, target.segments[2], *node, 0};
}

Result<MemberChange> parse_change_member(const Request& request, const Target& target) {
  const auto node = node_in_path(target);
  if (!node) return fail(node.error());
  const auto fields = fields_of(request, {"replacement", "renew"});
  if (!fields) return fail(fields.error());
  const auto renew = yes_or_no(*fields, "renew");
  if (!renew) return fail(renew.error());
  if (*renew != !fields->contains("replacement")) return invalid("body: must say {\"replacement\": NODE} or {\"renew\": true}");
  if (*renew) return MemberChange{MemberChange::Kind::renew, target.segments[2], *node, 0};
  const auto replacement = whole_number(*fields, "replacement", kNodeMax);
  if (!replacement) return fail(replacement.error());
  return MemberChange{MemberChange::Kind::replace, target.segments[2], *node, *replacement};
}

Result<MemberChange> parse_remove_member(const Target& target) {
  const auto node = node_in_path(target);
  if (!node) return fail(node.error());
  return MemberChange{MemberChange::Kind::remove, target.segments[2], *node, 0};
}

Result<Switchover> parse_switchover(const Request& request, const Target& target) {
  const auto fields = fields_of(request, {"candidate"});
  if (!fields) return fail(fields.error());
  Switchover out{target.segments[2], 0};
  if (!fields->contains("candidate")) return out;
  const auto node = whole_number(*fields, "candidate", kNodeMax);
  if (!node) return fail(node.error());
  out.candidate = *node;
  return out;
}

Result<ForcedFailOver> parse_fail_over(const Request& request, const Target& target) {
  const auto fields = fields_of(request, {"candidate", "accept_data_loss", "others_fenced"});
  if (!fields) return fail(fields.error());
  const auto loss = yes_or_no(*fields, "accept_data_loss"), fenced = yes_or_no(*fields, "others_fenced");
  if (!loss) return fail(loss.error());
  if (!fenced) return fail(fenced.error());
  ForcedFailOver out{target.segments[2], 0, *loss, *fenced};
  if (!fields->contains("candidate")) return out;
  const auto node = whole_number(*fields, "candidate", kNodeMax);
  if (!node) return fail(node.error());
  out.candidate = *node;
  return out;
}

Result<VolumeSettings> parse_settings(const Request& request, const Target& target) {
  const auto fields = fields_of(request, {"min_in_sync", "lease_ms"});
  if (!fields) return fail(fields.error());
  VolumeSettings out{target.segments[2], std::nullopt, std::nullopt};
  if (fields->contains("min_in_sync")) {
    const auto count = whole_number(*fields, "min_in_sync", 5);
    if (!count) return fail(count.error());
    out.min_in_sync = static_cast<std::uint32_t>(*count);
  }
  if (fields->contains("lease_ms")) {
    const auto lease = whole_number(*fields, "lease_ms", 3'600'000);
    if (!lease) return fail(lease.error());
    out.lease_ms = static_cast<std::uint32_t>(*lease);
  }
  if (!out.min_in_sync && !out.lease_ms) return invalid("body: says nothing to change; known: min_in_sync, lease_ms");
  return out;
}

Response switchover_problem(const Error& error) {
  constexpr std::string_view kCandidate = "candidate: ";
  if (error.code != Errc::invalid_argument || !error.message.starts_with(kCandidate)) return problem(error);
  return problem(412, "candidate not fit", error.message.substr(kCandidate.size()), "candidate");
}

}  // namespace holdfast::admin
