// One thread of the node: a reactor, and the flows that run on it.
#pragma once

#include <memory>
#include <string>
#include <thread>

#include "base/scope.h"
#include "io/reactor.h"
#include "scsi/payload_budget.h"
#include "tools/holdfastd/cluster_thread.h"
#include "tools/holdfastd/kernel_random.h"

namespace holdfast::daemon {

class ReactorThread {
 public:
  static Result<std::unique_ptr<ReactorThread>> create(std::string name, io::ReactorOptions options);
  // Ends the thread. What still runs in the scope unwinds where it stands: a crash.
  ~ReactorThread();
  ReactorThread(const ReactorThread&) = delete;

  // Until then everything on it may be used from the thread that created it.
  void start();
  // Ends the thread between two turns. Idempotent.
  void stop();

  io::Reactor& reactor() { return *reactor_; }
  Random& random() { return random_; }
  Scope& scope() { return scope_; }  // On its thread only.
  // Of the reactor's payload memory: shared by all its targets.
  const std::shared_ptr<scsi::PayloadBudgets>& payload_budgets() const { return payload_budgets_; }
  // Its lines to the rest of the cluster; null for a node by itself. Given before start().
  ClusterThread* cluster() { return cluster_.get(); }
  void set_cluster(std::unique_ptr<ClusterThread> cluster) { cluster_ = std::move(cluster); }

 private:
  ReactorThread(std::string name, std::unique_ptr<io::Reactor> reactor);
  std::string name_;
  std::unique_ptr<io::Reactor> reactor_;
  KernelRandom random_;
  std::shared_ptr<scsi::PayloadBudgets> payload_budgets_;
  std::unique_ptr<ClusterThread> cluster_;
  Scope scope_;
  std::thread thread_;
};

}  // namespace holdfast::daemon
