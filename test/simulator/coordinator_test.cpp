#include "test/sim/coordinator.h"

#include <gtest/gtest.h>

#include <memory>
#include <optional>

#include "base/scope.h"

namespace holdfast::sim {
namespace {

constexpr NodeId kNode{1};
const std::string kKey = "group";

class OneUser {
 public:
  explicit OneUser(std::uint64_t seed = 1, CoordinatorOptions options = {})
      : world(seed), server(world, options), host(world), scope(std::make_unique<Scope>(host.executor())), port(server.open_port(kNode, host)) {}
  ~OneUser() { scope.reset(); }

  template <class T>
  T run(Task<T> task) {
    std::optional<T> answer;
    scope->spawn(keep(std::move(task), &answer));
    while (!answer && world.step()) {
    }
    EXPECT_TRUE(answer.has_value());
    return std::move(*answer);
  }
  void run_for(std::int64_t ms) {
    bool over = false;
    world.after(milliseconds(ms), host, [&] { over = true; });
    while (!over && world.step()) {
    }
  }
  // Whether the watch returned within `ms`. It goes on after that, so its flag is shared.
  bool watch(std::uint64_t revision, std::int64_t ms) {
    const auto woken = std::make_shared<bool>(false);
    scope->spawn(wait(this, revision, woken));
    run_for(ms);
    return *woken;
  }
  static Task<void> wait(OneUser* self, std::uint64_t revision, std::shared_ptr<bool> woken) {
    co_await self->port->until_changed(kKey, revision);
    *woken = true;
  }
  template <class T>
  static Task<void> keep(Task<T> task, std::optional<T>* answer) {
    T value = co_await std::move(task);
    answer->emplace(std::move(value));
  }

  SimWorld world;
  SimCoordinator server;
  SimHost host;
  std::unique_ptr<Scope> scope;
  std::unique_ptr<Coordinator> port;
};

TEST(SimCoordinator, Swap_OnTheRightRevision_IsApplied) {
  OneUser u;
  const CasOutcome first = u.run(u.port->compare_and_swap(kKey, 0, "one"));
  EXPECT_EQ(first.status, CasStatus::applied);
  const CasOutcome stale = u.run(u.port->compare_and_swap(kKey, 0, "two"));
  EXPECT_EQ(stale.status, CasStatus::conflict);
  EXPECT_EQ(stale.entry.value, "one");
  const auto read = u.run(u.port->get(kKey));
  ASSERT_TRUE(read);
  EXPECT_EQ(read->revision, first.entry.revision);
  EXPECT_EQ(u.port->cluster_id(), "cluster-1");
}

// Over many seeds an unknown swap took effect at once, later, or never; and its caller could not tell.
TEST(SimCoordinator, SwapsInTheDark_OverSeeds_EndInAllWays) {
  int at_once = 0, later = 0, never = 0;
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    OneUser u(seed);
    u.server.faults.unknown_swap_ppm = 1'000'000;
    const CasOutcome outcome = u.run(u.port->compare_and_swap(kKey, 0, "x"));
    ASSERT_EQ(outcome.status, CasStatus::unknown);
    const bool there = u.server.peek(kKey).revision != 0;
    u.run_for(5'000);
    ++(there ? at_once : u.server.peek(kKey).revision != 0 ? later : never);
  }
  EXPECT_GT(at_once, 10);
  EXPECT_GT(later, 10);
  EXPECT_GT(never, 10);
}

TEST(SimCoordinator, Stopped_Requests_TimeOut) {
  OneUser u;
  u.server.faults.stopped = true;
  const auto read = u.run(u.port->get(kKey));
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, Errc::timed_out);
  EXPECT_GT(u.server.counters().unanswered, 0u);
}

TEST(SimCoordinator, UnreachableNode_IsAloneInTheDark) {
  OneUser u;
  u.server.set_reachable(kNode, false);
  EXPECT_FALSE(u.run(u.port->get(kKey)));
  const auto other = u.server.open_port(NodeId(2), u.host);
  EXPECT_TRUE(u.run(other->get(kKey)));
}

TEST(SimCoordinator, Watch_OnAChange_Returns) {
  OneUser u;
  u.server.put(kKey, "one");
  const std::uint64_t seen = u.server.peek(kKey).revision;
  EXPECT_TRUE(u.watch(0, 20));  // It has changed already.
  const auto woken = std::make_shared<bool>(false);
  u.scope->spawn(OneUser::wait(&u, seen, woken));
  u.run_for(100);
  EXPECT_FALSE(*woken);
  u.server.put(kKey, "two");
  u.run_for(20);
  EXPECT_TRUE(*woken);
}

TEST(SimCoordinator, Watch_LostNotice_ReturnsAtItsTimeout) {
  OneUser u;
  u.server.faults.lost_notice_ppm = 1'000'000;
  EXPECT_FALSE(u.watch(5, 900));
  u.run_for(200);
  EXPECT_EQ(u.server.counters().notices_lost, 1u);
}

TEST(SimCoordinator, EmptiedOrRestored_IsRefusedAsForeign) {
  OneUser u;
  u.server.put(kKey, "one");
  const auto backup = u.server.state();
  u.server.put(kKey, "two");
  ASSERT_TRUE(u.run(u.port->get(kKey)));
  u.server.restore(backup);
  const auto old = u.run(u.port->get(kKey));
  ASSERT_FALSE(old);
  EXPECT_EQ(old.error().code, Errc::foreign);
  u.server.empty_out();
  const auto empty = u.run(u.port->get(kKey));
  ASSERT_FALSE(empty);
  EXPECT_EQ(empty.error().code, Errc::foreign);
}

}  // namespace
}  // namespace holdfast::sim
