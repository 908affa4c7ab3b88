// The node: its volumes spread over its threads, and what an operator can do with them. It lives on a control thread of its
// own reactor, where registry files are written, so that no volume's thread ever waits for that.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/scope.h"
#include "base/sync.h"
#include "coord/node_record.h"
#include "engine/node.h"
#include "scsi/target_directory.h"
#include "tools/holdfastd/cluster.h"
#include "tools/holdfastd/config.h"
#include "tools/holdfastd/data_directory.h"
#include "tools/holdfastd/hosted_volume.h"
#include "tools/holdfastd/keeper.h"
#include "tools/holdfastd/reactor_thread.h"
#include "tools/holdfastd/registry.h"
#include "tools/holdfastd/takeover.h"

namespace holdfast::daemon {

class Portals;
class TargetBoard;

class Node final : public NodeControl, public KeeperHost, public TakeoverHost {
 public:
  // control: the reactor of the thread that calls this and then runs it.
  Node(io::Reactor& control, Config config, DataDirectory directory, Registry registry);
  ~Node() override;

  // Starts the threads, binds the portals, removes leftovers, and opens every volume. A volume that cannot be opened is shown
  // as failed and keeps nothing else from starting. Errors: what concerns the whole node.
  Task<Result<void>> start();
  // Ends sessions and volumes. Nothing is called on the node afterwards.
  Task<void> stop();

  // Where operators reach this node, once that is known.
  void set_admin_port(std::uint16_t port) { admin_port_ = port; }
  // Who may log in, and how, from the next login on; sessions that exist go on.
  void set_access(const IscsiConfig& config);
  std::size_t volumes_failed() const;
  std::size_t volume_count() const { return slots_.size(); }
  // Returns when each thread of the node has answered.
  Task<void> check_alive();

  // NodeControl: from any thread.
  void create_volume(CreateVolume request, Done<VolumeStatus> done) override;
  void delete_volume(std::string name, bool force, Done<void> done) override;
  void volume_status(std::string name, Done<VolumeStatus> done) override;
  void status(Done<NodeStatus> done) override;
  void consumers(std::string volume, Done<std::vector<ConsumerStatus>> done) override;
  void create_consumer(ConsumerName which, ConsumerStart start, Done<ConsumerStatus> done) override;
  void drop_consumer(ConsumerName which, Done<void> done) override;
  void confirm_consumer(ConsumerName which, Lsn lsn, Confirm when, Done<void> done) override;
  void read_log(ReadLog request, Done<LogBatch> done) override;
  void cluster(Done<ClusterStatus> done) override;
  void set_up_cluster(Done<std::string> done) override;
  void take_over_etcd(Done<std::string> done) override;
  void change_member(MemberChange change, Done<void> done) override;
  void switch_over(Switchover order, Done<void> done) override;
  void fail_over(ForcedFailOver order, Done<void> done) override;
  void drain(Done<std::vector<std::string>> done) override;
  void set_volume(VolumeSettings settings, Done<void> done) override;

 private:
  // One volume as the control thread knows it.
  struct Slot {
    RegistryEntry entry;
    ReactorThread* thread = nullptr;
    std::unique_ptr<HostedVolume> volume;  // Used and destroyed on `thread` only; null when it failed.
    std::string failure;                   // Why, when `volume` is null.
    bool busy = false;                     // Being created, deleted, or opened once more.
    bool locked = false;                   // It failed because its file is in use.
  };
  using SlotMap = std::map<std::string, Slot>;

  Result<void> start_threads();
  Task<void> remove_leftover(std::string name);
  Task<void> open_slot(std::string name);
  Task<void> open_when_unlocked(std::string name);
  Task<void> open_copy(std::string name);
  Task<void> stop_slot(std::string name);
  Task<Result<VolumeStatus>> create(CreateVolume request);
  Task<Result<void>> build(std::string name, std::uint64_t log_bytes);
  Task<Result<void>> make_store(std::string name, std::uint64_t log_bytes);
  Task<void> open_door(std::string name);
  Task<void> close_volume(std::string name, DoorClosing closing);
  Task<Result<void>> destroy(std::string name, bool force);
  Task<Result<VolumeStatus>> status_of(std::string name);
  Task<Result<NodeStatus>> status_of_node();
  // Runs a flow of the volume's on its thread.
  template <class T>
  using VolumeFlow = std::move_only_function<Task<Result<T>>(HostedVolume*)>;
  template <class T>
  void with_volume(std::string name, VolumeFlow<T> flow, Done<T> done);
  template <class T>
  Task<void> run_with_volume(std::string name, VolumeFlow<T> flow, Done<T> done);
  Task<Result<void>> discard_backing(std::string name);
  Result<RegistryEntry> entry_for(const CreateVolume& request);
  // Of a device that is to become a store: it is one, and none of this node's yet.
  Result<void> check_device(const std::string& device) const;

