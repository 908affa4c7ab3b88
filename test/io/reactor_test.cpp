#include "io/reactor.h"

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <thread>
#include <vector>

#include "base/scope.h"
#include "base/sync.h"
#include "io/reactor_pool.h"
#include "test/io/support.h"

namespace holdfast::io {
namespace {

using test::make_reactor;

Task<void> sleep_and_note(Clock* clock, BootNs due, int name, std::vector<int>* order) {
  Timer timer(*clock);
  co_await timer.until(due);
  order->push_back(name);
}

Task<void> join(Scope* scope) { co_await scope->join(); }

// Timers fire by their due time, ties in the order of arming, and never early.
TEST(Reactor, Timers_ArmedOutOfOrder_FireByDueTime) {
  const auto reactor = make_reactor();
  std::vector<int> order;
  Scope scope(*reactor);
  const BootNs now = reactor->clock().now();
  scope.spawn(sleep_and_note(&reactor->clock(), now + milliseconds(12), 3, &order));
  scope.spawn(sleep_and_note(&reactor->clock(), now + milliseconds(4), 1, &order));
  scope.spawn(sleep_and_note(&reactor->clock(), now + milliseconds(8), 2, &order));
  scope.spawn(sleep_and_note(&reactor->clock(), now + milliseconds(12), 4, &order));
  run_task(*reactor, join(&scope));
  EXPECT_EQ(order, (std::vector<int>{1, 2, 3, 4}));
  EXPECT_GE(reactor->clock().now(), now + milliseconds(12));
}

// The timerfd is set when the earliest due time comes nearer, not for every timer.
TEST(Reactor, ManyTimers_BehindTheEarliest_SetTheTimerfdOnce) {
  const auto reactor = make_reactor();
  std::vector<int> order;
  Scope scope(*reactor);
  const BootNs due = reactor->clock().now() + milliseconds(10);
  for (int i = 0; i < 100; ++i) scope.spawn(sleep_and_note(&reactor->clock(), due, i, &order));
  run_task(*reactor, join(&scope));
  EXPECT_EQ(order.size(), 100u);
  EXPECT_LE(reactor->stats().timer_arms.get(), 2u);
}

// Sleeping costs no turns: the loop waits in the kernel.
TEST(Reactor, Idle_UntilATimer_BlocksInsteadOfTurning) {
  const auto reactor = make_reactor();
  std::vector<int> order;
  Scope scope(*reactor);
  scope.spawn(sleep_and_note(&reactor->clock(), reactor->clock().now() + milliseconds(20), 1, &order));
  run_task(*reactor, join(&scope));
  EXPECT_LE(reactor->stats().turns.get(), 8u);
  EXPECT_LE(reactor->stats().enters.get(), 4u);
}

// Who waits for what does not come soon stops looking for it.
TEST(Reactor, Spinning_InVain_BecomesRare) {
  const auto reactor = make_reactor({.buffer_bytes = 4 << 20, .spin = microseconds(20)});
  std::vector<int> order;
  for (int i = 0; i < 100; ++i) {
    Scope scope(*reactor);
    scope.spawn(sleep_and_note(&reactor->clock(), reactor->clock().now() + milliseconds(1), i, &order));
    run_task(*reactor, join(&scope));
  }
  EXPECT_GE(reactor->stats().blocks.get(), 50u);  // On a busy machine a sleep may be over before it is waited for.
  EXPECT_LE(reactor->stats().spins.get() - reactor->stats().spin_hits.get(), 20u);
}

Task<void> busy_past(Clock* clock, BootNs due, Timer* cancelled, std::vector<int>* order) {
  while (clock->now() < due + microseconds(200)) {}
  cancelled->cancel();
  Timer timer(*clock);
  co_await timer.after(milliseconds(2));
  order->push_back(2);
}

// The timerfd went off while a flow was busy, nobody had a use for it any more, and the look before the next wait collects it:
// the wait for the next timer needs it all the same.
TEST(Reactor, TimerSignal_CollectedByTheLookBeforeTheWait_IsArmedAgain) {
  const auto reactor = make_reactor({.buffer_bytes = 1 << 20, .spin = microseconds(20)});
  std::vector<int> order;
  Scope scope(*reactor);
  // One wait with a look in vain, so that the next one goes without and the one after that, which matters, looks again.
  run_task(*reactor, sleep_and_note(&reactor->clock(), reactor->clock().now() + milliseconds(1), 1, &order));
  const auto before = reactor->stats().blocks.get();
  Timer timer(reactor->clock());
  const BootNs due = reactor->clock().now() + milliseconds(30);
  scope.spawn([](Timer* t, BootNs at) -> Task<void> { co_await t->until(at); }(&timer, due));
  std::thread poster([&] {  // Once the reactor sleeps until then.
    while (reactor->stats().blocks.get() == before) std::this_thread::yield();
    reactor->post_remote([&] { scope.spawn(busy_past(&reactor->clock(), due, &timer, &order)); });
  });
  run_task(*reactor, join(&scope));
  poster.join();
  EXPECT_EQ(order, (std::vector<int>{1, 2}));
}

// Timers that are cancelled or moved later leave the timerfd early; the next sleep must still wake up.
TEST(Reactor, Timer_ArmedAfterACancelledEarlierOne_StillFires) {
  const auto reactor = make_reactor();
  std::vector<int> order;
  for (int round = 0; round < 20; ++round) {
    {
      Scope cancelled(*reactor);
      cancelled.spawn(sleep_and_note(&reactor->clock(), reactor->clock().now() + microseconds(200), 0, &order));
      reactor->turn(Reactor::Waiting::poll);
      reactor->post_remote([] {});
    }
    Scope scope(*reactor);
    scope.spawn(sleep_and_note(&reactor->clock(), reactor->clock().now() + microseconds(400), 1, &order));
    run_task(*reactor, join(&scope));
  }
  EXPECT_EQ(order.size(), 20u);
}

// Jobs of another thread run on the reactor's, in order, none lost, whether it sleeps or works.
TEST(Reactor, PostRemote_FromAnotherThread_RunsAllInOrder) {
  constexpr int kJobs = 20'000;
  const auto reactor = make_reactor();
  int next = 0;
  bool ordered = true;
  std::thread poster([&] {
    for (int i = 0; i < kJobs; ++i) {
      reactor->post_remote([&, i] { ordered = ordered && next++ == i; });
      if (i % 1000 == 0) std::this_thread::yield();
    }
    reactor->stop();
  });
  reactor->run();
  poster.join();
  EXPECT_EQ(next, kJobs);
  EXPECT_TRUE(ordered);
  EXPECT_LE(reactor->stats().remote_wakes.get(), static_cast<std::uint64_t>(kJobs));
}

// Ping-pong of two reactors: each wake-up crosses a thread that may just be falling asleep.
TEST(Reactor, PostRemote_BetweenTwoReactors_NeverLosesAWakeUp) {
  constexpr int kRounds = 5'000;
  std::atomic<int> rounds{0};
  std::atomic<bool> done{false};
  ReactorPool* reactors = nullptr;
  const std::function<void(std::size_t)> bounce = [&](std::size_t at) {
    if (++rounds == kRounds) {
      done = true;
      done.notify_all();
      return;
    }
    reactors->reactor(1 - at).post_remote([&bounce, at] { bounce(1 - at); });
  };
  // Last, so that its threads have ended when the rest goes.
  const auto pool = ReactorPool::start(2, {.buffer_bytes = 1 << 20});
  ASSERT_TRUE(pool.has_value()) << pool.error().text();
  reactors = pool->get();
  (*pool)->reactor(0).post_remote([&] { bounce(0); });
  done.wait(false);
  EXPECT_EQ(rounds, kRounds);
}

Task<void> spin_forever(Executor* executor, bool* stop, int* turns) {
  while (!*stop) {
    ++*turns;
    co_await Yield{*executor};
  }
}

// A flow that is always ready must not keep the timers from firing.
TEST(Reactor, BusyFlow_DoesNotStarveTimers) {
  const auto reactor = make_reactor();
  bool stop = false;
  int turns = 0;
  std::vector<int> order;
  Scope busy(*reactor), sleeping(*reactor);
  busy.spawn(spin_forever(reactor.get(), &stop, &turns));
  sleeping.spawn(sleep_and_note(&reactor->clock(), reactor->clock().now() + milliseconds(2), 1, &order));
  while (sleeping.running() > 0) reactor->turn(Reactor::Waiting::block);
  stop = true;
  run_task(*reactor, join(&busy));
  EXPECT_EQ(order.size(), 1u);
}

TEST(ReactorPool, Choose_SpreadsByWeight) {
  auto pool = ReactorPool::start(3, {.buffer_bytes = 1 << 20});
  ASSERT_TRUE(pool.has_value());
  Reactor& heavy = (*pool)->choose(3);
  Reactor& a = (*pool)->choose();
  Reactor& b = (*pool)->choose();
  EXPECT_NE(&a, &b);
  EXPECT_NE(&heavy, &a);
  EXPECT_NE(&heavy, &b);
  EXPECT_NE(&(*pool)->choose(), &heavy);
  EXPECT_NE(&(*pool)->choose(), &heavy);
  (*pool)->release(heavy, 3);
  EXPECT_EQ(&(*pool)->choose(), &heavy);
}

TEST(ReactorPool, RunOn_RunsOnTheReactorsThread) {
  auto pool = ReactorPool::start(2, {.buffer_bytes = 1 << 20});
  ASSERT_TRUE(pool.has_value());
  std::thread::id first, second;
  ReactorPool::run_on((*pool)->reactor(0), [&] { first = std::this_thread::get_id(); });
  ReactorPool::run_on((*pool)->reactor(1), [&] { second = std::this_thread::get_id(); });
  EXPECT_NE(first, second);
  EXPECT_NE(first, std::this_thread::get_id());
}

}  // namespace
}  // namespace holdfast::io
