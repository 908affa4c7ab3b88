// The disks that misbehave on purpose: what they lose and what they keep must be exactly what a real one may.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "base/scope.h"
#include "io/fault_disk.h"
#include "io/power_loss_disk.h"
#include "io/uring_disk.h"
#include "test/io/support.h"

namespace holdfast::io {
namespace {

using test::make_reactor;
using test::make_store;
using test::TempDirectory;

// The world of one process: a reactor and a power-loss disk over the real one.
struct World {
  explicit World(const std::string& path, PowerLossOptions options = {}) {
    auto opened = run_task(*reactor, UringDisk::open_patiently(reactor.get(), path, milliseconds(5000)));
    EXPECT_TRUE(opened.has_value()) << opened.error().text();
    disk = std::make_unique<PowerLossDisk>(std::move(*opened), options);
  }
  ~World() { run_task(*reactor, disk->settle()); }

  Result<void> write(std::uint64_t block, char with, Durability durability, std::size_t blocks = 1) {
    Buffer buffer = reactor->buffers().try_acquire(blocks * kBlockBytes);
    std::memset(buffer.data(), with, buffer.size());
    return run(disk->write(block * kBlockBytes, buffer.bytes(), durability));
  }
  // The one byte a block is full of; '?' when it is mixed, '!' when it cannot be read.
  char read(std::uint64_t block) {
    Buffer buffer = reactor->buffers().try_acquire(kBlockBytes);
    if (!run(disk->read(block * kBlockBytes, buffer.bytes()))) return '!';
    const auto* bytes = reinterpret_cast<const char*>(buffer.data());
    return std::all_of(bytes, bytes + kBlockBytes, [bytes](char c) { return c == bytes[0]; }) ? bytes[0] : '?';
  }
  Result<void> run(Disk::Awaiter awaiter) {
    return run_task(*reactor, [](Disk::Awaiter a) -> Task<Result<void>> {
      Result<void> result = co_await a;
      co_return result;
    }(awaiter));
  }

