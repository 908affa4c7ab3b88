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

BootNs SimClock::now() const { return local_time(world_->now()); }

constexpr std::int64_t kNsPerSecond = 1'000'000'000;

BootNs SimClock::local_time(BootNs t) const {
  if (exact_) return t;
  const std::int64_t passed = t.value - anchor_true_.value;
  return BootNs{anchor_local_.value + passed + static_cast<std::int64_t>(static_cast<__int128>(passed) * drift_ / kNsPerSecond)};
}

BootNs SimClock::true_time(BootNs local) const {
  if (exact_) return local;
  const std::int64_t shown = local.value - anchor_local_.value;
  const auto passed = static_cast<std::int64_t>(static_cast<__int128>(shown) * kNsPerSecond / (kNsPerSecond + drift_));
  BootNs t{anchor_true_.value + passed};
  while (local_time(t) < local) ++t.value;
  return t;
}

BootNs SimClock::next_due() {
  const BootNs local = timers().next_due();
  if (exact_) return local;
  if (local != cached_local_) {
    cached_local_ = local;
    cached_true_ = true_time(local);
  }
  return cached_true_;
}

void SimClock::set_drift(std::int64_t ns_per_second) {
  ENSURE(ns_per_second > -kNsPerSecond);
  const BootNs shown = now();
  anchor_true_ = world_->now();
  anchor_local_ = shown;
  drift_ = ns_per_second;
  exact_ = drift_ == 0 && anchor_local_ == anchor_true_;
  cached_local_ = BootNs{};
}

void SimClock::set_offset(DurationNs ahead) {
  ENSURE(timers().empty());
  set_drift(drift_);
  anchor_local_ = anchor_local_ + ahead;
  exact_ = drift_ == 0 && anchor_local_ == anchor_true_;
}

SimHost::SimHost(SimWorld& world) : world_(&world), clock_(world, executor_) { world.hosts_.push_back(this); }

SimHost::~SimHost() {
  std::erase(world_->hosts_, this);
  if (holds_) world_->forget_held(*this);
  // Destroyed last: what an event owns may look at the world.
  std::vector<SimWorld::Event> dropped;
  for (SimWorld::Event& event : world_->queue_)
    if (event.host == this) dropped.push_back(std::move(event));
  std::erase_if(world_->queue_, [](const SimWorld::Event& event) { return !event.action; });
  std::make_heap(world_->queue_.begin(), world_->queue_.end(), SimWorld::later);
}

void SimHost::crash() {
  ++life_;
  executor_.drop_all();
  if (holds_) world_->forget_held(*this);
  paused_ = false;
}

void SimHost::resume() {
  if (!paused_) return;
  paused_ = false;
  if (holds_) world_->release_held(*this);
}

void SimWorld::at(BootNs due, SimHost& host, std::move_only_function<void()> action) {
  ENSURE(due >= now_);
  push_event(Event{due, random_.next(), next_sequence_++, &host, host.life(), std::move(action)});
}

void SimWorld::push_event(Event event) {
  queue_.push_back(std::move(event));
  std::push_heap(queue_.begin(), queue_.end(), later);
}

// What was held keeps its due time, which has passed: it comes before everything else, among the host's timers in order.
void SimWorld::release_held(SimHost& host) {
  host.holds_ = false;
  for (Event& event : held_)
    if (event.host == &host) push_event(std::move(event));
  std::erase_if(held_, [](const Event& event) { return !event.action; });
}

void SimWorld::forget_held(SimHost& host) {
  host.holds_ = false;
  std::vector<Event> dropped;  // Destroyed last: what an event owns may look at this world.
  for (Event& event : held_)
    if (event.host == &host) dropped.push_back(std::move(event));
  std::erase_if(held_, [](const Event& event) { return !event.action; });
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
    if (!host.paused() && host.executor().run_any()) return true;
  }
  return false;
}

// Fires the earliest timers if they are due before the next event.
bool SimWorld::run_timers() {
  SimHost* earliest = nullptr;
  for (SimHost* host : hosts_) {
    if (host->paused() || host->clock().timers().empty()) continue;
    if (!earliest || host->clock().next_due() < earliest->clock().next_due()) earliest = host;
  }
  if (!earliest) return false;
  const BootNs due = earliest->clock().next_due();
  if (!queue_.empty() && queue_.front().due < due) return false;
  now_ = std::max(now_, due);
  earliest->clock().timers().fire(earliest->clock().now(), earliest->executor());
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
  now_ = std::max(now_, event.due);
  if (event.host->paused()) {
    event.host->holds_ = true;
    held_.push_back(std::move(event));
    return true;
  }
  trace(static_cast<std::uint64_t>(now_.value));
  event.action();
  return true;
}

}  // namespace holdfast::sim
