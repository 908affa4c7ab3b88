// The coordinator's own thread: Executor and Clock of the flows on it, with Asio's sockets underneath. A turn: timers, ready
// flows, then whatever the sockets and other threads have brought.
#pragma once

#include <memory>

#include "base/clock.h"
#include "base/executor.h"

namespace boost::asio {
class io_context;
}

namespace holdfast::coord {

class Loop final : public Executor {
 public:
  Loop();
  ~Loop() override;

  void post_remote(std::move_only_function<void()> job) override;
  Clock& clock();

  // Turns on the calling thread until stop(), which any thread may call.
  void run();
  void stop();

  // For http.cpp.
  boost::asio::io_context& sockets();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace holdfast::coord
