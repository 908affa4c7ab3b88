// The end of a log that rots while its node is down cannot be told from a torn tail, though it was acknowledged.
#include <gtest/gtest.h>

#include <cstring>
#include <optional>

#include "snapshot/store_format.h"
#include "snapshot/superblock.h"
#include "test/cluster/cluster.h"
#include "wal/log_format.h"

namespace holdfast::cluster {
namespace {

// All nodes lose power; the last record of the old primary's log rots, and its node is the first one to be back.
TEST(LongerLog, EndOfOneLogRotsWhileAllAreDown_WhoStillHasItLeads) {
  Plan plan = draw_plan(7, PlanChoices{3, true, false});
  plan.shrink_tunables = false;
  plan.min_in_sync = 1;
  plan.disk_slow_ppm = 0;
  Cluster cluster(plan);
  ASSERT_TRUE(cluster.set_up());
  cluster.clients().start();
  cluster.run_for(milliseconds(1'000));
  cluster.clients().stop();
  ASSERT_TRUE(cluster.run_until([&] { return cluster.clients().stopped(); }, milliseconds(10'000)));
  ASSERT_TRUE(cluster.run_until_well(milliseconds(10'000)));
  const NodeId rotten(cluster.serving()->value % 3 + 1);
  for (const auto& each : cluster.nodes()) cluster.die(each->id(), Death::power_loss);
  sim::SimDisk& disk = cluster.node(rotten).disk();
  const std::uint64_t first = snapshot::kLogOffset / kBlockBytes;
  std::optional<std::uint64_t> last;
  std::uint64_t newest = 0;
  for (std::uint64_t block = first; block < first + plan.log_bytes / kBlockBytes; ++block) {
    const auto bytes = disk.peek(block * kBlockBytes, kBlockBytes);
    wal::BatchHeader header;
    std::memcpy(&header, bytes.data(), sizeof header);
    if (header.magic != wal::kBatchMagic || header.first_lsn < newest) continue;
    newest = header.first_lsn;
    last = block;
  }
  ASSERT_TRUE(last);
  cluster.disk_is_bad(rotten);
  disk.flip_bit(*last * kBlockBytes + 100, 3);
  cluster.start(rotten);
  for (const auto& each : cluster.nodes())
    if (each->id() != rotten) cluster.restart_after(each->id(), milliseconds(300));
  ASSERT_TRUE(cluster.run_until([&] { return cluster.serving().has_value(); }, milliseconds(10'000))) << cluster.violation().value_or("");
  EXPECT_NE(*cluster.serving(), rotten);
  ASSERT_TRUE(cluster.run_until_well(milliseconds(20'000))) << cluster.violation().value_or("");
  ASSERT_TRUE(cluster.read_everything()) << cluster.violation().value_or("");
  ASSERT_TRUE(cluster.replicas_are_equal()) << cluster.violation().value_or("");
}

}  // namespace
}  // namespace holdfast::cluster
