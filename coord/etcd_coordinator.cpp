#include "coord/etcd_coordinator.h"

#include <utility>

namespace holdfast::coord {

Task<Result<CoordinatorEntry>> EtcdCoordinator::get(std::string key) {
  using Call = HomeCall<Result<CoordinatorEntry>>;
  Call call(home_, [this, key = std::move(key)](Call::Reply reply) mutable { client_->get(std::move(key), std::move(reply)); });
  auto entry = co_await call;
  co_return entry;
}

Task<CasOutcome> EtcdCoordinator::compare_and_swap(std::string key, std::uint64_t base_revision, std::string value) {
  using Call = HomeCall<CasOutcome>;
  Call call(home_, [this, key = std::move(key), base_revision, value = std::move(value)](Call::Reply reply) mutable {
    client_->compare_and_swap(std::move(key), base_revision, std::move(value), std::move(reply));
  });
  auto outcome = co_await call;
  co_return outcome;
}

Task<void> EtcdCoordinator::until_changed(std::string key, std::uint64_t revision) {
  using Call = HomeCall<EtcdClient::Woken>;
  Call call(home_, [this, key = std::move(key), revision](Call::Reply reply) mutable {
    client_->until_changed(std::move(key), revision, std::move(reply));
  });
  (void)co_await call;
}

Task<Result<std::vector<DirectoryEntry>>> EtcdCoordinator::list(std::string folder) {
  using Call = HomeCall<Result<std::vector<DirectoryEntry>>>;
  Call call(home_, [this, folder = std::move(folder)](Call::Reply reply) mutable { client_->list(std::move(folder), std::move(reply)); });
  auto entries = co_await call;
  co_return entries;
}

Task<CasOutcome> EtcdCoordinator::erase(std::string key, std::uint64_t base_revision) {
  using Call = HomeCall<CasOutcome>;
  Call call(home_, [this, key = std::move(key), base_revision](Call::Reply reply) mutable {
    client_->erase(std::move(key), base_revision, std::move(reply));
  });
  auto outcome = co_await call;
  co_return outcome;
}

Task<Result<std::string>> EtcdCoordinator::set_up(Uuid id) {
  using Call = HomeCall<Result<std::string>>;
  Call call(home_, [this, id](Call::Reply reply) { client_->set_up(id, std::move(reply)); });
  auto done = co_await call;
  co_return done;
}

Task<Result<std::string>> EtcdCoordinator::take_over() {
  using Call = HomeCall<Result<std::string>>;
  Call call(home_, [this](Call::Reply reply) { client_->take_over(std::move(reply)); });
  auto done = co_await call;
  co_return done;
}

}  // namespace holdfast::coord
