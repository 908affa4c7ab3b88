// The end of a log that rots while its node is down cannot be told from a torn tail, though it was acknowledged; unless writes had
// paused before.
#include <gtest/gtest.h>

#include <cstring>
#include <optional>

#include "snapshot/store_format.h"
#include "snapshot/superblock.h"
#include "test/cluster/cluster.h"
#include "wal/log_format.h"

namespace holdfast::cluster {
namespace {

class LongerLog : public testing::Test {
 protected:
  LongerLog() : cluster(plain_plan()) {}

  void SetUp() override {
    ASSERT_TRUE(cluster.set_up());
    cluster.clients().start();
    cluster.run_for(milliseconds(1'000));
    rotten = NodeId(cluster.serving()->value % 3 + 1);
  }
  void rest() {
    cluster.clients().stop();
    ASSERT_TRUE(cluster.run_until([this] { return cluster.clients().stopped(); }, milliseconds(10'000))) << story();
    ASSERT_TRUE(cluster.run_until_well(milliseconds(10'000))) << story();
  }
  // All nodes lose power, and the last record in the log of one of them rots.
  void lose_power_and_the_end() {
    for (const auto& each : cluster.nodes()) cluster.die(each->id(), Death::power_loss);
    sim::SimDisk& disk = cluster.node(rotten).disk();
    const std::uint64_t first = snapshot::kLogOffset / kBlockBytes;
    std::optional<std::uint64_t> last;
    std::uint64_t newest = 0;
    for (std::uint64_t block = first; block < first + cluster.plan().log_bytes / kBlockBytes; ++block) {
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
  }
  // Two copies are left: `whole` leads.
  void lose_the_third() {
    whole = *cluster.serving();
    third = NodeId(6 - whole.value - rotten.value);
    cluster.die(third, Death::killed);
    ASSERT_TRUE(cluster.run_until([&] { return cluster.truth().in_sync.size() == 2; }, milliseconds(5'000))) << story();
    cluster.run_for(milliseconds(15));
    ASSERT_EQ(cluster.serving(), whole);
  }
  // All that is there is committed and acknowledged; and power is gone before that pause is noted.
  Lsn lose_power_and_the_end_once_all_is_acknowledged() {
    cluster.clients().stop();
    EXPECT_TRUE(cluster.run_until([&] {
      const ReplicaStatus a = cluster.node(whole).group()->replica_status(), b = cluster.node(rotten).group()->replica_status();
      return a.commit == a.end && a.durable == a.end && b.durable == a.end && b.end == a.end;
    }, milliseconds(1'000))) << story();
    const Lsn acknowledged = cluster.node(whole).group()->replica_status().commit;
    lose_power_and_the_end();
    return acknowledged;
  }
  void expect_all_well() {
    ASSERT_TRUE(cluster.run_until_well(milliseconds(20'000))) << story();
    ASSERT_TRUE(cluster.read_everything()) << story();
    ASSERT_TRUE(cluster.replicas_are_equal()) << story();
  }
  std::string story() const { return cluster.violation().value_or("nothing is wrong"); }

  Cluster cluster;
  NodeId rotten, whole, third;
};

// In the middle of the load. Its node is the first one to be back.
TEST_F(LongerLog, EndOfOneLogRotsWhileAllAreDown_WhoStillHasItLeads) {
  lose_power_and_the_end();
  cluster.start(rotten);
  for (const auto& each : cluster.nodes())
    if (each->id() != rotten) cluster.restart_after(each->id(), milliseconds(300));
  ASSERT_TRUE(cluster.run_until([&] { return cluster.node(rotten).is_open(); }, milliseconds(200))) << story();
  ASSERT_TRUE(cluster.node(rotten).group()->replica_status().promotable) << "it was noted where its log ends";
  ASSERT_TRUE(cluster.run_until([&] { return cluster.serving().has_value(); }, milliseconds(10'000))) << story();
  EXPECT_NE(*cluster.serving(), rotten);
  rest();
  expect_all_well();
}

// Who lost its end claims while it is alone, and loses power again before its epoch is open. Then all come back at once.
TEST_F(LongerLog, EndOfOneLogRots_ItClaimsAloneAndIsRestarted_WhoStillHasItLeads) {
  lose_power_and_the_end();
  cluster.start(rotten);
  const Epoch before = cluster.truth().epoch;
  ASSERT_TRUE(cluster.run_until([&] { return cluster.truth().epoch > before && cluster.truth().primary == rotten; }, milliseconds(5'000))) << story();
  cluster.run_for(milliseconds(100));
  ASSERT_FALSE(cluster.serving());
  ASSERT_EQ(cluster.truth().in_sync.size(), 2u) << "another one in sync has everything";
  cluster.die(rotten, Death::power_loss);
  for (const auto& each : cluster.nodes()) cluster.start(each->id());
  ASSERT_TRUE(cluster.run_until([&] { return cluster.serving().has_value(); }, milliseconds(10'000))) << story();
  EXPECT_NE(*cluster.serving(), rotten);
  rest();
  expect_all_well();
}

// Whoever has everything restarts more often than its history has room for epochs, before any of them opens.
TEST_F(LongerLog, ManyEpochsThatNeverOpened_WhoStillHasItLeads) {
  lose_the_third();
  const Lsn acknowledged = lose_power_and_the_end_once_all_is_acknowledged();
  for (int i = 0; i < 135; ++i) {
    const Epoch before = cluster.truth().epoch;
    cluster.start(whole);
    ASSERT_TRUE(cluster.run_until([&] { return cluster.truth().epoch > before; }, milliseconds(5'000))) << i << story();
    ASSERT_EQ(cluster.truth().primary, whole);
    cluster.run_for(milliseconds(60));
    ASSERT_FALSE(cluster.serving());
    ASSERT_EQ(cluster.truth().in_sync.size(), 2u);
    cluster.die(whole, Death::killed);
    cluster.run_for(milliseconds(5));
  }
  cluster.start(rotten);
  ASSERT_TRUE(cluster.run_until([&] { return cluster.node(rotten).is_open(); }, milliseconds(200))) << story();
  const bool promotable = cluster.node(rotten).group()->replica_status().promotable;
  const Lsn had = cluster.node(rotten).group()->replica_status().end;
  const std::string why = cluster.node(rotten).group()->replica_status().unfit_because;
  cluster.start(whole);
  (void)cluster.run_until([&] { return cluster.serving().has_value(); }, milliseconds(20'000));
  EXPECT_TRUE(promotable) << why;
  ASSERT_TRUE(cluster.serving()) << story();
  EXPECT_EQ(*cluster.serving(), whole) << "acknowledged: " << acknowledged.value << "; rotten had at its start: " << had.value << "; " << cluster.describe();
  EXPECT_FALSE(cluster.invariants().rotten_tail) << "no excuse: who has everything was up, connected and in sync";
  cluster.start(third);
  rest();
  expect_all_well();
}

// Its epoch's start is committed, with nothing behind it, and gone from its log: it leads again, and has that cut elsewhere.
TEST_F(LongerLog, BareStartOfAnEpochIsGone_NothingIsLost) {
  rest();
  for (const auto& each : cluster.nodes()) cluster.die(each->id(), Death::power_loss);
  rotten = NodeId(1);  // The first one that claims.
  const auto start_all = [this] {
    for (const auto& each : cluster.nodes()) cluster.start(each->id());
    ASSERT_TRUE(cluster.run_until([this] { return cluster.serving() == rotten; }, milliseconds(5'000))) << story() << cluster.describe();
  };
  start_all();
  const Lsn committed = cluster.node(rotten).group()->replica_status().end;
  cluster.invariants().check();
  ASSERT_EQ(cluster.invariants().committed(), committed);
  lose_power_and_the_end();
  start_all();
  EXPECT_EQ(cluster.node(rotten).group()->replica_status().end, committed) << "the start of the next epoch is in the place of that one";
  expect_all_well();
}

// Nothing said that there was more, and the only one that has it is up, but so far away that its hello is not there yet.
TEST_F(LongerLog, WhoStillHasItIsNotHeardYet_IsTheLimitOfWhatCanBeKnown) {
  lose_the_third();
  lose_power_and_the_end_once_all_is_acknowledged();
  for (const auto& [from, to] : {std::pair(whole, rotten), std::pair(rotten, whole)}) cluster.network().set_path(from, to, {.delay = milliseconds(200)});
  const Epoch before = cluster.truth().epoch;
  cluster.start(rotten);
  cluster.run_for(milliseconds(300));
  ASSERT_EQ(cluster.truth().epoch, before) << "it waits for others";
  cluster.start(whole);
  ASSERT_TRUE(cluster.run_until([&] { return cluster.truth().epoch > before; }, milliseconds(5'000))) << story();
  ASSERT_TRUE(cluster.node(whole).is_open());
  ASSERT_EQ(cluster.truth().primary, rotten);
  ASSERT_EQ(cluster.truth().in_sync.size(), 1u);
  cluster.run_for(milliseconds(10));
  EXPECT_TRUE(cluster.invariants().rotten_tail);
}

// Writes had paused before, so that the superblock knows where the log ends: what is left leads nobody, however long it is alone.
TEST_F(LongerLog, EndOfOneLogRotsAfterAPause_ItsCopyDoesNotLeadWithoutIt) {
  rest();
  cluster.run_for(milliseconds(500));
  lose_power_and_the_end();
  cluster.start(rotten);
  cluster.run_for(milliseconds(5'000));
  EXPECT_FALSE(cluster.serving());
  EXPECT_FALSE(cluster.node(rotten).group()->replica_status().promotable);
  for (const auto& each : cluster.nodes()) cluster.start(each->id());
  expect_all_well();
}

}  // namespace
}  // namespace holdfast::cluster
