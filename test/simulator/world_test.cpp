#include "test/sim/world.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/scope.h"

namespace holdfast::sim {
namespace {

TEST(SimWorld, Events_OutOfOrder_HappenByDueTime) {
  SimWorld world(1);
  SimHost host(world);
  std::vector<int> seen;
  world.after(microseconds(30), host, [&] { seen.push_back(3); });
  world.after(microseconds(10), host, [&] { seen.push_back(1); });
  world.after(microseconds(20), host, [&] { seen.push_back(2); });
  while (world.step()) {
  }
  EXPECT_EQ(seen, (std::vector<int>{1, 2, 3}));
  EXPECT_EQ(world.now(), BootNs{1'000'030'000});
}

// The order of simultaneous events is part of what a seed decides.
TEST(SimWorld, Ties_OverManySeeds_ComeInBothOrders) {
  int first_wins = 0;
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    SimWorld world(seed);
    SimHost host(world);
    int winner = 0;
    world.after(microseconds(1), host, [&] { winner = winner ? winner : 1; });
    world.after(microseconds(1), host, [&] { winner = winner ? winner : 2; });
    while (world.step()) {
    }
    first_wins += winner == 1;
  }
  EXPECT_GT(first_wins, 20);
  EXPECT_LT(first_wins, 80);
}

Task<void> note_after(Clock* clock, DurationNs delay, std::vector<std::int64_t>* seen) {
  Timer timer(*clock);
  (void)co_await timer.after(delay);
  seen->push_back(clock->now().value - 1'000'000'000);
}

TEST(SimClock, Timers_OfFlows_FireAtVirtualTime) {
  SimWorld world(1);
  SimHost host(world);
  Scope scope(host.executor());
  std::vector<std::int64_t> seen;
  scope.spawn(note_after(&host.clock(), milliseconds(3600'000), &seen));
  scope.spawn(note_after(&host.clock(), milliseconds(5), &seen));
  while (world.step()) {
  }
  EXPECT_EQ(seen, (std::vector<std::int64_t>{5'000'000, 3'600'000'000'000}));
}

// A crashed process neither wakes up nor hears of what it asked for; another host goes on.
TEST(SimHost, Crash_WithEventsPending_TheyNeverHappen) {
  SimWorld world(1);
  SimHost victim(world);
  SimHost survivor(world);
  std::vector<std::int64_t> seen;
  int happened = 0;
  auto scope = std::make_unique<Scope>(victim.executor());
  scope->spawn(note_after(&victim.clock(), milliseconds(5), &seen));
  world.after(milliseconds(6), victim, [&] { ++happened; });
  world.after(milliseconds(7), survivor, [&] { happened += 10; });
  world.step();
  victim.crash();
  scope.reset();
  while (world.step()) {
  }
  EXPECT_TRUE(seen.empty());
  EXPECT_EQ(happened, 10);
}

TEST(SimRandom, SameSeed_SameNumbers_OtherSeedOthers) {
  SimRandom a(7), b(7), c(8);
  const std::uint64_t first = a.next();
  EXPECT_EQ(first, b.next());
  EXPECT_NE(first, c.next());
  for (int i = 0; i < 1000; ++i) EXPECT_LT(a.below(3), 3u);
}

// A clock that gains a thousandth fires its timers so much early, in true time.
TEST(SimClock, Drift_OfATimer_IsInItsOwnTime) {
  SimWorld world(1);
  SimHost host(world);
  host.clock().set_drift(1'000'000);
  host.clock().set_offset(milliseconds(50'000));
  const BootNs begin = world.now();
  const BootNs shown = host.clock().now();
  EXPECT_EQ(shown, begin + milliseconds(50'000));
  Scope scope(host.executor());
  bool fired = false;
  struct Wait {
    static Task<void> run(Clock* clock, BootNs due, bool* out) {
      Timer timer(*clock);
      (void)co_await timer.until(due);
      *out = true;
    }
  };
  scope.spawn(Wait::run(&host.clock(), shown + milliseconds(1'001), &fired));
  while (!fired && world.step()) {
  }
  EXPECT_EQ(world.now(), begin + milliseconds(1'000));
  EXPECT_GE(host.clock().now(), shown + milliseconds(1'001));
}

TEST(SimHost, Paused_EventsAndTimers_WaitInOrder) {
  SimWorld world(1);
  SimHost host(world), other(world);
  std::vector<int> seen;
  host.pause();
  world.after(microseconds(10), host, [&] { seen.push_back(1); });
  world.after(microseconds(20), host, [&] { seen.push_back(2); });
  world.after(microseconds(30), other, [&] { seen.push_back(3); });
  while (world.step()) {
  }
  EXPECT_EQ(seen, (std::vector<int>{3}));
  host.resume();
  while (world.step()) {
  }
  EXPECT_EQ(seen, (std::vector<int>{3, 1, 2}));
  EXPECT_EQ(world.now(), BootNs{1'000'030'000});
}

TEST(SimHost, CrashedWhilePaused_ForgetsWhatWaited) {
  SimWorld world(1);
  SimHost host(world);
  bool happened = false;
  host.pause();
  world.after(microseconds(10), host, [&] { happened = true; });
  while (world.step()) {
  }
  host.crash();
  EXPECT_FALSE(host.paused());
  host.resume();
  while (world.step()) {
  }
  EXPECT_FALSE(happened);
}

}  // namespace
}  // namespace holdfast::sim
