// Everything of a scenario on one switch: nodes, an etcd, hosts. All of it is gone when this process is.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "test/torture/etcd.h"
#include "test/torture/load.h"
#include "test/torture/multipath_host.h"
#include "test/torture/node.h"
#include "test/torture/scenario.h"
#include "test/torture/wrong_clock.h"

namespace holdfast::torture {

struct LabOptions {
  unsigned nodes = 3;
  unsigned etcd_members = 1;                         // 0: nodes by themselves.
  CableKind cables = CableKind::short_one;
  std::string more_store, more_cluster, more_iscsi;
  std::map<std::string, std::string> environment;    // Of every daemon.
  bool faulty_disks = false;                         // Of every node: Node::fail_disk().
  bool wrong_clocks = false;                         // Of every node: Lab::clock(). They drift from the start on, as far apart as is allowed.
  std::uint64_t disk_bytes = 0;                      // Of every node's own file system; 0: none.
  std::string log_size;                              // Of the volume; empty: the nodes' default.
};

// How a node's copy of the volume is, as the node tells it.
struct CopyStatus {
  bool answers = false;
  std::string role;
  bool serving = false;
  std::uint64_t epoch = 0, durable_lsn = 0, commit_lsn = 0, checksum_errors = 0;
  std::uint64_t fetched_bytes = 0, shipped_bytes = 0;  // By rebuilds; to other copies.
  bool rebuilding = false;
  std::set<unsigned> in_sync, connected;               // As it knows the members.
  std::uint64_t lag_bytes_max = 0;
};

class Lab {
 public:
  static constexpr const char* kVolume = "pg";
  Lab(Stage& stage, LabOptions options);
  // A scenario that fails leaves its hosts' stories in its folder.
  ~Lab();

  Node& node(unsigned number) { return *nodes_.at(number - 1); }
  unsigned node_count() const { return static_cast<unsigned>(nodes_.size()); }
  Etcd& etcd() { return *etcd_; }
  WrongClock& clock(unsigned number) { return *clocks_.at(number - 1); }
  const Switch& hub() const { return hub_; }
  Machine& host_machine() { return host_machine_; }

  // Starts all of it, and makes the volume with a copy on every node.
  void start(const std::string& size = "1GiB");
  // The same with everything in step, a host, and load on it that has come to its pace.
  Load& start_loaded(LoadOptions options = {});

  CopyStatus copy(unsigned number) const;
  // Who serves, by its own word; nobody: nullopt.
  std::optional<unsigned> serving() const;
  unsigned await_serving(DurationNs patience = milliseconds(20'000)) const;
  // Somebody else than `other`.
  unsigned await_other_serving(unsigned other, DurationNs patience = milliseconds(20'000)) const;
  // As the node tells it, which a busy one may do late.
  std::uint64_t epoch_of(unsigned number) const;
  // Some node that is not `number` (nor `nor`).
  unsigned another(unsigned number, unsigned nor = 0) const;
  // The one that serves says so of the member.
  bool is_in_sync(unsigned number) const;
  void await_in_sync(unsigned number, DurationNs patience = milliseconds(30'000)) const;
  void await_out_of_sync(unsigned number, DurationNs patience = milliseconds(10'000)) const;
  void await_all_in_sync(DurationNs patience = milliseconds(60'000)) const;
  // An operator's switchover, asked of the one that serves. Returns when the command has.
  Node::Answer try_switchover(unsigned candidate) const;
  void switchover(unsigned candidate) const;

  // The host, logged in over a path to each node; the path is number - 1. Made at the first call.
  MultipathHost& host();
  Ledger& ledger() { return ledger_; }
  // Load over the host; one at a time.
  Load& load(LoadOptions options = {});
  // Stops it, reads everything back and judges all that was seen. No command may have failed.
  void verify();
  // The same from every copy in turn, each as the one that serves: all have the same.
  void verify_everywhere();

 private:
  void set_up_cluster();
  Stage& stage_;
  LabOptions options_;
  Switch hub_;
  Machine host_machine_;
  std::unique_ptr<Etcd> etcd_;
  std::vector<std::unique_ptr<WrongClock>> clocks_;
  std::vector<std::unique_ptr<Node>> nodes_;
  Ledger ledger_;
  std::unique_ptr<MultipathHost> host_;
  std::unique_ptr<Load> load_;
  LoadOptions load_options_;
};

}  // namespace holdfast::torture
