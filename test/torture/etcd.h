// The members of an etcd, each on a machine of its own.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "test/torture/machine.h"
#include "test/torture/process.h"

namespace holdfast::torture {

class EtcdMachine {
 public:
  EtcdMachine(const Switch& hub, unsigned number, std::string folder) : machine_(hub, number), folder_(std::move(folder)), name_("e" + std::to_string(number)) {}
  Machine& machine() { return machine_; }
  std::string endpoint() const { return "http://" + machine_.address() + ":2379"; }
  std::string peer() const { return name_ + "=http://" + machine_.address() + ":2380"; }

  void spawn(const std::string& initial_cluster);
  void await_serving(DurationNs patience = milliseconds(60'000));
  bool running() const { return process_ && process_->running(); }
  Process& process() { return *process_; }
  void kill() { process_->kill(); }
  // Its data directory is gone. While it is not running.
  void wipe();
  bool serves() const;

 private:
  Machine machine_;
  std::string folder_, name_;
  std::unique_ptr<Process> process_;
};

class Etcd {
 public:
  static constexpr unsigned kFirstMachine = 101;
  Etcd(const Switch& hub, unsigned members, const std::string& folder);
  void start();
  // kill -9 of all that run.
  void stop();
  std::vector<std::string> endpoints() const;
  EtcdMachine& member(std::size_t i) { return *members_.at(i); }
  std::size_t size() const { return members_.size(); }
  std::string initial_cluster() const;
  // Of the members: who leads them.
  std::size_t leader();

 private:
  std::vector<std::unique_ptr<EtcdMachine>> members_;
};

}  // namespace holdfast::torture
