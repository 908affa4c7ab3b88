#include "test/sim/disk.h"

#include <gtest/gtest.h>

#include <optional>

#include "base/scope.h"

namespace holdfast::sim {
namespace {

using Block = std::array<std::byte, kBlockBytes>;

Block filled(int value) {
  Block block;
  block.fill(std::byte(value));
  return block;
}

constexpr std::uint64_t kDiskBytes = 1 << 20;

// One world with one disk, and calls that run the world until they are answered.
struct Bench {
  explicit Bench(std::uint64_t seed = 1) : world(seed), host(world), disk(host, kDiskBytes), scope(new Scope(host.executor())) {}

  static Task<void> await_into(Disk::Awaiter awaiter, std::optional<Result<void>>* out) { out->emplace(co_await awaiter); }
  Result<void> run(Disk::Awaiter awaiter) {
    std::optional<Result<void>> out;
    scope->spawn(await_into(awaiter, &out));
    while (!out && world.step()) {
    }
    return *out;
  }
  Result<void> write(std::uint64_t block, const Block& data, Durability durability) {
    return run(disk.write(block * kBlockBytes, data, durability));
  }
  int read_value(std::uint64_t block) {
    Block data = filled(0xee);
    EXPECT_TRUE(run(disk.read(block * kBlockBytes, data)).has_value());
    for (std::byte b : data) EXPECT_EQ(b, data[0]);
    return std::to_integer<int>(data[0]);
  }
  void power_loss() {
    host.crash();
    disk.crash();
    scope = std::make_unique<Scope>(host.executor());
  }

  SimWorld world;
  SimHost host;
  SimDisk disk;
  std::unique_ptr<Scope> scope;
};

TEST(SimDisk, DurableWrite_CompletedBeforePowerLoss_IsThere) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    Bench bench(seed);
    ASSERT_TRUE(bench.write(3, filled(7), Durability::durable));
    bench.power_loss();
    EXPECT_EQ(bench.read_value(3), 7);
  }
}

TEST(SimDisk, CachedWrite_PowerLoss_IsSometimesLostAndSometimesKept) {
  int kept = 0;
  int lost = 0;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    Bench bench(seed);
    ASSERT_TRUE(bench.write(3, filled(7), Durability::cached));
    EXPECT_EQ(bench.read_value(3), 7);
    bench.power_loss();
    const auto bytes = bench.disk.peek(3 * kBlockBytes, kBlockBytes);
    for (std::size_t sector = 0; sector < kBlockBytes; sector += kSectorBytes)
      EXPECT_EQ(bytes[sector], bytes[sector + kSectorBytes - 1]);
    const auto sevens = std::count(bytes.begin(), bytes.end(), std::byte{7});
    kept += sevens == static_cast<std::ptrdiff_t>(kBlockBytes);
    lost += sevens == 0;
  }
  EXPECT_GT(kept, 20);
  EXPECT_GT(lost, 20);
  EXPECT_LT(kept + lost, 195);  // The rest is torn.
}

TEST(SimDisk, CachedWrite_SyncCompleted_IsThere) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    Bench bench(seed);
    ASSERT_TRUE(bench.write(3, filled(7), Durability::cached));
    ASSERT_TRUE(bench.run(bench.disk.sync()));
    bench.power_loss();
    EXPECT_EQ(bench.read_value(3), 7);
  }
}

Task<void> write_block(Disk* disk, std::uint64_t block, const Block* data, bool* done) {
  (void)co_await disk->write(block * kBlockBytes, *data, Durability::cached);
  *done = true;
}

// A sync promises nothing for a write that had not completed when the sync was submitted.
TEST(SimDisk, WriteInFlightAtSync_PowerLoss_MayBeLost) {
  int lost = 0;
  const Block data = filled(7);
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    Bench bench(seed);
    bool done = false;
    bench.scope->spawn(write_block(&bench.disk, 3, &data, &done));
    bench.world.step();
    ASSERT_TRUE(bench.run(bench.disk.sync()));
    bench.power_loss();
    lost += bench.disk.peek(3 * kBlockBytes, 1)[0] == std::byte{0};
  }
  EXPECT_GT(lost, 10);
}

// After a durable write no older cached write of the same block can come back.
TEST(SimDisk, DurableOverCached_PowerLoss_NewerStays) {
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    Bench bench(seed);
    ASSERT_TRUE(bench.write(3, filled(1), Durability::cached));
    ASSERT_TRUE(bench.write(3, filled(2), Durability::durable));
    bench.power_loss();
    EXPECT_EQ(bench.read_value(3), 2);
  }
}

TEST(SimDisk, PowerLoss_WithWritesOfManyBlocks_TearsOnlyAtSectors) {
  Bench bench(5);
  bool done = false;
  const Block data = filled(9);
  bench.scope->spawn(write_block(&bench.disk, 1, &data, &done));
  bench.world.step();
  EXPECT_EQ(bench.disk.in_flight(), 1u);
  bench.power_loss();
  EXPECT_EQ(bench.disk.in_flight(), 0u);
  while (bench.world.step()) {
  }
  EXPECT_FALSE(done);
}

TEST(SimDisk, FailedSync_ThenAnotherSync_DoesNotBringTheDataBack) {
  int lost = 0;
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    Bench bench(seed);
    ASSERT_TRUE(bench.write(3, filled(7), Durability::cached));
    bench.disk.faults.fail_next_sync = true;
    const auto failed = bench.run(bench.disk.sync());
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().code, Errc::sync_failed);
    ASSERT_TRUE(bench.run(bench.disk.sync()));
    EXPECT_EQ(bench.read_value(3), 7);  // Still in the cache …
    bench.power_loss();
    lost += bench.disk.peek(3 * kBlockBytes, 1)[0] == std::byte{0};  // … but perhaps nowhere else.
  }
  EXPECT_GT(lost, 10);
  EXPECT_LT(lost, 40);
}

