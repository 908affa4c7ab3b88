#include "io/reactor_pool.h"

#include <pthread.h>

#include <algorithm>
#include <future>
#include <string>
#include <thread>

#include "base/ensure.h"

namespace holdfast::io {

struct ReactorPool::Member {
  std::unique_ptr<Reactor> reactor;
  std::thread thread;
  unsigned weight = 0;  // Of what choose() put on it.
};

ReactorPool::ReactorPool() = default;

Result<std::unique_ptr<ReactorPool>> ReactorPool::start(unsigned threads, ReactorOptions options) {
  ENSURE(threads > 0);
  std::unique_ptr<ReactorPool> pool(new ReactorPool());
  for (unsigned i = 0; i < threads; ++i) {
    auto reactor = Reactor::create(options);
    if (!reactor) {
      Error error = std::move(reactor).error();
      error.message = "reactor " + std::to_string(i) + ": " + error.message;
      return fail(std::move(error));
    }
    auto member = std::make_unique<Member>();
    member->reactor = std::move(*reactor);
    pool->members_.push_back(std::move(member));
  }
  for (unsigned i = 0; i < threads; ++i) {
    Member& member = *pool->members_[i];
    member.thread = std::thread([&member, i] {
      pthread_setname_np(pthread_self(), ("reactor-" + std::to_string(i)).c_str());
      member.reactor->run();
    });
  }
  return pool;
}

ReactorPool::~ReactorPool() {
  for (auto& member : members_) {
    if (member->thread.joinable()) member->reactor->stop();
  }
  for (auto& member : members_) {
    if (member->thread.joinable()) member->thread.join();
  }
}

Reactor& ReactorPool::reactor(std::size_t index) { return *members_[index]->reactor; }

Reactor& ReactorPool::choose(unsigned weight) {
  const auto least = std::ranges::min_element(members_, {}, [](const auto& member) { return member->weight; });
  (*least)->weight += weight;
  return *(*least)->reactor;
}

void ReactorPool::release(Reactor& reactor, unsigned weight) {
  for (auto& member : members_) {
    if (member->reactor.get() != &reactor) continue;
    ENSURE(member->weight >= weight);
    member->weight -= weight;
  }
}

void ReactorPool::run_on(Reactor& reactor, std::move_only_function<void()> job) {
  std::promise<void> done;
  reactor.post_remote([&] {
    job();
    done.set_value();
  });
  done.get_future().wait();
}

}  // namespace holdfast::io
