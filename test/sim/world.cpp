#include "test/sim/world.h"

#include <algorithm>

namespace holdfast::sim {

bool SimExecutor::run_any() {
  if (!remote_.empty()) {
    auto job = std::move(remote_.front());
    remote_.erase(remote_.begin());
    job();
    return true;
  }
  return run_one();
}

BootNs SimClock::now() const { return world_->now(); }

SimHost::SimHost(SimWorld& world) : world_(&world), clock_(world, executor_) { world.hosts_.push_back(this); }

SimHost::~SimHost() {
  std::erase(world_->hosts_, this);
  std::erase_if(world_->queue_, [this](const SimWorld::Event& event) { return event.host == this; });
  std::make_heap(world_->queue_.begin(), world_->queue_.end(), SimWorld::later);
}

void SimWorld::at(BootNs due, SimHost& host, std::move_only_function<void()> action) {
  ENSURE(due >= now_);
  queue_.push_back(Event{due, random_.next(), next_sequence_++, &host, host.life(), std::move(action)});
  std::push_heap(queue_.begin(), queue_.end(), later);
}

void SimWorld::pop_event(Event& into) {
  std::pop_heap(queue_.begin(), queue_.end(), later);
  into = std::move(queue_.back());
  queue_.pop_back();
}

void SimWorld::drop_stale_events() {
  while (!queue_.empty() && queue_.front().life != queue_.front().host->life()) {
    Event stale;
    pop_event(stale);
  }
}

bool SimWorld::run_ready() {
  for (std::size_t tried = 0; tried < hosts_.size(); ++tried) {
    SimHost& host = *hosts_[turn_++ % hosts_.size()];
    if (host.executor().run_any()) return true;
  }
  return false;
}

// Fires the earliest timers if they are due before the next event.
bool SimWorld::run_timers() {
  SimHost* earliest = nullptr;
  for (SimHost* host : hosts_) {
    if (host->clock().timers().empty()) continue;
    if (!earliest || host->clock().timers().next_due() < earliest->clock().timers().next_due()) earliest = host;
  }
  if (!earliest) return false;
  const BootNs due = earliest->clock().timers().next_due();
  if (!queue_.empty() && queue_.front().due < due) return false;
  now_ = std::max(now_, due);
  earliest->clock().timers().fire(now_, earliest->executor());
  return true;
}

bool SimWorld::step() {
  ++steps_;
  if (run_ready()) return true;
  drop_stale_events();
  if (run_timers()) return true;
  if (queue_.empty()) return false;
  Event event;
  pop_event(event);
  now_ = event.due;
  trace(static_cast<std::uint64_t>(now_.value));
  event.action();
  return true;
}

}  // namespace holdfast::sim
