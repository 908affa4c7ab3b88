// A cluster in the simulated world: nodes, network, coordinator, clients, and what is checked while they live.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/operator_changes.h"
#include "test/cluster/client.h"
#include "test/cluster/cluster_node.h"
#include "test/cluster/history.h"
#include "test/cluster/invariants.h"
#include "test/cluster/operators.h"
#include "test/cluster/plan.h"

namespace holdfast::cluster {

// An acknowledgement as it left its node.
struct Acknowledgement {
  BootNs at;
  NodeId node;
  OpKind kind;
};

class Cluster final : private DoorOwner, private ClientNetwork {
 public:
  explicit Cluster(Plan plan);
  ~Cluster();
  Cluster(const Cluster&) = delete;
  Cluster& operator=(const Cluster&) = delete;

  // Formats the stores, writes the register, starts the processes, creates the volumes. False: see violation().
  bool set_up();
  // The next thing that happens, and what must hold after it. False: something is wrong.
  bool step();
  // Runs until the condition holds. False: it did not in time, or something is wrong.
  bool run_until(const std::function<bool()>& condition, DurationNs within);
  void run_for(DurationNs time);

  // Nodes, by their numbers from 1 on.
  ClusterNode& node(NodeId id) { return *nodes_[id.value - 1]; }
  ClusterNode& node(std::size_t number) { return *nodes_[number - 1]; }
  std::size_t size() const { return nodes_.size(); }
  const std::vector<std::unique_ptr<ClusterNode>>& nodes() const { return nodes_; }
  void start(NodeId id);
  void die(NodeId id, Death how);
  void pause(NodeId id);
  void resume(NodeId id);
  // The supervisor starts the node again.
  void restart_after(NodeId id, DurationNs delay);
  // A fresh store on the same node: all that it had is gone.
  void wipe(NodeId id);
  // Whoever is connected to it is so no more, without a logout.
  void break_sessions(NodeId id);
  void set_data_port(NodeId id, bool open) { node(id).data_port_cut = !open; }
  void switchover(NodeId from, NodeId to);
  // As an operator, in one step. False: refused.
  bool change_register(std::string what, const engine::RegisterChange& change);
  // Every node is a member again, with the lease and the min_in_sync of the plan.
  void restore_register();
  void checkpoint(NodeId id);

  // Who serves now, if anybody.
  std::optional<NodeId> serving() const;
  // One node serves, every node is up, in sync, and knows what is committed.
  bool is_well() const;
  bool run_until_well(DurationNs within);
  std::string describe() const;
  // At rest every superblock says where its log ends; the excuse for rotten tails counts on that.
  std::optional<std::string> unnoted_end() const;
  bool replicas_are_equal();  // Reads every block of every copy. False: see violation().
  bool read_everything();     // Through the clients' door; judged with the history.

