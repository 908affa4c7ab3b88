#include "tools/holdfastd/cluster.h"

#include <boost/json.hpp>

#include <algorithm>

#include "admin/names.h"
#include "base/log.h"
#include "base/text.h"
#include "coord/etcd_coordinator.h"
#include "coord/volume_definition.h"
#include "io/directory_coordinator.h"
#include "io/link_tcp.h"
#include "tools/holdfastd/durable_file.h"

namespace holdfast::daemon {
namespace {

namespace json = boost::json;

constexpr std::int64_t kMemoryFormat = 1;
constexpr std::size_t kMemoryBytesMax = 4096;

io::LinkSecurity security_of(const ClusterConfig& config) {
  return {static_cast<io::LinkProof>(config.secrecy), config.secret_file, config.ca_file, config.certificate_file, config.key_file};
}

coord::EtcdOptions etcd_options(const EtcdConfig& config, const std::string& cluster_id) {
  coord::EtcdOptions out;
  out.endpoints = config.endpoints;
  out.prefix = config.prefix;
  out.cluster_id = cluster_id;
  out.user = config.user;
  out.password = config.password;
  out.password_file = config.password_file;
  out.tls_ca_file = config.ca_file;
  out.tls_certificate_file = config.certificate_file;
  out.tls_key_file = config.key_file;
  return out;
}

std::string text_in(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  return value && value->is_string() ? std::string(value->get_string()) : std::string();
}

}  // namespace

Result<io::NodeAddresses> NodeBook::find(NodeId node) const {
  const std::lock_guard lock(mutex_);
  const auto found = nodes_.find(node);
  if (found == nodes_.end()) return fail(Errc::not_found, "the coordinator has no record of it, or none was read yet");
  return io::NodeAddresses{found->second, clock_->now() - known_at_};
}

void NodeBook::put(const std::vector<coord::NodeRecord>& nodes, BootNs when) {
  std::map<NodeId, std::vector<io::Endpoint>> fresh;
  for (const coord::NodeRecord& node : nodes) {
    for (const std::string& address : node.links)
      if (auto endpoint = io::parse_endpoint(address)) fresh[node.node].push_back(std::move(*endpoint));
  }
  const std::lock_guard lock(mutex_);
  nodes_ = std::move(fresh);
  known_at_ = when;
}

Result<std::shared_ptr<io::LinkCredentials>> load_link_credentials(const ClusterConfig& config) {
  auto credentials = io::LinkCredentials::load(security_of(config), {config.name, NodeId(config.node)});
  if (!credentials) return fail(credentials.error().code, "cluster: " + credentials.error().text());
  return credentials;
}

Cluster::Cluster(io::Reactor& control, ClusterConfig config, std::string data_dir)
    : control_(control), config_(std::move(config)), data_dir_(std::move(data_dir)), book_(control.clock()) {}

Cluster::~Cluster() = default;

Result<std::unique_ptr<Cluster>> Cluster::create(io::Reactor& control, const Config& config, std::string data_dir) {
  std::unique_ptr<Cluster> cluster(new Cluster(control, *config.cluster, std::move(data_dir)));
  TRY(cluster->load_memory());
  auto credentials = load_link_credentials(cluster->config_);
  if (!credentials) return fail(std::move(credentials).error());
  cluster->credentials_ = std::move(*credentials);
  TRY(cluster->open_coordinator());
  return cluster;
}

// Which cluster this data directory has been a part of, and as whom.
Result<void> Cluster::load_memory() {
  const std::string path = data_dir_ + "/cluster.json";
  const auto text = read_whole(path, kMemoryBytesMax);
  if (!text && text.error().code == Errc::not_found) return {};
  if (!text) return fail(text.error());
  json::error_code error;
  const json::value document = json::parse(*text, error);
  const json::object* object = error ? nullptr : document.if_object();
  const json::value* format = object ? object->if_contains("holdfast_cluster") : nullptr;
  const json::value* node = object ? object->if_contains("node") : nullptr;
  if (!format || !format->is_int64() || !node || !node->is_int64()) return fail(Errc::corrupt, path + " is damaged: restore it from a backup of the data directory");
  if (format->get_int64() != kMemoryFormat) return fail(Errc::version_too_new, path + " was written by a newer holdfastd: install the newer program again");
  const std::string name = text_in(*object, "name");
  if (name != config_.name) return fail(Errc::foreign, concat("cluster.name: the data directory belongs to cluster \"", admin::printable(name), "\""));
  if (node->get_int64() != std::int64_t{config_.node}) return fail(Errc::foreign, concat("cluster.node: the data directory belongs to node ", node->get_int64()));
  remembered_id_ = text_in(*object, "id");
  return {};
}

Result<void> Cluster::remember(const std::string& id) {
  if (id.empty() || id == remembered_id_) return {};
  const json::object document{{"holdfast_cluster", kMemoryFormat}, {"name", config_.name}, {"node", config_.node}, {"id", id}};
  TRY(write_durably(data_dir_ + "/cluster.json", json::serialize(document) + "\n"));
  remembered_id_ = id;
  return {};
}

Result<void> Cluster::open_coordinator() {
  if (config_.etcd) {
    auto client = coord::EtcdClient::start(etcd_options(*config_.etcd, remembered_id_));
    if (!client) return fail(client.error().code, "cluster.etcd." + client.error().text());
    etcd_ = std::move(*client);
  }
  auto port = open_port(control_, &directory_);
  if (!port) return fail(port.error().code, "cluster.directory: " + port.error().text());
  coordinator_ = std::move(*port);
  const std::string id = coordinator_->cluster_id();
  if (!etcd_ && !remembered_id_.empty() && id != remembered_id_)
    return fail(Errc::foreign, concat("cluster.directory: ", config_.directory, " is another cluster's, or was emptied: bring the right one back"));
  return {};
}

Result<std::unique_ptr<Coordinator>> Cluster::open_port(io::Reactor& reactor, ClusterDirectory** directory) {
  if (etcd_) {
    auto port = std::make_unique<coord::EtcdCoordinator>(reactor, etcd_);
    if (directory) *directory = port.get();
    return port;
  }
  auto port = io::DirectoryCoordinator::open(reactor.clock(), config_.directory);
  if (!port) return fail(port.error());
  if (directory) *directory = port->get();
  return std::move(*port);
}

Result<std::unique_ptr<ClusterThread>> Cluster::make_thread(io::Reactor& reactor) {
  auto port = open_port(reactor, nullptr);
  if (!port) return fail(port.error());
  return std::make_unique<ClusterThread>(reactor, std::move(*port), credentials_, book_);
}

Result<void> Cluster::listen() {
  listeners_.clear();
  for (const Address& address : config_.listen) {
    auto socket = io::listen_tcp(control_, io::Endpoint{address.host, address.port}, io::kLinkTcpOptions);
    if (!socket) return fail(socket.error().code, "cluster.listen: " + socket.error().message);
    auto listener = io::LinkListener::create(control_, std::move(*socket), credentials_, *this);
    if (!listener) return fail(listener.error().code, "cluster.listen: " + listener.error().text());
    listeners_.push_back(std::move(*listener));
  }
  return {};
}

void Cluster::serve() {
  for (const auto& listener : listeners_) listener->start();
}

Task<void> Cluster::stop() {
  for (const auto& listener : listeners_) co_await listener->stop();
}

std::vector<std::string> Cluster::link_addresses() const {
  std::vector<std::string> out;
  for (const Address& address : config_.links) out.push_back(address.text());
  if (!out.empty()) return out;
  for (const auto& listener : listeners_) out.push_back(listener->local_endpoint().text());
  return out;
}

void Cluster::arrived(io::LinkArrival arrival) {
  const auto found = groups_.find(arrival.group);
  if (found == groups_.end()) return arrival.stream->close();
  io::Reactor& there = found->second->reactor();
  there.post_remote([thread = found->second->cluster(), from = arrival.from, group = arrival.group, stream = arrival.stream->move_to(there)]() mutable {
    thread->arrived(from, group, std::move(stream));
  });
}

Task<Result<void>> Cluster::announce(coord::NodeRecord record) {
  auto done = co_await coord::announce_node(coordinator_.get(), std::move(record));
  if (!done) co_return done;
  co_return remember(id());
}

Task<Result<void>> Cluster::learn_nodes() {
  auto nodes = co_await coord::list_nodes(directory_);
  if (!nodes) co_return fail(nodes.error());
  nodes_ = std::move(*nodes);
  book_.put(nodes_, control_.clock().now());
  co_return Result<void>{};
}

const coord::NodeRecord* Cluster::find_node(NodeId node) const {
  const auto found = std::ranges::find(nodes_, node, &coord::NodeRecord::node);
  return found == nodes_.end() ? nullptr : &*found;
}

Task<Result<std::string>> Cluster::set_up(Uuid id) {
  if (!etcd_) co_return fail(Errc::unsupported, "a coordinator in a directory needs no setting up");
  auto done = co_await static_cast<coord::EtcdCoordinator*>(coordinator_.get())->set_up(id);
  co_return done;
}

Task<Result<std::string>> Cluster::take_over() {
  if (!etcd_) co_return fail(Errc::unsupported, "a coordinator in a directory is not restored from snapshots");
  auto done = co_await static_cast<coord::EtcdCoordinator*>(coordinator_.get())->take_over();
  co_return done;
}

}  // namespace holdfast::daemon
