#include "admin/metrics.h"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <array>
#include <optional>

#include "admin/views.h"

namespace holdfast::admin {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

// One figure of every volume. Base units, and `_total` for what only grows (prometheus.io, naming).
struct VolumeMetric {
  const char* name;
  const char* help;
  MetricType type;
  double (*value)(const VolumeStatus&);
};

template <std::uint64_t VolumeStatus::*field>
double number(const VolumeStatus& v) { return static_cast<double>(v.*field); }

constexpr double kMicro = 1e-6;
constexpr double kMilli = 1e-3;

const VolumeMetric kVolumeMetrics[] = {
    {"holdfast_volume_size_bytes", "Size of the volume as initiators see it.", MetricType::Gauge,
     number<&VolumeStatus::size_bytes>},
    {"holdfast_volume_allocated_bytes", "Bytes of chunks the volume has allocated.", MetricType::Gauge,
     number<&VolumeStatus::allocated_bytes>},
    {"holdfast_volume_up", "1 when the volume serves, 0 when it failed.", MetricType::Gauge,
     [](const VolumeStatus& v) { return v.health == VolumeHealth::failed ? 0.0 : 1.0; }},
    {"holdfast_volume_sessions", "iSCSI sessions of the volume's target.", MetricType::Gauge,
     number<&VolumeStatus::sessions>},
    {"holdfast_volume_reads_total", "Read commands answered.", MetricType::Counter, number<&VolumeStatus::reads>},
    {"holdfast_volume_writes_total", "Write commands answered.", MetricType::Counter, number<&VolumeStatus::writes>},
    {"holdfast_volume_unmaps_total", "Unmap commands answered.", MetricType::Counter, number<&VolumeStatus::unmaps>},
    {"holdfast_volume_read_bytes_total", "Bytes read.", MetricType::Counter, number<&VolumeStatus::read_bytes>},
    {"holdfast_volume_written_bytes_total", "Bytes written.", MetricType::Counter, number<&VolumeStatus::write_bytes>},
    {"holdfast_volume_checksum_errors_total", "Blocks whose checksum did not match.", MetricType::Counter,
     number<&VolumeStatus::checksum_errors>},
    {"holdfast_volume_epoch", "Epoch of the volume's group.", MetricType::Gauge, number<&VolumeStatus::epoch>},
    {"holdfast_volume_last_lsn", "Highest log sequence number handed out.", MetricType::Gauge,
     number<&VolumeStatus::last_lsn>},
    {"holdfast_volume_commit_lsn", "Highest committed log sequence number.", MetricType::Gauge,
     number<&VolumeStatus::commit_lsn>},
    {"holdfast_volume_applied_lsn", "Highest applied log sequence number.", MetricType::Gauge,
     number<&VolumeStatus::applied_lsn>},
    {"holdfast_volume_checkpoint_lsn", "Log sequence number of the last checkpoint.", MetricType::Gauge,
     number<&VolumeStatus::checkpoint_lsn>},
    {"holdfast_volume_log_size_bytes", "Size of the log.", MetricType::Gauge, number<&VolumeStatus::log_bytes>},
    {"holdfast_volume_log_used_bytes", "Bytes of the log that a checkpoint would free or that recovery would read.",
     MetricType::Gauge, number<&VolumeStatus::log_used_bytes>},
    {"holdfast_store_size_bytes", "Size of the volume's backing store.", MetricType::Gauge,
     number<&VolumeStatus::store_bytes>},
    {"holdfast_store_free_bytes", "Bytes that new allocations can still have.", MetricType::Gauge,
     number<&VolumeStatus::store_free_bytes>},
    {"holdfast_store_sync_latency_seconds", "Latency of one sync of the backing device, measured at open.",
     MetricType::Gauge, [](const VolumeStatus& v) { return static_cast<double>(v.sync_latency_us) * kMicro; }},
    {"holdfast_volume_recovered_records", "Log records replayed at the last start.", MetricType::Gauge,
     number<&VolumeStatus::recovered_records>},
    {"holdfast_volume_recovery_seconds", "Time recovery took at the last start.", MetricType::Gauge,
     [](const VolumeStatus& v) { return static_cast<double>(v.recovery_ms) * kMilli; }},
};

ClientMetric sample(MetricType type, double value, std::vector<ClientMetric::Label> labels) {
  ClientMetric metric;
  metric.label = std::move(labels);
  (type == MetricType::Counter ? metric.counter.value : metric.gauge.value) = value;
  return metric;
}

MetricFamily single(const char* name, const char* help, MetricType type, double value,
                    std::vector<ClientMetric::Label> labels = {}) {
  return MetricFamily{name, help, type, {sample(type, value, std::move(labels))}};
}

MetricFamily volume_family(const VolumeMetric& metric, const NodeStatus& node) {
  MetricFamily family{metric.name, metric.help, metric.type, {}};
  for (const VolumeStatus& volume : node.volumes) {
    family.metric.push_back(sample(metric.type, metric.value(volume), {{"volume", volume.name}}));
  }
  return family;
}

// Of volumes with copies on several nodes.
struct ReplicationMetric {
  const char* name;
  const char* help;
  MetricType type;
  double (*value)(const ReplicationStatus&);
};

template <auto ReplicationStatus::*field>
double figure(const ReplicationStatus& r) { return static_cast<double>(r.*field); }

const ReplicationMetric kReplicationMetrics[] = {
    {"holdfast_volume_primary", "1 when this node serves the volume.", MetricType::Gauge, figure<&ReplicationStatus::serving>},
    {"holdfast_volume_promotable", "1 when this node's copy could lead as far as its store is concerned.", MetricType::Gauge, figure<&ReplicationStatus::promotable>},
    {"holdfast_volume_copies", "Copies that the volume has, well or not, as this node's copy knows it.", MetricType::Gauge,
     [](const ReplicationStatus& r) { return static_cast<double>(r.members.size()); }},
    {"holdfast_volume_copies_in_sync", "Copies that have everything that was acknowledged, as this node's copy knows it.", MetricType::Gauge,
     [](const ReplicationStatus& r) { return static_cast<double>(std::ranges::count_if(r.members, &ReplicationStatus::Member::in_sync)); }},
    {"holdfast_volume_min_in_sync", "Writes wait while fewer copies are in sync.", MetricType::Gauge, figure<&ReplicationStatus::min_in_sync>},
    {"holdfast_volume_shipped_records_total", "Log records sent to other copies.", MetricType::Counter, figure<&ReplicationStatus::shipped_records>},
    {"holdfast_volume_shipped_bytes_total", "Bytes of these.", MetricType::Counter, figure<&ReplicationStatus::shipped_bytes>},
    {"holdfast_volume_held_writes_total", "Writes that waited a little for a copy on its way into the set.", MetricType::Counter, figure<&ReplicationStatus::held_writes>},
    {"holdfast_volume_rebuilding", "1 while this node's copy is being rebuilt.", MetricType::Gauge, figure<&ReplicationStatus::rebuilding>},
    {"holdfast_volume_rebuild_done_bytes", "Of the rebuild under way, or the last one: what is known to be right.", MetricType::Gauge, figure<&ReplicationStatus::rebuild_bytes_done>},
    {"holdfast_volume_rebuild_size_bytes", "Of the same: all of it.", MetricType::Gauge, figure<&ReplicationStatus::rebuild_bytes_total>},
    {"holdfast_volume_rebuild_fetched_bytes_total", "Bytes fetched from other copies by rebuilds.", MetricType::Counter, figure<&ReplicationStatus::rebuilt_bytes>},
};

MetricFamily replication_family(const ReplicationMetric& metric, const NodeStatus& node) {
  MetricFamily family{metric.name, metric.help, metric.type, {}};
  for (const VolumeStatus& volume : node.volumes)
    if (volume.replication) family.metric.push_back(sample(metric.type, metric.value(*volume.replication), {{"volume", volume.name}}));
  return family;
}

// Of the other copies, as their primary sees them: told by nobody else.
struct MemberMetric {
  const char* name;
  const char* help;
  std::optional<double> (*value)(const ReplicationStatus::Member&);
};

const MemberMetric kMemberMetrics[] = {
    {"holdfast_replica_connected", "1 while the copy is connected to its primary.", [](const ReplicationStatus::Member& m) { return std::optional<double>(m.connected); }},
    {"holdfast_replica_in_sync", "1 while the copy has everything that was acknowledged.", [](const ReplicationStatus::Member& m) { return std::optional<double>(m.in_sync); }},
    {"holdfast_replica_lag_bytes", "Written by hosts and not yet on that copy.",
     [](const ReplicationStatus::Member& m) { return m.lag_known ? std::optional<double>(static_cast<double>(m.lag_bytes)) : std::nullopt; }},
    {"holdfast_replica_lag_seconds", "For how long the oldest of it has been.",
     [](const ReplicationStatus::Member& m) { return m.lag_known ? std::optional<double>(static_cast<double>(m.lag_ms) * kMilli) : std::nullopt; }},
};

MetricFamily member_family(const MemberMetric& metric, const NodeStatus& node) {
  MetricFamily family{metric.name, metric.help, MetricType::Gauge, {}};
  for (const VolumeStatus& volume : node.volumes) {
    if (!volume.replication || !volume.replication->serving) continue;
    for (const ReplicationStatus::Member& member : volume.replication->members) {
      const std::optional<double> value = member.is_self ? std::nullopt : metric.value(member);
      if (value) family.metric.push_back(sample(MetricType::Gauge, *value, {{"volume", volume.name}, {"member", std::to_string(member.node)}}));
    }
  }
  return family;
}

// One series a state, so that an alert can name the state.
MetricFamily health_family(const NodeStatus& node) {
  MetricFamily family{"holdfast_volume_health", "1 for the state the volume is in.", MetricType::Gauge, {}};
  constexpr std::array kStates{VolumeHealth::serving, VolumeHealth::read_errors, VolumeHealth::out_of_space,
                               VolumeHealth::failed, VolumeHealth::degraded, VolumeHealth::standby, VolumeHealth::waiting};
  for (const VolumeStatus& volume : node.volumes) {
    for (const VolumeHealth state : kStates) {
      family.metric.push_back(sample(MetricType::Gauge, volume.health == state ? 1.0 : 0.0,
                                     {{"volume", volume.name}, {"state", std::string(health_name(state))}}));
    }
  }
  return family;
}

}  // namespace