  std::unique_ptr<Reactor> reactor = make_reactor();
  std::unique_ptr<PowerLossDisk> disk;
};

// Runs the story in another process, which then dies by kill -9.
template <class Story>
void in_killed_process(Story story) {
  const pid_t child = ::fork();
  if (child == 0) {
    story();
    ::kill(::getpid(), SIGKILL);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

TEST(PowerLossDisk, KillNine_KeepsDurableAndSynced_DropsTheRest) {
  const TempDirectory directory;
  const std::string path = make_store(directory);
  in_killed_process([&] {
    World world(path);
    bool good = world.write(0, 'd', Durability::durable) && world.write(1, 's', Durability::cached) &&
                world.run(world.disk->sync()) && world.write(2, 'u', Durability::cached) &&
                world.write(1, 'v', Durability::cached) && world.write(0, 'w', Durability::cached);
    good = good && world.read(0) == 'w' && world.read(1) == 'v' && world.read(2) == 'u' && world.disk->unsynced_blocks() == 3;
    if (!good) ::_exit(1);
    ::kill(::getpid(), SIGKILL);
  });
  World after(path);
  EXPECT_EQ(after.read(0), 'd');
  EXPECT_EQ(after.read(1), 's');
  EXPECT_EQ(after.read(2), '\0');
}

// A durable write of one block says nothing about another's unsynced data.
TEST(PowerLossDisk, DurableWrite_OfOneRange_LeavesTheOthersUnsynced) {
  const TempDirectory directory;
  World world(make_store(directory));
  ASSERT_TRUE(world.write(4, 'a', Durability::cached));
  ASSERT_TRUE(world.write(6, 'a', Durability::cached));
  ASSERT_TRUE(world.write(5, 'b', Durability::durable, 2));
  EXPECT_EQ(world.disk->unsynced_blocks(), 1u);
  EXPECT_EQ(world.read(4), 'a');
  EXPECT_EQ(world.read(5), 'b');
  EXPECT_EQ(world.read(6), 'b');
  ASSERT_TRUE(world.run(world.disk->sync()));
  EXPECT_EQ(world.disk->unsynced_blocks(), 0u);
  EXPECT_EQ(world.read(4), 'a');
}

TEST(PowerLossDisk, Punch_DropsWhatWasUnsynced) {
  const TempDirectory directory;
  World world(make_store(directory));
  ASSERT_TRUE(world.write(8, 'a', Durability::cached, 4));
  ASSERT_TRUE(world.run(world.disk->punch(9 * kBlockBytes, 2 * kBlockBytes)));
  EXPECT_EQ(world.disk->unsynced_blocks(), 2u);
  EXPECT_EQ(world.read(9), '\0');
  EXPECT_EQ(world.read(11), 'a');
}

// The overlay must be correct below random traffic with early writes: after a sync the real disk has what reads showed.
TEST(PowerLossDisk, EarlyWritesInSectors_NeverHarmWhatWasWrittenLater) {
  const TempDirectory directory;
  const std::string path = make_store(directory);
  std::vector<char> expected(64, '\0');
  {
    World world(path, {.early_percent = 60, .tearing = Tearing::sectors, .seed = 3});
    unsigned state = 12345;
    for (int step = 0; step < 600; ++step) {
      state = state * 1103515245u + 12345u;
      const std::uint64_t block = (state >> 8) % expected.size();
      const char with = static_cast<char>('a' + (state >> 16) % 26);
      const unsigned kind = (state >> 24) % 10;
      if (kind == 0) {
        ASSERT_TRUE(world.run(world.disk->sync()));
      } else {
        ASSERT_TRUE(world.write(block, with, kind < 4 ? Durability::durable : Durability::cached));
        expected[block] = with;
      }
      const std::uint64_t looked_at = (state >> 12) % expected.size();
      ASSERT_EQ(world.read(looked_at), expected[looked_at]) << step;
    }
    EXPECT_GT(world.disk->early_writes(), 50u);
    ASSERT_TRUE(world.run(world.disk->sync()));
  }
  World after(path);
  for (std::uint64_t block = 0; block < expected.size(); ++block) EXPECT_EQ(after.read(block), expected[block]) << block;
}

// Tearing really happens: of an unsynced overwrite some sectors survive the kill, others do not.
TEST(PowerLossDisk, EarlyWriteOfSectors_ThenKill_LeavesATornBlock) {
  const TempDirectory directory;
  const std::string path = make_store(directory);
  in_killed_process([&] {
    World world(path, {.early_percent = 100, .tearing = Tearing::sectors, .seed = 5});
    bool good = world.write(0, 'o', Durability::durable, 64).has_value();
    for (std::uint64_t block = 0; block < 64; ++block) good = good && world.write(block, 'n', Durability::cached);
    run_task(*world.reactor, world.disk->settle());
    if (!good || world.disk->early_writes() == 0) ::_exit(1);
    ::kill(::getpid(), SIGKILL);
  });
  World after(path);
  int torn = 0;
  for (std::uint64_t block = 0; block < 64; ++block) torn += after.read(block) == '?';
  EXPECT_GT(torn, 0);
}

TEST(PowerLossDisk, Options_AreParsedAndNonsenseIsNamed) {
  const auto options = parse_power_loss_options("early_percent=20 tear=sectors  seed=7");
  ASSERT_TRUE(options) << options.error().text();
  EXPECT_EQ(options->early_percent, 20u);
  EXPECT_EQ(options->tearing, Tearing::sectors);
  EXPECT_EQ(options->seed, 7u);
  EXPECT_TRUE(parse_power_loss_options(""));
  for (const char* text : {"early_percent=101", "early_percent=", "tear=x", "seed", "=", "seed=1x"})
    EXPECT_FALSE(parse_power_loss_options(text)) << text;
}

class FaultDiskTest : public testing::Test {
 protected:
  FaultDiskTest() {
    auto opened = UringDisk::open(*reactor, path);
    disk = std::make_unique<FaultDisk>(reactor->clock(), std::move(*opened));
  }
  int run(DiskOp op, std::uint64_t block, Durability durability = Durability::cached) {
    Buffer buffer = reactor->buffers().try_acquire(kBlockBytes);
    return run_task(*reactor, carry_out(disk.get(), op, block, durability, buffer));
  }
  static Task<int> carry_out(Disk* disk, DiskOp op, std::uint64_t block, Durability durability, Buffer buffer) {
    struct Raw {
      Disk* disk;
      DiskRequest request;
      bool await_ready() const noexcept { return false; }
      void await_suspend(std::coroutine_handle<> h) {
        request.waiter = h;
        disk->submit(request);
      }
      int await_resume() const noexcept { return request.error; }
    };
    const iovec segment{buffer.data(), buffer.size()};
    DiskRequest request{};
    request.op = op;
    request.durability = durability;
    if (op != DiskOp::sync) {
      request.offset = block * kBlockBytes;
      request.length = kBlockBytes;
      request.segments = std::span(&segment, 1);
    }
    Raw raw{disk, request};
    const int error = co_await raw;
    co_return error;
  }

  TempDirectory directory;
  std::string path = make_store(directory);
  std::unique_ptr<Reactor> reactor = make_reactor();
  std::unique_ptr<FaultDisk> disk;
};

TEST_F(FaultDiskTest, NthRequest_FailsOnceThenAllIsWell) {
  disk->inject({.op = DiskOp::write, .skip = 2, .count = 1, .error = EIO});
  EXPECT_EQ(run(DiskOp::write, 0), 0);
  EXPECT_EQ(run(DiskOp::read, 0), 0);
  EXPECT_EQ(run(DiskOp::write, 1), 0);
  EXPECT_EQ(run(DiskOp::write, 2), EIO);
  EXPECT_EQ(run(DiskOp::write, 2), 0);
  EXPECT_EQ(disk->hits(), 1u);
}

TEST_F(FaultDiskTest, RangedRule_HitsOnlyItsRange) {
  disk->inject({.op = DiskOp::read, .count = 9, .first_byte = 8192, .end_byte = 12288, .error = EIO});
  EXPECT_EQ(run(DiskOp::read, 1), 0);
  EXPECT_EQ(run(DiskOp::read, 2), EIO);
  EXPECT_EQ(run(DiskOp::read, 3), 0);
  disk->clear();
  EXPECT_EQ(run(DiskOp::read, 2), 0);
}

TEST_F(FaultDiskTest, SyncThatTakesEffect_StillReportsItsFailure) {
  disk->inject({.op = DiskOp::sync, .error = EIO, .takes_effect = true});
  EXPECT_EQ(run(DiskOp::sync, 0), EIO);
  EXPECT_EQ(run(DiskOp::sync, 0), 0);
}

TEST_F(FaultDiskTest, FlippedRead_DiffersInOneBitOnce) {
  const Buffer buffer = reactor->buffers().try_acquire(kBlockBytes);
  std::memset(buffer.data(), 0x55, kBlockBytes);
  ASSERT_EQ(run_task(*reactor, carry_out(disk.get(), DiskOp::write, 1, Durability::cached, buffer)), 0);
  disk->inject({.op = DiskOp::read, .flips = true});
  for (const std::byte expected : {std::byte{0x54}, std::byte{0x55}}) {
    ASSERT_EQ(run_task(*reactor, carry_out(disk.get(), DiskOp::read, 1, Durability::cached, buffer)), 0);
    EXPECT_EQ(buffer.data()[0], expected);
    EXPECT_EQ(buffer.data()[1], std::byte{0x55});
  }
  EXPECT_EQ(disk->hits(), 1u);
}

TEST_F(FaultDiskTest, Delay_HoldsTheRequestBack) {
  disk->inject({.op = DiskOp::read, .error = 0, .delay = milliseconds(5)});
  const BootNs begin = reactor->clock().now();
  EXPECT_EQ(run(DiskOp::read, 0), 0);
  EXPECT_GE(reactor->clock().now(), begin + milliseconds(5));
  run_task(*reactor, disk->settle());
}

TEST_F(FaultDiskTest, Rules_AreParsedAndNonsenseIsNamed) {
  const auto rules = parse_fault_rules("op=write error=ENOSPC skip=3 count=forever from=4096 to=8192; op=sync error=EIO effect=yes delay_us=50; op=read flip=yes");
  ASSERT_TRUE(rules) << rules.error().text();
  ASSERT_EQ(rules->size(), 3u);
  EXPECT_EQ((*rules)[0].error, ENOSPC);
  EXPECT_EQ((*rules)[0].skip, 3u);
  EXPECT_EQ((*rules)[0].end_byte, 8192u);
  EXPECT_TRUE((*rules)[1].takes_effect);
  EXPECT_EQ((*rules)[1].delay, microseconds(50));
  EXPECT_TRUE((*rules)[2].flips);
  for (const char* text : {"op=fly", "error=EWHAT", "skip=many", "skip", "effect=maybe", "flip=both", "delay_us=99999999999"})
    EXPECT_FALSE(parse_fault_rules(text)) << text;
}

}  // namespace
}  // namespace holdfast::io
