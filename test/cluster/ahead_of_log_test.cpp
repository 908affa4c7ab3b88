// Maps that are ahead of what the log is known to have committed, tails that cannot be read, and what a deposed primary may tell.
#include "engine/operator_changes.h"
#include "engine/volume_impl.h"
#include "test/cluster/byte_blocks.h"
#include "test/cluster/owners.h"

namespace holdfast::cluster {
namespace {

constexpr int kHangs = 101, kTakesLong = 102;

struct SlowBlocks final : sim::DiskObserver {
  explicit SlowBlocks(sim::SimDisk& d, std::uint32_t us) : disk(&d), long_us(us) { d.observer = this; }
  ~SlowBlocks() { release(); }
  void release() {
    if (disk) disk->observer = nullptr, disk->latency = {};
    disk = nullptr;
  }
  void disk_submitted(std::uint64_t, const DiskRequest& request, std::span<const sim::PageRef>) override {
    disk->latency = {};
    if (request.op != DiskOp::write || request.durability == Durability::durable) return;
    const int value = std::to_integer<int>(*static_cast<const std::byte*>(request.segments.front().iov_base));
    disk->latency.write_us = value == kHangs ? 60'000'000 : value == kTakesLong ? long_us : 30;
  }
  void disk_completed(std::uint64_t, const DiskRequest&, int) override {}
  sim::SimDisk* disk;
  std::uint32_t long_us;
};

class AheadOfLog : public ByteBlocks {
 protected:
  explicit AheadOfLog(unsigned nodes = 3) : ByteBlocks(plan(nodes)) {}
  static Plan plan(unsigned nodes) {
    Plan p = plain_plan(nodes);
    p.log_bytes = 640 * kBlockBytes;
    p.disk_latency = sim::DiskLatency{};
    p.timing = engine::Timing{};
    p.clients.volume_blocks = 64 * kChunkBlocks;
    return p;
  }
};

// A checkpoint that is ahead of what the log's headers know to be committed; then a delta.
TEST_F(AheadOfLog, FuzzyCheckpoint_ThenDelta_NoChunkHasTwoOwners) {
  const NodeId primary = *cluster.serving();
  const NodeId copy(primary.value % 3 + 1);
  auto slow = std::make_unique<SlowBlocks>(cluster.node(copy).disk(), 1'000'000);
  ASSERT_TRUE(write(primary, 0, 1, kTakesLong));
  ASSERT_TRUE(wait_until([&] { return replica(copy).commit == replica(primary).commit; }));
  const Lsn before = status(copy).checkpoint_lsn;
  cluster.checkpoint(copy);
  cluster.run_for(milliseconds(5));
  ASSERT_TRUE(write(primary, kChunkBlocks, 1, kHangs));
  ASSERT_TRUE(write(primary, 2 * kChunkBlocks, kChunkBlocks, 1));  // A whole chunk, and the last record.
  ASSERT_TRUE(wait_until([&] { return replica(copy).commit == replica(primary).commit; }));
  const Lsn last = replica(primary).commit;
  ASSERT_TRUE(wait_until([&] { return status(copy).checkpoint_lsn > before; })) << story();
  ASSERT_LT(status(copy).checkpoint_lsn.value + 1, last.value) << "not fuzzy";
  cluster.die(copy, Death::power_loss);
  slow->release();
  ASSERT_TRUE(wait_until([&] { return !in_sync(copy); })) << story();
  for (int i = 0; i < 120; ++i) ASSERT_TRUE(write(primary, 8 * kChunkBlocks + static_cast<std::uint64_t>(i % 8) * 8, 8, i % 100));
  cluster.start(copy);
  ASSERT_TRUE(wait_until([&] { return cluster.node(copy).is_open(); }));
  ASSERT_TRUE(cluster.run_until_well(milliseconds(30'000))) << story();
  ASSERT_TRUE(*call(cluster, copy, cluster.node(copy).group()->checkpoint()));
  EXPECT_GT(replica(copy).rebuilt_chunks, 0u) << "there was no delta";
  const auto wrong = wrong_owner(cluster.node(copy).group());
  EXPECT_FALSE(wrong) << *wrong;
  EXPECT_TRUE(*call(cluster, copy, cluster.node(copy).group()->verify_all()));
  EXPECT_EQ(value_on(copy, 2 * kChunkBlocks), 1);
  cluster.die(primary, Death::killed);
  cluster.die(NodeId(6 - primary.value - copy.value), Death::killed);
  cluster.run_for(milliseconds(100));
  cluster.start(primary);
  cluster.start(NodeId(6 - primary.value - copy.value));
  ASSERT_TRUE(cluster.run_until_well(milliseconds(30'000))) << story();
  const NodeId now = *cluster.serving();
  ASSERT_TRUE(write(now, kChunkBlocks, kChunkBlocks, 3));
  ASSERT_TRUE(write(now, 2 * kChunkBlocks, kChunkBlocks, 4));
  ASSERT_TRUE(cluster.run_until_well(milliseconds(30'000))) << story();
  ASSERT_TRUE(*call(cluster, copy, cluster.node(copy).group()->checkpoint()));
  ASSERT_TRUE(*call(cluster, copy, cluster.node(copy).group()->checkpoint()));
}

class AheadOfLogTwo : public AheadOfLog {
 protected:
  AheadOfLogTwo() : AheadOfLog(2) {}

  // Both lose power; the primary has one more record than the other, that nobody was told of, and cannot read it when it is to be shipped.
  void unreadable_tail() {
    p = *cluster.serving();
    s = NodeId(3 - p.value);
    ASSERT_TRUE(write(p, 0, 1, 7));
    ASSERT_TRUE(wait_until([&] { return replica(s).commit == replica(p).commit; }));
    cluster.run_for(milliseconds(200));
    ASSERT_TRUE(write(p, 0, 1, 8));
    acked = replica(p).commit;
    cluster.network().cut_both(p, s);
    const auto exchange = cluster.clients().start_one(p, OpKind::write, 0, BlockRange{Lba(200), BlockCount(1)});
    ASSERT_TRUE(wait_until([&] { return replica(p).durable.value == acked.value + 1; }, 300));
    ASSERT_EQ(replica(p).commit, acked);
    ASSERT_GE(replica(s).durable, acked);
    cluster.die(p, Death::power_loss);
    cluster.die(s, Death::power_loss);
    cluster.network().mend(p, s);
    cluster.network().mend(s, p);
    cluster.start(p);
    cluster.start(s);
    ASSERT_TRUE(wait_until([&] { return cluster.node(p).is_open(); }));
    ASSERT_EQ(replica(p).end.value, acked.value + 1);
    const LogOnDisk log = log_of(cluster.node(p).disk());
    ASSERT_EQ(log.last().value, acked.value + 1);
    cluster.node(p).disk().spoil(log_offset(cluster.node(p).disk(), log.batches.back().position + spoiled));
    ASSERT_TRUE(wait_until([&] { return cluster.node(s).is_open(); }));
    ASSERT_GE(replica(s).end, acked);
  }
  NodeId p, s;
  Lsn acked;
  std::uint64_t spoiled = 0;  // Block of the batch: 0 its header, 1 its payload.
};

// What S has beyond what it knows to be committed was acknowledged: it is the register's, not S's to throw away.
TEST_F(AheadOfLogTwo, PrimaryCannotReadItsTail_WhoIsCountedOnKeepsWhatWasAcknowledged) {
  for (spoiled = 0; spoiled < 2; ++spoiled) {
    unreadable_tail();
    cluster.tolerance.failed_stores = true;
    const std::uint64_t errors = cluster.node(p).disk().counters().read_errors;
    for (int i = 0; i < 500 && !cluster.serving(); ++i) {
      cluster.run_for(milliseconds(10));
      ASSERT_TRUE(!in_sync(s) || replica(s).end >= acked) << "S is in sync by the register, and its log ends at " << replica(s).end.value << ", though " << acked.value << " was acknowledged";
    }
    ASSERT_TRUE(cluster.serving().has_value()) << story() << replica(p).unfit_because << "; " << replica(s).unfit_because;
    EXPECT_GT(cluster.node(p).disk().counters().read_errors, errors) << "the fault never happened";
    EXPECT_EQ(value_on(*cluster.serving(), 0), 8);
    cluster.node(p).disk().faults.bad_blocks.clear();
    ASSERT_TRUE(cluster.run_until_well(milliseconds(30'000))) << story();
    EXPECT_EQ(value_on(p, 0), 8);
    EXPECT_EQ(value_on(s, 0), 8);
  }
}

// The standby's end is the primary's, but for one record that only the primary had; the operator forces the standby.
TEST_F(AheadOfLogTwo, ForcedFailOver_OldPrimaryWithAMapAheadOfItsLog_EndsUpEqual) {
  p = *cluster.serving();
  s = NodeId(3 - p.value);
  auto slow = std::make_unique<SlowBlocks>(cluster.node(p).disk(), 5'000'000);
  ASSERT_TRUE(write(p, 0, 1, kTakesLong));
  const Lsn before = status(p).checkpoint_lsn;
  cluster.checkpoint(p);
  cluster.run_for(milliseconds(5));
  ASSERT_TRUE(write(p, kChunkBlocks, 1, kHangs));
  ASSERT_TRUE(wait_until([&] { return replica(s).commit == replica(p).commit; }));
  cluster.die(s, Death::killed);
  ASSERT_TRUE(wait_until([&] { return !in_sync(s); }));
  ASSERT_TRUE(write(p, 2 * kChunkBlocks, kChunkBlocks, 1));
  ASSERT_TRUE(wait_until([&] { return status(p).checkpoint_lsn > before; })) << story();
  cluster.die(p, Death::power_loss);
  slow->release();
  engine::Register r = cluster.truth();
  engine::ForcedFailOver order{};
  order.candidate = engine::Copy{s, cluster.node(s).incarnation()};
  order.accepts_data_loss = order.others_are_fenced = true;
  order.nonce = 77;
  ASSERT_TRUE(engine::force_fail_over(r, order));
  ++r.seq;
  cluster.coordinator().put(cluster.register_key(), engine::encode_register(r));
  cluster.start(s);
  ASSERT_TRUE(wait_until([&] { return cluster.serving() == s; })) << story();
  cluster.start(p);
  ASSERT_TRUE(cluster.run_until_well(milliseconds(30'000))) << story();
  EXPECT_EQ(value_on(s, 2 * kChunkBlocks), 0);
  EXPECT_EQ(value_on(p, 2 * kChunkBlocks), 0) << "the old primary is in sync and has what the forced fail-over took back";
}

TEST_F(AheadOfLog, DeposedPrimary_DoesNotTellWhatIsMapped) {
  const NodeId old = *cluster.serving();
  for (const auto& each : cluster.nodes())
    if (each->id() != old) cluster.network().cut_both(old, each->id());
  cluster.coordinator().set_turned_away(old, true);  // Nothing of it arrives, not even late.
  ASSERT_TRUE(wait_until([&] { return cluster.serving() && *cluster.serving() != old; })) << story();
  ASSERT_TRUE(write(*cluster.serving(), 40 * kChunkBlocks, kChunkBlocks, 5));
  const auto runs = call(cluster, old, volume(old)->provisioning(Lba(40 * kChunkBlocks), 4), milliseconds(2'000));
  if (runs && *runs) {
    EXPECT_TRUE((*runs)->front().mapped) << "a deposed primary tells a host that an acknowledged block is deallocated";
  }
}

TEST_F(AheadOfLog, ChangesKnownSince_SaidWhileASuperblockIsWritten_IsKept) {
  const NodeId old = *cluster.serving();
  snapshot::Store& store = group(old).store();
  bool done = false;
  struct Writer {
    static Task<void> run(snapshot::Store* store, bool* done) {
      (void)co_await store->update_superblock([](snapshot::Superblock&) {});
      *done = true;
    }
  };
  cluster.node(old).process().scope().spawn(Writer::run(&store, &done));
  ASSERT_TRUE(wait_until([&] { return cluster.node(old).disk().in_flight() > 0; }));
  ASSERT_FALSE(done);
  const Lsn then(replica(old).commit.value);
  store.changes_are_known_since(then);
  ASSERT_TRUE(wait_until([&] { return done; }));
  EXPECT_EQ(store.changes_known_since(), then);
}

}  // namespace
}  // namespace holdfast::cluster
