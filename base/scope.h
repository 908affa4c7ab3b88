// A scope owns flows that nobody awaits. Normal end: join(). Crash (simulation): destroy the scope, and every frame
// unwinds where it stands; therefore destructors do no I/O.
#pragma once

#include "base/sync.h"
#include "base/task.h"

namespace holdfast {

class Scope {
 public:
  explicit Scope(Executor& executor) : executor_(&executor), finished_(executor) {}
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;
  ~Scope() {
    while (!roots_.empty()) roots_.front().destroy();
  }

  // Starts the flow at the executor's next turn.
  void spawn(Task<void> task) {
    Root root = run(this, std::move(task));
    executor_->post(root.handle);
  }
  std::size_t running() const { return running_; }

  // Returns when every flow has finished, also those spawned meanwhile.
  Task<void> join() {
    while (running_ > 0) co_await finished_.wait();
  }
  Executor& executor() const { return *executor_; }

 private:
  struct RootNode : ListNode<RootNode> {
    virtual void destroy() = 0;

   protected:
    ~RootNode() = default;
  };
  struct Root {
    struct promise_type final : RootNode {
      Scope* scope;
      promise_type(Scope* s, Task<void>&) : scope(s) {
        scope->roots_.push_back(*this);
        ++scope->running_;
      }
      ~promise_type() {
        this->unlink();
        --scope->running_;
        scope->finished_.notify_all();
      }
      void destroy() override { std::coroutine_handle<promise_type>::from_promise(*this).destroy(); }
      static void* operator new(std::size_t bytes) { return frame_allocate(bytes); }
      static void operator delete(void* frame, std::size_t bytes) noexcept { frame_release(frame, bytes); }
      Root get_return_object() { return Root{std::coroutine_handle<promise_type>::from_promise(*this)}; }
      std::suspend_always initial_suspend() noexcept { return {}; }
      std::suspend_never final_suspend() noexcept { return {}; }
      void return_void() {}
      void unhandled_exception() noexcept { std::terminate(); }
    };
    std::coroutine_handle<> handle;
  };
  static Root run(Scope*, Task<void> task) { co_await std::move(task); }

  Executor* executor_;
  WaitList finished_;
  IntrusiveList<RootNode> roots_;
  std::size_t running_ = 0;
};

}  // namespace holdfast
