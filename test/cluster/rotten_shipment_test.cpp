// A copy catches up by the log of a primary whose data has rotted meanwhile.
#include <algorithm>

#include "test/cluster/byte_blocks.h"

namespace holdfast::cluster {
namespace {

class RottenShipment : public ByteBlocks {
 protected:
  RottenShipment() : ByteBlocks(plan()) {}
  static Plan plan() {
    Plan p = plain_plan();
    p.log_bytes = 8ULL << 20;
    p.clients.volume_blocks = 64 * kChunkBlocks;
    return p;
  }
  void SetUp() override {
    ByteBlocks::SetUp();
    primary = *cluster.serving();
    away = NodeId(primary.value == 1 ? 2 : 1);
    third = NodeId(6 - primary.value - away.value);
    cluster.die(away, Death::killed);
    ASSERT_TRUE(wait_until([&] { return cluster.truth().in_sync.size() == 2; })) << story();
  }
  bool write_chunks(std::uint64_t first, std::uint64_t count, int value) {
    for (std::uint64_t i = 0; i < count; ++i)
      if (!write(primary, (first + i) * kChunkBlocks, kChunkBlocks, value)) return false;
    return true;
  }
  void apply() {
    for (const NodeId id : {primary, third}) cluster.checkpoint(id);
    cluster.run_for(milliseconds(500));
  }
  void rot(NodeId id, int value) {
    const auto blocks = blocks_of(id, value);
    ASSERT_FALSE(blocks.empty());
    for (const std::uint64_t block : blocks) cluster.node(id).disk().flip_bit(block * kBlockBytes + 2'000, 5);
  }
  bool all_in_sync() { return wait_until([&] { return cluster.truth().in_sync.size() == 3; }); }
  // Of those that were written with the value, how many the one that joined has as they were.
  std::size_t whole_blocks(int value) {
    const auto blocks = blocks_of(away, value);
    return static_cast<std::size_t>(std::ranges::count_if(blocks, [&](std::uint64_t block) {
      const auto bytes = cluster.node(away).disk().peek(block * kBlockBytes, kBlockBytes);
      return std::ranges::all_of(bytes, [&](std::byte b) { return std::to_integer<int>(b) == value; });
    }));
  }

  NodeId primary, away, third;
};

// The third copy has the data. Whoever joins without it would leave that one the only one that does.
TEST_F(RottenShipment, ChunkThatAnotherCopyHas_WhoJoinsGetsIt) {
  ASSERT_TRUE(write_chunks(1, 1, 7));
  apply();
  rot(primary, 7);
  cluster.start(away);
  ASSERT_TRUE(all_in_sync()) << story();
  ASSERT_TRUE(cluster.run_until_well(milliseconds(10'000))) << story();
  EXPECT_EQ(whole_blocks(7), kChunkBlocks) << "in sync, and without what it was to have";
  EXPECT_EQ(replica(away).rebuilt_chunks, 0u) << "it was to come by the log";
}

// One chunk that nobody has is no reason to ship another one as it is.
TEST_F(RottenShipment, ChunkThatNobodyHas_ThenOneThatAnotherCopyHas_WhoJoinsGetsThatOne) {
  ASSERT_TRUE(write_chunks(1, 1, 7));
  ASSERT_TRUE(write_chunks(3, 1, 9));
  apply();
  for (const NodeId id : {primary, third}) rot(id, 7);
  rot(primary, 9);
  cluster.start(away);
  ASSERT_TRUE(all_in_sync()) << story();
  ASSERT_TRUE(cluster.run_until_well(milliseconds(10'000))) << story();
  EXPECT_EQ(whole_blocks(9), kChunkBlocks) << "in sync, and without what it was to have";
}

TEST_F(RottenShipment, CopyThatHasThemIsRestarted_WhoJoinsGetsThem) {
  constexpr std::uint64_t kMany = 40;
  ASSERT_TRUE(write_chunks(1, kMany, 9));
  apply();
  rot(primary, 9);
  cluster.start(away);
  ASSERT_TRUE(wait_until([&] { return std::ranges::any_of(replica(primary).members, [&](const auto& m) { return m.node == away && m.matched; }); })) << story();
  cluster.die(third, Death::killed);
  cluster.restart_after(third, milliseconds(300));
  ASSERT_TRUE(all_in_sync()) << story();
  ASSERT_TRUE(cluster.run_until_well(milliseconds(10'000))) << story();
  EXPECT_EQ(whole_blocks(9), kMany * kChunkBlocks) << "in sync, and without what it was to have";
}

// All are started again. Until its epoch is open the primary is behind its maps, and whoever comes is shipped to already.
TEST_F(RottenShipment, PrimaryIsRestartedAndNotOpenYet_WhoJoinsGetsThem) {
  constexpr std::uint64_t kMany = 40;
  ASSERT_TRUE(write_chunks(1, kMany, 9));
  apply();
  ASSERT_TRUE(write(primary, 0, 1, 3));  // Committed; no superblock says so.
  rot(primary, 9);
  const NodeId old = primary;
  for (const NodeId id : {primary, third}) cluster.die(id, Death::killed);
  cluster.start(primary);
  cluster.start(away);
  cluster.restart_after(third, milliseconds(500));
  ASSERT_TRUE(all_in_sync()) << story();
  ASSERT_TRUE(cluster.run_until_well(milliseconds(10'000))) << story();
  ASSERT_EQ(cluster.serving(), old);
  EXPECT_EQ(replica(away).rebuilt_chunks, 0u) << "it was to come by the log";
  EXPECT_EQ(whole_blocks(9), kMany * kChunkBlocks) << "in sync, and without what it was to have";
}

// What a copy had beyond the others was never acknowledged, and is cut. It is not behind its maps for that.
TEST_F(RottenShipment, TailIsCut_NothingIsWrittenAnyMore_CopyIsScrubbed) {
  cluster.start(away);
  ASSERT_TRUE(all_in_sync()) << story();
  ASSERT_TRUE(cluster.run_until_well(milliseconds(10'000))) << story();
  for (const NodeId id : {away, third}) cluster.network().cut_both(primary, id);
  std::vector<std::shared_ptr<std::optional<Result<void>>>> answers;
  for (std::uint64_t i = 0; i < 20; ++i) {
    answers.push_back(std::make_shared<std::optional<Result<void>>>());
    cluster.node(primary).process().scope().spawn(keep_answer(writing(primary, i, 1, 5), answers.back()));
  }
  cluster.run_for(milliseconds(100));
  cluster.die(primary, Death::killed);
  ASSERT_TRUE(wait_until([&] { return cluster.serving() && *cluster.serving() != primary; })) << story();
  for (const NodeId id : {away, third}) cluster.network().mend(primary, id), cluster.network().mend(id, primary);
  cluster.start(primary);
  ASSERT_TRUE(all_in_sync()) << story();
  ASSERT_TRUE(cluster.run_until_well(milliseconds(10'000))) << story();
  group(primary).start_scrub();
  EXPECT_TRUE(wait_until([&] { return status(primary).scrub.passes > 0; })) << "behind its maps for ever: " << group(primary).is_behind_its_maps();
}

// The same of a copy that was just fit again: its primary had more, which is nowhere now.
TEST_F(RottenShipment, FitUpToWhatIsGone_NothingIsWrittenAnyMore_CopyIsScrubbed) {
  for (const int value : {7, 8, 9}) {
    ASSERT_TRUE(write_chunks(1, 40, value));
    apply();
  }
  ASSERT_TRUE(blocks_of(primary, 7).empty()) << "nothing was written over";
  cluster.network().cut_both(primary, third);
  cluster.coordinator().set_reachable(primary, false);
  std::vector<std::shared_ptr<std::optional<Result<void>>>> answers;
  for (std::uint64_t i = 0; i < 20; ++i) {
    answers.push_back(std::make_shared<std::optional<Result<void>>>());
    cluster.node(primary).process().scope().spawn(keep_answer(writing(primary, i, 1, 5), answers.back()));
  }
  cluster.start(away);
  ASSERT_TRUE(wait_until([&] { return replica(away).end > Lsn(5) && !replica(away).promotable; })) << story();
  cluster.die(away, Death::killed);
  cluster.start(away);
  ASSERT_TRUE(wait_until([&] { return replica(away).end >= replica(primary).end && replica(away).promotable; })) << story();
  cluster.die(primary, Death::killed);
  ASSERT_TRUE(wait_until([&] { return cluster.serving() == third; })) << story();
  cluster.network().mend(primary, third), cluster.network().mend(third, primary);
  cluster.coordinator().set_reachable(primary, true);
  ASSERT_TRUE(wait_until([&] { return in_sync(away); })) << story();
  cluster.run_for(milliseconds(1'000));
  group(away).start_scrub();
  EXPECT_TRUE(wait_until([&] { return status(away).scrub.passes > 0; })) << "behind its maps for ever: " << group(away).is_behind_its_maps();
}

// Nothing has rotted: chunks of a volume that is gone were written over. Nobody has to be waited for.
TEST_F(RottenShipment, VolumeIsGone_AndACopyIsAwayForGood_WhoComesJoinsAtOnce) {
  const auto made = call(cluster, primary, group(primary).create_volume("gone", Uuid{9}, BlockCount(64 * kChunkBlocks)));
  ASSERT_TRUE(made && *made);
  Volume* gone = **made;
  for (std::uint64_t i = 0; i < 20; ++i) {
    Buffer bytes = cluster.node(primary).process().pool().try_acquire(kChunkBytes);
    std::memset(bytes.data(), 7, bytes.size());
    const auto done = call(cluster, primary, gone->write(BlockRange{Lba(i * kChunkBlocks), BlockCount(kChunkBlocks)}, std::move(bytes)));
    ASSERT_TRUE(done && *done);
  }
  apply();
  const auto deleted = call(cluster, primary, group(primary).delete_volume("gone"));
  ASSERT_TRUE(deleted && *deleted);
  apply();
  ASSERT_TRUE(write_chunks(1, 40, 9));
  apply();
  EXPECT_LT(blocks_of(primary, 7).size(), 20 * kChunkBlocks) << "nothing was written over";
  cluster.die(third, Death::killed);
  ASSERT_TRUE(wait_until([&] { return cluster.truth().in_sync.size() == 1; })) << story();
  cluster.start(away);
  EXPECT_TRUE(wait_until([&] { return in_sync(away); }, 5'000)) << "5 s, and not there";
  EXPECT_EQ(replica(away).rebuilt_chunks, 0u) << "it was to come by the log";
}

}  // namespace
}  // namespace holdfast::cluster
