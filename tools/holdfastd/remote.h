// Waiting for another thread: a flow at home hands a job to another executor and goes on at home with its answer.
#pragma once

#include <functional>
#include <optional>
#include <utility>

#include "base/executor.h"
#include "base/scope.h"
#include "base/task.h"

namespace holdfast::daemon {

// The waiting frame must not be destroyed before the answer is there: join the scope it runs in. Name it before awaiting it:
// GCC 12 destroys temporaries of an awaited expression twice.
template <class T>
class Remote {
 public:
  using Reply = std::move_only_function<void(T)>;
  using Job = std::move_only_function<void(Reply)>;

  // job runs at `there` and calls its reply once, from any thread.
  Remote(Executor& home, Executor& there, Job job) : home_(&home), there_(&there), job_(std::move(job)) {}
  Remote(const Remote&) = delete;

  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiter) {
    waiter_ = waiter;
    there_->post_remote([this, job = std::move(job_)]() mutable { job(reply()); });
  }
  T await_resume() {
    ENSURE(value_.has_value());
    return std::move(*value_);
  }

 private:
  Reply reply() {
    return [this](T value) {
      home_->post_remote([this, value = std::move(value)]() mutable {
        value_.emplace(std::move(value));
        home_->post(waiter_);
      });
    };
  }

  Executor* home_;
  Executor* there_;
  Job job_;
  std::coroutine_handle<> waiter_;
  std::optional<T> value_;  // Written at home, before the waiter is posted.
};

namespace detail {
template <class T>
Task<void> answer_with(Task<T> task, typename Remote<T>::Reply reply) {
  T value = co_await std::move(task);
  reply(std::move(value));
}
}  // namespace detail

// Runs a flow at the executor of `there`, in that scope. `make` is called there and makes the flow.
template <class T>
Remote<T> run_in(Executor& home, Scope& there, std::move_only_function<Task<T>()> make) {
  return Remote<T>(home, there.executor(), [&there, make = std::move(make)](typename Remote<T>::Reply reply) mutable {
    there.spawn(detail::answer_with<T>(make(), std::move(reply)));
  });
}

}  // namespace holdfast::daemon
