#include "io/reactor.h"

#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <cerrno>
#include <mutex>

#include "io/fd_watch.h"
#include "io/ring.h"
#include "io/system_error.h"
#include "io/unique_fd.h"

namespace holdfast::io {
namespace {

class BootClock final : public Clock {
 public:
  using Clock::Clock;
  BootNs now() const override {
    timespec t{};
    clock_gettime(CLOCK_BOOTTIME, &t);
    return BootNs{t.tv_sec * 1'000'000'000LL + t.tv_nsec};
  }
};

constexpr std::int64_t kNotArmed = INT64_MAX;
constexpr unsigned kTurnsWithoutPollMax = 4;

}  // namespace

struct Reactor::Impl {
  ReactorOptions options;
  ReactorStats stats;
  BootClock clock;
  BufferPool buffers;
  // One thread, nobody else touches the context: Asio's locks are off. Other threads reach us through post_remote only.
  boost::asio::io_context ioc{BOOST_ASIO_CONCURRENCY_HINT_UNSAFE};

  UniqueFd ring_event, remote_event, timer_event;
  std::unique_ptr<Ring> ring;  // Before the watches: they are gone when it goes.
  std::unique_ptr<FdSignal> ring_signal, remote_signal, timer_signal;
  std::int64_t timer_armed_ns = kNotArmed;  // What the timerfd is set to; kNotArmed once it has fired.

  std::mutex remote_mutex;
  std::vector<std::move_only_function<void()>> remote_jobs;  // Guarded by remote_mutex.
  std::vector<std::move_only_function<void()>> remote_now;   // The reactor's side of the swap.
  std::atomic<bool> remote_waiting{false};                   // Set by posters, cleared before the swap.
  std::atomic<bool> sleeping{false};                         // Set around blocking: posters must write the eventfd.
  bool stopping = false;
  unsigned turns_without_poll = 0;

  Impl(Executor& executor, ReactorOptions o)
      : options(o), clock(executor), buffers(executor, o.buffer_bytes) {}

