// The register of a group that has one copy and no coordinator: it lives and dies with the process, because the copy itself
// knows everything that it would say.
#pragma once

#include "base/coordinator.h"
#include "base/sync.h"
#include "engine/register.h"

namespace holdfast::engine {

class SoloCoordinator final : public Coordinator {
 public:
  SoloCoordinator(Executor& executor, const Register& value) : entry_{1, encode_register(value)}, changed_(executor) {}

  Task<Result<CoordinatorEntry>> get(std::string) override { co_return entry_; }
  Task<CasOutcome> compare_and_swap(std::string, std::uint64_t base_revision, std::string value) override {
    if (base_revision != entry_.revision) co_return CasOutcome{CasStatus::conflict, entry_};
    entry_ = {entry_.revision + 1, std::move(value)};
    co_return CasOutcome{CasStatus::applied, entry_};
  }
  // Nobody else changes it.
  Task<void> until_changed(std::string, std::uint64_t) override { co_await changed_.wait(); }
  std::string cluster_id() const override { return {}; }

 private:
  CoordinatorEntry entry_;
  WaitList changed_;
};

}  // namespace holdfast::engine
