// [cluster] of the configuration. How the times stand to each other: engine/timing.h; what is safe does not rest on them.
#include <algorithm>

#include "admin/names.h"
#include "coord/options.h"
#include "io/link_security.h"
#include "tools/holdfastd/config_parts.h"

namespace holdfast::daemon {
namespace {

constexpr std::size_t kPasswordBytesMax = 255;
constexpr std::int64_t kLeaseMsMin = 100, kLeaseMsMax = 60'000;

bool any_wildcard(const std::vector<Address>& addresses) { return std::ranges::any_of(addresses, &Address::is_any); }

void read_etcd(TomlSection section, std::optional<EtcdConfig>& out) {
  EtcdConfig etcd;
  section.texts("endpoints", coord::kEtcdEndpointsMax, [&](const std::string& text) {
    const auto endpoint = coord::parse_http_endpoint(text);
    if (!endpoint) return endpoint.error().message.substr(endpoint.error().message.find(' ') + 1);
    etcd.endpoints.push_back(text);
    return std::string();
  });
  section.text("prefix", etcd.prefix);
  section.text("user", etcd.user);
  secret_file(section, "password_file", etcd.password, kPasswordBytesMax);
  path_text(section, "password_file", etcd.password_file);
  path_text(section, "ca_file", etcd.ca_file);
  path_text(section, "certificate_file", etcd.certificate_file);
  path_text(section, "key_file", etcd.key_file);
  if (!section.has("endpoints")) section.error("endpoints", "is missing: [\"https://192.0.2.1:2379\", …], the nearest first");
  section.finish();
  out = std::move(etcd);
}

coord::EtcdOptions options_of(const EtcdConfig& etcd) {
  coord::EtcdOptions out;
  out.endpoints = etcd.endpoints;
  out.prefix = etcd.prefix;
  out.user = etcd.user;
  out.password = etcd.password;
  out.tls_ca_file = etcd.ca_file;
  out.tls_certificate_file = etcd.certificate_file;
  out.tls_key_file = etcd.key_file;
  return out;
}

void read_coordinator(TomlSection& section, ClusterConfig& out) {
  path_text(section, "directory", out.directory);
  const bool has_etcd = section.has("etcd");
  TomlSection etcd = section.section("etcd");
  if (has_etcd) read_etcd(std::move(etcd), out.etcd);
  if (has_etcd == section.has("directory")) {
    return section.error(has_etcd ? "directory" : "etcd", has_etcd ? "is there beside [cluster.etcd]: a cluster has one coordinator"
                                                                   : "is missing: add [cluster.etcd] with endpoints (or directory = \"…\", if all nodes run on this machine)");
  }
  if (!out.etcd || out.etcd->endpoints.empty()) return;
  if (const auto fits = coord::check(options_of(*out.etcd)); !fits) section.error("etcd", fits.error().message);
}

void read_secrecy(TomlSection& section, ClusterConfig& out) {
  path_text(section, "secret_file", out.secret_file);
  path_text(section, "ca_file", out.ca_file);
  path_text(section, "certificate_file", out.certificate_file);
  path_text(section, "key_file", out.key_file);
  const bool certificate = section.has("ca_file") || section.has("certificate_file") || section.has("key_file");
  if (certificate) out.secrecy = LinkSecrecy::certificate;
  else if (section.has("secret_file")) out.secrecy = LinkSecrecy::secret;
  io::LinkSecurity security{static_cast<io::LinkProof>(out.secrecy), out.secret_file, out.ca_file, out.certificate_file, out.key_file};
  for (const Address& address : out.listen) {
    const auto fits = io::check_link_security(security, {out.name, NodeId(out.node)}, {address.host, address.port});
    if (!fits) return section.error("listen", fits.error().message);
  }
}

// What is not given follows the lease, in the proportions of the defaults.
void read_times(TomlSection& section, ClusterConfig& out) {
  section.duration("lease", out.lease_ms, {kLeaseMsMin, kLeaseMsMax});
  const std::int64_t lease = out.lease_ms;
  out.heartbeat_ms = std::max<std::int64_t>(5, lease / 12);
  out.replica_timeout_ms = lease + lease / 12;
  out.takeover_patience_ms = lease + lease / 4;
  section.duration("heartbeat", out.heartbeat_ms, {5, lease / 8});
  section.duration("replica_timeout", out.replica_timeout_ms, {lease, 10 * kLeaseMsMax});
  section.duration("takeover_patience", out.takeover_patience_ms, {out.replica_timeout_ms + 1, 20 * kLeaseMsMax});
  section.duration("stuck_timeout", out.stuck_timeout_ms, {2 * lease, 3'600'000});
}

void read_links(TomlSection& section, ClusterConfig& out) {
  read_addresses(section, "listen", PortRule::any, out.listen);
  read_addresses(section, "links", PortRule::not_zero, out.links);
  if (!section.has("listen")) section.error("listen", "is missing: where the other nodes connect, like [\"192.0.2.1:9441\"]");
  if (!section.has("links") && any_wildcard(out.listen)) section.error("links", "is missing, and listen names no address: where do the other nodes reach this one?");
  if (any_wildcard(out.links)) section.error("links", "has an address that nobody can connect to");
  std::string admin;
  section.text("admin", admin);
  if (admin.empty()) return;
  auto address = parse_address(admin, PortRule::not_zero);
  if (!address) section.error("admin", address.error().message);
  else if (address->is_any()) section.error("admin", "is an address that nobody can connect to");
  else out.admin = std::move(*address);
}

}  // namespace

void read_cluster(TomlSection section, const NodeConfig& node, const IscsiConfig& iscsi, std::optional<ClusterConfig>& out) {
  if (!section.is_there()) return;
  ClusterConfig cluster;
  section.text("name", cluster.name);
  if (!section.has("name")) section.error("name", "is missing: the cluster's name, the same on all of its nodes");
  else if (const auto fine = io::check_cluster_name(cluster.name); !fine) section.error("name", fine.error().message);
  section.count("node", cluster.node, {1, 65'535});
  if (!section.has("node")) section.error("node", "is missing: this node's number, 1 to 65535, another one on each node");
  read_links(section, cluster);
  // What is wrong with these is told already.
  const bool named = io::check_cluster_name(cluster.name).has_value() && cluster.node != 0;
  if (named) read_secrecy(section, cluster);
  else for (const char* key : {"secret_file", "ca_file", "certificate_file", "key_file"}) section.ignore(key);
  read_coordinator(section, cluster);
  read_times(section, cluster);
  if (node.name.find(' ') != node.name.npos) section.error("node", "the nodes of a cluster have names without spaces, and node.name is \"" + node.name + "\"");
  if (iscsi.portals.empty() && any_wildcard(iscsi.listen)) {
    section.error("node", "iscsi.portals is missing: in a cluster each node tells initiators where all of them are, and iscsi.listen names no address");
  }
  section.finish();
  out = std::move(cluster);
}

}  // namespace holdfast::daemon
