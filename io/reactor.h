// One thread's loop: the ready flows, the ring, the sockets and the timers of everything that lives on that thread.
// It is the thread's Executor, and it has the thread's Clock and BufferPool.
//
// A turn: jobs of other threads → timers → submit what the flows before prepared and collect what has completed, with one system
// call that also waits if no flow is ready → run ready flows (bounded). All waiting is the ring's: disks, sockets, the timerfd and
// the eventfd of other threads. A reactor may be created on any thread; the thread of its first turn owns it from then on.
// Destroy it last: after the disks, streams and scopes that live on it.
#pragma once

#include <memory>
#include <vector>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/counters.h"
#include "base/executor.h"
#include "base/result.h"

namespace holdfast::io {

class Ring;

struct ReactorOptions {
  std::size_t buffer_bytes = std::size_t{64} << 20;  // The pool: multiple of 1 MiB.
  unsigned submission_entries = 256;                 // Power of two; more requests than this in one turn cost a second call.
  unsigned completion_entries = 8192;                // Power of two; requests in flight beyond it are kept by the kernel.
  unsigned flows_per_turn = 256;                     // Flows resumed before the ring and the sockets get their turn.
  DurationNs spin{};                                 // How long to look for something to do before blocking; less when it is in vain.
};

// Written by the reactor's thread, readable from any.
struct ReactorStats {
  Counter turns;
  Counter enters;         // io_uring_enter calls, those that wait among them.
  Counter submissions;    // Requests given to the ring.
  Counter completions;
  Counter blocks;         // Waits in the kernel.
  Counter spins;          // Looks before blocking,
  Counter spin_hits;      // and how many of them found something.
  Counter timer_arms;     // timerfd_settime calls.
  Counter remote_wakes;   // eventfd writes by other threads.
};

class Reactor final : public Executor {
 public:
  // Errors: permission or unsupported when this kernel or container refuses io_uring; the message names cause and remedy.
  static Result<std::unique_ptr<Reactor>> create(ReactorOptions options = {});
  ~Reactor() override;

  void post_remote(std::move_only_function<void()> job) override;

  Clock& clock();
  BufferPool& buffers();

  enum class Waiting : std::uint8_t { poll, block };
  void turn(Waiting waiting);
  // Turns until stop().
  void run();
  // From any thread. Flows that are not finished stay where they are.
  void stop();

  const ReactorStats& stats() const;

  // For the other parts of this room.
  Ring& ring();

 private:
  struct Impl;
  explicit Reactor(ReactorOptions options);
  std::unique_ptr<Impl> impl_;
};

}  // namespace holdfast::io
