// A copy that was rebuilt is a source like any other.
#include <gtest/gtest.h>

#include "snapshot/store_format.h"
#include "test/cluster/cluster.h"

namespace holdfast::cluster {
namespace {

Task<void> unmap(ClusterNode* node, BlockRange range, bool* done) {
  auto unmapped = co_await node->group()->find(Clients::volume_name(0))->unmap(range);
  EXPECT_TRUE(unmapped) << unmapped.error().text();
  *done = true;
}

// What became a hole before a copy was rebuilt stands nowhere in it. A member that was away since before that must learn of it.
//   1. C goes away with data everywhere; a whole map page is unmapped, and the log goes on until C's place in it is gone.
//   2. B gets a new disk, is rebuilt, and leads.
//   3. C returns: B must not tell it what changed since, but all there is.
TEST(RebuiltCopy, LeadsAMemberThatWasAwayLonger_HolesFromBeforeAreTold) {
  Plan plan = draw_plan(7, PlanChoices{3, true, false});
  plan.shrink_tunables = false;
  plan.min_in_sync = 1;
  plan.log_bytes = 640 * kBlockBytes;
  plan.disk_slow_ppm = 0;
  plan.clients.clients = 4;
  plan.clients.volumes = 1;
  plan.clients.volume_blocks = 4 * snapshot::kLeafChunks * kChunkBlocks;
  plan.clients.hot_percent = 0;
  plan.clients.think_max = milliseconds(2);
  plan.clients.write_bytes_max = ~std::uint64_t{0};
  Cluster cluster(plan);
  const auto serve_for = [&](std::int64_t ms) {
    cluster.clients().start();
    cluster.run_for(milliseconds(ms));
    cluster.clients().stop();
    return cluster.run_until([&] { return cluster.clients().stopped(); }, milliseconds(10'000));
  };
  const auto checkpoint = [&](NodeId id) {
    cluster.checkpoint(id);
    return cluster.run_until([&] { return cluster.node(id).group()->status().checkpoint_lsn == cluster.node(id).group()->status().commit_lsn; }, milliseconds(10'000));
  };
  ASSERT_TRUE(cluster.set_up());
  ASSERT_TRUE(serve_for(1'000));
  ASSERT_TRUE(cluster.run_until_well(milliseconds(10'000)));
  const NodeId a = *cluster.serving(), b(a.value == 1 ? 2 : 1), c(6 - a.value - b.value);
  ASSERT_TRUE(checkpoint(c));
  cluster.die(c, Death::killed);
  bool done = false;
  const std::uint64_t page = snapshot::kLeafChunks * kChunkBlocks;
  cluster.node(a).process().scope().spawn(unmap(&cluster.node(a), BlockRange{Lba(2 * page), BlockCount(page)}, &done));
  ASSERT_TRUE(cluster.run_until([&] { return done; }, milliseconds(10'000)));
  cluster.clients().options().volume_blocks = page;  // Nobody touches the hole again.
  const Lsn then = cluster.node(a).group()->status().commit_lsn;
  for (int i = 0; i < 20 && cluster.node(a).group()->status().commit_lsn.value < then.value + 3'000; ++i) ASSERT_TRUE(serve_for(500));
  ASSERT_TRUE(checkpoint(a));
  cluster.wipe(b);
  ASSERT_TRUE(cluster.run_until([&] { return cluster.truth().has_in_sync(engine::Copy{b, cluster.node(b).incarnation()}); }, milliseconds(20'000)));
  ASSERT_TRUE(checkpoint(b));
  cluster.run_for(milliseconds(500));
  cluster.switchover(a, b);
  ASSERT_TRUE(cluster.run_until([&] { return cluster.serving() == b; }, milliseconds(10'000))) << cluster.describe();
  cluster.start(c);
  ASSERT_TRUE(cluster.run_until_well(milliseconds(30'000))) << cluster.violation().value_or(cluster.describe());
  EXPECT_GT(cluster.node(c).group()->replica_status().rebuilt_chunks, 0u);
  cluster.clients().options().volume_blocks = plan.clients.volume_blocks;
  ASSERT_TRUE(cluster.replicas_are_equal()) << *cluster.violation();
}

}  // namespace
}  // namespace holdfast::cluster
