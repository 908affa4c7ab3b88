#include "io/uring_disk.h"

#include <fcntl.h>
#include <unistd.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "base/scope.h"
#include "test/io/support.h"

namespace holdfast::io {
namespace {

using test::make_reactor;
using test::make_store;
using test::TempDirectory;

void fill(MutableBytes bytes, unsigned seed) {
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = std::byte(i * 31 + seed + i / 4096);
}

// Everything below runs on one disk of 1 MiB.
class UringDiskTest : public testing::Test {
 protected:
  UringDiskTest() { open(); }
  void open() {
    disk.reset();
    auto opened = UringDisk::open(*reactor, path);
    ASSERT_TRUE(opened.has_value()) << opened.error().text();
    disk = std::move(*opened);
  }
  template <class Awaiter>
  Result<void> run(Awaiter awaiter) {
    return run_task(*reactor, [](Awaiter a) -> Task<Result<void>> {
      Result<void> result = co_await a;
      co_return result;
    }(std::move(awaiter)));
  }

  TempDirectory directory;
  std::string path = make_store(directory);
  std::unique_ptr<Reactor> reactor = make_reactor();
  std::unique_ptr<UringDisk> disk;
};

TEST_F(UringDiskTest, DurableWrite_ReadBack_IsTheSame) {
  Buffer out = reactor->buffers().try_acquire(64 << 10);
  Buffer in = reactor->buffers().try_acquire(64 << 10);
  fill(out.bytes(), 1);
  ASSERT_TRUE(run(disk->write(8192, out.bytes(), Durability::durable)));
  ASSERT_TRUE(run(disk->read(8192, in.bytes())));
  EXPECT_EQ(0, std::memcmp(in.data(), out.data(), out.size()));
}

// Memory that is not the pool's takes the plain way, several segments the vectored one.
TEST_F(UringDiskTest, ForeignMemoryAndSegments_ReadBack_AreTheSame) {
  auto* memory = static_cast<std::byte*>(std::aligned_alloc(4096, 6 * 4096));
  MutableBytes bytes(memory, 6 * 4096);
  fill(bytes, 2);
  const std::array<iovec, 3> segments{iovec{memory + 8192, 4096}, iovec{memory, 8192}, iovec{memory + 12288, 12288}};
  ASSERT_TRUE(run(disk->write(4096, 6 * 4096, segments, Durability::cached)));
  ASSERT_TRUE(run(disk->sync()));
  Buffer in = reactor->buffers().try_acquire(6 * 4096);
  ASSERT_TRUE(run(disk->read(4096, in.bytes())));
  EXPECT_EQ(0, std::memcmp(in.data(), memory + 8192, 4096));
  EXPECT_EQ(0, std::memcmp(in.data() + 4096, memory, 8192));
  EXPECT_EQ(0, std::memcmp(in.data() + 12288, memory + 12288, 12288));
  std::free(memory);
}

TEST_F(UringDiskTest, Punch_OfAllocatedRange_FreesSpaceAndReadsZeros) {
  Buffer out = reactor->buffers().try_acquire(512 << 10);
  fill(out.bytes(), 3);
  ASSERT_TRUE(run(disk->write(0, out.bytes(), Durability::durable)));
  struct stat before{}, after{};
  ASSERT_EQ(0, ::stat(path.c_str(), &before));
  ASSERT_TRUE(run(disk->punch(64 << 10, 256 << 10)));
  ASSERT_TRUE(run(disk->sync()));
  ASSERT_EQ(0, ::stat(path.c_str(), &after));
  EXPECT_EQ(before.st_blocks - after.st_blocks, (256 << 10) / 512);
  Buffer in = reactor->buffers().try_acquire(4096);
  ASSERT_TRUE(run(disk->read(64 << 10, in.bytes())));
  EXPECT_EQ(std::count(in.data(), in.data() + 4096, std::byte{0}), 4096);
}

TEST_F(UringDiskTest, Allocate_OfAHole_TakesSpaceAndKeepsTheSize) {
  ASSERT_TRUE(run(disk->allocate(0, 256 << 10)));
  struct stat now{};
  ASSERT_EQ(0, ::stat(path.c_str(), &now));
  EXPECT_GE(now.st_blocks, (256 << 10) / 512);
  EXPECT_EQ(now.st_size, 1 << 20);
}

// A file's space comes before its length: that is how a store grows.
TEST_F(UringDiskTest, AllocateBeyondTheEnd_ThenGrow_IsBackedBySpace) {
  const std::uint64_t end = disk->size_bytes();
  ASSERT_TRUE(run(disk->allocate(end, 1 << 20)));
  EXPECT_EQ(disk->size_bytes(), end);
  struct stat before = {};
  ASSERT_EQ(::stat(path.c_str(), &before), 0);
  EXPECT_EQ(std::uint64_t(before.st_size), end);
  EXPECT_GE(before.st_blocks * 512, 1 << 20);
  ASSERT_TRUE(run(disk->grow(end + (2 << 20))));
  struct stat after = {};
  ASSERT_EQ(::stat(path.c_str(), &after), 0);
  EXPECT_EQ(std::uint64_t(after.st_size), end + (2 << 20));
  EXPECT_GE(after.st_blocks, before.st_blocks);
  Buffer in = reactor->buffers().try_acquire(4096);
  ASSERT_TRUE(run(disk->read(end, in.bytes())));
  EXPECT_EQ(std::count(in.data(), in.data() + 4096, std::byte{0}), 4096);
}

TEST_F(UringDiskTest, Grow_ThenWriteAtTheNewEnd_Works) {
  Buffer out = reactor->buffers().try_acquire(4096);
  fill(out.bytes(), 4);
  EXPECT_FALSE(run(disk->write(2 << 20, out.bytes(), Durability::durable)));
  ASSERT_TRUE(run(disk->grow(4 << 20)));
  EXPECT_EQ(disk->size_bytes(), 4u << 20);
  ASSERT_TRUE(run(disk->write(2 << 20, out.bytes(), Durability::durable)));
}

// Somebody truncates the file under us: what should be there is not, and that is never a success.
TEST_F(UringDiskTest, Read_BeyondATruncatedEnd_IsAnError) {
  ASSERT_EQ(0, ::truncate(path.c_str(), 8192));
  Buffer in = reactor->buffers().try_acquire(8192);
  EXPECT_TRUE(run(disk->read(0, in.bytes())));
  const auto half = run(disk->read(4096, in.bytes()));
  ASSERT_FALSE(half);
  EXPECT_EQ(half.error().code, Errc::io_error);
}

Task<void> read_once(Disk* disk, std::uint64_t offset, MutableBytes into, int* done) {
  const Result<void> result = co_await disk->read(offset, into);
  if (result) ++*done;
}

// 64 requests made in one turn reach the kernel with one system call.
TEST_F(UringDiskTest, ManyRequests_InOneTurn_AreSubmittedTogether) {
  reactor->turn(Reactor::Waiting::poll);
  const auto enters = reactor->stats().enters.get();
  const auto submissions = reactor->stats().submissions.get();
  int done = 0;
  std::vector<Buffer> buffers;
  Scope scope(*reactor);
  for (std::uint64_t i = 0; i < 64; ++i) {
    buffers.push_back(reactor->buffers().try_acquire(4096));
    scope.spawn(read_once(disk.get(), i * 4096, buffers.back().bytes(), &done));
  }
  reactor->turn(Reactor::Waiting::poll);
  EXPECT_EQ(reactor->stats().enters.get() - enters, 1u);
  EXPECT_EQ(reactor->stats().submissions.get() - submissions, 64u);
  while (scope.running() > 0) reactor->turn(Reactor::Waiting::block);
  EXPECT_EQ(done, 64);
}

TEST_F(UringDiskTest, OpenPatiently_WhileLocked_GivesUpAfterItsPatience) {
  const BootNs begin = reactor->clock().now();
  const auto second = run_task(*reactor, UringDisk::open_patiently(reactor.get(), path, milliseconds(10)));
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Errc::locked);
  EXPECT_GE(reactor->clock().now(), begin + milliseconds(10));
}

// A crash: the frames are gone while the kernel still works on their requests.
TEST_F(UringDiskTest, Destroyed_WithRequestsInFlight_WaitsForTheKernel) {
  int done = 0;
  Buffer in = reactor->buffers().try_acquire(1 << 20);
  {
    Scope scope(*reactor);
    scope.spawn(read_once(disk.get(), 0, in.bytes(), &done));
    reactor->run_one();
    EXPECT_EQ(disk->in_flight(), 1u);
  }
  disk.reset();
  EXPECT_EQ(done, 0);
}

}  // namespace
}  // namespace holdfast::io
