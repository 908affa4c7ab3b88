// A block device as the store. A loop device of our own stands in for it; that needs root and a kernel with loop devices.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "io/uring_disk.h"
#include "test/io/loop_device.h"
#include "test/io/support.h"

namespace holdfast::io {
namespace {

using test::LoopDevice;
using test::make_reactor;
using test::make_store;
using test::TempDirectory;

Task<Result<void>> done(Disk::Awaiter request) {
  Result<void> result = co_await request;
  co_return result;
}

class BlockDevice : public testing::Test {
 protected:
  void SetUp() override {
    if (!device.usable()) GTEST_SKIP() << "needs root and loop devices";
    auto opened = UringDisk::open(*reactor, device.path());
    ASSERT_TRUE(opened) << opened.error().text();
    disk = std::move(*opened);
  }
  TempDirectory directory;
  LoopDevice device{make_store(directory, 4 << 20)};
  std::unique_ptr<Reactor> reactor = make_reactor();
  std::unique_ptr<UringDisk> disk;
};

TEST_F(BlockDevice, Open_KnowsItsKindAndSize) {
  EXPECT_FALSE(disk->is_file());
  EXPECT_EQ(disk->size_bytes(), 4u << 20);
}

TEST_F(BlockDevice, WriteThenRead_AreTheSame_AndAllocateIsANoOp) {
  Buffer buffer = reactor->buffers().try_acquire(8192);
  std::memset(buffer.data(), 0x5a, buffer.size());
  EXPECT_TRUE(run_task(*reactor, done(disk->allocate(0, 1 << 20))));
  EXPECT_TRUE(run_task(*reactor, done(disk->write(4096, buffer.bytes(), Durability::durable))));
  EXPECT_TRUE(run_task(*reactor, done(disk->sync())));
  std::memset(buffer.data(), 0, buffer.size());
  EXPECT_TRUE(run_task(*reactor, done(disk->read(4096, buffer.bytes()))));
  EXPECT_EQ(std::count(buffer.data(), buffer.data() + 8192, std::byte{0x5a}), 8192);
}

// Whether the device can discard or not, giving space back is never an error.
TEST_F(BlockDevice, Punch_Succeeds) {
  EXPECT_TRUE(run_task(*reactor, done(disk->punch(1 << 20, 1 << 20))));
  EXPECT_TRUE(run_task(*reactor, done(disk->punch(1 << 20, 1 << 20))));
}

TEST_F(BlockDevice, Grow_IsRefused) { EXPECT_FALSE(run_task(*reactor, done(disk->grow(8 << 20)))); }

TEST_F(BlockDevice, SecondOpen_IsLocked) {
  const auto second = UringDisk::open(*reactor, device.path());
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Errc::locked);
}

}  // namespace
}  // namespace holdfast::io
