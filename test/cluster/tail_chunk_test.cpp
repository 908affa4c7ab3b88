// A record that only the primary has, and that nobody was told of, refers to a whole chunk; what lies there rots, or cannot be read.
#include "test/cluster/byte_blocks.h"

namespace holdfast::cluster {
namespace {

enum class How { rots, unreadable, control };

class TailChunk : public ByteBlocks, public testing::WithParamInterface<How> {
 protected:
  TailChunk() : ByteBlocks(plan()) {}
  static Plan plan() {
    Plan p = plain_plan(2);
    p.log_bytes = 640 * kBlockBytes;
    p.disk_latency = sim::DiskLatency{};
    p.timing = engine::Timing{};
    p.clients.volume_blocks = 64 * kChunkBlocks;
    return p;
  }
  int host_reads(std::uint64_t block) {
    const NodeId id = *cluster.serving();
    Buffer bytes = cluster.node(id).process().pool().try_acquire(kBlockBytes);
    const auto done = call(cluster, id, volume(id)->read(BlockRange{Lba(block), BlockCount(1)}, bytes));
    return done && *done ? std::to_integer<int>(bytes.data()[0]) : -1;
  }
};

TEST_P(TailChunk, ChunkOfTheUncommittedTailIsLost_WhatWasAcknowledgedThereIsStillRead) {
  const NodeId p = *cluster.serving(), s(3 - p.value);
  ASSERT_TRUE(write(p, 16, kChunkBlocks, 7));  // Acknowledged.
  ASSERT_TRUE(wait_until([&] { return replica(s).commit == replica(p).commit; }));
  cluster.run_for(milliseconds(200));
  ASSERT_TRUE(write(p, 0, 1, 8));
  const Lsn acked = replica(p).commit;
  cluster.network().cut_both(p, s);
  auto answer = std::make_shared<std::optional<Result<void>>>();
  cluster.node(p).process().scope().spawn(keep_answer(writing(p, 16, kChunkBlocks, 99), answer));
  ASSERT_TRUE(wait_until([&] { return replica(p).durable.value == acked.value + 1; }, 300));
  ASSERT_EQ(replica(p).commit, acked);
  ASSERT_FALSE(answer->has_value());
  cluster.die(p, Death::power_loss);
  cluster.die(s, Death::power_loss);
  cluster.network().mend(p, s);
  cluster.network().mend(s, p);
  const auto rotten = blocks_of(p, 99);
  ASSERT_EQ(rotten.size(), kChunkBlocks);
  if (GetParam() == How::rots) cluster.node(p).disk().flip_bit(rotten[3] * kBlockBytes + 1000, 3);
  if (GetParam() == How::unreadable) cluster.node(p).disk().spoil(rotten[3] * kBlockBytes);
  cluster.tolerance.failed_stores = true;
  cluster.start(p);
  cluster.start(s);
  ASSERT_TRUE(wait_until([&] { return cluster.node(p).is_open() && cluster.node(s).is_open(); }));
  ASSERT_EQ(replica(p).end.value, acked.value + 1);
  ASSERT_TRUE(wait_until([&] { return cluster.serving().has_value(); }, 60'000)) << story();
  for (std::uint64_t i = 16; i < 32; ++i) {
    const int v = host_reads(i);
    EXPECT_TRUE(v == 7 || v == 99) << "block " << i << ": " << v << ", acknowledged was 7; " << story();
  }
  (void)cluster.run_until_well(milliseconds(60'000));
  for (std::uint64_t i = 16; i < 32; ++i) EXPECT_TRUE(value_on(s, i) == 7 || value_on(s, i) == 99) << "S, whose disk is intact: block " << i << ": " << value_on(s, i);
}
INSTANTIATE_TEST_SUITE_P(Rots, TailChunk, testing::Values(How::rots));
INSTANTIATE_TEST_SUITE_P(Unreadable, TailChunk, testing::Values(How::unreadable));
INSTANTIATE_TEST_SUITE_P(Control, TailChunk, testing::Values(How::control));

// As AheadOfLogTwo.PrimaryCannotReadItsTail_, and the record that only the primary has is a write to a block that was acknowledged before.
class TailRecord : public TailChunk {};
TEST_P(TailRecord, UncommittedTailIsUnreadable_WhoHasWhatWasAcknowledgedLeads) {
  const NodeId p = *cluster.serving(), s(3 - p.value);
  ASSERT_TRUE(write(p, 16, 1, 7));  // Acknowledged.
  ASSERT_TRUE(wait_until([&] { return replica(s).commit == replica(p).commit; }));
  cluster.run_for(milliseconds(200));
  ASSERT_TRUE(write(p, 0, 1, 8));
  const Lsn acked = replica(p).commit;
  cluster.network().cut_both(p, s);
  auto answer = std::make_shared<std::optional<Result<void>>>();
  cluster.node(p).process().scope().spawn(keep_answer(writing(p, 16, 1, 99), answer));
  ASSERT_TRUE(wait_until([&] { return replica(p).durable.value == acked.value + 1; }, 300));
  ASSERT_EQ(replica(p).commit, acked);
  ASSERT_FALSE(answer->has_value());
  cluster.die(p, Death::power_loss);
  cluster.die(s, Death::power_loss);
  cluster.network().mend(p, s);
  cluster.network().mend(s, p);
  cluster.tolerance.failed_stores = true;
  cluster.start(p);
  cluster.start(s);
  ASSERT_TRUE(wait_until([&] { return cluster.node(p).is_open(); }));
  ASSERT_EQ(replica(p).end.value, acked.value + 1);
  const LogOnDisk log = log_of(cluster.node(p).disk());
  ASSERT_EQ(log.last().value, acked.value + 1);
  if (GetParam() != How::control) cluster.node(p).disk().spoil(log_offset(cluster.node(p).disk(), log.batches.back().position + 1));
  const bool serves = wait_until([&] { return cluster.serving().has_value(); }, 60'000);
  cluster.run_for(milliseconds(3'000));
  ASSERT_TRUE(serves && cluster.serving()) << "nobody serves: " << story() << replica(p).unfit_because;
  const int v = host_reads(16);
  EXPECT_TRUE(v == 7 || v == 99) << "read: " << v << ", acknowledged was 7; " << story();
  EXPECT_TRUE(cluster.run_until_well(milliseconds(60'000)) || GetParam() != How::control) << story();
  EXPECT_TRUE(value_on(s, 16) == 7 || value_on(s, 16) == 99) << "S, whose disk is intact: " << value_on(s, 16);
}
INSTANTIATE_TEST_SUITE_P(Unreadable, TailRecord, testing::Values(How::unreadable));
INSTANTIATE_TEST_SUITE_P(Control, TailRecord, testing::Values(How::control));

}  // namespace
}  // namespace holdfast::cluster
