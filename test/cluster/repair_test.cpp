// Damage of one copy, put there by hand: what is repaired from the others, and how it is told.
#include <gtest/gtest.h>

#include "snapshot/superblock.h"
#include "test/cluster/cluster.h"
#include "test/cluster/disk_look.h"
#include "test/cluster/replica_read.h"

namespace holdfast::cluster {
namespace {

// A cluster that was written to, at rest; everything is in the maps.
class Repair : public testing::Test {
 protected:
  Repair() : cluster(plan()) {}

  static Plan plan() {
    Plan p = plain_plan();
    p.log_bytes = 8ULL << 20;
    return p;
  }
  void SetUp() override {
    ASSERT_TRUE(cluster.set_up());
    cluster.clients().start();
    cluster.run_for(milliseconds(1'000));
    cluster.clients().stop();
    ASSERT_TRUE(cluster.run_until([this] { return cluster.clients().stopped(); }, milliseconds(10'000)));
    ASSERT_TRUE(cluster.run_until_well(milliseconds(10'000)));
  }
  // Every block of data that the node has in its chunks.
  std::size_t rot_all_data(NodeId id) {
    sim::SimDisk& disk = cluster.node(id).disk();
    const auto blocks = data_blocks(disk);
    for (const std::uint64_t block : blocks) disk.flip_bit(block * kBlockBytes + 2'000, 5);
    return blocks.size();
  }
  bool mapped(NodeId id) {
    cluster.checkpoint(id);
    return cluster.run_until([&] { return cluster.node(id).group()->status().checkpoint_lsn == cluster.node(id).group()->status().commit_lsn; }, milliseconds(10'000));
  }
  std::string story() const { return cluster.violation().value_or("nothing is wrong"); }

  Cluster cluster;
};

// P5: rot on the primary is never returned, is repaired from a member, and counted.
TEST_F(Repair, DataOfThePrimaryRots_ReadsGetItFromMembersAndItIsPutBack) {
  const NodeId primary = *cluster.serving();
  ASSERT_TRUE(mapped(primary));
  ASSERT_GT(rot_all_data(primary), 0u);
  ASSERT_TRUE(cluster.read_everything()) << story();
  const GroupStatus status = cluster.node(primary).group()->status();
  EXPECT_GT(status.repaired_blocks, 0u);
  EXPECT_GE(status.checksum_errors, status.repaired_blocks);
  // What was put back is read without anybody's help.
  cluster.run_for(milliseconds(500));
  const std::uint64_t before = cluster.node(primary).group()->status().checksum_errors;
  ASSERT_TRUE(cluster.read_everything()) << story();
  EXPECT_EQ(cluster.node(primary).group()->status().checksum_errors, before);
}

TEST_F(Repair, DataOfAFollowerRots_ItsReadsAreRepairedToo) {
  const NodeId follower(cluster.serving()->value == 1 ? 2 : 1);
  ASSERT_TRUE(mapped(follower));
  ASSERT_GT(rot_all_data(follower), 0u);
  ASSERT_TRUE(cluster.replicas_are_equal()) << story();
  EXPECT_GT(cluster.node(follower).group()->status().repaired_blocks, 0u);
}

// F3: the log of a stopped member is damaged in its middle: it comes back, leads nobody before it has caught up, and is whole then.
TEST_F(Repair, LogOfAMemberIsDamaged_ItCatchesUpFromTheOthers) {
  const NodeId follower(cluster.serving()->value == 1 ? 2 : 1);
  const std::uint64_t used = cluster.node(follower).group()->status().log_used_bytes / kBlockBytes;
  ASSERT_GT(used, 20u);
  cluster.invariants().in_sync_is_fit = false;  // Its primary learns of it after its start.
  cluster.die(follower, Death::killed);
  const auto superblock = snapshot::decode_superblock(cluster.node(follower).disk().peek(0, kBlockBytes));
  ASSERT_TRUE(superblock);
  const std::uint64_t slot = (superblock->tail_position + used / 2) % superblock->log_blocks;
  cluster.node(follower).disk().flip_bit(snapshot::kLogOffset + slot * kBlockBytes + 100, 3);
  cluster.start(follower);
  ASSERT_TRUE(cluster.run_until([&] { return cluster.node(follower).is_open(); }, milliseconds(5'000))) << story();
  const ReplicaStatus opened = cluster.node(follower).group()->replica_status();
  EXPECT_FALSE(opened.promotable);
  EXPECT_NE(opened.unfit_because.find("unreadable at LSN"), std::string::npos) << opened.unfit_because;
  ASSERT_TRUE(cluster.run_until_well(milliseconds(20'000))) << story();
  EXPECT_TRUE(cluster.node(follower).group()->replica_status().promotable);
  ASSERT_TRUE(cluster.replicas_are_equal()) << story();
}

}  // namespace
}  // namespace holdfast::cluster
