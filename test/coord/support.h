// What the tests of the coordinator share: a node as its groups see it, with an etcd behind it.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <string>

#include "coord/etcd_client.h"
#include "coord/etcd_coordinator.h"
#include "io/reactor.h"
#include "io/run_task.h"
#include "test/coord/etcd_process.h"

namespace holdfast::coord::test {

inline EtcdOptions options_for(std::vector<std::string> endpoints) {
  EtcdOptions options;
  options.endpoints = std::move(endpoints);
  return options;
}

inline std::shared_ptr<EtcdClient> start_client(EtcdOptions options) {
  auto client = EtcdClient::start(std::move(options));
  EXPECT_TRUE(client) << client.error().text();
  return client ? *client : nullptr;
}

// The client's calls for threads that may wait.
template <class T, class Begin>
T await_reply(Begin begin) {
  std::promise<T> promise;
  auto future = promise.get_future();
  begin([&promise](T value) { promise.set_value(std::move(value)); });
  return future.get();
}
inline Result<CoordinatorEntry> get(EtcdClient& client, const std::string& key) {
  return await_reply<Result<CoordinatorEntry>>([&](auto reply) { client.get(key, std::move(reply)); });
}
inline CasOutcome swap(EtcdClient& client, const std::string& key, std::uint64_t base, const std::string& value) {
  return await_reply<CasOutcome>([&](auto reply) { client.compare_and_swap(key, base, value, std::move(reply)); });
}
inline CasOutcome erase(EtcdClient& client, const std::string& key, std::uint64_t base) {
  return await_reply<CasOutcome>([&](auto reply) { client.erase(key, base, std::move(reply)); });
}
inline Result<std::vector<DirectoryEntry>> list(EtcdClient& client, const std::string& folder) {
  return await_reply<Result<std::vector<DirectoryEntry>>>([&](auto reply) { client.list(folder, std::move(reply)); });
}
inline Result<std::string> set_up(EtcdClient& client, std::uint8_t number = 7) {
  Uuid id{};
  id.fill(number);
  return await_reply<Result<std::string>>([&](auto reply) { client.set_up(id, std::move(reply)); });
}
inline Result<std::string> take_over(EtcdClient& client) {
  return await_reply<Result<std::string>>([&](auto reply) { client.take_over(std::move(reply)); });
}
inline std::future<void> until_changed(EtcdClient& client, const std::string& key, std::uint64_t revision) {
  auto promise = std::make_shared<std::promise<void>>();
  auto future = promise->get_future();
  client.until_changed(key, revision, [promise](EtcdClient::Woken) { promise->set_value(); });
  return future;
}

// An etcd that is set up, and a client of it.
struct EtcdTest : testing::Test {
  void start(std::size_t members = 1) {
    cluster = std::make_unique<EtcdCluster>(members);
    ASSERT_NO_FATAL_FAILURE(cluster->start());
    client = start_client(options());
    const auto id = set_up(*client);
    ASSERT_TRUE(id) << id.error().text();
  }
  EtcdOptions options() const { return options_for(cluster->urls()); }
  std::unique_ptr<EtcdCluster> cluster;
  std::shared_ptr<EtcdClient> client;
};

}  // namespace holdfast::coord::test
