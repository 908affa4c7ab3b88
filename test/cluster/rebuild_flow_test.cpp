// Rebuilds and what comes between: a source that hangs, a rate, volumes that went meanwhile.
#include "test/cluster/bulk_fixture.h"

namespace holdfast::cluster {
namespace {

class RebuildFlow : public BulkFixture {};

// Reads of the source's disk never come back, while the node is well otherwise; then the disk is well again, for new reads.
TEST_F(RebuildFlow, SourceHangs_QuestionsEndAndItIsTriedAgain) {
  lose(away);
  let_the_log_go_round();
  ASSERT_TRUE(mapped(source));
  cluster.node(source).disk().latency.read_us = 1'000'000'000;
  cluster.wipe(away);
  ASSERT_TRUE(wait_until([&] { return status(away).rebuilding; })) << story();
  cluster.run_for(milliseconds(2'000));
  EXPECT_TRUE(status(away).rebuilding);
  cluster.node(source).disk().latency = cluster.plan().disk_latency;
  ASSERT_TRUE(wait_until([&] { return in_sync(away); }, 40'000)) << story();
  EXPECT_EQ(cluster.serving(), source);
}

// At one MiB a second: it takes as long as that says, tells how far it is, and clients notice nothing of it.
TEST_F(RebuildFlow, Rate_BoundsIt_ProgressIsTold_LoadGoesOn) {
  constexpr std::uint64_t kRate = 1 << 20;
  constexpr double kThroughputKept = 0.7;
  for (const auto& each : cluster.nodes()) cluster.die(each->id(), Death::killed);
  for (const auto& each : cluster.nodes()) {
    GroupOptions options = draw_group_options(cluster.plan(), each->id(), cluster.world().random());
    options.rebuild_bytes_per_second = kRate;
    each->start(options);
  }
  ASSERT_TRUE(cluster.run_until_well(milliseconds(10'000))) << story();
  source = *cluster.serving();
  away = NodeId(source.value % 3 + 1);
  lose(away);
  let_the_log_go_round();
  cluster.clients().start();
  cluster.run_for(milliseconds(500));
  const std::size_t before = cluster.acknowledgements().size();
  cluster.run_for(milliseconds(1'500));
  const double usual = static_cast<double>(cluster.acknowledgements().size() - before);
  cluster.wipe(away);
  ASSERT_TRUE(wait_until([&] { return status(away).rebuilt_bytes > 0; })) << story();
  const BootNs begun = cluster.now();
  const std::size_t then = cluster.acknowledgements().size();
  std::uint64_t done = 0, seen = 0;
  for (int i = 0; i < 6; ++i) {
    cluster.run_for(milliseconds(250));
    const ReplicaStatus now = status(away);
    EXPECT_GE(now.rebuild_bytes_done, done);
    seen += now.rebuild_bytes_done > done;
    done = now.rebuild_bytes_done;
    EXPECT_EQ(now.rebuild_bytes_total, (cluster.plan().clients.capacity().value + kBulkBlocks) * kBlockBytes);
    EXPECT_LT(done, now.rebuild_bytes_total);
  }
  EXPECT_GT(seen, 0u);
  EXPECT_GE(static_cast<double>(cluster.acknowledgements().size() - then), kThroughputKept * usual);
  cluster.clients().stop();
  ASSERT_TRUE(wait_until([&] { return !status(away).rebuilding && status(away).rebuilt_bytes > 0; })) << story();
  const double seconds = static_cast<double>((cluster.now() - begun).value) / 1e9;
  const double least = static_cast<double>(status(away).rebuilt_bytes) / kRate;
  EXPECT_GE(seconds, 0.9 * least - 0.1);
  EXPECT_LE(seconds, 1.5 * least + 0.5);
  EXPECT_EQ(status(away).rebuild_bytes_done, status(away).rebuild_bytes_total);
  ASSERT_TRUE(cluster.run_until_well(milliseconds(20'000))) << story();
}

// A record of the primary's log is unreadable for a while, so that the member is rebuilt. That drops a volume that was deleted
// meanwhile, and is interrupted; then the log can be read, and what was written to the volume before its deletion comes.
TEST_F(RebuildFlow, DropsAVolume_IsInterrupted_TheVolumesRecordsComeAndMeanNothing) {
  ASSERT_TRUE(*call(cluster, source, cluster.node(source).group()->create_volume("gone", Uuid{9}, BlockCount(64 * kChunkBlocks))));
  ASSERT_TRUE(write("gone", 0, 40, 7));
  ASSERT_TRUE(cluster.run_until_well(milliseconds(10'000))) << story();
  ASSERT_TRUE(mapped(source) && mapped(away));
  const Lsn had = status(source).commit;
  lose(away);
  ASSERT_TRUE(write("bulk", 3, 1, 77));
  ASSERT_TRUE(write("gone", 4, 60, 8));  // Whole chunks, and some more.
  ASSERT_TRUE(*call(cluster, source, cluster.node(source).group()->find("gone")->unmap(BlockRange{Lba(10), BlockCount(20)})));
  ASSERT_TRUE(write("gone", 0, 3, 9));
  ASSERT_TRUE(*call(cluster, source, cluster.node(source).group()->delete_volume("gone")));
  ASSERT_TRUE(write("bulk", kChunkBlocks + 3, 1, 78));
  sim::SimDisk& disk = cluster.node(source).disk();
  for (const LogOnDisk::Batch& batch : log_of(disk).batches)
    if (batch.first > had) disk.spoil(log_offset(disk, batch.position));
  disk.latency.read_us = 3'000'000;
  cluster.start(away);
  ASSERT_TRUE(wait_until([&] { return status(away).rebuilding && status(away).rebuild_bytes_total > 0; })) << story();
  cluster.run_for(milliseconds(500));
  ASSERT_EQ(cluster.node(away).group()->find("gone"), nullptr);
  ASSERT_TRUE(status(away).rebuilding) << "it was not interrupted";
  cluster.die(away, Death::power_loss);
  disk.latency = cluster.plan().disk_latency;
  disk.faults.bad_blocks.clear();
  cluster.start(away);
  ASSERT_TRUE(cluster.run_until_well(milliseconds(20'000))) << story();
  EXPECT_EQ(status(away).rebuilt_chunks, 0u) << "the log did not bring it up";
  EXPECT_TRUE(status(away).promotable) << status(away).unfit_because;
  // Its log has them now; a replay must not bring the volume back.
  cluster.die(away, Death::power_loss);
  cluster.start(away);
  ASSERT_TRUE(cluster.run_until_well(milliseconds(20'000))) << story();
  EXPECT_EQ(cluster.node(away).group()->find("gone"), nullptr);
  EXPECT_TRUE(status(away).promotable) << status(away).unfit_because;
  ASSERT_TRUE(cluster.replicas_are_equal()) << story();
  EXPECT_EQ(value_on(away, "bulk", 3), 77);
  EXPECT_EQ(value_on(away, "bulk", kChunkBlocks + 3), 78);
  EXPECT_EQ(value_on(away, "bulk", 2 * kChunkBlocks + 3), 3);
  EXPECT_TRUE(*call(cluster, away, cluster.node(away).group()->verify_all()));
}

// As above; its source dies while it fetches one volume, and the reservations of the next come by its successor's log.
TEST_F(RebuildFlow, IsInterrupted_ReservationsOfAVolumeItHadNotReachedComeByTheLog) {
  ASSERT_TRUE(*call(cluster, source, cluster.node(source).group()->create_volume("later", Uuid{9}, BlockCount(64 * kChunkBlocks))));
  ASSERT_TRUE(cluster.run_until_well(milliseconds(10'000))) << story();
  ASSERT_TRUE(mapped(source) && mapped(away));
  const Lsn had = status(source).commit;
  lose(away);
  const std::vector<std::byte> state(777, std::byte{7});
  ASSERT_TRUE(*call(cluster, source, cluster.node(source).group()->find("later")->store_reservations(state)));
  for (std::uint64_t chunk = 0; chunk < kChunksWritten; ++chunk) ASSERT_TRUE(write("bulk", chunk * kChunkBlocks + 3, 1, 77));
  sim::SimDisk& disk = cluster.node(source).disk();
  for (const LogOnDisk::Batch& batch : log_of(disk).batches)
    if (batch.first > had) disk.spoil(log_offset(disk, batch.position));
  disk.latency.read_us = 300'000;
  cluster.start(away);
  ASSERT_TRUE(wait_until([&] { return status(away).rebuilding && status(away).rebuilt_chunks > 0; })) << story();
  ASSERT_TRUE(status(away).rebuilding) << "it was not interrupted";
  ASSERT_NE(cluster.node(away).group()->find("later")->reservations(), state) << "it had come so far";
  const std::uint64_t rebuilt = status(away).rebuilt_chunks;
  cluster.die(source, Death::killed);
  disk.latency = cluster.plan().disk_latency;
  disk.faults.bad_blocks.clear();
  ASSERT_TRUE(wait_until([&] { return in_sync(away); })) << story();
  EXPECT_EQ(status(away).rebuilt_chunks, rebuilt) << "the log did not bring it up";
  cluster.start(source);
  ASSERT_TRUE(cluster.run_until_well(milliseconds(20'000))) << story();
  EXPECT_EQ(cluster.node(away).group()->find("later")->reservations(), state);
  ASSERT_TRUE(cluster.replicas_are_equal()) << story();
}

// The same for a volume that is there no more when the rebuild asks for its chunks: those behind it are compared all the same.
TEST_F(RebuildFlow, VolumeIsDeletedWhileItIsFetched_TheNextOneIsFetched) {
  constexpr std::uint64_t kChunks = 32;
  ASSERT_TRUE(*call(cluster, source, cluster.node(source).group()->create_volume("later", Uuid{9}, BlockCount(64 * kChunkBlocks))));
  for (std::uint64_t chunk = 0; chunk < kChunks; ++chunk) ASSERT_TRUE(write("later", chunk * kChunkBlocks, kChunkBlocks, 5));
  ASSERT_TRUE(cluster.run_until_well(milliseconds(10'000))) << story();
  lose(away);
  let_the_log_go_round();
  for (std::uint64_t chunk = 0; chunk < kChunksWritten; ++chunk) ASSERT_TRUE(write("bulk", chunk * kChunkBlocks + 3, 1, 77));
  for (std::uint64_t chunk = 0; chunk < kChunks; ++chunk) ASSERT_TRUE(write("later", chunk * kChunkBlocks + 3, 1, 77));
  ASSERT_TRUE(mapped(source));
  cluster.node(source).disk().latency.read_us = 20'000;
  cluster.start(away);
  ASSERT_TRUE(wait_until([&] { return status(away).rebuilding && status(away).rebuilt_chunks > 0; })) << story();
  ASSERT_TRUE(*call(cluster, source, cluster.node(source).group()->delete_volume("bulk")));
  ASSERT_TRUE(wait_until([&] { return in_sync(away); })) << story();
  cluster.node(source).disk().latency = cluster.plan().disk_latency;
  ASSERT_TRUE(cluster.run_until_well(milliseconds(20'000))) << story();
  for (std::uint64_t chunk = 0; chunk < kChunks; ++chunk) EXPECT_EQ(value_on(away, "later", chunk * kChunkBlocks + 3), 77) << chunk;
}

// A deletion that has begun ends nothing: its primary dies before it is committed, and the volume lives on.
TEST_F(RebuildFlow, DeletionBegunMeanwhile_IsNeverCommitted_TheVolumeIsFetchedWhole) {
  lose(away);
  let_the_log_go_round();
  for (std::uint64_t chunk = 0; chunk < kChunksWritten; ++chunk) ASSERT_TRUE(write("bulk", chunk * kChunkBlocks + 3, 1, 77));
  ASSERT_TRUE(mapped(source));
  cluster.node(source).disk().latency.read_us = 20'000;
  cluster.start(away);
  ASSERT_TRUE(wait_until([&] { return status(away).rebuilding && status(away).rebuilt_chunks > 0; })) << story();
  cluster.network().cut_both(source, third());  // Nothing is committed for a while.
  const auto deleted = begin(source, cluster.node(source).group()->delete_volume("bulk"));
  (void)cluster.run_until([&] { return !status(away).rebuilding; }, milliseconds(300));
  ASSERT_FALSE(deleted->has_value());
  cluster.die(source, Death::power_loss);
  ASSERT_TRUE(wait_until([&] { return cluster.serving() == third() && in_sync(away); })) << story();
  for (std::uint64_t chunk = 0; chunk < kChunksWritten; ++chunk) EXPECT_EQ(value_on(away, "bulk", chunk * kChunkBlocks + 3), 77) << chunk;
}

// A primary that has just restarted is asked for its image while what it replayed is still on its way into the maps: a write and its
// unmap, applied at once, leave no trace there, so that the maps tell less than they did.
TEST_F(RebuildFlow, ImageWhileAReplayIsApplied_WhatWasEmptiedInItIsEmptied) {
  constexpr std::uint64_t kEmptied = 100 * kChunkBlocks;
  lose(third());
  for (std::uint64_t chunk = 0; chunk < kChunksWritten; ++chunk) ASSERT_TRUE(write("bulk", chunk * kChunkBlocks + 5, 1, 50));
  ASSERT_TRUE(write("bulk", kEmptied, 1, 7));
  const Lsn had = status(source).commit;
  ASSERT_TRUE(wait_until([&] { return status(away).commit == had; })) << story();
  ASSERT_TRUE(mapped(away));
  lose(away);
  ASSERT_TRUE(*call(cluster, source, cluster.node(source).group()->find("bulk")->unmap(BlockRange{Lba(96 * kChunkBlocks), BlockCount(24 * kChunkBlocks)})));
  ASSERT_LT(cluster.node(source).group()->status().checkpoint_lsn.value + kChunksWritten, had.value) << "it is in the maps already";
  cluster.die(source, Death::power_loss);
  sim::SimDisk& disk = cluster.node(source).disk();
  disk.latency.write_us = 1'000'000;  // It is slow to apply.
  cluster.start(source);
  ASSERT_TRUE(wait_until([&] { return cluster.serving() == source; })) << story();
  for (const LogOnDisk::Batch& batch : log_of(disk).batches)
    if (batch.first > had) disk.spoil(log_offset(disk, batch.position));
  cluster.start(away);
  ASSERT_TRUE(wait_until([&] { return status(away).rebuilding; })) << story();
  ASSERT_TRUE(wait_until([&] { return in_sync(away); })) << story();
  disk.latency = cluster.plan().disk_latency;
  disk.faults.bad_blocks.clear();
  EXPECT_EQ(value_on(source, "bulk", kEmptied), 0);
  EXPECT_EQ(value_on(away, "bulk", kEmptied), 0);
}

}  // namespace
}  // namespace holdfast::cluster
