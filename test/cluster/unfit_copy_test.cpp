// Who is in sync can lead: copies that join too early, take over behind a disk that hangs or with a log that is full, or give up what
// they have while they are counted on.
#include "engine/group_impl.h"
#include "snapshot/store_format.h"
#include "test/cluster/bulk_fixture.h"

namespace holdfast::cluster {
namespace {

class UnfitCopy : public BulkFixture {
 protected:
  // A page of the node's map of "bulk", on its disk.
  void rot_map(NodeId id) {
    sim::SimDisk& disk = cluster.node(id).disk();
    for (std::uint64_t page = snapshot::kLogOffset / kBlockBytes; page < disk.size_bytes() / kBlockBytes; ++page) {
      if (disk.media().visible(page).is_zero()) continue;
      const auto bytes = disk.peek(page * kBlockBytes, sizeof(snapshot::PageHeader));
      snapshot::PageHeader header;
      std::memcpy(&header, bytes.data(), sizeof header);
      const bool wanted = header.magic == snapshot::kPageMagic && header.level == 0 && header.kind == static_cast<std::uint16_t>(snapshot::TreeKind::map) && header.index == 1;
      if (wanted) disk.flip_bit(page * kBlockBytes + 200, 1);
    }
  }
};

// A copy comes back from its rebuild while the primary's disk stalls: what it waits for to be whole is not committed, and never comes.
TEST_F(UnfitCopy, PrimaryStallsAndDiesAsItComesBack_WhoIsInSyncLeads) {
  lose(third());
  lose(away);
  let_the_log_go_round();
  for (std::uint64_t chunk = 0; chunk < kChunksWritten; ++chunk) ASSERT_TRUE(write("bulk", chunk * kChunkBlocks + 3, 1, 77));
  ASSERT_TRUE(mapped(source));
  cluster.node(source).disk().latency.read_us = 5'000;
  cluster.start(away);
  ASSERT_TRUE(wait_until([&] { return status(away).rebuilding && status(away).rebuilt_chunks > 0; })) << story();
  ASSERT_TRUE(write("bulk", 90 * kChunkBlocks, 1, 5));
  ASSERT_TRUE(wait_until([&] { return !status(away).rebuilding; })) << story();
  cluster.node(source).disk().latency.durable_us = 60'000'000;
  for (int i = 0; i < 40; ++i) (void)begin_write(80 * kChunkBlocks, 15);
  sim::NetworkPath slow;
  slow.delay = milliseconds(3);
  cluster.network().options().window_bytes = 128 << 10;
  cluster.network().set_path(source, away, slow);
  ASSERT_TRUE(wait_until([&] { return in_sync(away); }, 5'000)) << story();
  EXPECT_TRUE(status(away).promotable) << "in sync, and may not lead";
  cluster.die(source, Death::power_loss);  // For good.
  EXPECT_TRUE(wait_until([&] { return cluster.serving() == away; }, 60'000)) << "nobody leads: " << status(away).unfit_because << story();
}

// A request of a follower's disk hangs as it takes over: the start of its epoch waits behind it.
TEST_F(UnfitCopy, TakesOverBehindARequestThatHangs_ReleasesToWhoHasEverything) {
  cluster.network().cut_both(source, third());
  cluster.coordinator().set_reachable(third(), false);
  cluster.node(away).disk().latency.durable_us = 900'000'000;
  (void)begin_write(80 * kChunkBlocks, kChunkBlocks);
  cluster.run_for(milliseconds(20));
  cluster.node(away).disk().latency = cluster.plan().disk_latency;  // That one request only.
  cluster.die(source, Death::killed);
  cluster.run_for(milliseconds(2'000));
  ASSERT_EQ(cluster.truth().primary, away) << story();
  cluster.coordinator().set_reachable(third(), true);
  EXPECT_TRUE(wait_until([&] { return cluster.serving() == third(); }, 30'000)) << story();
}

// A member's log is smaller than what the primary's may hold uncommitted; another member is slow, and the primary dies.
TEST_F(UnfitCopy, SmallerLog_FullOfWhatIsNotCommitted_ItClaimsAndOpens) {
  cluster.set_log_bytes(640 * kBlockBytes);
  cluster.wipe(away);
  ASSERT_TRUE(cluster.run_until_well(milliseconds(20'000))) << story();
  ASSERT_TRUE(mapped(away));
  cluster.network().cut_both(source, third());
  cluster.coordinator().set_reachable(third(), false);
  for (int i = 0; i < 300; ++i) {
    (void)begin_write(80 * kChunkBlocks, i < 30 ? 15 : 1);
    cluster.run_for(microseconds(300));
  }
  cluster.run_for(milliseconds(100));
  EXPECT_LT(cluster.node(away).group()->status().log_used_bytes, cluster.node(away).group()->status().log_bytes);
  cluster.die(source, Death::power_loss);
  cluster.run_for(milliseconds(3'000));
  cluster.coordinator().set_reachable(third(), true);
  EXPECT_TRUE(wait_until([&] { return cluster.serving().has_value(); }, 20'000)) << story();
}

// It cannot reach the coordinator, and has joined again without learning of it. It meets an unreadable page.
TEST_F(UnfitCopy, OldViewOfTheRegister_MapsAreKeptWhileItIsCountedOn) {
  lose(third());
  cluster.die(away, Death::killed);
  cluster.start(away);
  ASSERT_TRUE(wait_until([&] { return in_sync(away) && status(away).promotable && status(away).commit == status(source).commit; })) << story();
  cluster.run_for(milliseconds(1'000));
  cluster.network().cut_both(source, away);
  ASSERT_TRUE(wait_until([&] { return !in_sync(away) && !status(away).view.find_in_sync(away); })) << story();
  cluster.coordinator().set_reachable(away, false);
  cluster.network().mend(source, away);
  cluster.network().mend(away, source);
  ASSERT_TRUE(wait_until([&] { return in_sync(away); })) << story();
  cluster.run_for(milliseconds(5'000));
  ASSERT_FALSE(status(away).view.find_in_sync(away)) << "it has heard of it";
  rot_map(away);
  (void)begin_write(30 * kChunkBlocks, 1);
  auto& group = *static_cast<engine::GroupImpl*>(cluster.node(away).group());
  ASSERT_TRUE(wait_until([&] { return group.store().damage().met > 0; })) << story();
  const auto gives_up = [&] { return group.awaits_rebuild(); };
  const bool gave_up = cluster.run_until(gives_up, milliseconds(5'000));
  ASSERT_TRUE(gave_up) << "its primary is there, and can do without it";
  EXPECT_FALSE(in_sync(away)) << "the register counts on it";
}

// As SmallerLog_…, but the writers come at once, as they do after any wait: each looks at a tail in which the others are not yet. And
// nobody else is left: the copy has everything, and is in sync.
class ManyAtOnce : public UnfitCopy, public testing::WithParamInterface<bool> {};

TEST_P(ManyAtOnce, SmallerLog_IsAllThatIsLeft_ItClaimsAndOpens) {
  cluster.set_log_bytes(640 * kBlockBytes);
  cluster.wipe(away);
  ASSERT_TRUE(cluster.run_until_well(milliseconds(20'000))) << story();
  ASSERT_TRUE(mapped(away));
  cluster.network().cut_both(source, third());
  cluster.coordinator().set_reachable(third(), false);
  for (int i = 0; i < 170; ++i) {
    // Each has a whole chunk to write before it is logged; the first ones log 15 blocks before it and 15 behind it.
    if (i < 21) (void)begin_write(80 * kChunkBlocks + 1, 15 + kChunkBlocks + 15);
    else (void)begin_write(84 * kChunkBlocks, kChunkBlocks);
    if (GetParam()) cluster.run_for(microseconds(2'000));
  }
  cluster.run_for(milliseconds(200));
  std::printf("log of the small copy: %llu of %llu KiB\n", static_cast<unsigned long long>(cluster.node(away).group()->status().log_used_bytes >> 10),
              static_cast<unsigned long long>(cluster.node(away).group()->status().log_bytes >> 10));
  cluster.die(source, Death::power_loss);
  cluster.die(third(), Death::power_loss);
  EXPECT_TRUE(wait_until([&] { return cluster.serving() == away; }, 60'000)) << story();
}

// As above, and the copy that is left is restarted more often than there is room kept back for starts of epochs.
// Once others lead it gives its own start up and follows.
TEST_F(UnfitCopy, SmallerLogIsFull_CopyCrashesAgainAndAgainBeforeItOpens_OthersComeBack) {
  cluster.set_log_bytes(640 * kBlockBytes);
  cluster.wipe(away);
  ASSERT_TRUE(cluster.run_until_well(milliseconds(20'000))) << story();
  ASSERT_TRUE(mapped(away));
  cluster.node(third()).disk().latency.durable_us = 60'000'000;
  for (int i = 0; i < 170; ++i) {
    if (i < 21) (void)begin_write(80 * kChunkBlocks + 1, 15 + kChunkBlocks + 15);
    else (void)begin_write(84 * kChunkBlocks, kChunkBlocks);
    cluster.run_for(microseconds(2'000));
  }
  cluster.run_for(milliseconds(200));
  cluster.die(source, Death::power_loss);
  cluster.die(third(), Death::power_loss);
  for (int i = 0; i < 480; ++i) {
    if (i > 0) cluster.die(away, Death::killed);
    if (i > 0) cluster.start(away);
    const Epoch before = cluster.truth().epoch;
    (void)cluster.run_until([&] { return cluster.truth().epoch > before; }, milliseconds(3'000));
    cluster.run_for(milliseconds(60));
    ASSERT_FALSE(cluster.serving());
    ASSERT_EQ(cluster.truth().in_sync.size(), 2u) << i;
  }
  cluster.node(third()).disk().latency = cluster.plan().disk_latency;
  cluster.start(third());
  cluster.start(source);
  EXPECT_TRUE(cluster.run_until_well(milliseconds(120'000))) << story();
}
INSTANTIATE_TEST_SUITE_P(OneAfterTheOther, ManyAtOnce, testing::Values(true));
INSTANTIATE_TEST_SUITE_P(AtOnce, ManyAtOnce, testing::Values(false));

// The coordinator is away, and all is well: nobody needs it. A follower meets a page that it cannot read, far from where hosts write.
TEST_F(UnfitCopy, UnreadablePageWhileTheCoordinatorIsAway_WritesElsewhereGoOn) {
  ASSERT_TRUE(cluster.run_until_well(milliseconds(20'000))) << story();
  for (const auto& each : cluster.nodes()) cluster.coordinator().set_reachable(each->id(), false);
  cluster.run_for(milliseconds(3'000));
  ASSERT_TRUE(write("bulk", 100 * kChunkBlocks, 1, 5)) << story();
  static_cast<engine::GroupImpl*>(cluster.node(away).group())->distrust_own_copy();  // As a scrub there does that meets such a page.
  cluster.run_for(milliseconds(100));
  const auto written = begin_write(100 * kChunkBlocks, 1);
  EXPECT_TRUE(wait_until([&] { return written->has_value(); }, 120'000)) << "writes hang for as long as the coordinator is away: " << story();
}

// "A failed write is final": what a superblock was to say is not known to be there, on either of its places. The next one would begin with
// the one place that may be whole.
TEST_F(UnfitCopy, SuperblockOfACopyThatIsToBeRebuiltFails_StoreIsOutOfService) {
  ASSERT_TRUE(cluster.run_until_well(milliseconds(20'000))) << story();
  cluster.run_for(milliseconds(500));
  cluster.tolerance.failed_stores = true;
  static_cast<engine::GroupImpl*>(cluster.node(source).group())->distrust(away);
  cluster.node(away).disk().faults.write_error_ppm = 1'000'000;
  const std::uint64_t errors = cluster.node(away).disk().counters().write_errors;
  ASSERT_TRUE(wait_until([&] { return cluster.node(away).disk().counters().write_errors > errors; })) << story();
  cluster.node(away).disk().faults.write_error_ppm = 0;
  cluster.run_for(milliseconds(20));
  EXPECT_TRUE(cluster.node(away).group()->status().failed) << "it goes on: " << story();
}

}  // namespace
}  // namespace holdfast::cluster
