#include "tools/holdfastd/power_loss_disk.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <fstream>

#include "io/run_task.h"
#include "io/store_file.h"
#include "io/uring_disk.h"

namespace holdfast::daemon {
namespace {

constexpr std::size_t kBlocks = 64;

class PowerLossDiskTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/holdfast-power-XXXXXX";
    folder_ = ::mkdtemp(name);
    path_ = folder_ + "/store";
    ASSERT_TRUE(io::create_store_file(path_, kBlocks * kBlockBytes).has_value());
    auto reactor = io::Reactor::create({.buffer_bytes = 4u << 20});
    ASSERT_TRUE(reactor.has_value()) << reactor.error().text();
    reactor_ = std::move(*reactor);
  }
  void TearDown() override {
    disk_.reset();
    ::unlink(path_.c_str());
    ::rmdir(folder_.c_str());
  }
  void open(std::uint64_t seed) {
    disk_.reset();
    auto below = io::UringDisk::open(*reactor_, path_, {.caching = io::Caching::allow_page_cache});
    ASSERT_TRUE(below.has_value()) << below.error().text();
    disk_ = std::make_unique<PowerLossDisk>(std::move(*below), seed);
  }
  static Task<Result<void>> awaited(Disk::Awaiter awaiter) {
    Result<void> result = co_await awaiter;
    co_return result;
  }
  void run(Disk::Awaiter awaiter) { EXPECT_TRUE(io::run_task(*reactor_, awaited(awaiter)).has_value()); }
  void write(std::size_t first, std::size_t count, char value, Durability durability) {
    Buffer buffer = reactor_->buffers().try_acquire(count * kBlockBytes);
    std::memset(buffer.data(), value, buffer.size());
    run(disk_->write(first * kBlockBytes, buffer.bytes(), durability));
  }
  std::string through_the_disk() {
    Buffer buffer = reactor_->buffers().try_acquire(kBlocks * kBlockBytes);
    run(disk_->read(0, buffer.bytes()));
    return std::string(reinterpret_cast<const char*>(buffer.data()), buffer.size());
  }
  // What a restart after a power loss would find.
  std::string in_the_file() const {
    std::ifstream file(path_, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
  }
  static std::string blocks_of(char value, std::size_t count = kBlocks) { return std::string(count * kBlockBytes, value); }

  std::string folder_, path_;
  std::unique_ptr<io::Reactor> reactor_;
  std::unique_ptr<PowerLossDisk> disk_;
};

// Unsynced blocks are lost, kept and torn: all three happen, and the process itself sees none of it.
TEST_F(PowerLossDiskTest, CachedWrite_BeforeASync_IsOnlyPartlyInTheFile) {
  open(7);
  write(0, kBlocks, 'a', Durability::durable);
  write(0, kBlocks, 'b', Durability::cached);
  EXPECT_EQ(through_the_disk(), blocks_of('b'));
  const std::string file = in_the_file();
  std::array<int, 3> fates{};  // lost, kept, torn
  for (std::size_t block = 0; block < kBlocks; ++block) {
    const std::string content = file.substr(block * kBlockBytes, kBlockBytes);
    const bool lost = content == blocks_of('a', 1), kept = content == blocks_of('b', 1);
    ++fates[lost ? 0 : kept ? 1 : 2];
    for (std::size_t sector = 0; sector < kBlockBytes; sector += 512) {
      EXPECT_EQ(content.substr(sector, 512), std::string(512, content[sector])) << "torn inside a sector";
    }
  }
  for (const int count : fates) EXPECT_GT(count, 0);
}

TEST_F(PowerLossDiskTest, Sync_PutsEverythingIntoTheFile) {
  open(7);
  write(0, kBlocks, 'b', Durability::cached);
  run(disk_->sync());
  EXPECT_EQ(in_the_file(), blocks_of('b'));
  EXPECT_EQ(disk_->unsynced_blocks(), 0u);
}

TEST_F(PowerLossDiskTest, DurableWrite_IsInTheFile_AndTakesNothingElseAlong) {
  open(7);
  write(0, kBlocks, 'b', Durability::cached);
  const std::size_t before = disk_->unsynced_blocks();
  write(0, 1, 'c', Durability::durable);
  EXPECT_EQ(in_the_file().substr(0, kBlockBytes), blocks_of('c', 1));
  EXPECT_GE(disk_->unsynced_blocks() + 1, before);
  EXPECT_GT(disk_->unsynced_blocks(), 0u);
  EXPECT_EQ(through_the_disk(), blocks_of('c', 1) + blocks_of('b', kBlocks - 1));
}

TEST_F(PowerLossDiskTest, SameSeed_ThrowsTheSameDice) {
  std::array<std::string, 3> files;
  for (std::size_t i = 0; i < 3; ++i) {
    open(i == 2 ? 8 : 7);
    write(0, kBlocks, 'a', Durability::durable);
    write(0, kBlocks, 'b', Durability::cached);
    files[i] = in_the_file();
  }
  EXPECT_EQ(files[0], files[1]);
  EXPECT_NE(files[0], files[2]);
}

}  // namespace
}  // namespace holdfast::daemon
