#include "io/directory_coordinator.h"

namespace holdfast::io {

Result<std::unique_ptr<DirectoryCoordinator>> DirectoryCoordinator::open(Clock& clock, std::string path) {
  auto directory = RegisterDirectory::open(std::move(path));
  if (!directory) return fail(directory.error());
  return std::unique_ptr<DirectoryCoordinator>(new DirectoryCoordinator(clock, std::move(*directory)));
}

Task<Result<CoordinatorEntry>> DirectoryCoordinator::get(std::string key) {
  OnWorker<Result<CoordinatorEntry>> reading(clock_->executor(), worker_, [this, key] { return directory_.get(key); });
  auto entry = co_await reading;
  co_return entry;
}

Task<CasOutcome> DirectoryCoordinator::compare_and_swap(std::string key, std::uint64_t base_revision, std::string value) {
  OnWorker<CasOutcome> swapping(clock_->executor(), worker_, [this, key, base_revision, value] {
    return directory_.compare_and_swap(key, base_revision, value);
  });
  auto outcome = co_await swapping;
  co_return outcome;
}

Task<void> DirectoryCoordinator::until_changed(std::string, std::uint64_t) {
  Timer timer(*clock_);
  co_await timer.after(milliseconds(kLookMs));
}

Task<Result<std::vector<DirectoryEntry>>> DirectoryCoordinator::list(std::string folder) {
  OnWorker<Result<std::vector<DirectoryEntry>>> listing(clock_->executor(), worker_, [this, folder] { return directory_.list(folder); });
  auto entries = co_await listing;
  co_return entries;
}

Task<CasOutcome> DirectoryCoordinator::erase(std::string key, std::uint64_t base_revision) {
  OnWorker<CasOutcome> erasing(clock_->executor(), worker_, [this, key, base_revision] { return directory_.erase(key, base_revision); });
  auto outcome = co_await erasing;
  co_return outcome;
}

}  // namespace holdfast::io
