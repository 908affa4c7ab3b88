#include "io/reactor.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <mutex>
#include <utility>

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
// However busy the flows are and whatever the ring's flags say: so often the kernel is asked for what has come.
constexpr unsigned kTurnsWithoutEnterMax = 16;
constexpr unsigned kSpinsSkippedMax = 63;

// An eventfd or timerfd that ends the reactor's wait. Polled and read, so that no memory of ours is the kernel's meanwhile.
class Signal final : public RingOp {
 public:
  Result<void> take(int fd) {
    fd_.reset(fd);
    if (!fd_) return fail(system_error(errno, "cannot create the reactor's descriptors"));
    return {};
  }
  int fd() const { return fd_.get(); }
  // Goes to the kernel with the next system call of the ring.
  void arm(Ring& ring) {
    if (armed_) return;
    armed_ = true;
    io_uring_sqe* sqe = ring.prepare();
    io_uring_prep_poll_add(sqe, fd_.get(), POLLIN);
    Ring::own(sqe, *this);
  }
  void completed(int) override {
    armed_ = false;
    std::uint64_t value = 0;
    fired_ = ::read(fd_.get(), &value, sizeof value) == sizeof value || fired_;
  }
  // True when it was signalled since the last call.
  bool take_fired() { return std::exchange(fired_, false); }

 private:
  UniqueFd fd_;
  bool armed_ = false;
  bool fired_ = false;
};

}  // namespace

struct Reactor::Impl {
  ReactorOptions options;
  ReactorStats stats;
  BootClock clock;
  BufferPool buffers;
  Signal remote_signal, timer_signal;
  std::unique_ptr<Ring> ring;  // After the signals: they outlive what it holds of them.
  std::int64_t timer_armed_ns = kNotArmed;  // What the timerfd is set to; kNotArmed once it has fired.

  std::mutex remote_mutex;
  std::vector<std::move_only_function<void()>> remote_jobs;  // Guarded by remote_mutex.
  std::vector<std::move_only_function<void()>> remote_now;   // The reactor's side of the swap.
  std::atomic<bool> remote_waiting{false};                   // Set by posters, cleared before the swap.
  std::atomic<bool> sleeping{false};                         // Set around blocking: posters must write the eventfd.
  bool stopping = false;
  unsigned spins_in_vain = 0;  // In a row: 0, 1, 3, 7 … kSpinsSkippedMax.
  unsigned spins_to_skip = 0;  // Before the next one.
  unsigned turns_without_enter = 0;

  Impl(Executor& executor, ReactorOptions o)
      : options(o), clock(executor), buffers(executor, o.buffer_bytes) {}

  Result<void> start();
  bool run_remote_jobs();
  void fire_timers(Executor& executor);
  void arm_timer();
  void arm_wake_ups();
  void spin(const Executor& flows);
  void block(const Executor& flows);
  void look();
};

Result<void> Reactor::Impl::start() {
  TRY(remote_signal.take(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)));
  TRY(timer_signal.take(timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC)));
  auto created = Ring::create(options.submission_entries, options.completion_entries, stats);
  if (!created) return fail(std::move(created).error());
  ring = std::move(*created);
  ring->register_memory(buffers.memory());
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
  const auto written = ::write(impl_->remote_signal.fd(), &one, sizeof one);
  ENSURE(written == sizeof one || errno == EAGAIN);
}

// True: there were some.
bool Reactor::Impl::run_remote_jobs() {
  if (!remote_waiting.load(std::memory_order_relaxed)) return false;
  remote_waiting.store(false);
  {
    std::lock_guard lock(remote_mutex);
    remote_now.swap(remote_jobs);
  }
  for (auto& job : remote_now) job();
  remote_now.clear();
  return true;
}

void Reactor::Impl::fire_timers(Executor& executor) {
  if (!clock.timers().empty()) clock.timers().fire(clock.now(), executor);
}

// Called before blocking only. A timer that was cancelled or moved later leaves the timerfd early: one vain wake-up is
// cheaper than setting it for every request's deadline.
void Reactor::Impl::arm_timer() {
  if (timer_signal.take_fired()) timer_armed_ns = kNotArmed;
  if (clock.timers().empty()) return;
  const std::int64_t due = clock.timers().next_due().value;
  if (due >= timer_armed_ns) return;
  timer_armed_ns = due;
  stats.timer_arms.add();
  itimerspec spec{};
  const std::int64_t at = due > 0 ? due : 1;  // Zero would disarm it.
  spec.it_value.tv_sec = at / 1'000'000'000;
  spec.it_value.tv_nsec = at % 1'000'000'000;
  const int result = timerfd_settime(timer_signal.fd(), TFD_TIMER_ABSTIME, &spec, nullptr);
  ENSURE(result == 0);
}

// What ends a wait when no request does; nothing to do when it is so already.
void Reactor::Impl::arm_wake_ups() {
  timer_signal.arm(*ring);
  remote_signal.arm(*ring);
  arm_timer();
}

// Looks for something to do for a while: a sleeping core takes longer to wake up than a fast disk to answer. Each time in vain is
// followed by twice as many waits without it, so that an idle reactor, or one with slow disks, burns next to nothing.
void Reactor::Impl::spin(const Executor& flows) {
  if (options.spin.value == 0) return;
  if (spins_to_skip > 0) {
    --spins_to_skip;
    return;
  }
  stats.spins.add();
  ring->submit_and_collect();
  if (!flows.idle()) return;
  const BootNs until = clock.now() + options.spin;
  for (unsigned round = 1;; ++round) {
    if (ring->something_to_collect() || remote_waiting.load(std::memory_order_relaxed)) break;
    if (round % 16 == 0 && clock.now() >= until) {
      spins_in_vain = std::min(spins_in_vain * 2 + 1, kSpinsSkippedMax);
      spins_to_skip = spins_in_vain;
      return;
    }
    __builtin_ia32_pause();
  }
  spins_in_vain = 0;
  stats.spin_hits.add();
}

// Waits for whatever comes first. The kernel's flag that there is something to run may stay when there is nothing (seen on
// 6.18), so the wait is for a completion, which cannot be claimed.
void Reactor::Impl::block(const Executor& flows) {
  arm_wake_ups();
  spin(flows);
  arm_wake_ups();  // The look may have collected one of them: whoever slept without it would sleep for ever.
  sleeping.store(true);
  // Who came before that store wrote no eventfd: look once more.
  if (flows.idle() && !remote_waiting.load()) {
    stats.blocks.add();
    ring->wait_and_collect();
  } else {
    ring->submit_and_collect();
  }
  sleeping.store(false, std::memory_order_relaxed);
}

void Reactor::Impl::look() {
  if (++turns_without_enter >= kTurnsWithoutEnterMax) {
    turns_without_enter = 0;
    ring->enter_and_collect();
  } else {
    ring->submit_and_collect();
  }
}

void Reactor::turn(Waiting waiting) {
  Impl& impl = *impl_;
  impl.ring->bind();
  impl.stats.turns.add();
  const bool came = impl.run_remote_jobs();
  impl.fire_timers(*this);
  // What came from another thread may have been all that the caller waits for: it looks before anything else is waited for.
  if (waiting == Waiting::block && idle() && !came && !impl.stopping) {
    impl.block(*this);
    impl.run_remote_jobs();
    impl.fire_timers(*this);
  } else {
    impl.look();
  }
  for (unsigned i = 0; i < impl.options.flows_per_turn; ++i) {
    if (!run_one()) break;
  }
  if (waiting == Waiting::poll) impl.ring->submit_and_collect();  // Who polls may not come again soon.
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

}  // namespace holdfast::io
