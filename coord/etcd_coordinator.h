// The Coordinator and ClusterDirectory ports over an etcd: one for each thread that has flows which ask, all over one client.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/cluster_directory.h"
#include "base/coordinator.h"
#include "coord/etcd_client.h"
#include "coord/home_call.h"

namespace holdfast::coord {

class EtcdCoordinator final : public Coordinator, public ClusterDirectory {
 public:
  // Used and destroyed on the executor's thread, after the flows that wait on it.
  EtcdCoordinator(Executor& home, std::shared_ptr<EtcdClient> client) : home_(std::make_shared<Home>(home)), client_(std::move(client)) {}
  ~EtcdCoordinator() override { home_->leave(); }

  Task<Result<CoordinatorEntry>> get(std::string key) override;
  Task<CasOutcome> compare_and_swap(std::string key, std::uint64_t base_revision, std::string value) override;
  Task<void> until_changed(std::string key, std::uint64_t revision) override;
  std::string cluster_id() const override { return client_->cluster_id(); }

  Task<Result<std::vector<DirectoryEntry>>> list(std::string folder) override;
  Task<CasOutcome> erase(std::string key, std::uint64_t base_revision) override;

  // For operators: see EtcdClient.
  Task<Result<std::string>> set_up(Uuid id);
  Task<Result<std::string>> take_over();

 private:
  std::shared_ptr<Home> home_;
  std::shared_ptr<EtcdClient> client_;
};

}  // namespace holdfast::coord
