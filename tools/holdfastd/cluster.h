// The node's place in its cluster: the coordinator, the other nodes and where they are, and the port for their connections. Everything
// on the control thread, but for what says otherwise.
//
// - Nothing here is needed to go on serving: what cannot be reached is tried again, and shown as trouble.
// - The data directory remembers which cluster and which number it belongs to, and refuses to be another's.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/scope.h"
#include "coord/node_record.h"
#include "io/link_connector.h"
#include "io/link_listener.h"
#include "tools/holdfastd/config.h"
#include "tools/holdfastd/reactor_thread.h"

namespace holdfast::coord {
class EtcdClient;
}

namespace holdfast::daemon {

// The other nodes' addresses as their records had them when they were last read.
class NodeBook final : public io::AddressBook {
 public:
  Result<io::NodeAddresses> find(NodeId node) const override;  // From any thread.
  void put(const std::vector<coord::NodeRecord>& nodes, BootNs when);
  // Reads the clock of whoever made the book.
  explicit NodeBook(Clock& clock) : clock_(&clock) {}

 private:
  Clock* clock_;
  mutable std::mutex mutex_;
  std::map<NodeId, std::vector<io::Endpoint>> nodes_;
  BootNs known_at_{};
};

// What the links prove themselves with, as the configuration names it. Errors: those of LinkCredentials::load.
Result<std::shared_ptr<io::LinkCredentials>> load_link_credentials(const ClusterConfig& config);

class Cluster final : public io::LinkDoor {
 public:
  // Reads credentials and the data directory's memory, opens a directory or begins to talk to etcd. Errors name the setting.
  static Result<std::unique_ptr<Cluster>> create(io::Reactor& control, const Config& config, std::string data_dir);
  ~Cluster() override;

  NodeId self() const { return NodeId(config_.node); }
  const ClusterConfig& config() const { return config_; }
  Coordinator& coordinator() { return *coordinator_; }
  ClusterDirectory& directory() { return *directory_; }
  std::string id() const { return coordinator_->cluster_id(); }  // Empty: not known yet.

  // For a thread that has not started.
  Result<std::unique_ptr<ClusterThread>> make_thread(io::Reactor& reactor);

  // Binds the ports for other nodes. Errors: busy, permission, …
  Result<void> listen();
  // Other nodes are let in from now on.
  void serve();
  Task<void> stop();
  std::vector<std::string> link_addresses() const;

  // Which thread has a group.
  void put_group(Uuid group, ReactorThread& thread) { groups_[group] = &thread; }
  void remove_group(Uuid group) { groups_.erase(group); }

  // Writes this node's record unless it is there, and remembers the cluster's id.
  Task<Result<void>> announce(coord::NodeRecord record);
  // Reads the other nodes' records.
  Task<Result<void>> learn_nodes();
  const std::vector<coord::NodeRecord>& nodes() const { return nodes_; }
  const coord::NodeRecord* find_node(NodeId node) const;
  // Of a cluster that is new, on an operator's word. Errors: exists, unsupported (a directory needs none), and the coordinator's.
  Task<Result<std::string>> set_up(Uuid id);
  // Of an etcd that was restored from a snapshot.
  Task<Result<std::string>> take_over();

  // LinkDoor.
  bool has_group(Uuid group) const override { return groups_.contains(group); }
  void arrived(io::LinkArrival arrival) override;

 private:
  Cluster(io::Reactor& control, ClusterConfig config, std::string data_dir);
  Result<void> load_memory();
  Result<void> remember(const std::string& id);
  Result<void> open_coordinator();
  Result<std::unique_ptr<Coordinator>> open_port(io::Reactor& reactor, ClusterDirectory** directory);

  io::Reactor& control_;
  ClusterConfig config_;
  std::string data_dir_;
  std::string remembered_id_;            // Empty: none yet.
  std::shared_ptr<io::LinkCredentials> credentials_;
  NodeBook book_;
  std::shared_ptr<coord::EtcdClient> etcd_;  // Null: a directory.
  std::unique_ptr<Coordinator> coordinator_;
  ClusterDirectory* directory_ = nullptr;
  std::vector<coord::NodeRecord> nodes_;
  std::map<Uuid, ReactorThread*> groups_;
  std::vector<std::unique_ptr<io::LinkListener>> listeners_;
};

}  // namespace holdfast::daemon