  Result<void> start();
  void run_remote_jobs();
  void fire_timers(Executor& executor);
  void arm_timer();
  bool spin(const Reactor& reactor);
  void block(const Reactor& reactor);
};

Result<void> Reactor::Impl::start() {
  ring_event.reset(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  remote_event.reset(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  timer_event.reset(timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC));
  if (!ring_event || !remote_event || !timer_event) return fail(system_error(errno, "cannot create the reactor's descriptors"));
  auto created = Ring::create(options.submission_entries, options.completion_entries, ring_event.get(), stats);
  if (!created) return fail(std::move(created).error());
  ring = std::move(*created);
  ring->register_memory(buffers.memory());
  ring_signal = std::make_unique<FdSignal>(ioc, ring_event.get());
  remote_signal = std::make_unique<FdSignal>(ioc, remote_event.get());
  timer_signal = std::make_unique<FdSignal>(ioc, timer_event.get());
  return {};
}

Reactor::Reactor(ReactorOptions options) : impl_(std::make_unique<Impl>(*this, options)) {}

Reactor::~Reactor() {
  // Jobs hold what they captured; let go of it while the reactor is whole.
  std::lock_guard lock(impl_->remote_mutex);
  impl_->remote_jobs.clear();
}

Result<std::unique_ptr<Reactor>> Reactor::create(ReactorOptions options) {
  std::unique_ptr<Reactor> reactor(new Reactor(options));
  TRY(reactor->impl_->start());
  return reactor;
}

void Reactor::post_remote(std::move_only_function<void()> job) {
  {
    std::lock_guard lock(impl_->remote_mutex);
    impl_->remote_jobs.push_back(std::move(job));
  }
  if (impl_->remote_waiting.exchange(true)) return;  // Somebody before us has woken it, if it slept.
  if (!impl_->sleeping.load()) return;
  impl_->stats.remote_wakes.add();
  const std::uint64_t one = 1;
  const auto written = ::write(impl_->remote_event.get(), &one, sizeof one);
  ENSURE(written == sizeof one || errno == EAGAIN);
}

void Reactor::Impl::run_remote_jobs() {
  if (!remote_waiting.load(std::memory_order_relaxed)) return;
  remote_waiting.store(false);
  {
    std::lock_guard lock(remote_mutex);
    remote_now.swap(remote_jobs);
  }
  for (auto& job : remote_now) job();
  remote_now.clear();
}

void Reactor::Impl::fire_timers(Executor& executor) {
  if (!clock.timers().empty()) clock.timers().fire(clock.now(), executor);
}

// Called before blocking only. A timer that was cancelled or moved later leaves the timerfd early: one vain wake-up is
// cheaper than setting it for every request's deadline.
void Reactor::Impl::arm_timer() {
  if (timer_signal->take()) timer_armed_ns = kNotArmed;
  if (clock.timers().empty()) return;
  const std::int64_t due = clock.timers().next_due().value;
  if (due >= timer_armed_ns) return;
  timer_armed_ns = due;
  stats.timer_arms.add();
  itimerspec spec{};
  const std::int64_t at = due > 0 ? due : 1;  // Zero would disarm it.
  spec.it_value.tv_sec = at / 1'000'000'000;
  spec.it_value.tv_nsec = at % 1'000'000'000;
  const int result = timerfd_settime(timer_event.get(), TFD_TIMER_ABSTIME, &spec, nullptr);
  ENSURE(result == 0);
}

// Looks for completions for a while: a sleeping core takes longer to wake up than a fast disk to answer.
bool Reactor::Impl::spin(const Reactor& reactor) {
  if (options.spin.value == 0 || ring->in_flight() == 0) return false;
  const BootNs until = clock.now() + options.spin;
  for (unsigned round = 1;; ++round) {
    if (ring->something_to_collect() || remote_waiting.load(std::memory_order_relaxed)) break;
    if (round % 64 == 0) {
      stats.socket_polls.add();
      ioc.poll();
      if (!reactor.idle()) break;
      if (clock.now() >= until) return false;
    }
    __builtin_ia32_pause();
  }
  stats.spin_hits.add();
  return true;
}

void Reactor::Impl::block(const Reactor& reactor) {
  if (spin(reactor)) return;
  arm_timer();
  ring->arm_wakeup();
  sleeping.store(true);
  // Whoever came before the two stores above wrote no eventfd: look once more. The kernel's flag that there is something to run
  // may stay when there is nothing (seen on 6.18): only what is really collected keeps from blocking.
  ring->submit_and_collect();
  if (reactor.idle() && !remote_waiting.load()) {
    stats.blocks.add();
    ioc.run_one();
  } else {
    stats.socket_polls.add();
    ioc.poll();  // The sockets have their turn, however much the disks bring.
  }
  sleeping.store(false, std::memory_order_relaxed);
  ring->disarm_wakeup();
}

void Reactor::turn(Waiting waiting) {
  Impl& impl = *impl_;
  impl.ring->bind();
  impl.stats.turns.add();
  impl.run_remote_jobs();
  // Flows that are ready go first; the sockets are looked at when there are none, or after a few turns all the same.
  if (idle() || ++impl.turns_without_poll >= kTurnsWithoutPollMax) {
    impl.turns_without_poll = 0;
    impl.fire_timers(*this);
    if (waiting == Waiting::block && idle() && !impl.stopping) {
      impl.block(*this);  // Looks at the sockets in the same call.
      impl.run_remote_jobs();
      impl.ring->submit_and_collect();
      impl.fire_timers(*this);
    } else {
      impl.stats.socket_polls.add();
      impl.ioc.poll();
    }
  }
  for (unsigned i = 0; i < impl.options.flows_per_turn; ++i) {
    if (!run_one()) break;
  }
  impl.ring->submit_and_collect();
}

void Reactor::run() {
  while (!impl_->stopping) turn(Waiting::block);
  impl_->stopping = false;
}

void Reactor::stop() {
  post_remote([this] { impl_->stopping = true; });
}

Clock& Reactor::clock() { return impl_->clock; }
BufferPool& Reactor::buffers() { return impl_->buffers; }
const ReactorStats& Reactor::stats() const { return impl_->stats; }
Ring& Reactor::ring() { return *impl_->ring; }
boost::asio::io_context& Reactor::io_context() { return impl_->ioc; }

}  // namespace holdfast::io
