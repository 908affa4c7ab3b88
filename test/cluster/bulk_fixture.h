// Three copies of a volume with something in it: one node leads (`source`), one is there to be lost (`away`).
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <optional>
#include <string>

#include "test/cluster/call.h"
#include "test/cluster/disk_look.h"
#include "test/cluster/replica_read.h"

namespace holdfast::cluster {

inline constexpr std::uint64_t kChunksWritten = 64;
inline constexpr std::uint64_t kBulkBlocks = 2 * kChunksWritten * kChunkBlocks;

class BulkFixture : public testing::Test {
 protected:
  static Plan plan() {
    Plan p = plain_plan();
    p.log_bytes = 8ULL << 20;
    p.clients.volumes = 1;
    p.clients.volume_blocks = 32 * kChunkBlocks;
    p.clients.unmap = 0;
    return p;
  }
  BulkFixture() : cluster(plan()) {}

  // Written, mapped, and one copy less.
  void SetUp() override {
    ASSERT_TRUE(cluster.set_up());
    source = *cluster.serving();
    away = NodeId(source.value % 3 + 1);
    // Not the clients' volume, of which their history knows all.
    ASSERT_TRUE(*call(cluster, source, cluster.node(source).group()->create_volume("bulk", Uuid{8}, BlockCount(kBulkBlocks))));
    for (std::uint64_t chunk = 0; chunk < kChunksWritten; ++chunk) ASSERT_TRUE(write("bulk", chunk * kChunkBlocks, kChunkBlocks, 1 + static_cast<int>(chunk)));
    ASSERT_TRUE(cluster.run_until_well(milliseconds(10'000))) << story();
    for (const auto& each : cluster.nodes()) ASSERT_TRUE(mapped(each->id()));
  }
  void lose(NodeId id) {
    cluster.die(id, Death::killed);
    ASSERT_TRUE(wait_until([&] { return !cluster.truth().find_in_sync(id); })) << story();
  }
  bool write(const std::string& volume, std::uint64_t block, std::size_t blocks, int value) {
    Buffer bytes = cluster.node(source).process().pool().try_acquire(blocks * kBlockBytes);
    std::memset(bytes.data(), value, bytes.size());
    const auto done = call(cluster, source, cluster.node(source).group()->find(volume)->write(BlockRange{Lba(block), BlockCount(blocks)}, std::move(bytes)));
    return done && *done;
  }
  // More than the ring holds: who comes back is rebuilt.
  void let_the_log_go_round() {
    for (int i = 0; i < 160; ++i) ASSERT_TRUE(write("bulk", kChunksWritten * kChunkBlocks, kChunkBlocks - 1, i)) << i;
  }
  int value_on(NodeId id, const std::string& volume, std::uint64_t block) {
    Buffer bytes = cluster.node(id).process().pool().try_acquire(kBlockBytes);
    const auto done = call(cluster, id, read_replica(cluster.node(id).group(), volume, BlockRange{Lba(block), BlockCount(1)}, bytes));
    return done && *done ? std::to_integer<int>(bytes.data()[0]) : -1;
  }
  bool mapped(NodeId id) {
    cluster.checkpoint(id);
    return wait_until([&] { return cluster.node(id).group()->status().checkpoint_lsn == cluster.node(id).group()->status().commit_lsn; });
  }
  ReplicaStatus status(NodeId id) { return cluster.node(id).is_open() ? cluster.node(id).group()->replica_status() : ReplicaStatus{}; }
  bool in_sync(NodeId id) { return cluster.truth().has_in_sync(engine::Copy{id, cluster.node(id).incarnation()}); }
  // Three nodes: the other one.
  NodeId third() const { return NodeId(6 - source.value - away.value); }
  // On its way; the answer is there when it has one.
  template <class T>
  std::shared_ptr<std::optional<Result<T>>> begin(NodeId id, Task<Result<T>> task) {
    auto answer = std::make_shared<std::optional<Result<T>>>();
    cluster.node(id).process().scope().spawn(keep_answer(std::move(task), answer));
    return answer;
  }
  auto begin_write(std::uint64_t block, std::size_t blocks) {
    Buffer bytes = cluster.node(source).process().pool().try_acquire(blocks * kBlockBytes);
    std::memset(bytes.data(), 99, bytes.size());
    return begin(source, cluster.node(source).group()->find("bulk")->write(BlockRange{Lba(block), BlockCount(blocks)}, std::move(bytes)));
  }
  bool wait_until(const std::function<bool()>& condition, std::int64_t ms = 20'000) { return cluster.run_until(condition, milliseconds(ms)); }
  std::string story() const { return cluster.violation().value_or(cluster.describe()); }

  Cluster cluster;
  NodeId source, away;
};

}  // namespace holdfast::cluster
