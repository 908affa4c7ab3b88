// A node in virtual time: one simulated disk, one group, calls that run the world until they are answered.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <optional>

#include "base/scope.h"
#include "engine/group.h"
#include "test/sim/disk.h"

namespace holdfast::engine_test {

inline constexpr std::uint64_t kMiB = 1 << 20;
inline constexpr std::uint64_t kDiskBytes = 4ULL << 30;
inline constexpr std::uint64_t kLogBytes = 4ULL << 20;

class OneNode {
 public:
  explicit OneNode(std::uint64_t seed = 1) : world(seed), host(world), disk(host, 0) { start(); }
  ~OneNode() { die(); }

  template <class T>
  T run(Task<T> task) {
    std::optional<T> answer;
    scope_->spawn(keep(std::move(task), &answer));
    while (!answer && world.step()) {
    }
    EXPECT_TRUE(answer.has_value()) << "the world stood still before the call was answered";
    return std::move(*answer);
  }
  // Starts a call that nobody waits for.
  template <class T>
  void begin(Task<T> task, std::optional<T>* answer) { scope_->spawn(keep(std::move(task), answer)); }
  template <class F>
  bool run_until(F&& condition) {
    while (!condition())
      if (!world.step()) return false;
    return true;
  }
  // The same, in at most so much virtual time.
  template <class F>
  bool run_until_within(std::int64_t ms_max, F&& condition) {
    const BootNs late = host.clock().now() + milliseconds(ms_max);
    run_until([&] { return condition() || host.clock().now() > late; });
    return condition();
  }

  Result<void> format(std::uint64_t log_bytes = kLogBytes, Group::Existing existing = Group::Existing::refuse) {
    return run(Group::format(ports(), FormatOptions{log_bytes}, existing));
  }
  Result<void> open(GroupOptions options = {}) {
    auto opened = run(Group::open(ports(), options));
    if (!opened) return fail(opened.error());
    group = std::move(*opened);
    return {};
  }
  // Opens a group that nobody waits for.
  void begin_open(std::optional<Result<void>>* answer) { begin(open_group(this), answer); }
  Volume* create(const char* name, std::uint64_t bytes) {
    auto made = run(group->create_volume(name, world.random().next_uuid(), BlockCount(bytes / kBlockBytes)));
    EXPECT_TRUE(made.has_value()) << made.error().text();
    return made ? *made : nullptr;
  }
  // A formatted, open node with one volume `pg`.
  Volume* serve(std::uint64_t bytes) {
    EXPECT_TRUE(format());
    EXPECT_TRUE(open());
    return create("pg", bytes);
  }
  void power_loss() {
    host.crash();
    disk.crash();
    forget();
    start();
  }

  Buffer filled(std::size_t blocks, int value) {
    Buffer buffer = pool->try_acquire(blocks * kBlockBytes);
    std::memset(buffer.data(), value, buffer.size());
    return buffer;
  }
  Result<void> write(Volume* volume, std::uint64_t block, std::size_t blocks, int value) {
    return run(volume->write(BlockRange{Lba(block), BlockCount(blocks)}, filled(blocks, value)));
  }
  Result<void> unmap(Volume* volume, std::uint64_t block, std::uint64_t blocks) {
    return run(volume->unmap(BlockRange{Lba(block), BlockCount(blocks)}));
  }
  // The value that all bytes of the block have; -1 when they differ, -2 when the read failed.
  int value_at(Volume* volume, std::uint64_t block) {
    Buffer buffer = pool->try_acquire(kBlockBytes);
    std::memset(buffer.data(), 0xee, buffer.size());
    if (!run(volume->read(BlockRange{Lba(block), BlockCount(1)}, buffer))) return -2;
    for (std::size_t i = 1; i < buffer.size(); ++i)
      if (buffer.data()[i] != buffer.data()[0]) return -1;
    return std::to_integer<int>(buffer.data()[0]);
  }
  Volume* volume(const char* name = "pg") { return group->find(name); }

  sim::SimWorld world;
  sim::SimHost host;
  sim::SimDisk disk;
  std::unique_ptr<BufferPool> pool;
  std::unique_ptr<Group> group;

 private:
  template <class T>
  static Task<void> keep(Task<T> task, std::optional<T>* answer) {
    auto value = co_await std::move(task);
    answer->emplace(std::move(value));
  }
  static Task<Result<void>> open_group(OneNode* self) {
    auto opened = co_await Group::open(self->ports(), {});
    if (!opened) co_return fail(opened.error());
    self->group = std::move(*opened);
    co_return Result<void>{};
  }
  GroupPorts ports() { return GroupPorts{host.executor(), host.clock(), world.random(), *pool, disk}; }
  void start() {
    pool = std::make_unique<BufferPool>(host.executor(), 16u << 20);
    scope_ = std::make_unique<Scope>(host.executor());
  }
  void forget() {
    scope_.reset();
    group.reset();
    host.executor().drop_all();
  }
  void die() {
    host.crash();
    disk.crash_process_only();
    forget();
  }
  std::unique_ptr<Scope> scope_;
};

}  // namespace holdfast::engine_test
