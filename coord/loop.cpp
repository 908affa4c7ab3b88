#include "coord/loop.h"

#include <time.h>

#include <algorithm>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <chrono>

namespace holdfast::coord {

namespace asio = boost::asio;

namespace {

constexpr unsigned kFlowsPerTurn = 256;
// Asio waits by a clock that stops in suspend: after one it is late by no more than this.
constexpr std::int64_t kWaitNsMax = 1'000'000'000;

class BootClock final : public Clock {
 public:
  using Clock::Clock;
  BootNs now() const override {
    timespec time{};
    const int result = ::clock_gettime(CLOCK_BOOTTIME, &time);
    ENSURE(result == 0);
    return BootNs{time.tv_sec * 1'000'000'000 + time.tv_nsec};
  }
};

}  // namespace

struct Loop::Impl {
  explicit Impl(Executor& executor) : clock(executor) {}
  BootClock clock;
  asio::io_context sockets{1};
  asio::executor_work_guard<asio::io_context::executor_type> work{sockets.get_executor()};
  bool stopping = false;  // The loop's thread only.
};

Loop::Loop() : impl_(std::make_unique<Impl>(*this)) {}
Loop::~Loop() = default;

void Loop::post_remote(std::move_only_function<void()> job) {
  asio::post(impl_->sockets, [job = std::move(job)]() mutable { job(); });
}

Clock& Loop::clock() { return impl_->clock; }
asio::io_context& Loop::sockets() { return impl_->sockets; }

void Loop::run() {
  Impl& impl = *impl_;
  TimerQueue& timers = impl.clock.timers();
  while (!impl.stopping) {
    if (!timers.empty()) timers.fire(impl.clock.now(), *this);
    for (unsigned i = 0; i < kFlowsPerTurn; ++i) {
      if (!run_one()) break;
    }
    if (!idle()) {
      impl.sockets.poll();
      continue;
    }
    std::int64_t wait_ns = kWaitNsMax;
    if (!timers.empty()) wait_ns = std::clamp<std::int64_t>((timers.next_due() - impl.clock.now()).value, 0, kWaitNsMax);
    impl.sockets.run_one_for(std::chrono::nanoseconds(wait_ns));
  }
}

void Loop::stop() {
  post_remote([this] { impl_->stopping = true; });
}

}  // namespace holdfast::coord
