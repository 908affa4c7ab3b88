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

// A node by itself is the primary of all that it can serve.
bool leads(const VolumeStatus& volume) {
  if (volume.health == VolumeHealth::failed) return false;
  return !volume.replication || volume.replication->serving;
}

// It has everything, and would take over.
bool stands_by(const VolumeStatus& volume) { return volume.health == VolumeHealth::standby && volume.replication && volume.replication->hears_primary; }

std::string why_not(const VolumeStatus& volume) {
  if (!volume.reason.empty() || !volume.replication) return volume.reason;
  return "node " + std::to_string(volume.replication->primary_node) + " leads it";
}

// 200 when it is so of each of the volumes.
Response when_all(const std::vector<const VolumeStatus*>& volumes, bool (*is_so)(const VolumeStatus&), std::string_view word) {
  json::array others;
  for (const VolumeStatus* volume : volumes)
    if (!is_so(*volume)) others.push_back(json::object{{"volume", volume->name}, {"reason", why_not(*volume)}});
  const bool all = others.empty();
  return answer(all ? 200 : 503, all ? std::string(word) : "not " + std::string(word), std::move(others));
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
  return when_all(*volumes, leads, "primary");
}

Response replica_response(const NodeStatus& node, const Target& target) {
  const auto volumes = asked_for(node, target);
  if (!volumes) return problem(volumes.error());
  if (volumes->empty()) return answer(503, "not replica", {});
  return when_all(*volumes, stands_by, "replica");
}

}  // namespace holdfast::admin