TEST(SimDisk, WriteAndReadErrors_Armed_AreReportedOnceAndCounted) {
  Bench bench;
  bench.disk.faults.fail_next_write = true;
  EXPECT_EQ(bench.write(3, filled(1), Durability::durable).error().code, Errc::io_error);
  EXPECT_TRUE(bench.write(3, filled(1), Durability::durable));
  bench.disk.faults.fail_next_read = true;
  Block data;
  EXPECT_EQ(bench.run(bench.disk.read(0, data)).error().code, Errc::io_error);
  EXPECT_EQ(bench.disk.counters().write_errors, 1u);
  EXPECT_EQ(bench.disk.counters().read_errors, 1u);
}

TEST(SimDisk, Capacity_Exhausted_OnlyUnbackedRangesFail) {
  Bench bench;
  ASSERT_TRUE(bench.run(bench.disk.allocate(0, 4 * kBlockBytes)));
  bench.disk.set_capacity(4 * kBlockBytes);
  EXPECT_EQ(bench.run(bench.disk.allocate(8 * kBlockBytes, kBlockBytes)).error().code, Errc::no_space);
  EXPECT_EQ(bench.write(8, filled(1), Durability::durable).error().code, Errc::no_space);
  EXPECT_TRUE(bench.write(3, filled(1), Durability::durable));
  ASSERT_TRUE(bench.run(bench.disk.punch(0, 2 * kBlockBytes)));
  EXPECT_TRUE(bench.run(bench.disk.allocate(8 * kBlockBytes, 2 * kBlockBytes)));
  EXPECT_EQ(bench.disk.backed_bytes(), 4 * kBlockBytes);
}

TEST(SimDisk, Punch_Stale_MayReadAsBefore) {
  Bench bench;
  bench.disk.punched_reads = PunchedReads::stale;
  ASSERT_TRUE(bench.write(3, filled(7), Durability::durable));
  ASSERT_TRUE(bench.run(bench.disk.punch(3 * kBlockBytes, kBlockBytes)));
  EXPECT_EQ(bench.read_value(3), 7);
}

TEST(SimDisk, OutOfBounds_Write_FailsUntilGrown) {
  Bench bench;
  const std::uint64_t beyond = kDiskBytes / kBlockBytes;
  EXPECT_FALSE(bench.write(beyond, filled(1), Durability::durable));
  ASSERT_TRUE(bench.run(bench.disk.grow(kDiskBytes * 2)));
  EXPECT_TRUE(bench.write(beyond, filled(1), Durability::durable));
  EXPECT_EQ(bench.disk.counters().out_of_bounds, 1u);
}

TEST(SimDisk, BlockDevice_HasItsSizeAndItsSpace_AndDoesNotGrow) {
  Bench bench;
  bench.disk.become_block_device(kDiskBytes);
  EXPECT_FALSE(bench.disk.is_file());
  EXPECT_EQ(bench.disk.available_bytes(), 0u);
  EXPECT_EQ(bench.disk.backed_bytes(), kDiskBytes);
  bench.disk.set_capacity(0);
  ASSERT_TRUE(bench.write(5, filled(6), Durability::durable));
  EXPECT_TRUE(bench.run(bench.disk.allocate(0, kDiskBytes)));
  EXPECT_TRUE(bench.run(bench.disk.punch(5 * kBlockBytes, kBlockBytes)));
  EXPECT_EQ(bench.read_value(5), 0);
  EXPECT_EQ(bench.disk.backed_bytes(), kDiskBytes);
  EXPECT_FALSE(bench.run(bench.disk.grow(2 * kDiskBytes)));
  EXPECT_EQ(bench.disk.size_bytes(), kDiskBytes);
}

TEST(SimDisk, FlippedBit_Read_DiffersInThatBitOnly) {
  Bench bench;
  ASSERT_TRUE(bench.write(3, filled(0), Durability::durable));
  bench.disk.flip_bit(3 * kBlockBytes + 100, 4);
  const auto bytes = bench.disk.peek(3 * kBlockBytes, kBlockBytes);
  EXPECT_EQ(bytes[100], std::byte{16});
  EXPECT_EQ(std::count(bytes.begin(), bytes.end(), std::byte{0}), static_cast<std::ptrdiff_t>(kBlockBytes) - 1);
}

TEST(SimDisk, LostWrite_IsReportedAsDone_AndIsNotThere) {
  Bench bench;
  bench.disk.faults.lost_write_ppm = 1'000'000;
  EXPECT_TRUE(bench.write(3, filled(7), Durability::durable));
  EXPECT_EQ(bench.read_value(3), 0);
  EXPECT_EQ(bench.disk.counters().lost, 1u);
}

std::uint64_t life_hash(std::uint64_t seed) {
  Bench bench(seed);
  for (int i = 0; i < 20; ++i) (void)bench.write(bench.world.random().below(50), filled(i), Durability::cached);
  bench.power_loss();
  return bench.world.trace_hash() ^ bench.disk.media().durable().fingerprint();
}

TEST(SimDisk, SameSeed_Twice_SameLife) {
  EXPECT_EQ(life_hash(42), life_hash(42));
  EXPECT_NE(life_hash(42), life_hash(43));
}

}  // namespace
}  // namespace holdfast::sim
