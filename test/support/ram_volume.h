// A volume in memory: correct, and as cheap as it can be. What an initiator sees of it is the cost of the door alone.
#pragma once

#include <string>
#include <vector>

#include "engine/volume.h"

namespace holdfast::test {

class RamVolume final : public Volume {
 public:
  // capacity: whole 64 KiB chunks.
  RamVolume(Executor& executor, Clock& clock, BufferPool& buffers, std::string name, BlockCount capacity);

  Executor& executor() const override { return *executor_; }
  Clock& clock() const override { return *clock_; }
  BufferPool& buffers() const override { return *buffers_; }
  const VolumeIdentity& identity() const override { return identity_; }
  BlockCount capacity() const override { return capacity_; }
  ClusterView cluster_view() const override;
  PortGroupState local_state() const override { return PortGroupState::active_optimized; }
  Task<Result<ClusterView>> confirmed_cluster_view() override;

  Task<Result<void>> read(BlockRange range, Buffer into) override;
  Task<Result<void>> write(BlockRange range, Buffer from) override;
  Task<Result<void>> unmap(BlockRange range) override;
  Task<Result<void>> write_same(BlockRange range, Buffer block) override;
  Task<Result<CompareResult>> compare_and_write(BlockRange range, Buffer expected, Buffer desired) override;
  Task<Result<void>> or_write(BlockRange range, Buffer mask) override;
  Task<Result<void>> flush() override;
  Task<Result<std::vector<ProvisioningRun>>> provisioning(Lba first, std::size_t runs_max) override;
  std::vector<std::byte> reservations() const override { return reservations_; }
  Task<Result<void>> store_reservations(std::vector<std::byte> state) override;
  void add_observer(VolumeObserver&) override {}
  void remove_observer(VolumeObserver&) override {}

 private:
  bool fits(BlockRange range) const { return range_fits(range, capacity_); }
  MutableBytes at(BlockRange range);
  void map(BlockRange range);

  Executor* executor_;
  Clock* clock_;
  BufferPool* buffers_;
  VolumeIdentity identity_;
  BlockCount capacity_;
  std::vector<std::byte> bytes_;
  std::vector<bool> mapped_;  // A chunk each.
  std::vector<std::byte> reservations_;
};

}  // namespace holdfast::test
