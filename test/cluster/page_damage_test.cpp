// Pages of a copy's maps, catalogue and space that cannot be read: the copy is rebuilt, and nothing wrong is read meanwhile.
#include <gtest/gtest.h>

#include "engine/group_impl.h"
#include "snapshot/store_format.h"
#include "test/cluster/cluster.h"
#include "test/cluster/disk_look.h"

namespace holdfast::cluster {
namespace {

using snapshot::TreeKind;

constexpr std::uint64_t kLeaves = 10;

// A cluster that was written to, at rest; a volume has ten map pages below its root.
class PageDamage : public testing::Test {
 protected:
  PageDamage() : cluster(plan()) {}

  static Plan plan() {
    Plan p = plain_plan();
    p.log_bytes = 8ULL << 20;
    p.clients.clients = 4;
    p.clients.volumes = 1;
    p.clients.volume_blocks = kLeaves * snapshot::kLeafChunks * kChunkBlocks;
    p.clients.hot_percent = 0;
    p.clients.think_max = milliseconds(2);
    p.clients.write_bytes_max = ~std::uint64_t{0};
    return p;
  }
  void SetUp() override {
    cluster.invariants().in_sync_is_fit = false;  // Whose pages rot is out only once somebody has met one.
    ASSERT_TRUE(cluster.set_up());
    serve_for(1'500);
    rest();
  }
  void serve_for(std::int64_t ms) {
    cluster.clients().start();
    cluster.run_for(milliseconds(ms));
  }
  void rest() {
    cluster.clients().stop();
    ASSERT_TRUE(cluster.run_until([this] { return cluster.clients().stopped(); }, milliseconds(10'000))) << story();
    ASSERT_TRUE(cluster.run_until_well(milliseconds(30'000))) << story();
  }
  NodeId follower() const { return NodeId(cluster.serving()->value == 1 ? 2 : 1); }
  engine::GroupImpl& group(NodeId id) { return *static_cast<engine::GroupImpl*>(cluster.node(id).group()); }
  GroupStatus status(NodeId id) { return cluster.node(id).group()->status(); }
  // Everything is in the maps, on the disk, and nothing of it in memory.
  void restart_cold(NodeId id) {
    cluster.checkpoint(id);
    ASSERT_TRUE(cluster.run_until([&] { return status(id).checkpoint_lsn == status(id).commit_lsn; }, milliseconds(10'000))) << story();
    cluster.die(id, Death::killed);
    cluster.start(id);
    ASSERT_TRUE(cluster.run_until_well(milliseconds(20'000))) << story();
  }
  void restart_cold_among_two(NodeId id) {
    cluster.checkpoint(id);
    ASSERT_TRUE(cluster.run_until([&] { return status(id).checkpoint_lsn == status(id).commit_lsn; }, milliseconds(10'000))) << story();
    cluster.die(id, Death::killed);
    cluster.start(id);
    const auto back = [&] { return cluster.node(id).is_open() && cluster.truth().in_sync.size() == 2 && cluster.node(id).group()->replica_status().promotable; };
    ASSERT_TRUE(cluster.run_until(back, milliseconds(20'000))) << story();
    cluster.run_for(milliseconds(1'000));
  }
  void make_primary(NodeId id) {
    cluster.run_for(milliseconds(500));  // It is in step again.
    cluster.switchover(*cluster.serving(), id);
    ASSERT_TRUE(cluster.run_until([&] { return cluster.serving() == id; }, milliseconds(10'000))) << story();
  }
  std::size_t rot(NodeId id, TreeKind kind, unsigned level, PageRange which = {}) { return rot_pages(cluster.node(id).disk(), kind, level, which); }
  // It came back by itself, leads nobody who lacks anything, and has what the others have.
  void expect_whole(NodeId id) {
    ASSERT_TRUE(cluster.run_until_well(milliseconds(30'000))) << story();
    EXPECT_TRUE(cluster.node(id).group()->replica_status().promotable);
    ASSERT_TRUE(cluster.read_everything()) << story();
    ASSERT_TRUE(cluster.replicas_are_equal()) << story();
    const auto wrong = cluster.history().judge();
    ASSERT_FALSE(wrong) << *wrong;
  }
  // And it can lead by what it has on its disk.
  void expect_leads(NodeId id) {
    restart_cold(id);
    make_primary(id);
    ASSERT_TRUE(cluster.read_everything()) << story();
    ASSERT_TRUE(cluster.run_until_well(milliseconds(10'000))) << story();
    ASSERT_TRUE(cluster.replicas_are_equal()) << story();
  }
  std::string story() const { return cluster.violation().value_or("nothing is wrong") + cluster.describe(); }

  Cluster cluster;
};

// Two pages of ten: the rest is compared, and only what they named comes from the primary.
TEST_F(PageDamage, LeavesOfAFollowerRot_OnlyWhatTheyNamedIsFetched) {
  const NodeId id = follower();
  restart_cold(id);
  ASSERT_GT(rot(id, TreeKind::map, 0, {3, 4}), 0u);
  ASSERT_TRUE(cluster.replicas_are_equal()) << story();  // Somebody looks: that begins it.
  EXPECT_GT(cluster.node(id).group()->replica_status().rebuilt_chunks, 0u);
  EXPECT_LE(cluster.node(id).group()->replica_status().rebuilt_chunks, 2 * snapshot::kLeafChunks) << "the rest is the same";
  expect_whole(id);
  expect_leads(id);
}

TEST_F(PageDamage, RootOfAFollowersMapRots_AllOfItComesAgain) {
  const NodeId id = follower();
  restart_cold(id);
  ASSERT_GT(rot(id, TreeKind::map, 1), 0u);
  serve_for(300);
  rest();
  EXPECT_GT(cluster.node(id).group()->replica_status().rebuilt_chunks, 0u);
  expect_whole(id);
  expect_leads(id);
}

// Leaves that were used lately are in memory, and the root above them is not any more: they must not be taken for leaves that the
// disk has when their root becomes an empty one.
TEST_F(PageDamage, RootAboveLeavesThatAreInMemoryRots_TheyAreNotTakenForWritten) {
  const NodeId id = follower();
  restart_cold(id);
  cluster.checkpoint(id);
  ASSERT_TRUE(cluster.read_everything()) << story();
  ASSERT_TRUE(cluster.replicas_are_equal()) << story();  // Reads all leaves of all copies.
  snapshot::PageCache& cache = group(id).store().cache();
  const std::uint32_t map = group(id).store().volumes()[0]->map->number();
  std::vector<std::uint32_t> leaves;  // Some may be holes.
  for (std::uint32_t i = 0; i < 8; ++i)
    if (cache.find(snapshot::page_key(map, 0, i))) leaves.push_back(i);
  ASSERT_GE(leaves.size(), 3u);
  for (const auto& [level, index] : {std::pair{1u, 0u}, std::pair{0u, leaves[1]}}) {
    snapshot::Frame* frame = cache.find(snapshot::page_key(map, level, index));
    ASSERT_TRUE(frame && frame->pins == 0 && !frame->dirty);
    cache.remove(frame);
  }
  ASSERT_GT(rot(id, TreeKind::map, 1), 0u);
  expect_whole(id);
  expect_leads(id);
}

// As long as the register counts on a copy it keeps what it can read: the primary may be gone already.
TEST_F(PageDamage, PrimaryDiesAsAFollowerMeetsAPage_TheFollowerServesTheRest) {
  const NodeId id = follower();
  for (const auto& each : cluster.nodes()) {
    if (each->id() == id || each->id() == *cluster.serving()) continue;
    cluster.die(each->id(), Death::killed);
  }
  ASSERT_TRUE(cluster.run_until([&] { return cluster.truth().in_sync.size() == 2; }, milliseconds(5'000))) << story();
  restart_cold_among_two(id);
  ASSERT_GT(rot(id, TreeKind::map, 0, {3, 4}), 0u);
  const NodeId primary = *cluster.serving();
  cluster.coordinator().set_reachable(primary, false);  // It cannot let the copy go.
  cluster.clients().start();
  ASSERT_TRUE(cluster.run_until([&] { return group(id).store().damage().met > 0; }, milliseconds(10'000))) << story();
  const bool gave_up = cluster.run_until([&] { return group(id).awaits_rebuild(); }, milliseconds(200));
  EXPECT_FALSE(gave_up) << "the primary may be gone any moment";
  cluster.die(primary, Death::power_loss);
  ASSERT_TRUE(cluster.run_until([&] { return cluster.serving() == id; }, milliseconds(10'000))) << story();
  cluster.coordinator().set_reachable(primary, true);
}

// What an unreadable page named stays taken until all is compared; then it is free again.
TEST_F(PageDamage, MapOfAFollowerRots_NoSpaceIsLostForGood) {
  const NodeId id = follower();
  restart_cold(id);
  cluster.checkpoint(id);
  cluster.run_for(milliseconds(500));
  const std::uint64_t before = status(id).free_bytes;
  for (int i = 0; i < 4; ++i) {
    restart_cold(id);
    ASSERT_GT(rot(id, TreeKind::map, 0), 0u);
    expect_whole(id);  // Somebody looks: that begins it.
    EXPECT_GT(cluster.node(id).group()->replica_status().rebuilt_chunks, 0u);
    cluster.checkpoint(id);
    cluster.run_for(milliseconds(500));
  }
  EXPECT_GE(status(id).free_bytes + 8 * kChunkBytes, before);
}

TEST_F(PageDamage, CatalogueOfAMemberRots_ItOpensAndIsRebuilt) {
  const NodeId id = follower();
  restart_cold(id);
  cluster.die(id, Death::killed);
  ASSERT_GT(rot(id, TreeKind::catalogue, 0), 0u);
  cluster.start(id);
  ASSERT_TRUE(cluster.run_until([&] { return cluster.node(id).is_open(); }, milliseconds(5'000))) << story();
  EXPECT_FALSE(cluster.node(id).group()->replica_status().promotable);
  serve_for(300);
  rest();
  expect_whole(id);
  expect_leads(id);
}

// Nothing is written over what is there before there is somebody to be rebuilt from.
TEST_F(PageDamage, CatalogueOfAMemberRots_OthersAreAway_ItsDiskStaysAsItIs) {
  const NodeId id = follower();
  restart_cold(id);
  for (const auto& each : cluster.nodes()) cluster.die(each->id(), Death::killed);
  ASSERT_GT(rot(id, TreeKind::catalogue, 0), 0u);
  const auto before = cluster.node(id).disk().peek(0, 64 << 10);
  cluster.start(id);
  ASSERT_TRUE(cluster.run_until([&] { return cluster.node(id).is_open(); }, milliseconds(5'000))) << story();
  cluster.run_for(milliseconds(3'000));
  EXPECT_FALSE(cluster.serving());
  EXPECT_EQ(cluster.node(id).disk().peek(0, 64 << 10), before);
  for (const auto& each : cluster.nodes()) cluster.start(each->id());
  ASSERT_TRUE(cluster.run_until_well(milliseconds(30'000))) << story();
  expect_whole(id);
}

// The maps say what the space tree says, too: nothing is lost.
TEST_F(PageDamage, SpaceTreeOfAMemberRots_ItIsCountedAnew) {
  const NodeId id = follower();
  for (const unsigned level : {0u, 1u, 3u}) {
    restart_cold(id);
    cluster.die(id, Death::killed);
    ASSERT_GT(rot(id, TreeKind::space, level), 0u);
    cluster.start(id);
    ASSERT_TRUE(cluster.run_until([&] { return cluster.node(id).is_open(); }, milliseconds(5'000))) << story();
    EXPECT_TRUE(cluster.node(id).group()->replica_status().promotable);
    serve_for(300);
    rest();
    expect_whole(id);
  }
  expect_leads(id);
}

TEST_F(PageDamage, SpaceTreeAndMapRot_TheMemberIsRebuilt) {
  const NodeId id = follower();
  restart_cold(id);
  cluster.die(id, Death::killed);
  ASSERT_GT(rot(id, TreeKind::space, 0), 0u);
  ASSERT_GT(rot(id, TreeKind::map, 0, {2, 3}), 0u);
  cluster.start(id);
  serve_for(300);
  rest();
  expect_whole(id);
  expect_leads(id);
}

// What is above the page that is gone is in use, though it refers to nothing else that can be read.
TEST_F(PageDamage, SpaceTreeAndAPageAboveTheCatalogueRot_WhatIsAboveItIsStillCounted) {
  const NodeId id = follower();
  restart_cold(id);
  cluster.die(id, Death::killed);
  ASSERT_GT(rot(id, TreeKind::space, 0), 0u);
  ASSERT_GT(rot(id, TreeKind::catalogue, 1), 0u);
  cluster.start(id);
  serve_for(300);
  rest();
  expect_whole(id);
  expect_leads(id);
}

// A host that meets such a page on the primary finds the copy that can read it.
TEST_F(PageDamage, MapOfThePrimaryRots_ItHandsOverAndIsRebuilt_NoHostIsTold) {
  const NodeId id = follower();
  restart_cold(id);
  make_primary(id);
  ASSERT_TRUE(cluster.run_until_well(milliseconds(10'000))) << story();
  ASSERT_GT(rot(id, TreeKind::map, 0), 0u);
  cluster.tolerance.rot = true;
  cluster.expects_answers = true;
  serve_for(1'000);
  rest();
  cluster.expects_answers = false;
  EXPECT_NE(*cluster.serving(), id);
  EXPECT_GT(cluster.node(id).group()->replica_status().rebuilt_chunks, 0u);
  expect_whole(id);
}

// Alone it says so, below the page, and nothing else suffers; nothing reads as zeros that was written.
TEST_F(PageDamage, MapOfThePrimaryRots_AloneInSync_OnlyThatIsUnreadable) {
  const NodeId id = follower();
  restart_cold(id);
  make_primary(id);
  for (const auto& each : cluster.nodes())
    if (each->id() != id) cluster.die(each->id(), Death::killed);
  ASSERT_TRUE(cluster.run_until([&] { return cluster.truth().in_sync.size() == 1 && cluster.serving() == id; }, milliseconds(10'000))) << story();
  ASSERT_GT(rot(id, TreeKind::map, 0, {5, 5}), 0u);
  serve_for(1'000);
  cluster.clients().stop();
  ASSERT_TRUE(cluster.run_until([this] { return cluster.clients().stopped(); }, milliseconds(10'000))) << story();
  EXPECT_EQ(cluster.serving(), id);
  EXPECT_FALSE(status(id).failed);
  EXPECT_TRUE(cluster.node(id).group()->replica_status().promotable);
  const auto wrong = cluster.history().judge();
  EXPECT_FALSE(wrong) << *wrong;
}

// A copy that dies while it is being rebuilt goes on with that.
TEST_F(PageDamage, FollowerLosesPowerInItsRebuild_ItIsRebuiltAfterwards) {
  const NodeId id = follower();
  restart_cold(id);
  ASSERT_GT(rot(id, TreeKind::map, 0), 0u);
  cluster.clients().start();
  int interrupted = 0;
  const auto replica = [&] { return cluster.node(id).group()->replica_status(); };
  for (std::uint64_t i = 0; i < 4; ++i) {
    ASSERT_TRUE(cluster.run_until([&] { return replica().rebuilt_chunks > 7 * i; }, milliseconds(5'000))) << story();
    if (!replica().rebuilding) break;
    ++interrupted;
    cluster.die(id, Death::power_loss);
    cluster.start(id);
    ASSERT_TRUE(cluster.run_until([&] { return cluster.node(id).is_open(); }, milliseconds(5'000))) << story();
    EXPECT_FALSE(replica().promotable);
  }
  EXPECT_GE(interrupted, 2);
  rest();
  expect_whole(id);
  expect_leads(id);
}

}  // namespace
}  // namespace holdfast::cluster
