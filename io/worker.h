// A thread for what blocks: fsync of small files, locks of other processes. Jobs run one after the other.
#pragma once

#include <condition_variable>
#include <coroutine>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>

#include "base/executor.h"

namespace holdfast::io {

class Worker {
 public:
  Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;
  // Finishes what was handed in.
  ~Worker();

  void post(std::move_only_function<void()> job);

 private:
  void run();
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::move_only_function<void()>> jobs_;
  bool ending_ = false;
  std::thread thread_;  // Last: it uses everything above.
};

// co_await on_worker: the flow goes on at home with what `job` returned. The waiting frame must not be destroyed before that:
// join its scope. Name it before awaiting it: GCC 12 destroys temporaries of an awaited expression twice.
template <class T>
class OnWorker {
 public:
  OnWorker(Executor& home, Worker& worker, std::move_only_function<T()> job) : home_(&home), worker_(&worker), job_(std::move(job)) {}
  OnWorker(const OnWorker&) = delete;

  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiter) {
    worker_->post([this, waiter] {
      value_.emplace(job_());
      home_->post_remote([home = home_, waiter] { home->post(waiter); });
    });
  }
  T await_resume() { return std::move(*value_); }

 private:
  Executor* home_;
  Worker* worker_;
  std::move_only_function<T()> job_;
  std::optional<T> value_;  // Written by the worker, before the waiter is posted.
};

}  // namespace holdfast::io
