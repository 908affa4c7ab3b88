// A flow at home asks something of the coordinator's thread, and goes on at home with the answer. The waiting frame may be destroyed
// before that, as a call is when its caller ends; the call is then carried out for nobody.
#pragma once

#include <coroutine>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "base/executor.h"

namespace holdfast::coord {

// Where answers go, until whoever asked is gone.
class Home {
 public:
  explicit Home(Executor& executor) : executor_(&executor) {}
  // From any thread.
  void post(std::move_only_function<void()> job) {
    const std::lock_guard lock(mutex_);
    if (executor_) executor_->post_remote(std::move(job));
  }
  void leave() {
    const std::lock_guard lock(mutex_);
    executor_ = nullptr;
  }

 private:
  std::mutex mutex_;
  Executor* executor_;  // Nothing: nobody is at home any more.
};

// co_await it by name: GCC 12 destroys temporaries of an awaited expression twice.
template <class T>
class HomeCall {
 public:
  using Reply = std::move_only_function<void(T)>;

  // `begin` is called at home with what is to be called, once, from any other thread.
  HomeCall(std::shared_ptr<Home> home, std::move_only_function<void(Reply)> begin)
      : home_(std::move(home)), begin_(std::move(begin)), answer_(std::make_shared<Answer>()) {}
  HomeCall(const HomeCall&) = delete;
  ~HomeCall() { answer_->waiter = {}; }

  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiter) {
    answer_->waiter = waiter;
    begin_([home = home_, answer = answer_](T value) {
      answer->value.emplace(std::move(value));
      home->post([answer] {
        // Now, not through the queue of ready flows: one of those may destroy the frame first.
        if (const auto waiting = std::exchange(answer->waiter, {})) waiting.resume();
      });
    });
  }
  T await_resume() { return std::move(*answer_->value); }

 private:
  struct Answer {
    std::optional<T> value;          // Written by the other thread, before it tells home.
    std::coroutine_handle<> waiter;  // At home only. Null: nobody waits any more.
  };
  std::shared_ptr<Home> home_;
  std::move_only_function<void(Reply)> begin_;
  std::shared_ptr<Answer> answer_;
};

}  // namespace holdfast::coord
