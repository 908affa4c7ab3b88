#include "base/clock.h"

namespace holdfast {

Timer::~Timer() {
  if (armed()) clock_->timers().remove(*this);
}

void Timer::Awaiter::await_suspend(std::coroutine_handle<> h) {
  ENSURE(!timer->armed());
  timer->handle_ = h;
  timer->wake_ = Wake::fired;
  timer->clock_->timers().add(*timer, due);
}

Timer::Awaiter Timer::after(DurationNs delay) { return until(clock_->now() + delay); }

void Timer::cancel() {
  if (!armed()) return;
  clock_->timers().remove(*this);
  wake_ = Wake::cancelled;
  clock_->executor().post(handle_);
}

void TimerQueue::add(Timer& timer, BootNs due) {
  timer.due_ = due;
  timer.order_ = next_order_++;
  heap_.push_back(&timer);
  timer.slot_ = heap_.size() - 1;
  sift_up(timer.slot_);
}

void TimerQueue::remove(Timer& timer) {
  const std::size_t slot = timer.slot_;
  ENSURE(slot < heap_.size() && heap_[slot] == &timer);
  Timer* last = heap_.back();
  heap_.pop_back();
  timer.slot_ = Timer::kUnarmed;
  if (last == &timer) return;
  place(slot, last);
  sift_up(slot);
  sift_down(last->slot_);
}

void TimerQueue::fire(BootNs now, Executor& executor) {
  while (!heap_.empty() && heap_.front()->due_ <= now) {
    Timer& timer = *heap_.front();
    remove(timer);
    executor.post(timer.handle_);
  }
}

void TimerQueue::sift_up(std::size_t slot) {
  Timer* timer = heap_[slot];
  while (slot > 0) {
    const std::size_t parent = (slot - 1) / 2;
    if (!before(*timer, *heap_[parent])) break;
    place(slot, heap_[parent]);
    slot = parent;
  }
  place(slot, timer);
}

void TimerQueue::sift_down(std::size_t slot) {
  Timer* timer = heap_[slot];
  for (;;) {
    std::size_t child = slot * 2 + 1;
    if (child >= heap_.size()) break;
    if (child + 1 < heap_.size() && before(*heap_[child + 1], *heap_[child])) ++child;
    if (!before(*heap_[child], *timer)) break;
    place(slot, heap_[child]);
    slot = child;
  }
  place(slot, timer);
}

}  // namespace holdfast