  // node_replicas.cpp: the keeper's host.
  std::vector<std::string> kept() const override;
  Task<Look> look(std::string name) override;
  Task<Result<void>> format(coord::VolumeDefinition definition) override;
  Task<Result<void>> format_store(std::string name, std::uint64_t log_bytes);
  Result<void> mark_ready(const std::string& name) override;
  Task<Result<void>> open(std::string name) override;
  Task<Result<void>> create_volume(coord::VolumeDefinition definition) override;
  Task<Result<void>> open_door(coord::VolumeDefinition definition) override;
  Task<Result<void>> hand_over(std::string name) override;
  Task<Result<void>> close(std::string name) override;
  Task<Result<void>> discard(std::string name) override;
  std::vector<scsi::PortalAddress> portals_of(const coord::VolumeDefinition& definition) const;
  coord::NodeRecord own_record() const;
  // node_takeover.cpp: the take-over's host.
  Task<std::optional<engine::Register>> view_of(std::string volume) override;
  Task<Errc> knock(std::string volume, NodeId node) override;
  std::vector<coord::VolumeDefinition> known_definitions() const override;
  void start_takeover();
  Task<void> know_each_other();
  void show_portals();
  // node_cluster.cpp: what operators do in a cluster.
  Task<Result<VolumeStatus>> define(CreateVolume request);
  Result<coord::VolumeDefinition> definition_for(const CreateVolume& request);
  Task<Result<void>> undefine(std::string name, bool force);
  Task<Result<VolumeStatus>> until_created(std::string name);
  // node_members.cpp
  template <class T>
  void in_cluster(std::move_only_function<Task<Result<T>>()> flow, Done<T> done);
  ClusterStatus cluster_status() const;
  Task<Result<ClusterStatus>> show_cluster();
  Task<Result<std::string>> begin_cluster();
  Task<Result<std::string>> adopt_etcd();
  Task<Result<void>> carry_out(MemberChange change);
  Task<Result<void>> may_remove(coord::VolumeDefinition definition, NodeId node);
  Task<Result<void>> lead_elsewhere(Switchover order);
  Task<Result<void>> lead_here(ForcedFailOver order);
  Task<Result<std::vector<std::string>>> hand_over_all();
  Task<Result<void>> change_settings(VolumeSettings settings);
  std::string where_is(NodeId node) const;
  void start_cluster();
  std::uint16_t local_group() const;

  ReactorThread* least_loaded();
  HostOptions host_options() const;
  const AccessConfig& access_of(const std::string& volume) const;
  void show_access(const std::string& volume);
  DoorOptions door_options(const std::string& volume) const;
  static VolumeSpec spec_of(const RegistryEntry& entry);
  VolumeStatus failed_status(const Slot& slot) const;
  VolumeStatus status_elsewhere(const coord::VolumeDefinition& definition) const;
  void add_troubles(VolumeStatus& status) const;

  io::Reactor& control_;
  Config config_;
  DataDirectory directory_;
  Registry registry_;
  KernelRandom random_;
  BootNs started_;
  std::unique_ptr<Cluster> cluster_;     // Null: a node by itself. With it comes the keeper.
  std::unique_ptr<Keeper> keeper_;
  std::unique_ptr<Takeover> takeover_;   // Null: not asked for.
  std::string cluster_trouble_;          // Why this node's record or the others' are not known; empty: they are.
  Timer cluster_pause_;
  std::uint16_t admin_port_ = 0;
  std::vector<std::unique_ptr<ReactorThread>> threads_;
  std::unique_ptr<TargetBoard> board_;
  std::unique_ptr<Portals> portals_;
  SlotMap slots_;                        // By name.
  bool stopping_ = false;
  Scope scope_;                          // Last: its frames refer to everything above.
};

}  // namespace holdfast::daemon
