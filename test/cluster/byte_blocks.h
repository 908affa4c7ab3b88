// A cluster whose volume is written by hand: each write is one byte's value, over and over, so that what a block holds is told by one number.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "engine/group_impl.h"
#include "test/cluster/call.h"
#include "test/cluster/cluster.h"
#include "test/cluster/disk_look.h"
#include "test/cluster/replica_read.h"

namespace holdfast::cluster {

class ByteBlocks : public testing::Test {
 protected:
  // With one volume.
  explicit ByteBlocks(Plan plan) : cluster(with_one_volume(std::move(plan))) {}
  void SetUp() override { ASSERT_TRUE(cluster.set_up()); }

  Volume* volume(NodeId id) { return cluster.node(id).group()->find(Clients::volume_name(0)); }
  engine::GroupImpl& group(NodeId id) { return *static_cast<engine::GroupImpl*>(cluster.node(id).group()); }
  // Of a node that is down: nothing.
  GroupStatus status(NodeId id) { return cluster.node(id).is_open() ? cluster.node(id).group()->status() : GroupStatus{}; }
  ReplicaStatus replica(NodeId id) { return cluster.node(id).is_open() ? cluster.node(id).group()->replica_status() : ReplicaStatus{}; }
  bool in_sync(NodeId id) { return cluster.truth().has_in_sync(engine::Copy{id, cluster.node(id).incarnation()}); }

  Task<Result<void>> writing(NodeId id, std::uint64_t block, std::size_t blocks, int value) {
    Buffer bytes = cluster.node(id).process().pool().try_acquire(blocks * kBlockBytes);
    std::memset(bytes.data(), value, bytes.size());
    return volume(id)->write(BlockRange{Lba(block), BlockCount(blocks)}, std::move(bytes));
  }
  bool write(NodeId id, std::uint64_t block, std::size_t blocks, int value) {
    const auto done = call(cluster, id, writing(id, block, blocks, value));
    return done && *done;
  }
  // The first byte that the copy itself has there, whoever leads; -1: it cannot be read.
  int value_on(NodeId id, std::uint64_t block) {
    Buffer bytes = cluster.node(id).process().pool().try_acquire(kBlockBytes);
    const auto done = call(cluster, id, read_replica(cluster.node(id).group(), Clients::volume_name(0), BlockRange{Lba(block), BlockCount(1)}, bytes));
    return done && *done ? std::to_integer<int>(bytes.data()[0]) : -1;
  }
  // Blocks of the node's data area, on its disk, that hold that value, but for a byte here or there.
  std::vector<std::uint64_t> blocks_of(NodeId id, int value) {
    const sim::SimDisk& disk = cluster.node(id).disk();
    std::vector<std::uint64_t> found;
    for (const std::uint64_t block : data_blocks(disk)) {
      const auto bytes = disk.peek(block * kBlockBytes, kBlockBytes);
      if (std::to_integer<int>(bytes[100]) == value && std::to_integer<int>(bytes[4000]) == value) found.push_back(block);
    }
    return found;
  }

  bool wait_until(const std::function<bool()>& condition, std::int64_t ms = 20'000) { return cluster.run_until(condition, milliseconds(ms)); }
  std::string story() { return cluster.violation().value_or("nothing is wrong") + cluster.describe(); }

  Cluster cluster;

 private:
  static Plan with_one_volume(Plan plan) {
    plan.clients.volumes = 1;
    return plan;
  }
};

}  // namespace holdfast::cluster
