#include "admin/views.h"

#include <boost/json.hpp>

#include "admin/names.h"

namespace holdfast::admin {
namespace {

namespace json = boost::json;

json::object replication_view(const ReplicationStatus& r) {
  json::array members;
  for (const ReplicationStatus::Member& m : r.members) {
    members.push_back(json::object{{"node", m.node},
                                   {"self", m.is_self},
                                   {"connected", m.connected},
                                   {"in_sync", m.in_sync},
                                   {"acked_lsn", m.acked_lsn},
                                   {"lag_bytes", m.lag_known ? json::value(m.lag_bytes) : json::value()},
                                   {"lag_ms", m.lag_known ? json::value(m.lag_ms) : json::value()}});
  }
  return json::object{{"state", r.state},
                      {"serving", r.serving},
                      {"hears_primary", r.hears_primary},
                      {"primary", r.primary_node},
                      {"min_in_sync", r.min_in_sync},
                      {"lease_ms", r.lease_ms},
                      {"promotable", r.promotable},
                      {"unfit_because", r.unfit_because},
                      {"members", std::move(members)},
                      {"shipped_records", r.shipped_records},
                      {"shipped_bytes", r.shipped_bytes},
                      {"held_writes", r.held_writes},
                      {"rebuild", json::object{{"running", r.rebuilding},
                                               {"bytes_done", r.rebuild_bytes_done},
                                               {"bytes_total", r.rebuild_bytes_total},
                                               {"fetched_bytes", r.rebuilt_bytes},
                                               {"ms", r.rebuild_ms},
                                               {"eta_ms", r.rebuild_eta_ms == 0 ? json::value() : json::value(r.rebuild_eta_ms)}}}};
}

json::object volume_view(const VolumeStatus& v) {
  json::object out;
  out["name"] = v.name;
  out["uuid"] = uuid_text(v.uuid);
  out["target"] = "iqn.2026-11.io.holdfast:" + v.name;
  out["role"] = v.replication ? role_name(v.replication->role) : "primary";  // A node by itself is the primary of all it serves.
  out["health"] = health_name(v.health);
  out["reason"] = v.reason;
  out["size_bytes"] = v.size_bytes;
  out["allocated_bytes"] = v.allocated_bytes;
  out["sessions"] = v.sessions;
  out["epoch"] = v.epoch;
  out["lsn"] = json::object{
      {"last", v.last_lsn}, {"commit", v.commit_lsn}, {"applied", v.applied_lsn}, {"checkpoint", v.checkpoint_lsn}};
  out["log"] = json::object{{"bytes", v.log_bytes}, {"used_bytes", v.log_used_bytes}};
  out["store"] = json::object{{"path", v.backing},
                              {"bytes", v.store_bytes},
                              {"free_bytes", v.store_free_bytes},
                              {"sync_latency_us", v.sync_latency_us},
                              {"checksum_errors", v.checksum_errors}};
  out["io"] = json::object{{"reads", v.reads},
                           {"writes", v.writes},
                           {"unmaps", v.unmaps},
                           {"read_bytes", v.read_bytes},
                           {"write_bytes", v.write_bytes}};
  out["recovery"] = json::object{{"records", v.recovered_records}, {"ms", v.recovery_ms}};
  if (v.replication) out["replication"] = replication_view(*v.replication);
  return out;
}

json::array volume_views(const NodeStatus& node) {
  json::array out;
  for (const VolumeStatus& volume : node.volumes) out.push_back(volume_view(volume));
  return out;
}

Response json_response(unsigned status, const json::object& body) {
  Response response;
  response.status = status;
  response.body = json::serialize(body) + "\n";
  return response;
}

}  // namespace

std::string_view role_name(ReplicaRole role) {
  switch (role) {
    case ReplicaRole::none: return "none";
    case ReplicaRole::follower: return "follower";
    case ReplicaRole::opening: return "opening";
    case ReplicaRole::primary: return "primary";
  }
  return "none";
}

std::string_view health_name(VolumeHealth health) {
  switch (health) {
    case VolumeHealth::serving: return "serving";
    case VolumeHealth::read_errors: return "read_errors";
    case VolumeHealth::out_of_space: return "out_of_space";
    case VolumeHealth::failed: return "failed";
    case VolumeHealth::degraded: return "degraded";
    case VolumeHealth::standby: return "standby";
    case VolumeHealth::waiting: return "waiting";
  }
  return "unknown";
}

Response volume_list_response(const NodeStatus& node) {
  return json_response(200, {{"volumes", volume_views(node)}});
}

Response volume_response(const VolumeStatus& volume) { return json_response(200, volume_view(volume)); }

Response volume_created_response(const VolumeStatus& volume) {
  Response response = json_response(201, volume_view(volume));
  response.headers.emplace_back("Location", "/v1/volumes/" + volume.name);
  return response;
}

Response node_response(const NodeStatus& node) {
  json::object out;
  out["name"] = node.name;
  out["version"] = node.version;
  out["uptime_ms"] = node.uptime_ms;
  out["reactors"] = node.reactors;
  out["data_dir"] = node.data_directory;
  out["portals"] = json::array(node.portals.begin(), node.portals.end());
  out["volumes"] = volume_views(node);
  if (node.cluster) out["cluster"] = json::object{{"name", node.cluster->name}, {"node", node.cluster->node}, {"trouble", node.cluster->trouble}};
  return json_response(200, out);
}

}  // namespace holdfast::admin
