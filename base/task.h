// Task<T>: the only coroutine of the house. Lazy: it runs when awaited or spawned (scope.h). Its frame comes from a pool.
// Parameters are taken by value; a reference parameter of a coroutine outlives nothing.
#pragma once

#include <coroutine>
#include <exception>
#include <optional>
#include <utility>

#include "base/ensure.h"
#include "base/frame_pool.h"

namespace holdfast {

template <class T>
class Task;

namespace detail {

struct PromiseBase {
  std::coroutine_handle<> continuation;  // Set when the caller suspends; empty while it is still starting this task.
  bool finished = false;

  static void* operator new(std::size_t bytes) { return frame_allocate(bytes); }
  static void operator delete(void* frame, std::size_t bytes) noexcept { frame_release(frame, bytes); }

  std::suspend_always initial_suspend() noexcept { return {}; }
  struct FinalAwaiter {
    bool await_ready() noexcept { return false; }
    template <class P>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<P> h) noexcept {
      h.promise().finished = true;
      auto next = h.promise().continuation;
      return next ? next : std::noop_coroutine();
    }
    void await_resume() noexcept {}
  };
  FinalAwaiter final_suspend() noexcept { return {}; }
  // No flow of ours throws; a library that does so where we did not catch it is a bug.
  void unhandled_exception() noexcept { std::terminate(); }
};

template <class T>
struct Promise : PromiseBase {
  std::optional<T> value;
  Task<T> get_return_object();
  template <class U>
  void return_value(U&& u) { value.emplace(std::forward<U>(u)); }
  T take() { ENSURE(value.has_value()); return std::move(*value); }
};

template <>
struct Promise<void> : PromiseBase {
  Task<void> get_return_object();
  void return_void() {}
  void take() {}
};

}  // namespace detail

template <class T = void>
class [[nodiscard]] Task {
 public:
  using promise_type = detail::Promise<T>;
  using Handle = std::coroutine_handle<promise_type>;

  Task() = default;
  explicit Task(Handle h) : handle_(h) {}
  Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, {})) {}
  Task& operator=(Task&& other) noexcept {
    if (this != &other) {
      if (handle_) handle_.destroy();
      handle_ = std::exchange(other.handle_, {});
    }
    return *this;
  }
  ~Task() { if (handle_) handle_.destroy(); }

  bool valid() const { return static_cast<bool>(handle_); }

  // Runs the task until it suspends or ends. When it ends at once the caller goes on without a jump: a loop over tasks that
  // find everything in memory needs no stack, also where the compiler makes no tail call of the jump (sanitizers).
  // Therefore a chain of tasks stays on its thread: who needs another one spawns there and is posted the answer at home.
  bool await_ready() const {
    handle_.resume();
    return handle_.promise().finished;
  }
  void await_suspend(std::coroutine_handle<> caller) noexcept { handle_.promise().continuation = caller; }
  T await_resume() { return handle_.promise().take(); }

 private:
  Handle handle_;
};

namespace detail {
template <class T>
Task<T> Promise<T>::get_return_object() { return Task<T>(std::coroutine_handle<Promise<T>>::from_promise(*this)); }
inline Task<void> Promise<void>::get_return_object() {
  return Task<void>(std::coroutine_handle<Promise<void>>::from_promise(*this));
}
}  // namespace detail

}  // namespace holdfast
