// A consumer of the log in a cluster: its position goes where the lead goes, and it is told what was committed, once.
#include <gtest/gtest.h>

#include <algorithm>

#include "test/cluster/log_follower.h"

namespace holdfast::cluster {
namespace {

Plan plan_of(unsigned nodes) {
  Plan plan;
  plan.nodes = nodes;
  plan.log_bytes = 16ULL << 20;
  plan.clock_drift.assign(nodes, 0);
  return plan;
}

// HP10, W3: three switchovers in a row, back and forth, then a killed leader. The follower finds its position each time.
TEST(LogConsumer, SwitchoversAndAHardKill_PositionIsFoundAndNothingIsLeftOut) {
  Cluster cluster(plan_of(3));
  ASSERT_TRUE(cluster.set_up()) << cluster.violation().value_or("");
  ASSERT_TRUE(cluster.run_until_well(milliseconds(10'000)));
  LogFollower follower(cluster, "backup");
  ASSERT_TRUE(follower.create(ConsumerStart::now));
  cluster.clients().start();
  ASSERT_TRUE(follower.run(milliseconds(300)));
  for (int i = 0; i < 4; ++i) {
    const NodeId from = *cluster.serving();
    const NodeId to(from.value % 3 + 1);
    if (i < 3) {
      cluster.switchover(from, to);
    } else {
      cluster.die(from, Death::power_loss);
      cluster.restart_after(from, milliseconds(500));
    }
    const Epoch before = cluster.truth().epoch;  // Who comes back soon enough may lead again.
    ASSERT_TRUE(cluster.run_until([&] { return cluster.serving() && cluster.truth().epoch > before; }, milliseconds(10'000))) << cluster.describe();
    const auto found = follower.status();
    ASSERT_TRUE(found) << "after change " << i;
    EXPECT_TRUE(follower.kept(*found)) << found->confirmed.value << ", had confirmed " << follower.last_confirmed.value;
    EXPECT_LT(found->confirmed, follower.next);
    EXPECT_FALSE(found->gap);
    ASSERT_TRUE(follower.run(milliseconds(300)));
  }
  cluster.clients().stop();
  ASSERT_TRUE(cluster.run_until([&] { return cluster.clients().stopped(); }, milliseconds(30'000)));
  ASSERT_TRUE(cluster.run_until_well(milliseconds(30'000))) << cluster.describe();
  ASSERT_TRUE(follower.catch_up());
  EXPECT_EQ(follower.wrong, "");
  EXPECT_EQ(follower.gaps, 0u);
  EXPECT_GT(follower.told.size(), 100u);
  // What it was told is what the last primary has, record by record.
  LogFollower again(cluster, "backup");
  again.next = follower.told.front().lsn;
  ASSERT_TRUE(again.follow());
  while (again.follow() && again.next < follower.next) {
  }
  if (again.gaps > 0) std::erase_if(follower.told, [&](const LogFollower::Told& t) { return t.lsn < again.told.front().lsn; });
  EXPECT_TRUE(std::equal(again.told.begin(), again.told.end(), follower.told.begin(), follower.told.end()));
}

// A member was away; the primary has taken checkpoints and was restarted since. Its log still has what the member missed.
TEST(LogRetention, PrimaryRestarted_MemberThatWasAwayCatchesUpFromItsLog) {
  Cluster cluster(plan_of(2));
  ASSERT_TRUE(cluster.set_up()) << cluster.violation().value_or("");
  ASSERT_TRUE(cluster.run_until_well(milliseconds(10'000)));
  const NodeId leader = *cluster.serving();
  const NodeId away(leader.value % 2 + 1);
  cluster.die(away, Death::power_loss);
  cluster.clients().start();
  const auto committed = [&] { return cluster.node(leader).group()->status().commit_lsn; };
  ASSERT_TRUE(cluster.run_until([&] { return committed() > Lsn(250); }, milliseconds(60'000)));
  cluster.clients().stop();
  ASSERT_TRUE(cluster.run_until([&] { return cluster.clients().stopped(); }, milliseconds(30'000)));
  const Lsn commit = committed();
  cluster.checkpoint(leader);
  ASSERT_TRUE(cluster.run_until([&] { return cluster.node(leader).group()->status().checkpoint_lsn >= commit; }, milliseconds(10'000)));
  cluster.die(leader, Death::power_loss);
  cluster.start(leader);
  ASSERT_TRUE(cluster.run_until([&] { return cluster.serving() == leader; }, milliseconds(10'000)));
  cluster.start(away);
  ASSERT_TRUE(cluster.run_until_well(milliseconds(30'000))) << cluster.describe();
  EXPECT_EQ(cluster.node(away).group()->replica_status().rebuilt_chunks, 0u);
  const auto status = cluster.node(leader).group()->replica_status();
  EXPECT_GT(status.shipped_records, 200u) << cluster.describe();
  EXPECT_TRUE(cluster.replicas_are_equal()) << cluster.violation().value_or("");
}

}  // namespace
}  // namespace holdfast::cluster
