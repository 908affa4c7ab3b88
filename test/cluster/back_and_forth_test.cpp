// What a copy applied in place shortly before a crash, when only its memory knew that it was committed, and a block that has elsewhere,
// again or still, what the copy's map says: the map says nothing of it, and the disk has something else.
#include "engine/operator_changes.h"
#include "test/cluster/byte_blocks.h"

namespace holdfast::cluster {
namespace {

class BackAndForth : public ByteBlocks {
 protected:
  BackAndForth() : ByteBlocks(plan()) {}
  static Plan plan() {
    Plan p = plain_plan(2);
    p.log_bytes = 640 * kBlockBytes;
    p.disk_latency = sim::DiskLatency{};
    p.applies_at_once = true;
    p.clients.volume_blocks = 64 * kChunkBlocks;
    return p;
  }
  void SetUp() override {
    ByteBlocks::SetUp();
    primary = *cluster.serving();
    copy = NodeId(3 - primary.value);
    ASSERT_TRUE(write(primary, 0, 16, 1));
    ASSERT_TRUE(write(primary, kBlock, 1, kBefore));
    ASSERT_TRUE(cluster.run_until_well(milliseconds(10'000))) << story();
    for (const NodeId id : {primary, copy}) {
      cluster.checkpoint(id);
      ASSERT_TRUE(wait_until([&] { return status(id).checkpoint_lsn == status(primary).commit_lsn; })) << story();
    }
  }
  bool is_in_place(NodeId id) { return blocks_of(id, kBefore).empty() && !blocks_of(id, kAfter).empty(); }
  // Written, committed and applied; no batch of the log that says so has followed, and the superblock does not yet.
  bool change_in_place(NodeId id) { return write(primary, kBlock, 1, kAfter) && wait_until([&] { return is_in_place(id); }) && knows(id) < status(id).commit_lsn; }
  // What is committed, by what is on the disk.
  Lsn knows(NodeId id) { return Lsn(superblock_of(cluster.node(id).disk()).commit_lsn); }
  // More than the ring of the log holds, of other blocks.
  bool let_the_log_go_round() {
    for (int i = 0; i < 200; ++i)
      if (!write(primary, 8 * kChunkBlocks + static_cast<std::uint64_t>(i % 8) * 8, 8, 20 + i % 100)) return false;
    return true;
  }
  // Nothing is read, which might mend it.
  bool comes_back_in_sync(NodeId id) {
    cluster.start(id);
    return wait_until([&] { return in_sync(id); });
  }
  void block_is_written_back_and_the_copy_rebuilt() {
    ASSERT_TRUE(wait_until([&] { return !in_sync(copy); })) << story();
    ASSERT_TRUE(write(primary, kBlock, 1, kBefore));
    ASSERT_TRUE(let_the_log_go_round());
    ASSERT_TRUE(comes_back_in_sync(copy)) << story();
    EXPECT_GT(replica(copy).rebuilt_chunks, 0u) << "the log brought it up";
    leads_alone(copy, kBefore);
  }
  // All that the other one had was acknowledged.
  void leads_alone(NodeId id, int value) {
    cluster.die(NodeId(3 - id.value), Death::power_loss);
    ASSERT_TRUE(wait_until([&] { return cluster.serving() == id; })) << story();
    EXPECT_EQ(value_on(id, kBlock), value) << "it was in sync";
  }

  static constexpr std::uint64_t kBlock = 5;
  static constexpr int kBefore = 7, kAfter = 8;
  NodeId primary, copy;
};

TEST_F(BackAndForth, AppliedBeforeACrash_AndWrittenBackElsewhere_RebuiltCopyHasIt) {
  ASSERT_TRUE(change_in_place(copy)) << story();
  cluster.die(copy, Death::killed);
  block_is_written_back_and_the_copy_rebuilt();
}

// The log does not even tell that there was something.
TEST_F(BackAndForth, AppliedBeforeACrash_AndItsLogIsDamaged_RebuiltCopyHasIt) {
  const Lsn before = status(copy).commit_lsn;
  ASSERT_TRUE(change_in_place(copy)) << story();
  cluster.die(copy, Death::killed);
  sim::SimDisk& disk = cluster.node(copy).disk();
  std::size_t damaged = 0;
  for (const LogOnDisk::Batch& batch : log_of(disk).batches)
    if (batch.last > before) disk.flip_bit(log_offset(disk, batch.position) + 40, 1), ++damaged;
  ASSERT_GT(damaged, 0u);
  block_is_written_back_and_the_copy_rebuilt();
}

// A forced fail-over takes back what its old primary had applied; nobody writes the block again.
TEST_F(BackAndForth, AppliedBeforeACrash_AndTakenBack_OldPrimaryHasWhatTheNewOneHas) {
  cluster.die(copy, Death::killed);
  ASSERT_TRUE(wait_until([&] { return !in_sync(copy); })) << story();
  ASSERT_TRUE(change_in_place(primary)) << story();
  cluster.die(primary, Death::killed);
  engine::Register truth = cluster.truth();
  engine::ForcedFailOver order{};
  order.candidate = engine::Copy{copy, cluster.node(copy).incarnation()};
  order.accepts_data_loss = order.others_are_fenced = true;
  order.nonce = 77;
  ASSERT_TRUE(engine::force_fail_over(truth, order));
  ++truth.seq;
  cluster.coordinator().put(cluster.register_key(), engine::encode_register(truth));
  cluster.start(copy);
  ASSERT_TRUE(wait_until([&] { return cluster.serving() == copy; })) << story();
  ASSERT_TRUE(comes_back_in_sync(primary)) << story();
  leads_alone(primary, kBefore);
}

}  // namespace
}  // namespace holdfast::cluster
