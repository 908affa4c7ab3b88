// A block that no copy can give any more: it is lost, and nothing else is. A rebuild goes on past it, and the rebuilt copy knows that
// it is lost: whoever reads it there is told so, until it is overwritten, or a copy that has it comes back.
#include <gtest/gtest.h>

#include <cstring>

#include "test/cluster/call.h"
#include "test/cluster/disk_look.h"
#include "test/cluster/replica_read.h"

namespace holdfast::cluster {
namespace {

constexpr std::uint64_t kLost = kChunkBlocks + 5;  // In the second chunk.
constexpr std::uint64_t kWritten = 4 * kChunkBlocks;

class LostBlocks : public testing::Test {
 protected:
  LostBlocks() : cluster(plan()) {}

  static Plan plan() {
    Plan p = plain_plan();
    p.log_bytes = 640 * kBlockBytes;
    p.clients.volumes = 1;
    p.clients.volume_blocks = 64 * kChunkBlocks;
    return p;
  }
  // Two copies are gone, one of them for good; of the third, which leads, one block is unreadable.
  void SetUp() override {
    ASSERT_TRUE(cluster.set_up());
    source = *cluster.serving();
    fresh = NodeId(source.value % 3 + 1);
    away = NodeId(fresh.value % 3 + 1);
    ASSERT_TRUE(write(source, 0, kWritten));
    ASSERT_TRUE(cluster.run_until_well(milliseconds(10'000))) << story();
    for (const auto& each : cluster.nodes()) ASSERT_TRUE(mapped(each->id()));
    cluster.die(away, Death::killed);
    ASSERT_TRUE(wait_until([&] { return !cluster.truth().find_in_sync(away); })) << story();
    cluster.die(fresh, Death::killed);
    ASSERT_TRUE(wait_until([&] { return !cluster.truth().find_in_sync(fresh); })) << story();
    // More than the ring of the log holds: whoever comes back is rebuilt.
    for (int i = 0; i < 120; ++i) ASSERT_TRUE(write(source, 32 * kChunkBlocks + static_cast<std::uint64_t>(i % 8) * 8, 8)) << i;
  }
  // Where the node has the block: its bytes tell.
  std::uint64_t place_of(NodeId id, std::uint64_t block) {
    sim::SimDisk& disk = cluster.node(id).disk();
    for (const std::uint64_t at : data_blocks(disk))
      if (disk.peek(at * kBlockBytes, kBlockBytes) == content(block)) return at * kBlockBytes;
    return 0;
  }
  static std::vector<std::byte> content(std::uint64_t block) {
    std::vector<std::byte> bytes(kBlockBytes);
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(1 + (block + i) % 251);
    return bytes;
  }
  // What belongs at `like` and behind it; usually where it is written.
  bool write(NodeId id, std::uint64_t first, std::uint64_t blocks) { return write_like(id, first, blocks, first); }
  bool write_like(NodeId id, std::uint64_t first, std::uint64_t blocks, std::uint64_t like) {
    Buffer bytes = cluster.node(id).process().pool().try_acquire(blocks * kBlockBytes);
    for (std::uint64_t b = 0; b < blocks; ++b) std::memcpy(bytes.data() + b * kBlockBytes, content(like + b).data(), kBlockBytes);
    const auto done = call(cluster, id, volume(id)->write(BlockRange{Lba(first), BlockCount(blocks)}, std::move(bytes)));
    return done && *done;
  }
  bool mapped(NodeId id) {
    cluster.checkpoint(id);
    return wait_until([&] { return cluster.node(id).group()->status().checkpoint_lsn == cluster.node(id).group()->status().commit_lsn; });
  }
  Volume* volume(NodeId id) { return cluster.node(id).group()->find(Clients::volume_name(0)); }
  // What the copy itself has there: well, with the right bytes; or why not.
  Errc look(NodeId id, std::uint64_t block) {
    Buffer bytes = cluster.node(id).process().pool().try_acquire(kBlockBytes);
    const auto done = call(cluster, id, read_replica(cluster.node(id).group(), Clients::volume_name(0), BlockRange{Lba(block), BlockCount(1)}, bytes));
    return judge(done, bytes, block);
  }
  Errc read_as_host(NodeId id, std::uint64_t block) {
    Buffer bytes = cluster.node(id).process().pool().try_acquire(kBlockBytes);
    const auto done = call(cluster, id, volume(id)->read(BlockRange{Lba(block), BlockCount(1)}, bytes));
    return judge(done, bytes, block);
  }
  static Errc judge(const std::optional<Result<void>>& done, const Buffer& bytes, std::uint64_t block) {
    if (!done) return Errc::timed_out;
    if (!*done) return done->error().code;
    return std::memcmp(bytes.data(), content(block).data(), kBlockBytes) == 0 ? Errc{} : Errc::invalid_argument;  // Wrong data.
  }
  void rebuild_the_fresh_one() {
    cluster.wipe(fresh);
    ASSERT_TRUE(wait_until([&] { return cluster.truth().has_in_sync(engine::Copy{fresh, cluster.node(fresh).incarnation()}); })) << story();
    ASSERT_TRUE(wait_until([&] { return status(fresh).commit_lsn == status(source).commit_lsn; })) << story();
    ASSERT_GT(status(fresh).lost_blocks, 0u);
    for (std::uint64_t block = 0; block < kWritten; ++block) {
      if (block == kLost) continue;
      ASSERT_EQ(look(fresh, block), Errc{}) << block;
    }
  }
  void hand_over_to_the_fresh_one() {
    for (int i = 0; i < 20 && cluster.serving() != fresh; ++i) {
      if (const auto from = cluster.serving()) cluster.switchover(*from, fresh);
      cluster.run_for(milliseconds(200));
    }
    ASSERT_EQ(cluster.serving(), fresh);
  }
  GroupStatus status(NodeId id) { return cluster.node(id).group()->status(); }
  bool wait_until(const std::function<bool()>& condition) { return cluster.run_until(condition, milliseconds(20'000)); }
  std::string story() const { return cluster.violation().value_or(cluster.describe()); }

  Cluster cluster;
  NodeId source, fresh, away;
};

TEST_F(LostBlocks, OfTheSource_RebuildGoesOn_ReadsOfItFailUntilItIsOverwritten) {
  cluster.node(source).disk().flip_bit(place_of(source, kLost) + 2'000, 5);
  rebuild_the_fresh_one();
  EXPECT_EQ(look(fresh, kLost), Errc::corrupt);
  EXPECT_EQ(status(source).lost_blocks, 1u);
  hand_over_to_the_fresh_one();
  EXPECT_EQ(read_as_host(fresh, kLost), Errc::corrupt);
  ASSERT_TRUE(write(fresh, kLost, 1));
  EXPECT_EQ(read_as_host(fresh, kLost), Errc{});
  ASSERT_TRUE(wait_until([&] { return status(source).commit_lsn == status(fresh).commit_lsn; })) << story();
  EXPECT_EQ(look(source, kLost), Errc{});
}

// It does not depend on what is unreadable, and survives a power loss: what is on the disk says it all.
TEST_F(LostBlocks, OfTheSource_SectorIsBad_TheRebuiltCopyStillKnowsAfterAPowerLoss) {
  cluster.node(source).disk().spoil(place_of(source, kLost));
  rebuild_the_fresh_one();
  ASSERT_TRUE(mapped(fresh));
  cluster.die(fresh, Death::power_loss);
  cluster.start(fresh);
  ASSERT_TRUE(wait_until([&] { return cluster.node(fresh).is_open() && volume(fresh) != nullptr; })) << story();
  EXPECT_EQ(look(fresh, kLost), Errc::corrupt);
}

// The copy that was away has the block: both others get it from there.
TEST_F(LostBlocks, CopyThatHasThemComesBack_TheyAreRepairedFromIt) {
  cluster.node(source).disk().flip_bit(place_of(source, kLost) + 2'000, 5);
  rebuild_the_fresh_one();
  cluster.start(away);
  ASSERT_TRUE(cluster.run_until_well(milliseconds(30'000))) << story();
  for (const NodeId id : {fresh, source}) {
    EXPECT_EQ(look(id, kLost), Errc{}) << id.value;
    cluster.run_for(milliseconds(500));  // It is put back.
    EXPECT_EQ(status(id).repaired_blocks, 1u) << id.value;
    EXPECT_EQ(status(id).lost_blocks, 0u) << id.value;
  }
}

// Nobody but the copy that is being rebuilt has the block: it is asked, too.
TEST_F(LostBlocks, CopyThatIsRebuiltHasIt_TheSourceIsRepairedFromIt) {
  cluster.node(source).disk().flip_bit(place_of(source, kLost) + 2'000, 5);
  ASSERT_TRUE(write_like(source, kLost + 1, 1, 0));  // The chunk differs.
  cluster.start(fresh);
  ASSERT_TRUE(wait_until([&] { return cluster.truth().find_in_sync(fresh) != nullptr; })) << story();
  ASSERT_GT(cluster.node(fresh).group()->replica_status().rebuilt_chunks, 0u) << "the log brought it up";
  EXPECT_EQ(look(fresh, kLost), Errc{});
  cluster.run_for(milliseconds(500));
  EXPECT_EQ(look(source, kLost), Errc{});
  EXPECT_EQ(status(source).repaired_blocks, 1u);
  EXPECT_EQ(status(fresh).lost_blocks + status(source).lost_blocks, 0u);
}

}  // namespace
}  // namespace holdfast::cluster