  sim::SimWorld& world() { return world_; }
  sim::SimNetwork& network() { return network_; }
  sim::SimCoordinator& coordinator() { return coordinator_; }
  Clients& clients() { return clients_; }
  Operators& operators() { return operators_; }
  History& history() override { return history_; }
  Invariants& invariants() { return invariants_; }
  const Invariants& invariants() const { return invariants_; }
  const Plan& plan() const { return plan_; }
  // Of stores that are formatted from now on.
  void set_log_bytes(std::uint64_t bytes) { plan_.log_bytes = bytes; }
  const engine::Register& truth() const { return invariants_.truth(); }
  const std::string& register_key() const { return register_key_; }
  const std::vector<Acknowledgement>& acknowledgements() const { return acknowledgements_; }
  BootNs now() const { return world_.now(); }
  double now_ms() const { return static_cast<double>(world_.now().value - 1'000'000'000) / 1e6; }

  void note(std::string line);
  const std::vector<std::string>& notes() const { return notes_; }
  void violation(std::string what) override;
  const std::optional<std::string>& violation() const { return violation_; }

  // The node's disk rots or lies from now on. Nothing is promised once such a copy is the last one in sync, besides those whose disks
  // were replaced: it may then rightly serve nobody, or not everything. That nothing wrong is served is checked all the same.
  void disk_is_bad(NodeId id);
  // Is there a disk, not the bad one and not one that has been replaced since, that is in sync besides this node's?
  bool others_have_everything(NodeId id);
  bool beyond_promise() const { return beyond_promise_; }
  // A violation, unless it is excused so; then nothing more is asked of this life.
  void unavailable(std::string what);
  // The same for what no longer is so once another copy is in sync.
  void hangs(std::string what);
  // Something acknowledged is gone. Only what was the end of the log of the last copy in sync, when that rotted in the moment before a crash
  // in which nothing could prove yet that it had been there, is beyond the promise.
  void wrong_content(std::string what);
  bool gave_up() const { return gave_up_; }

  // What explains failures of this life.
  struct Tolerance {
    bool failed_stores = false;   // I/O errors and rot: a process may refuse to open, a store may go out of service.
    bool no_space = false;
    bool rot = false;             // An unreadable page that is found late moves the service: what met it is told to look elsewhere.
  } tolerance;
  // The file systems hold so many chunks more than the empty stores; zero: plenty.
  std::uint64_t tight_chunks = 0;
  // From now on somebody restarts a node whose store is out of service, as its log line asks for.
  bool operator_is_there = false;
  // From now on every operation must succeed, and soon.
  bool expects_answers = false;
  struct Figures {
    std::uint64_t switchovers = 0, switchovers_done = 0, failed_opens = 0, failed_stores = 0, primaries = 0;
    std::int64_t longest_switchover_ns = 0;
    std::optional<Errc> last_switchover;   // How the last one ended; zero: well. Nothing: it is under way.
  } figures;

 private:
  // DoorOwner, ClientNetwork.
  void answer(NodeId node, const ExchangePtr& exchange) override;
  void acknowledged(NodeId node, const Exchange& exchange) override;
  void send(NodeId to, const ExchangePtr& exchange) override;
  void send(NodeId to, const InquiryPtr& inquiry) override;
  void answer(NodeId node, const InquiryPtr& inquiry) override;
  void told_view(NodeId node, const Inquiry& inquiry) override;
  void begins_to_serve() override { invariants_.check(); }
  void ask_initiators(NodeId node) override;
  std::size_t node_count() const override { return nodes_.size(); }
  void answered(const Exchange& exchange, const ClientOp& op) override;

  bool format_all();
  bool create_volumes();
  bool replicas_are_equal(std::uint32_t volume);
  void register_changed(const CoordinatorEntry& entry);
  void role_changed(NodeId node, const ReplicaStatus& replica, Epoch epoch);
  void after_open(ClusterNode& node);
  void restart_failed();
  DurationNs hop();
  static Task<void> create(Cluster* self, ClusterNode* node, std::uint32_t volume, bool* done);
  static Task<void> hand_over(Cluster* self, ClusterNode* node, NodeId to);
  static Task<void> take_checkpoint(ClusterNode* node);

  Plan plan_;
  sim::SimWorld world_;
  sim::SimHost wires_;               // Between clients and nodes, and the supervisors' time.
  sim::SimNetwork network_;
  sim::SimCoordinator coordinator_;
  History history_;
  Operators operators_{*this};
  std::vector<std::unique_ptr<ClusterNode>> nodes_;
  std::vector<bool> powered_;        // By node: its machine answers, if only that nobody listens.
  Invariants invariants_;
  Clients clients_;
  Uuid group_{};
  std::string register_key_;
  std::vector<Acknowledgement> acknowledgements_;
  std::vector<std::string> notes_;
  std::optional<std::string> violation_;
  std::optional<engine::Copy> bad_copy_;
  bool beyond_promise_ = false;
  bool gave_up_ = false;
  void look_at_bad_copy();
  std::vector<unsigned> corrupt_opens_;  // By node, in a row: after some of them the operator replaces the disk.
};

}  // namespace holdfast::cluster
