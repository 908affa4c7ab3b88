// How a node of a cluster stops when nobody takes over from it.
#include <gtest/gtest.h>

#include "test/cluster/cluster.h"

namespace holdfast::cluster {
namespace {

// Writes are logged and wait for members that do not answer; the coordinator does not, either.
TEST(StopInACluster, PrimaryThatCanNeitherCommitNorBeRelieved_Stops) {
  Plan plan = draw_plan(7, PlanChoices{3, false, false});
  plan.shrink_tunables = false;
  plan.clients.think_max = milliseconds(2);
  Cluster cluster(plan);
  ASSERT_TRUE(cluster.set_up());
  cluster.clients().start();
  cluster.run_for(milliseconds(500));
  const NodeId primary = *cluster.serving();
  for (const auto& each : cluster.nodes())
    if (each->id() != primary) cluster.network().cut_both(primary, each->id());
  cluster.coordinator().set_reachable(primary, false);
  cluster.run_for(milliseconds(50));
  cluster.node(primary).process().start_stop();
  EXPECT_TRUE(cluster.run_until([&] { return cluster.node(primary).process().stopped.has_value(); }, milliseconds(15'000)))
      << cluster.violation().value_or("it waits for ever");
}

}  // namespace
}  // namespace holdfast::cluster
