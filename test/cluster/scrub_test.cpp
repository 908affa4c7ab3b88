// The scrub: what rots is found and repaired before anybody asks for it, and copies that differ are told apart.
#include <gtest/gtest.h>

#include "base/checksum.h"
#include "engine/group_impl.h"
#include "engine/volume_impl.h"
#include "snapshot/store_format.h"
#include "test/cluster/cluster.h"

namespace holdfast::cluster {
namespace {

using snapshot::TreeKind;

// A cluster that was written to, at rest; everything is in the maps.
class Scrub : public testing::Test {
 protected:
  explicit Scrub(unsigned nodes = 3) : Scrub(plan(nodes)) {}
  explicit Scrub(Plan p) : cluster(std::move(p)) {}

  static Plan plan(unsigned nodes) {
    Plan p = plain_plan(nodes);
    p.log_bytes = 8ULL << 20;
    p.clients.clients = 4;
    p.clients.volumes = 1;
    p.clients.or_write = p.clients.reserve = 0;  // What lies where on the copies is to differ by nothing.
    p.disk_latency = sim::DiskLatency{};
    p.clients.volume_blocks = 4 * snapshot::kLeafChunks * kChunkBlocks;
    p.clients.hot_percent = 0;
    p.clients.think_max = milliseconds(2);
    p.clients.write_bytes_max = ~std::uint64_t{0};
    return p;
  }
  void SetUp() override {
    ASSERT_TRUE(cluster.set_up());
    serve_for(1'000);
    for (const auto& each : cluster.nodes()) map_all(each->id());
  }
  void serve_for(std::int64_t ms) {
    cluster.clients().start();
    cluster.run_for(milliseconds(ms));
    cluster.clients().stop();
    ASSERT_TRUE(cluster.run_until([this] { return cluster.clients().stopped(); }, milliseconds(10'000))) << story();
    ASSERT_TRUE(cluster.run_until_well(milliseconds(30'000))) << story();
  }
  engine::GroupImpl& group(NodeId id) { return *static_cast<engine::GroupImpl*>(cluster.node(id).group()); }
  GroupStatus status(NodeId id) { return cluster.node(id).group()->status(); }
  NodeId follower() const { return NodeId(cluster.serving()->value == 1 ? 2 : 1); }
  void map_all(NodeId id) {
    cluster.checkpoint(id);
    ASSERT_TRUE(cluster.run_until([&] { return status(id).checkpoint_lsn == status(id).commit_lsn; }, milliseconds(10'000))) << story();
  }
  ScrubStatus scrub(NodeId id) {
    EXPECT_TRUE(cluster.run_until([&] { return !status(id).scrub.running; }, milliseconds(60'000))) << story();
    const std::uint64_t before = status(id).scrub.passes;
    group(id).start_scrub();
    EXPECT_TRUE(cluster.run_until([&] { return !status(id).scrub.running; }, milliseconds(60'000))) << story();
    EXPECT_EQ(status(id).scrub.passes, before + 1) << status(id).scrub.result;
    return status(id).scrub;
  }
  template <class F>
  std::size_t flip(NodeId id, F wanted) {
    sim::SimDisk& disk = cluster.node(id).disk();
    std::size_t count = 0;
    for (std::uint64_t block = (snapshot::kLogOffset + cluster.plan().log_bytes) / kBlockBytes; block < disk.size_bytes() / kBlockBytes; ++block) {
      if (disk.media().visible(block).is_zero()) continue;
      const auto bytes = disk.peek(block * kBlockBytes, sizeof(snapshot::PageHeader));
      snapshot::PageHeader header;
      std::memcpy(&header, bytes.data(), sizeof header);
      if (!wanted(header, block)) continue;
      disk.flip_bit(block * kBlockBytes + 2'000, 5);
      ++count;
    }
    return count;
  }
  // Of the volume, wherever they lie: no block rots on two copies.
  std::size_t rot_every_third_block(NodeId id, std::uint64_t first) {
    engine::VolumeImpl& volume = *static_cast<engine::VolumeImpl*>(group(id).find(Clients::volume_name(0)));
    std::size_t count = 0;
    for (std::uint64_t block = first; block < volume.capacity().value; block += 3) {
      snapshot::Frame* leaf = volume.stored().map->cached_leaf(block / kChunkBlocks / snapshot::kLeafChunks);
      if (!leaf) continue;
      const snapshot::MapEntry entry = snapshot::entry_of(leaf, block / kChunkBlocks);
      if (entry.location == 0 || (entry.valid_mask >> block % kChunkBlocks & 1) == 0) continue;
      cluster.node(id).disk().flip_bit((entry.location * kChunkBlocks + block % kChunkBlocks) * kBlockBytes + 2'000, 5);
      ++count;
    }
    return count;
  }
  // The block at `block` of the copy says something else, and is whole by its own checksum.
  void make_different(NodeId id, std::uint64_t block, bool readable = true) {
    engine::VolumeImpl& volume = *static_cast<engine::VolumeImpl*>(group(id).find(Clients::volume_name(0)));
    snapshot::PageTree& map = *volume.stored().map;
    const std::uint64_t chunk = block / kChunkBlocks;
    snapshot::Frame* leaf = map.cached_leaf(chunk / snapshot::kLeafChunks);
    ASSERT_NE(leaf, nullptr);
    snapshot::MapEntry entry = snapshot::entry_of(leaf, chunk);
    ASSERT_NE(entry.location, 0u);
    std::vector<std::byte> content(kBlockBytes, std::byte{0x5a});
    cluster.node(id).disk().overwrite(entry.location * kChunkBytes + block % kChunkBlocks * kBlockBytes, content);
    if (!readable) content[0] = std::byte{1};
    entry.valid_mask = static_cast<std::uint16_t>(entry.valid_mask | 1u << block % kChunkBlocks);
    entry.checksums[block % kChunkBlocks] = xxh3(content);
    std::memcpy(map.writable(leaf, Lsn(entry.modified_lsn)) + chunk % snapshot::kLeafChunks * sizeof entry, &entry, sizeof entry);
  }
  std::uint64_t mapped_block(NodeId id) {
    engine::VolumeImpl& volume = *static_cast<engine::VolumeImpl*>(group(id).find(Clients::volume_name(0)));
    for (std::uint64_t chunk = 5; chunk < volume.stored().chunk_count(); ++chunk) {
      snapshot::Frame* leaf = volume.stored().map->cached_leaf(chunk / snapshot::kLeafChunks);
      if (leaf && snapshot::entry_of(leaf, chunk).location != 0) return chunk * kChunkBlocks + 3;
    }
    return 0;
  }
  void expect_equal() {
    ASSERT_TRUE(cluster.run_until_well(milliseconds(30'000))) << story();
    ASSERT_TRUE(cluster.read_everything()) << story();
    ASSERT_TRUE(cluster.replicas_are_equal()) << story();
    const auto wrong = cluster.history().judge();
    ASSERT_FALSE(wrong) << *wrong;
  }
  std::string story() const { return cluster.violation().value_or("nothing is wrong") + cluster.describe(); }

  Cluster cluster;
};

// The last page of the map is a hole on all copies.
class ScrubOfHoles : public Scrub {
 protected:
  static constexpr std::uint64_t kHole = 3;  // The page; behind it something is written.
  ScrubOfHoles() : Scrub(with_a_hole()) {}
  static Plan with_a_hole() {
    Plan p = plan(3);
    p.clients.volume_blocks = (kHole + 2) * snapshot::kLeafChunks * kChunkBlocks;
    p.clients.hot_blocks = kHole * snapshot::kLeafChunks * kChunkBlocks - Volume::kTransferBlocksMax;
    p.clients.hot_percent = 100;
    p.clients.unmap = 0;  // Of a whole page of the map, now and then.
    return p;
  }
  void write_behind_it() {
    const Lba behind((kHole + 1) * snapshot::kLeafChunks * kChunkBlocks);
    const ExchangePtr write = cluster.clients().start_one(*cluster.serving(), OpKind::write, 0, BlockRange{behind, BlockCount(1)});
    ASSERT_TRUE(cluster.run_until([&] { return write->answered; }, milliseconds(5'000)));
    for (const auto& each : cluster.nodes()) map_all(each->id());
  }
  // The copy has a block there that no record tells of.
  void fill_hole(NodeId id) {
    engine::GroupImpl& copy = group(id);
    engine::VolumeImpl& volume = *static_cast<engine::VolumeImpl*>(copy.find(Clients::volume_name(0)));
    snapshot::PageTree& map = *volume.stored().map;
    snapshot::Space& space = copy.store().space();
    ASSERT_EQ(map.cached_leaf(kHole), nullptr);
    ASSERT_TRUE(space.try_reserve(1, map.new_leaf_pages()));
    snapshot::MapEntry entry{};
    entry.location = space.take_chunk();
    const std::vector<std::byte> content(kBlockBytes, std::byte{0x5a});
    cluster.node(id).disk().overwrite(entry.location * kChunkBytes, content);
    entry.modified_lsn = copy.status().commit_lsn.value;
    entry.valid_mask = 1;
    entry.checksums[0] = xxh3(content);
    space.note(entry.location, true);
    snapshot::Frame* leaf = map.create_leaf(kHole);
    std::memcpy(map.writable(leaf, Lsn(entry.modified_lsn)), &entry, sizeof entry);
    write_behind_it();  // With a checkpoint: the pages above it name it, too.
  }
};

class ScrubOfTwo : public Scrub {
 protected:
  ScrubOfTwo() : Scrub(2) {}
};

TEST_F(Scrub, NothingIsWrong_NothingIsFound_AllOfItWasLookedAt) {
  for (const auto& each : cluster.nodes()) {
    const ScrubStatus found = scrub(each->id());
    EXPECT_GT(found.blocks_checked, 100u);
    EXPECT_GT(found.pages_checked, 8u);
    EXPECT_EQ(found.leaves_done, found.leaves_total);
    EXPECT_EQ(found.bad_blocks + found.bad_pages + found.divergent_blocks + found.unrepaired, 0u) << found.result;
    EXPECT_EQ(found.leaves_compared > 0, each->id() == *cluster.serving());
  }
}

TEST_F(Scrub, DataRotsOnEachCopy_EachRepairsItsOwn) {
  for (const auto& each : cluster.nodes()) ASSERT_GT(rot_every_third_block(each->id(), each->id().value - 1), 0u);
  for (const auto& each : cluster.nodes()) {
    const ScrubStatus found = scrub(each->id());
    EXPECT_GT(found.bad_blocks, 0u);
    EXPECT_EQ(found.unrepaired, 0u) << found.result;
  }
  cluster.run_for(milliseconds(500));
  for (const auto& each : cluster.nodes()) EXPECT_EQ(scrub(each->id()).bad_blocks, 0u);
  expect_equal();
}

// What is in memory is right: nobody need be asked.
TEST_F(Scrub, PagesRotThatAreInMemory_AreWrittenAnew) {
  const NodeId id = follower();
  ASSERT_GT(flip(id, [](const auto& header, std::uint64_t) { return header.magic == snapshot::kPageMagic; }), 0u);
  const ScrubStatus found = scrub(id);
  EXPECT_GE(found.bad_pages, 8u);
  EXPECT_EQ(found.unrepaired, 0u);
  EXPECT_EQ(scrub(id).bad_pages, 0u);
  cluster.die(id, Death::killed);
  cluster.start(id);
  ASSERT_TRUE(cluster.run_until_well(milliseconds(10'000))) << story();
  EXPECT_TRUE(cluster.node(id).group()->replica_status().promotable);
  EXPECT_EQ(cluster.node(id).group()->replica_status().rebuilt_chunks, 0u);
  EXPECT_EQ(scrub(id).bad_pages, 0u);
  expect_equal();
}

TEST_F(Scrub, PageRotsThatNobodyHasInMemory_TheCopyIsRebuilt) {
  const NodeId id = follower();
  cluster.die(id, Death::killed);
  cluster.start(id);
  ASSERT_TRUE(cluster.run_until_well(milliseconds(10'000))) << story();
  const auto second_leaf = [](const snapshot::PageHeader& header, std::uint64_t) {
    return header.magic == snapshot::kPageMagic && header.kind == static_cast<std::uint16_t>(TreeKind::map) && header.level == 0 && header.index == 1;
  };
  ASSERT_GT(flip(id, second_leaf), 0u);
  group(id).start_scrub();
  ASSERT_TRUE(cluster.run_until([&] { return !cluster.node(id).group()->replica_status().promotable; }, milliseconds(30'000))) << story();
  ASSERT_TRUE(cluster.run_until([&] { return cluster.node(id).group()->replica_status().promotable; }, milliseconds(30'000))) << story();
  ASSERT_TRUE(cluster.run_until_well(milliseconds(30'000))) << story();
  EXPECT_EQ(scrub(id).bad_pages, 0u);
  expect_equal();
}

TEST_F(Scrub, FollowerDiffersFromTwoOthers_ItIsRebuilt) {
  const NodeId id = follower(), primary = *cluster.serving();
  make_different(id, mapped_block(id));
  const ScrubStatus found = scrub(primary);
  EXPECT_EQ(found.divergent_blocks, 1u);
  ASSERT_TRUE(cluster.run_until([&] { return cluster.node(id).group()->replica_status().rebuilt_chunks > 0; }, milliseconds(10'000))) << story();
  ASSERT_TRUE(cluster.run_until_well(milliseconds(30'000))) << story();
  EXPECT_EQ(cluster.node(id).group()->replica_status().rebuilt_chunks, 1u);
  EXPECT_EQ(scrub(primary).divergent_blocks, 0u);
  expect_equal();
}

TEST_F(Scrub, PrimaryDiffersFromTwoOthers_ItHandsOverAndIsRebuilt) {
  const NodeId id = *cluster.serving();
  make_different(id, mapped_block(id));
  group(id).start_scrub();
  ASSERT_TRUE(cluster.run_until([&] { return cluster.serving() && *cluster.serving() != id; }, milliseconds(20'000))) << story();
  ASSERT_TRUE(cluster.run_until([&] { return cluster.node(id).group()->replica_status().rebuilt_chunks == 1; }, milliseconds(10'000))) << story();
  ASSERT_TRUE(cluster.run_until_well(milliseconds(30'000))) << story();
  EXPECT_EQ(scrub(*cluster.serving()).divergent_blocks, 0u);
  expect_equal();
}

TEST_F(ScrubOfHoles, FollowerHasDataWhereTheOthersHaveAHole_ItIsRebuilt) {
  write_behind_it();
  const NodeId id = follower(), primary = *cluster.serving();
  fill_hole(id);
  EXPECT_EQ(scrub(primary).divergent_blocks, 1u);
  ASSERT_TRUE(cluster.run_until([&] { return !cluster.node(id).group()->replica_status().promotable; }, milliseconds(10'000))) << story();
  ASSERT_TRUE(cluster.run_until_well(milliseconds(30'000))) << story();
  EXPECT_EQ(scrub(primary).divergent_blocks, 0u);
  expect_equal();
}

TEST_F(ScrubOfTwo, TheyDifferAndBothAreWhole_ItIsTold_NobodyIsTouched) {
  const NodeId id = follower(), primary = *cluster.serving();
  make_different(id, mapped_block(id));
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(scrub(primary).divergent_blocks, 1u);
    cluster.run_for(milliseconds(1'000));
    EXPECT_EQ(cluster.node(id).group()->replica_status().rebuilt_chunks, 0u);
  }
}

TEST_F(ScrubOfTwo, OneCannotReadWhatItSaysItHas_ItIsRebuilt) {
  const NodeId id = follower(), primary = *cluster.serving();
  make_different(id, mapped_block(id), false);
  EXPECT_EQ(scrub(primary).divergent_blocks, 1u);
  ASSERT_TRUE(cluster.run_until([&] { return cluster.node(id).group()->replica_status().rebuilt_chunks == 1; }, milliseconds(10'000))) << story();
  expect_equal();
}

// Copies are never of one instant; the comparison is.
TEST_F(Scrub, WhileHostsWrite_CopiesDoNotDiffer) {
  cluster.clients().start();
  std::uint64_t compared = 0;
  for (int i = 0; i < 20; ++i) {
    const ScrubStatus found = scrub(*cluster.serving());
    EXPECT_EQ(found.divergent_blocks, 0u) << found.result;
    compared += found.leaves_compared;
  }
  EXPECT_GT(compared, 0u);
  cluster.clients().stop();
  ASSERT_TRUE(cluster.run_until([this] { return cluster.clients().stopped(); }, milliseconds(10'000))) << story();
  expect_equal();
}

}  // namespace
}  // namespace holdfast::cluster
