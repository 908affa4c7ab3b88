// Waiting for a descriptor through Asio. Internal to this room.
#pragma once

#include <coroutine>
#include <memory>

#include "base/ensure.h"

namespace boost::asio {
class io_context;
}

namespace holdfast::io {

class Reactor;

// Readiness of a non-blocking socket. It borrows the descriptor; nothing is registered before the first wait, so a
// stream can be made on one thread and used on another.
class FdWatch {
 public:
  FdWatch(Reactor& reactor, int fd);
  FdWatch(const FdWatch&) = delete;
  FdWatch& operator=(const FdWatch&) = delete;
  ~FdWatch();

  struct State;
  enum class Direction : unsigned char { read, write };

  // Returns when the descriptor may be ready, or was closed: try again, or look at closed().
  class Awaiter {
   public:
    Awaiter(std::shared_ptr<State> state, Direction direction) : state_(std::move(state)), direction_(direction) {}
    Awaiter(const Awaiter&) = delete;
    ~Awaiter();
    bool await_ready() const noexcept;
    void await_suspend(std::coroutine_handle<> h);
    void await_resume() const noexcept {}

   private:
    std::shared_ptr<State> state_;
    Direction direction_;
  };
  Awaiter ready(Direction direction) { return Awaiter(state_, direction); }

  // Wakes the waiters and forgets the descriptor (which stays open). Idempotent.
  void close();
  bool closed() const;

 private:
  std::shared_ptr<State> state_;
};

// An eventfd or timerfd that ends Asio's wait: it is read and rearmed by itself.
class FdSignal {
 public:
  FdSignal(boost::asio::io_context& ioc, int fd);
  ~FdSignal();
  // True when it was signalled since the last call.
  bool take();

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace holdfast::io
