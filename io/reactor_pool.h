// One reactor a thread. Volumes are spread over them: each choose() goes to the one with the least weight so far.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

#include "base/result.h"
#include "io/reactor.h"

namespace holdfast::io {

class ReactorPool {
 public:
  // Threads run when it returns. Errors as of Reactor::create; the message names the thread.
  static Result<std::unique_ptr<ReactorPool>> start(unsigned threads, ReactorOptions options);
  // Stops the threads. What lives on the reactors must be gone by then: use run_on() to take it down.
  ~ReactorPool();

  std::size_t size() const { return members_.size(); }
  Reactor& reactor(std::size_t index);

  // The least loaded reactor; `weight` counts for it until release() with the same. From one thread (the main one).
  Reactor& choose(unsigned weight = 1);
  void release(Reactor& reactor, unsigned weight = 1);

  // Runs a job on a reactor's thread and waits for it. Never from a reactor's thread.
  static void run_on(Reactor& reactor, std::move_only_function<void()> job);

 private:
  struct Member;
  ReactorPool();
  std::vector<std::unique_ptr<Member>> members_;
};

}  // namespace holdfast::io
