// One request in the reactor's ring that one flow at a time waits for: readiness of a descriptor, bytes of a socket.
// Internal to this room.
//
// The kernel holds on to what the request names (the call itself, a buffer) until it has answered. Whoever goes before that
// (a flow's frame, the call) takes the request back, and is gone only when the kernel has let go.
#pragma once

#include <coroutine>

#include "io/ring.h"

namespace holdfast::io {

class Reactor;

class RingCall final : private RingOp {
 public:
  explicit RingCall(Reactor& reactor) : reactor_(&reactor) {}
  RingCall(const RingCall&) = delete;
  RingCall& operator=(const RingCall&) = delete;
  ~RingCall() { cancel(); }

  bool pending() const { return pending_; }

  // An entry to fill in (io_uring_prep_…), and then own(): liburing's preparation clears the owner.
  io_uring_sqe* prepare();
  void own(io_uring_sqe* sqe);

  // Poll events (POLLIN, POLLOUT) of a descriptor: prepared whole. A state, not a change: what is ready already counts.
  void poll(int fd, unsigned events);

  // Suspends until the request has been answered: the result, or a negative errno. One waiter.
  class Awaiter {
   public:
    explicit Awaiter(RingCall* call) : call_(call) {}
    Awaiter(const Awaiter&) = delete;
    ~Awaiter() {
      if (call_->waiter_) call_->cancel();  // The frame goes while it waits.
    }
    bool await_ready() const noexcept { return !call_->pending_; }
    void await_suspend(std::coroutine_handle<> h) noexcept { call_->waiter_ = h; }
    int await_resume() const noexcept { return call_->result_; }

   private:
    RingCall* call_;
  };
  Awaiter answer() { return Awaiter(this); }

  // Returns when the kernel has let go. Nobody is resumed.
  void cancel();
  // The same, but who waits is resumed with -ECANCELED.
  void interrupt();

 private:
  void completed(int result) override;
  void take_back();

  Reactor* reactor_;
  std::coroutine_handle<> waiter_;
  bool pending_ = false;  // From own() until completed().
  int result_ = 0;        // Of the last answer.
};

}  // namespace holdfast::io
