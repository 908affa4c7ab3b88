#include "admin/health.h"

#include <boost/json.hpp>

#include "admin/names.h"
#include "admin/views.h"

namespace holdfast::admin {
namespace {

namespace json = boost::json;

Response answer(unsigned status, std::string_view word, json::array failed) {
  Response response;
  response.status = status;
  response.body = json::serialize(json::object{{"status", word}, {"failed", std::move(failed)}}) + "\n";
  return response;
}

json::array failed_volumes(const NodeStatus& node) {
  json::array out;
  for (const VolumeStatus& volume : node.volumes) {
    if (volume.health != VolumeHealth::failed) continue;
    out.push_back(json::object{{"volume", volume.name}, {"reason", volume.reason}});
  }
  return out;
}

// The volumes asked about: one, or all.
Result<std::vector<const VolumeStatus*>> asked_for(const NodeStatus& node, const Target& target) {
  const auto name = target.parameter("volume");
  std::vector<const VolumeStatus*> out;
  for (const VolumeStatus& volume : node.volumes) {
    if (!name || *name == volume.name) out.push_back(&volume);
  }
  if (name && out.empty()) return fail(Errc::not_found, "volume: there is no volume \"" + printable(*name) + "\"");
  return out;
}

}  // namespace

Response healthz_response(const NodeStatus& node, const Target&) { return answer(200, "ok", failed_volumes(node)); }

Response readyz_response(const NodeStatus& node, const Target&) {
  json::array failed = failed_volumes(node);
  const bool ready = failed.empty();
  return answer(ready ? 200 : 503, ready ? "ready" : "not ready", std::move(failed));
}

Response primary_response(const NodeStatus& node, const Target& target) {
  const auto volumes = asked_for(node, target);
  if (!volumes) return problem(volumes.error());
  json::array failed;
  for (const VolumeStatus* volume : *volumes) {
    if (volume->health != VolumeHealth::failed) continue;
    failed.push_back(json::object{{"volume", volume->name}, {"reason", volume->reason}});
  }
  const bool primary = failed.empty();
  return answer(primary ? 200 : 503, primary ? "primary" : "not primary", std::move(failed));
}

Response replica_response(const NodeStatus& node, const Target& target) {
  const auto volumes = asked_for(node, target);
  if (!volumes) return problem(volumes.error());
  return answer(503, "not a replica", {});
}

}  // namespace holdfast::admin
