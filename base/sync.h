// What flows of one thread wait on besides ports. Nothing here allocates; a waiter lives in the waiting frame, and a
// frame that is destroyed takes its waiter out of the list. Wake-ups are posted, first come first served.
#pragma once

#include <coroutine>
#include <cstdint>

#include "base/executor.h"
#include "base/intrusive_list.h"

namespace holdfast {

class WaitList {
 public:
  explicit WaitList(Executor& executor) : executor_(&executor) {}

  struct Waiter : ListNode<Waiter> {
    WaitList* list;
    std::coroutine_handle<> handle;
    explicit Waiter(WaitList* l) : list(l) {}
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> h) {
      handle = h;
      list->waiters_.push_back(*this);
    }
    void await_resume() const noexcept {}
  };

  // Suspends until the next notify. Whoever waits re-checks its condition: `while (!ready) co_await list.wait();`
  Waiter wait() { return Waiter(this); }
  void notify_one() {
    if (!waiters_.empty()) executor_->post(waiters_.pop_front().handle);
  }
  void notify_all() {
    while (!waiters_.empty()) notify_one();
  }
  bool empty() const { return waiters_.empty(); }
  Executor& executor() const { return *executor_; }

 private:
  Executor* executor_;
  IntrusiveList<Waiter> waiters_;
};

// Set once (or reset by its owner); waits return at once while it is set.
class Event {
 public:
  explicit Event(Executor& executor) : list_(executor) {}
  bool is_set() const { return set_; }
  void set() {
    set_ = true;
    list_.notify_all();
  }
  void reset() { set_ = false; }

  struct Awaiter : WaitList::Waiter {
    const Event* event;
    explicit Awaiter(Event* e) : WaitList::Waiter(&e->list_), event(e) {}
    bool await_ready() const noexcept { return event->set_; }
  };
  Awaiter wait() { return Awaiter(this); }

 private:
  WaitList list_;
  bool set_ = false;
};

// Counts permits. Fair: a large request is not overtaken by small ones.
class Semaphore {
 public:
  Semaphore(Executor& executor, std::uint64_t permits) : executor_(&executor), permits_(permits) {}

  struct Awaiter : ListNode<Awaiter> {
    Semaphore* semaphore;
    std::uint64_t wanted;
    std::coroutine_handle<> handle;
    Awaiter(Semaphore* s, std::uint64_t n) : semaphore(s), wanted(n) {}
    bool await_ready() { return semaphore->try_acquire(wanted); }
    void await_suspend(std::coroutine_handle<> h) {
      handle = h;
      semaphore->waiters_.push_back(*this);
    }
    void await_resume() const noexcept {}
  };

  Awaiter acquire(std::uint64_t n = 1) { return Awaiter(this, n); }
  bool try_acquire(std::uint64_t n = 1) {
    if (!waiters_.empty() || permits_ < n) return false;
    permits_ -= n;
    return true;
  }
  void release(std::uint64_t n = 1) {
    permits_ += n;
    while (!waiters_.empty() && permits_ >= waiters_.front().wanted) {
      Awaiter& next = waiters_.pop_front();
      permits_ -= next.wanted;
      executor_->post(next.handle);
    }
  }
  std::uint64_t available() const { return permits_; }
  bool has_waiters() const { return !waiters_.empty(); }

 private:
  Executor* executor_;
  std::uint64_t permits_;
  IntrusiveList<Awaiter> waiters_;
};

// Lets other ready flows run first.
struct Yield {
  Executor& executor;
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> h) { executor.post(h); }
  void await_resume() const noexcept {}
};

}  // namespace holdfast