Response metrics_response(const NodeStatus& node) {
  std::vector<MetricFamily> families;
  families.push_back(single("holdfast_build_info", "Version of the program.", MetricType::Gauge, 1.0,
                            {{"version", node.version}, {"node", node.name}}));
  families.push_back(single("holdfast_uptime_seconds", "Time since the node started.", MetricType::Gauge,
                            static_cast<double>(node.uptime_ms) * kMilli));
  families.push_back(single("holdfast_reactors", "Threads that serve volumes.", MetricType::Gauge, node.reactors));
  families.push_back(single("holdfast_volumes", "Volumes of the node.", MetricType::Gauge,
                            static_cast<double>(node.volumes.size())));
  for (const VolumeMetric& metric : kVolumeMetrics) families.push_back(volume_family(metric, node));
  families.push_back(health_family(node));
  if (node.cluster) {
    families.push_back(single("holdfast_coordinator_up", "1 while this node can read the cluster's coordinator.", MetricType::Gauge, node.cluster->trouble.empty() ? 1.0 : 0.0));
    families.push_back(single("holdfast_cluster_nodes", "Nodes that the cluster knows.", MetricType::Gauge, static_cast<double>(node.cluster->nodes.size())));
    for (const ReplicationMetric& metric : kReplicationMetrics) families.push_back(replication_family(metric, node));
    for (const MemberMetric& metric : kMemberMetrics) families.push_back(member_family(metric, node));
  }
  Response response;
  response.content_type = "text/plain; version=0.0.4; charset=utf-8";
  response.body = prometheus::TextSerializer().Serialize(families);
  return response;
}

}  // namespace holdfast::admin
