// A thread for what blocks: fsync of small files, locks of other processes. Jobs run one after the other.
#pragma once

#include <condition_variable>
#include <coroutine>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

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

// co_await on_worker: the flow goes on at home with what `job` returned. The waiting frame may be destroyed before that, as a call
// of a coordinator is when its caller ends: the job is then carried out for nobody, so it holds what it needs itself. `home`
// outlives the worker. Name it before awaiting it: GCC 12 destroys temporaries of an awaited expression twice.
template <class T>
class OnWorker {
 public:
  OnWorker(Executor& home, Worker& worker, std::move_only_function<T()> job)
      : home_(&home), worker_(&worker), job_(std::move(job)), answer_(std::make_shared<Answer>()) {}
  OnWorker(const OnWorker&) = delete;
  ~OnWorker() { answer_->waiter = {}; }

  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiter) {
    answer_->waiter = waiter;
    worker_->post([job = std::move(job_), home = home_, answer = answer_]() mutable {
      answer->value.emplace(job());
      home->post_remote([answer] {
        // Now, not through the queue of ready flows: one of those may destroy the frame first.
        if (const auto waiting = std::exchange(answer->waiter, {})) waiting.resume();
      });
    });
  }
  T await_resume() { return std::move(*answer_->value); }

 private:
  struct Answer {
    std::optional<T> value;           // Written by the worker, before it tells home.
    std::coroutine_handle<> waiter;   // At home only. Null: nobody waits any more.
  };
  Executor* home_;
  Worker* worker_;
  std::move_only_function<T()> job_;
  std::shared_ptr<Answer> answer_;
};

}  // namespace holdfast::io
