// The simulated world: one thread, virtual BOOTTIME, and a queue of what happens next, ordered by (due, random tie, sequence).
// A host is one process: its executor, its clock, and everything that was promised to it. A crash of a host forgets
// all of that; its disks live on. After crash() the caller destroys the host's scopes and groups: destructors do no I/O.
// A host may be paused, as by SIGSTOP: what happens to it meanwhile waits, in its order. Its clock goes on, at its own rate.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "base/clock.h"
#include "base/executor.h"
#include "test/sim/random.h"

namespace holdfast::sim {

class SimWorld;

// Ready flows run first come first served, as in production; chance enters through the events that make them ready.
class SimExecutor final : public Executor {
 public:
  void post_remote(std::move_only_function<void()> job) override { remote_.push_back(std::move(job)); }
  bool run_any();
  void drop_all() {
    drop_ready();
    remote_.clear();
  }

 private:
  std::vector<std::move_only_function<void()>> remote_;
};

class SimClock final : public Clock {
 public:
  SimClock(const SimWorld& world, Executor& executor) : Clock(executor), world_(&world) {}
  BootNs now() const override;
  // From now on this clock gains so many nanoseconds in a true second, or loses them.
  void set_drift(std::int64_t ns_per_second);
  // A clock starts where its machine was booted. Before its first timer.
  void set_offset(DurationNs ahead);
  // The true time at which this clock will show `local`, or the first after it.
  BootNs true_time(BootNs local) const;
  // When the earliest timer is due, in true time. There is one.
  BootNs next_due();

 private:
  BootNs local_time(BootNs true_time) const;
  const SimWorld* world_;
  bool exact_ = true;              // Shows the true time: the common case, without arithmetic.
  std::int64_t drift_ = 0;         // Nanoseconds in a true second.
  BootNs anchor_true_{};           // Where the drift counts from …
  BootNs anchor_local_{};          // … and what the clock showed there.
  BootNs cached_local_{}, cached_true_{};
};

class SimHost {
 public:
  explicit SimHost(SimWorld& world);
  SimHost(const SimHost&) = delete;
  SimHost& operator=(const SimHost&) = delete;
  ~SimHost();

  SimWorld& world() const { return *world_; }
  SimExecutor& executor() { return executor_; }
  SimClock& clock() { return clock_; }
  // Counts this host's lives. An event of an earlier life never happens.
  std::uint64_t life() const { return life_; }
  // Forgets pending events and ready flows. The caller then crashes the disks and destroys what the process held.
  void crash();
  // Frozen until resume(): no flow of it runs, no timer fires, nothing arrives.
  void pause() { paused_ = true; }
  void resume();
  bool paused() const { return paused_; }

 private:
  friend class SimWorld;
  SimWorld* world_;
  SimExecutor executor_;
  SimClock clock_;
  std::uint64_t life_ = 1;
  bool paused_ = false;
  bool holds_ = false;  // Events of it are held back by the world.
};

class SimWorld {
 public:
  explicit SimWorld(std::uint64_t seed) : random_(seed) {}
  SimWorld(const SimWorld&) = delete;
  SimWorld& operator=(const SimWorld&) = delete;

  BootNs now() const { return now_; }
  SimRandom& random() { return random_; }

  // The action happens at `due`, unless the host crashes before.
  void at(BootNs due, SimHost& host, std::move_only_function<void()> action);
  void after(DurationNs delay, SimHost& host, std::move_only_function<void()> action) {
    at(now_ + delay, host, std::move(action));
  }

  // The next thing that happens: one ready flow, or else one event (the clock moves to it). False: nothing ever will.
  bool step();
  std::uint64_t steps() const { return steps_; }

  // A fingerprint of the life so far: equal for equal seeds, or the simulation is not one.
  void trace(std::uint64_t fact) { trace_hash_ = mix(trace_hash_ ^ fact); }
  std::uint64_t trace_hash() const { return trace_hash_; }

 private:
  friend class SimHost;
  struct Event {
    BootNs due;
    std::uint64_t tie;
    std::uint64_t sequence;
    SimHost* host;
    std::uint64_t life;
    std::move_only_function<void()> action;
  };
  static bool later(const Event& a, const Event& b) {
    if (a.due != b.due) return a.due > b.due;
    if (a.tie != b.tie) return a.tie > b.tie;
    return a.sequence > b.sequence;
  }
  bool run_ready();
  bool run_timers();
  void push_event(Event event);
  void release_held(SimHost& host);
  void forget_held(SimHost& host);
  void drop_stale_events();
  void pop_event(Event& into);

  SimRandom random_;
  BootNs now_{1'000'000'000};
  std::vector<Event> queue_;  // A heap by `later`.
  std::vector<Event> held_;   // Of paused hosts, in the order in which they would have happened.
  std::vector<SimHost*> hosts_;
  std::size_t turn_ = 0;  // The host whose ready flow runs next.
  std::uint64_t next_sequence_ = 0;
  std::uint64_t steps_ = 0;
  std::uint64_t trace_hash_ = 0;
};

}  // namespace holdfast::sim
