// A copy that was rebuilt knows what changed since its rebuild, and of what was emptied before it nothing at all. Who is brought
// up by such a copy must not keep what was emptied. And a copy whose rebuild was cut off may be brought up by the log instead.
#include "test/cluster/byte_blocks.h"
#include "test/cluster/owners.h"

namespace holdfast::cluster {
namespace {

constexpr std::uint64_t kLeafBlocks = snapshot::kLeafChunks * kChunkBlocks;

class RebuiltCopy : public ByteBlocks {
 protected:
  explicit RebuiltCopy(Plan p = plan()) : ByteBlocks(std::move(p)) {}

  static Plan plan() {
    Plan p = plain_plan();
    p.log_bytes = 640 * kBlockBytes;
    p.clients.volume_blocks = 5 * kLeafBlocks;
    return p;
  }
  bool unmap(NodeId id, std::uint64_t block, std::uint64_t blocks) {
    const auto done = call(cluster, id, volume(id)->unmap(BlockRange{Lba(block), BlockCount(blocks)}));
    return done && *done;
  }
  // More than the ring of the log holds.
  bool let_the_log_go_round(NodeId id) {
    for (int i = 0; i < 120; ++i)
      if (!write(id, static_cast<std::uint64_t>(i % 8) * 8, 8, i)) return false;
    return true;
  }
  bool hand_over(NodeId to) {
    for (int i = 0; i < 20 && cluster.serving() != to; ++i) {
      if (const auto from = cluster.serving()) cluster.switchover(*from, to);
      cluster.run_for(milliseconds(200));
    }
    return cluster.serving() == to;
  }
};

TEST_F(RebuiltCopy, LeadsAfterwards_WhoIsBehindItsImage_LosesWhatWasEmptied) {
  const NodeId old = *cluster.serving();
  const NodeId fresh(old.value % 3 + 1), away(fresh.value % 3 + 1);
  ASSERT_TRUE(write(old, 3 * kLeafBlocks, 16, 7));
  ASSERT_TRUE(cluster.run_until_well(milliseconds(10'000))) << story();
  cluster.die(away, Death::killed);
  ASSERT_TRUE(wait_until([&] { return !in_sync(away); })) << story();
  ASSERT_TRUE(unmap(old, 3 * kLeafBlocks, kLeafBlocks));
  ASSERT_TRUE(let_the_log_go_round(old)) << story();
  cluster.wipe(fresh);
  ASSERT_TRUE(wait_until([&] { return cluster.truth().has_in_sync(engine::Copy{fresh, cluster.node(fresh).incarnation()}); })) << story();
  ASSERT_GT(cluster.node(fresh).group()->replica_status().rebuilt_chunks, 0u) << "the log brought it up";
  ASSERT_TRUE(hand_over(fresh)) << story();
  ASSERT_TRUE(let_the_log_go_round(fresh)) << story();
  cluster.start(away);
  ASSERT_TRUE(cluster.run_until_well(milliseconds(30'000))) << story();
  for (const auto& each : cluster.nodes()) EXPECT_EQ(value_on(each->id(), 3 * kLeafBlocks), 0) << each->id().value;
}

// The same without a rebuild: a crash lets a write and its unmap become one.
TEST_F(RebuiltCopy, WriteAndUnmapReplayedAtOnce_WhoMissedTheUnmap_LosesTheWrite) {
  const NodeId old = *cluster.serving();
  const NodeId away(old.value % 3 + 1);
  ASSERT_TRUE(write(old, 3 * kLeafBlocks, 1, 7));
  ASSERT_TRUE(cluster.run_until_well(milliseconds(10'000))) << story();
  cluster.die(away, Death::killed);
  ASSERT_TRUE(wait_until([&] { return !in_sync(away); })) << story();
  ASSERT_TRUE(unmap(old, 3 * kLeafBlocks, kLeafBlocks));
  for (const auto& each : cluster.nodes())
    if (each->id() != away) cluster.die(each->id(), Death::power_loss);
  for (const auto& each : cluster.nodes())
    if (each->id() != away) cluster.start(each->id());
  ASSERT_TRUE(wait_until([&] { return cluster.serving().has_value(); })) << story();
  ASSERT_TRUE(let_the_log_go_round(*cluster.serving())) << story();
  cluster.start(away);
  ASSERT_TRUE(cluster.run_until_well(milliseconds(30'000))) << story();
  for (const auto& each : cluster.nodes()) EXPECT_EQ(value_on(each->id(), 3 * kLeafBlocks), 0) << each->id().value;
}

class CutOffRebuild : public RebuiltCopy {
 protected:
  static constexpr std::uint64_t kChunks = 100;
  CutOffRebuild() : RebuiltCopy(plan()) {}
  static Plan plan() {
    Plan p = RebuiltCopy::plan();
    p.disk_latency = sim::DiskLatency{};
    p.clients.volume_blocks = kChunks * kChunkBlocks;
    return p;
  }
};

// What the rebuild replaces after a checkpoint's freeze is still named by that checkpoint's maps.
TEST_F(CutOffRebuild, AfterACheckpointOfItsOwn_BroughtUpByTheLog_AllBlocksMatch) {
  const NodeId primary = *cluster.serving(), other(primary.value % 3 + 1), copy(other.value % 3 + 1);
  for (std::uint64_t i = 0; i < kChunks; ++i) ASSERT_TRUE(write(primary, i * kChunkBlocks, kChunkBlocks, 1 + static_cast<int>(i)));
  cluster.set_log_bytes(8 << 20);
  cluster.wipe(other);  // Its log keeps more than the primary's.
  ASSERT_TRUE(cluster.run_until_well(milliseconds(20'000))) << story();
  cluster.checkpoint(copy);
  ASSERT_TRUE(wait_until([&] { return status(copy).checkpoint_lsn == status(primary).commit_lsn; })) << story();
  cluster.die(copy, Death::killed);
  ASSERT_TRUE(wait_until([&] { return !in_sync(copy); })) << story();
  for (std::uint64_t i = 0; i < kChunks; ++i) ASSERT_TRUE(write(primary, i * kChunkBlocks + 3, 1, 150));
  ASSERT_TRUE(let_the_log_go_round(primary)) << story();
  cluster.node(copy).disk().latency.write_us = 3'000;
  cluster.start(copy);
  ASSERT_TRUE(wait_until([&] { return replica(copy).rebuilding && replica(copy).rebuilt_chunks > 8; })) << story();
  cluster.checkpoint(copy);
  ASSERT_TRUE(wait_until([&] { return replica(copy).rebuilt_chunks > 90; })) << story();
  ASSERT_TRUE(replica(copy).rebuilding);
  cluster.die(copy, Death::killed);
  cluster.node(copy).disk().latency = cluster.plan().disk_latency;
  ASSERT_TRUE(hand_over(other)) << story();
  cluster.start(copy);
  ASSERT_TRUE(wait_until([&] { return in_sync(copy); })) << story();
  EXPECT_EQ(replica(copy).rebuilt_chunks, 0u) << "it was to come by the log";
  ASSERT_TRUE(*call(cluster, copy, cluster.node(copy).group()->checkpoint()));
  const auto wrong = wrong_owner(cluster.node(copy).group());
  EXPECT_FALSE(wrong) << *wrong;
  const auto verified = call(cluster, copy, cluster.node(copy).group()->verify_all());
  ASSERT_TRUE(verified.has_value());
  EXPECT_TRUE(verified->has_value()) << verified->error().text();
}

}  // namespace
}  // namespace holdfast::cluster
