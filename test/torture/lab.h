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

namespace holdfast::torture {

struct LabOptions {
  unsigned nodes = 3;
  unsigned etcd_members = 1;                         // 0: nodes by themselves.
  CableKind cables = CableKind::short_one;
  std::string more_store, more_cluster;
  std::map<std::string, std::string> environment;    // Of every daemon.
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
  const Switch& hub() const { return hub_; }
  Machine& host_machine() { return host_machine_; }

  // Starts all of it, and makes the volume with a copy on every node.
  void start(const std::string& size = "1GiB");
  // The host, logged in over a path to each node; the path is number - 1. Made at the first call.
  MultipathHost& host();
  Ledger& ledger() { return ledger_; }
  // Load over the host; one at a time.
  Load& load(LoadOptions options = {});
  // Stops it, reads everything back and judges all that was seen. No command may have failed.
  void verify();

 private:
  Stage& stage_;
  LabOptions options_;
  Switch hub_;
  Machine host_machine_;
  std::unique_ptr<Etcd> etcd_;
  std::vector<std::unique_ptr<Node>> nodes_;
  Ledger ledger_;
  std::unique_ptr<MultipathHost> host_;
  std::unique_ptr<Load> load_;
  LoadOptions load_options_;
};

}  // namespace holdfast::torture
