// The Coordinator and ClusterDirectory ports over a RegisterDirectory: the embedded default for a single machine.
#pragma once

#include "base/clock.h"
#include "base/cluster_directory.h"
#include "base/coordinator.h"
#include "io/register_directory.h"
#include "io/worker.h"

namespace holdfast::io {

class DirectoryCoordinator final : public Coordinator, public ClusterDirectory {
 public:
  // Opens the directory, blocking. Everything of it runs on the clock's thread; destroy it after the flows that wait on it.
  static Result<std::unique_ptr<DirectoryCoordinator>> open(Clock& clock, std::string path);

  Task<Result<CoordinatorEntry>> get(std::string key) override;
  Task<CasOutcome> compare_and_swap(std::string key, std::uint64_t base_revision, std::string value) override;
  Task<void> until_changed(std::string key, std::uint64_t revision) override;
  std::string cluster_id() const override { return cluster_id_; }

  Task<Result<std::vector<DirectoryEntry>>> list(std::string folder) override;
  Task<CasOutcome> erase(std::string key, std::uint64_t base_revision) override;

 private:
  static constexpr std::int64_t kLookMs = 100;  // A hint need not be quick: decisions read for themselves.
  DirectoryCoordinator(Clock& clock, RegisterDirectory directory)
      : clock_(&clock), cluster_id_(directory.cluster_id()), directory_(std::move(directory)) {}

  Clock* clock_;
  std::string cluster_id_;
  RegisterDirectory directory_;  // The worker's.
  Worker worker_;                // Last: its jobs use the directory.
};

}  // namespace holdfast::io
