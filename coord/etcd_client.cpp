#include "coord/etcd_client.h"

#include <pthread.h>

#include <optional>
#include <utility>

namespace holdfast::coord {
namespace {

template <class T>
Task<void> answer_with(Task<T> task, std::shared_ptr<EtcdClient::Reply<T>> reply, std::size_t* calls) {
  T value = co_await std::move(task);
  --*calls;
  (*reply)(std::move(value));
}

Task<EtcdClient::Woken> tell_when(Task<void> changed) {
  co_await std::move(changed);
  co_return EtcdClient::Woken::perhaps_changed;
}

Error overloaded() { return Error(Errc::overloaded, "too many calls of the coordinator are under way"); }

}  // namespace

EtcdClient::EtcdClient(EtcdOptions options, std::vector<HttpEndpoint> endpoints)
    : core_(loop_, std::move(options), std::move(endpoints), stats_) {}

Result<std::shared_ptr<EtcdClient>> EtcdClient::start(EtcdOptions options) {
  auto endpoints = check(options);
  if (!endpoints) return fail(endpoints.error());
  std::shared_ptr<EtcdClient> client(new EtcdClient(std::move(options), std::move(*endpoints)));
  TRY(client->core_.check_files());
  client->thread_ = std::thread([c = client.get()] {
    pthread_setname_np(pthread_self(), "etcd");
    c->core_.begin();
    c->loop_.run();
  });
  return client;
}

EtcdClient::~EtcdClient() {
  if (!thread_.joinable()) return;
  loop_.stop();
  thread_.join();
}

// begin(): the call's flow, made on the loop's thread.
template <class T, class Begin>
void EtcdClient::call(Reply<T> reply, T refusal, Begin begin) {
  auto shared = std::make_shared<Reply<T>>(std::move(reply));
  loop_.post_remote([this, shared, refusal = std::move(refusal), begin = std::move(begin)]() mutable {
    if (calls_ >= kCallsMax) return (*shared)(std::move(refusal));
    ++calls_;
    core_.spawn(answer_with<T>(begin(), shared, &calls_));
  });
}

void EtcdClient::get(std::string key, Reply<Result<CoordinatorEntry>> reply) {
  call<Result<CoordinatorEntry>>(std::move(reply), fail(overloaded()), [this, key = std::move(key)]() mutable { return core_.get(std::move(key)); });
}

void EtcdClient::compare_and_swap(std::string key, std::uint64_t base_revision, std::string value, Reply<CasOutcome> reply) {
  call<CasOutcome>(std::move(reply), CasOutcome{}, [this, key = std::move(key), base_revision, value = std::move(value)]() mutable {
    return core_.swap(std::move(key), base_revision, std::optional<std::string>(std::move(value)));
  });
}

void EtcdClient::erase(std::string key, std::uint64_t base_revision, Reply<CasOutcome> reply) {
  call<CasOutcome>(std::move(reply), CasOutcome{}, [this, key = std::move(key), base_revision]() mutable {
    return core_.swap(std::move(key), base_revision, std::nullopt);
  });
}

void EtcdClient::list(std::string folder, Reply<Result<std::vector<DirectoryEntry>>> reply) {
  call<Result<std::vector<DirectoryEntry>>>(std::move(reply), fail(overloaded()),
                                            [this, folder = std::move(folder)]() mutable { return core_.list(std::move(folder)); });
}

void EtcdClient::until_changed(std::string key, std::uint64_t revision, Reply<Woken> reply) {
  call<Woken>(std::move(reply), Woken::perhaps_changed,
              [this, key = std::move(key), revision]() mutable { return tell_when(core_.until_changed(std::move(key), revision)); });
}

void EtcdClient::set_up(Uuid id, Reply<Result<std::string>> reply) {
  call<Result<std::string>>(std::move(reply), fail(overloaded()), [this, id] { return core_.set_up(id); });
}

void EtcdClient::take_over(Reply<Result<std::string>> reply) {
  call<Result<std::string>>(std::move(reply), fail(overloaded()), [this] { return core_.take_over(); });
}

}  // namespace holdfast::coord
