// What a recovery costs, counted: records and bytes that are shipped, chunks that are fetched. Nothing is sent that the other has.
#include <gtest/gtest.h>

#include "test/cluster/copy_content.h"

namespace holdfast::cluster {
namespace {

// Three copies that have been written to, at rest. Every write is one record.
class RecoveryCost : public testing::Test {
 protected:
  static constexpr std::uint64_t kChunks = 128;

  static Plan plan(std::uint64_t log_bytes) {
    Plan p;
    p.nodes = 3;
    p.log_bytes = log_bytes;
    p.clients.volume_blocks = kChunks * kChunkBlocks;
    p.clients.hot_blocks = 8 * kChunkBlocks;
    p.clients.hot_percent = 0;
    p.clients.large_one_in = 1'000'000;
    p.clients.think_max = milliseconds(2);
    p.clients.unmap = p.clients.write_same = p.clients.compare_and_write = 0;
    p.clients.write = p.clients.read = 1;
    return p;
  }
  void begin(std::uint64_t log_bytes) {
    cluster.emplace(plan(log_bytes));
    ASSERT_TRUE(cluster->set_up()) << story();
    load(200);
    ASSERT_TRUE(cluster->run_until_well(milliseconds(10'000))) << story();
    primary = *cluster->serving();
    away = NodeId(primary.value % 3 + 1);
  }
  // So many records more are committed, and then the clients rest.
  void load(std::uint64_t records) {
    const Lsn had = cluster->invariants().committed();
    cluster->clients().start();
    ASSERT_TRUE(cluster->run_until([&] { return cluster->invariants().committed().value >= had.value + records; }, milliseconds(60'000))) << story();
    cluster->clients().stop();
    ASSERT_TRUE(cluster->run_until([&] { return cluster->clients().stopped(); }, milliseconds(10'000))) << story();
  }
  void write(std::uint64_t blocks) {
    (void)cluster->clients().start_one(*cluster->serving(), OpKind::write, 0, BlockRange{Lba(3), BlockCount(blocks)});
    ASSERT_TRUE(cluster->run_until([&] { return cluster->clients().stopped(); }, milliseconds(10'000))) << story();
    ASSERT_EQ(cluster->history().ops().back().outcome, Outcome::done);
  }
  std::uint64_t bytes_written_since(std::size_t operation) {
    std::uint64_t blocks = 0;
    const auto& ops = cluster->history().ops();
    for (std::size_t id = operation; id < ops.size(); ++id) {
      if (ops[id].kind == OpKind::write && ops[id].outcome != Outcome::refused) blocks += ops[id].range.count.value;
      EXPECT_NE(ops[id].outcome, Outcome::unknown);
    }
    return blocks * kBlockBytes;
  }
  void take_over() {
    cluster->die(primary, Death::killed);
    ASSERT_TRUE(cluster->run_until([&] { return cluster->serving().has_value(); }, milliseconds(5'000))) << story();
    cluster->run_for(milliseconds(500));
  }
  void come_back(NodeId id) {
    cluster->start(id);
    ASSERT_TRUE(cluster->run_until_well(milliseconds(20'000))) << story();
    cluster->run_for(milliseconds(500));
  }
  ReplicaStatus status(NodeId id) { return cluster->node(id).group()->replica_status(); }
  CopyContent content(NodeId id) {
    auto found = content_of(*cluster, id);
    EXPECT_TRUE(found);
    return found.value_or(CopyContent{});
  }
  std::string story() const { return cluster->violation().value_or(cluster->describe()); }

  std::optional<Cluster> cluster;
  NodeId primary, away;
};

// Members that have everything are sent the record that begins the epoch, and then what is written: each record once to each.
TEST_F(RecoveryCost, FailOver_MembersHaveEverything_OnlyTheEpochsStartIsShipped) {
  begin(16ULL << 20);
  take_over();
  const NodeId next = *cluster->serving();
  EXPECT_EQ(status(next).shipped_records, 1u);
  EXPECT_EQ(status(next).shipped_bytes, 0u);
  come_back(primary);
  EXPECT_EQ(cluster->serving(), next);
  EXPECT_EQ(status(next).shipped_records, 2u);
  EXPECT_EQ(status(next).shipped_bytes, 0u);
  EXPECT_EQ(status(primary).rebuilt_chunks, 0u);
  write(5);
  EXPECT_EQ(status(next).shipped_records, 4u);
  EXPECT_EQ(status(next).shipped_bytes, 2 * 5 * kBlockBytes);
}

// The same under load: whatever was on its way when the primary died, no more than that is shipped again.
TEST_F(RecoveryCost, FailOver_UnderLoad_ShipsNoMoreThanTheTail) {
  begin(16ULL << 20);
  cluster->clients().start();
  cluster->run_for(milliseconds(300));
  cluster->die(primary, Death::killed);
  std::uint64_t tail = 0;  // What the survivors have and do not know to be committed.
  for (const auto& each : cluster->nodes())
    if (each->is_open()) tail = std::max(tail, status(each->id()).end.value - status(each->id()).commit.value);
  ASSERT_TRUE(cluster->run_until([&] { return cluster->serving().has_value(); }, milliseconds(5'000))) << story();
  EXPECT_LE(status(*cluster->serving()).shipped_records, tail + 1);
  EXPECT_LE(tail, cluster->plan().clients.clients);
}

TEST_F(RecoveryCost, CatchUp_ByTheLog_ShipsExactlyWhatWasMissed) {
  begin(16ULL << 20);
  cluster->die(away, Death::killed);
  const Lsn had = cluster->invariants().committed();
  const std::size_t operation = cluster->history().ops().size();
  load(300);
  const ReplicaStatus before = status(primary);
  come_back(away);
  const ReplicaStatus after = status(primary);
  EXPECT_EQ(after.shipped_records - before.shipped_records, cluster->invariants().committed().value - had.value);
  EXPECT_EQ(after.shipped_bytes - before.shipped_bytes, bytes_written_since(operation));
  EXPECT_EQ(status(away).rebuilt_chunks, 0u);
  EXPECT_TRUE(content(away) == content(primary));
}

// The member's log ends where the primary's no longer begins.
TEST_F(RecoveryCost, Delta_FetchesTheChangedChunksAndNothingElse) {
  begin(3ULL << 20);
  const CopyContent before = content(primary);
  // Otherwise it could not know that the last record it has is committed, and would ask for that again.
  cluster->checkpoint(away);
  const auto mapped = [&] { return cluster->node(away).group()->status().checkpoint_lsn == status(away).commit; };
  ASSERT_TRUE(cluster->run_until(mapped, milliseconds(10'000))) << story();
  cluster->die(away, Death::killed);
  cluster->clients().options().hot_percent = 100;
  load(1'500);
  const CopyContent now = content(primary);
  const ChunkCount changed = changed_chunks(before, now);
  ASSERT_GE(changed.chunks, 8u);  // The hot ones, and what a write at their end touched behind it.
  ASSERT_LE(changed.chunks, 9u);
  ASSERT_GT(changed_chunks({}, now).chunks, 80u);
  const ReplicaStatus shipped = status(primary);
  come_back(away);
  EXPECT_EQ(status(away).rebuilt_chunks, changed.chunks);
  EXPECT_EQ(status(away).rebuilt_bytes, changed.with_data * kChunkBytes);
  EXPECT_EQ(status(primary).shipped_records, shipped.shipped_records);  // Nothing came after the image.
  EXPECT_TRUE(content(away) == now);
}

TEST_F(RecoveryCost, FullRebuild_FetchesTheAllocatedChunksAndNothingElse) {
  begin(3ULL << 20);
  cluster->clients().options().hot_percent = 100;
  load(1'500);
  const CopyContent now = content(primary);
  const ChunkCount allocated = changed_chunks({}, now);
  ASSERT_LT(allocated.chunks, kChunks);
  const ReplicaStatus shipped = status(primary);
  cluster->wipe(away);
  ASSERT_TRUE(cluster->run_until_well(milliseconds(20'000))) << story();
  EXPECT_EQ(status(away).rebuilt_chunks, allocated.chunks);
  EXPECT_EQ(status(away).rebuilt_bytes, allocated.with_data * kChunkBytes);
  EXPECT_EQ(status(primary).shipped_records, shipped.shipped_records);
  EXPECT_TRUE(content(away) == now);
}

}  // namespace
}  // namespace holdfast::cluster
