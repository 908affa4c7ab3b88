// A copy that is well and 200 ms away, while another one dies.
#include "test/cluster/byte_blocks.h"

namespace holdfast::cluster {
namespace {

class FarAway : public ByteBlocks {
 protected:
  FarAway() : ByteBlocks(plan()) {}
  static Plan plan() {
    Plan p = plain_plan();
    p.min_in_sync = 2;
    p.timing = engine::Timing{};
    return p;
  }
};

TEST_F(FarAway, TheNearOneDies_WritesGoOn) {
  const NodeId primary = *cluster.serving(), dead(primary.value % 3 + 1), far(6 - primary.value - dead.value);
  ASSERT_TRUE(write(primary, 1, 1, 7));
  sim::NetworkPath path;
  path.delay = milliseconds(200);
  for (const NodeId other : {primary, dead}) {
    cluster.network().set_path(far, other, path);
    cluster.network().set_path(other, far, path);
  }
  cluster.run_for(milliseconds(3'000));
  ASSERT_EQ(cluster.serving(), primary);
  ASSERT_EQ(cluster.truth().in_sync.size(), 3u);
  ASSERT_TRUE(write(primary, 1, 1, 8)) << "slowly, but it goes on";
  cluster.die(dead, Death::power_loss);
  EXPECT_TRUE(write(primary, 1, 1, 9)) << "not within 10 s";
  cluster.run_for(milliseconds(60'000));
  EXPECT_EQ(cluster.truth().in_sync.size(), 2u) << "a minute later";
}

}  // namespace
}  // namespace holdfast::cluster
