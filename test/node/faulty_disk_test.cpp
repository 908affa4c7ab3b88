#include "tools/holdfastd/faulty_disk.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "io/run_task.h"
#include "io/store_file.h"
#include "io/uring_disk.h"

namespace holdfast::daemon {
namespace {

class FaultyDiskTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/holdfast-faulty-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    folder_ = name;
    ASSERT_TRUE(io::create_store_file(folder_ + "/store", 16 * kBlockBytes).has_value());
    auto reactor = io::Reactor::create({.buffer_bytes = 4u << 20});
    ASSERT_TRUE(reactor.has_value()) << reactor.error().text();
    reactor_ = std::move(*reactor);
    auto below = io::UringDisk::open(*reactor_, folder_ + "/store", {.caching = io::Caching::allow_page_cache});
    ASSERT_TRUE(below.has_value()) << below.error().text();
    disk_ = std::make_unique<FaultyDisk>(reactor_->clock(), std::move(*below), folder_ + "/faults");
  }
  void TearDown() override {
    disk_.reset();
    reactor_.reset();
    std::filesystem::remove_all(folder_);
  }
  void set_rules(const std::string& rules) { std::ofstream(folder_ + "/faults") << rules; }
  static Task<bool> sync(Disk* disk) {
    const Result<void> done = co_await disk->sync();
    co_return done.has_value();
  }
  bool syncs() { return io::run_task(*reactor_, sync(disk_.get())); }
  // Rules are looked at every few milliseconds.
  bool comes_to(bool expected) {
    const BootNs deadline = reactor_->clock().now() + milliseconds(10'000);
    while (syncs() != expected)
      if (reactor_->clock().now() > deadline) return false;
    return true;
  }

  std::string folder_;
  std::unique_ptr<io::Reactor> reactor_;
  std::unique_ptr<FaultyDisk> disk_;
};

TEST_F(FaultyDiskTest, RulesOfTheFile_CountFromTheNextLookOn) {
  EXPECT_TRUE(syncs());  // No file, no rules.
  set_rules("op=sync error=EIO count=forever");
  EXPECT_TRUE(comes_to(false));
  EXPECT_FALSE(syncs());
  set_rules("");
  EXPECT_TRUE(comes_to(true));
  EXPECT_TRUE(syncs());
}

TEST_F(FaultyDiskTest, NonsenseInTheFile_IsNoRule) {
  set_rules("op=fly");
  EXPECT_TRUE(syncs());
}

}  // namespace
}  // namespace holdfast::daemon
