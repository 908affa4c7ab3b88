// A volume in memory with the real semantics (64 KiB chunks, zeros where unmapped, whole ranges or nothing) and errors that
// a test injects. Operations can be held, to see what happens while they are under way.
#pragma once

#include <algorithm>
#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/ensure.h"
#include "base/sync.h"
#include "engine/volume.h"

namespace holdfast::test {

class FakeVolume final : public Volume {
 public:
  enum class Operation : std::uint8_t {
    read, write, unmap, write_same, compare_and_write, or_write, flush, provisioning, store_reservations, confirm, confirm_served,
  };

  FakeVolume(Executor& executor, Clock& clock, BufferPool& buffers, BlockCount capacity)
      : executor_(&executor), clock_(&clock), buffers_(&buffers), capacity_(capacity), released_(executor) {
    identity_.name = "pg";
    for (std::size_t i = 0; i < identity_.uuid.size(); ++i) identity_.uuid[i] = static_cast<std::uint8_t>(0xa0 + i);
    view_.local_group = 1;
    view_.groups.push_back({1, PortGroupState::active_optimized, {"192.0.2.1:3260"}});
  }

  // What the next calls of an operation answer, until cleared.
  void fail_with(Operation operation, Errc code) { faults_[operation] = code; }
  void clear_faults() { faults_.clear(); }
  // From now on the operation's calls wait for release().
  void hold(Operation operation) { held_ = operation; }
  void release() {
    held_.reset();
    released_.notify_all();
  }
  void set_view(ClusterView view) { view_ = std::move(view); }
  std::size_t initiators() const { return initiators_; }
  void set_capacity(BlockCount capacity) { capacity_ = capacity; }
  void set_reservations(std::vector<std::byte> state) { reservations_ = std::move(state); }
  void announce(VolumeEvent event) {
    for (VolumeObserver* observer : observers_) observer->volume_event(event);
  }
  std::size_t calls(Operation operation) const {
    const auto found = calls_.find(operation);
    return found == calls_.end() ? 0 : found->second;
  }

  Executor& executor() const override { return *executor_; }
  Clock& clock() const override { return *clock_; }
  BufferPool& buffers() const override { return *buffers_; }
  const VolumeIdentity& identity() const override { return identity_; }
  BlockCount capacity() const override { return capacity_; }
  ClusterView cluster_view() const override { return view_; }
  PortGroupState local_state() const override {
    for (const PortGroup& group : view_.groups)
      if (group.id == view_.local_group) return group.state;
    return PortGroupState::unavailable;
  }
  Task<Result<ClusterView>> confirmed_cluster_view() override {
    const Result<void> started = co_await start(Operation::confirm);
    if (!started) co_return fail(started.error());
    co_return view_;
  }

  Task<Result<void>> read(BlockRange range, Buffer into) override {
    Result<void> started = co_await start(Operation::read, range);
    if (!started) co_return started;
    ENSURE(into.size() == range.count.value * kBlockBytes);
    for (std::uint64_t i = 0; i < range.count.value; ++i) load(range.first.value + i, into.data() + i * kBlockBytes);
    co_return started;
  }
  Task<Result<void>> write(BlockRange range, Buffer from) override {
    Result<void> started = co_await start(Operation::write, range);
    if (!started) co_return started;
    ENSURE(range.count.value >= 1 && range.count.value <= kTransferBlocksMax);
    ENSURE(from.size() == range.count.value * kBlockBytes);
    for (std::uint64_t i = 0; i < range.count.value; ++i) save(range.first.value + i, from.data() + i * kBlockBytes);
    co_return started;
  }
  Task<Result<void>> unmap(BlockRange range) override {
    Result<void> started = co_await start(Operation::unmap, range);
    if (!started) co_return started;
    ENSURE(range.count.value <= kUnmapBlocksMax);
    const std::uint64_t end = range.end().value;
    for (auto it = chunks_.lower_bound(range.first.value / kChunkBlocks); it != chunks_.end();) {
      const std::uint64_t chunk_first = it->first * kChunkBlocks;
      if (chunk_first >= end) break;
      const std::uint64_t from = std::max(chunk_first, range.first.value);
      const std::uint64_t to = std::min(chunk_first + kChunkBlocks, end);
      const bool whole = to - from == kChunkBlocks;
      if (!whole) std::memset(&it->second[(from - chunk_first) * kBlockBytes], 0, (to - from) * kBlockBytes);
      it = whole ? chunks_.erase(it) : std::next(it);
    }
    co_return started;
  }
  Task<Result<void>> write_same(BlockRange range, Buffer block) override {
    Result<void> started = co_await start(Operation::write_same, range);
    if (!started) co_return started;
    ENSURE(block.size() == kBlockBytes);
    for (std::uint64_t i = 0; i < range.count.value; ++i) save(range.first.value + i, block.data());
    co_return started;
  }
  Task<Result<CompareResult>> compare_and_write(BlockRange range, Buffer expected, Buffer desired) override {
    const Result<void> started = co_await start(Operation::compare_and_write, range);
    if (!started) co_return fail(started.error());
    std::vector<std::byte> present = content(range);
    const Bytes wanted = expected.bytes();
    const auto at = std::mismatch(present.begin(), present.end(), wanted.begin(), wanted.end()).first;
    if (at != present.end()) co_return CompareResult{false, static_cast<std::uint64_t>(at - present.begin())};
    for (std::uint64_t i = 0; i < range.count.value; ++i) save(range.first.value + i, desired.data() + i * kBlockBytes);
    co_return CompareResult{true, 0};
  }
  Task<Result<void>> or_write(BlockRange range, Buffer mask) override {
    Result<void> started = co_await start(Operation::or_write, range);
    if (!started) co_return started;
    std::vector<std::byte> present = content(range);
    for (std::size_t i = 0; i < present.size(); ++i) present[i] |= mask.data()[i];
    for (std::uint64_t i = 0; i < range.count.value; ++i) save(range.first.value + i, &present[i * kBlockBytes]);
    co_return started;
  }
  Task<Result<void>> flush() override { co_return co_await start(Operation::flush); }
  Task<Result<std::vector<ProvisioningRun>>> provisioning(Lba first, std::size_t runs_max) override {
    const Result<void> started = co_await start(Operation::provisioning);
    if (!started) co_return fail(started.error());
    std::vector<ProvisioningRun> runs;
    for (std::uint64_t block = first.value; block < capacity_.value;) {
      const bool mapped = chunks_.contains(block / kChunkBlocks);
      const std::uint64_t end = std::min((block / kChunkBlocks + 1) * kChunkBlocks, capacity_.value);
      if (!runs.empty() && runs.back().mapped == mapped) {
        runs.back().range.count.value += end - block;
      } else {
        if (runs.size() == runs_max) break;
        runs.push_back({{Lba(block), BlockCount(end - block)}, mapped});
      }
      block = end;
    }
    co_return runs;
  }
  std::vector<std::byte> reservations() const override { return reservations_; }
  Task<Result<void>> store_reservations(std::vector<std::byte> state) override {
    Result<void> started = co_await start(Operation::store_reservations);
    if (!started) co_return started;
    ENSURE(state.size() <= kReservationBytesMax);
    reservations_ = std::move(state);
    co_return started;
  }
  Task<Result<void>> confirm_served() override {
    Result<void> started = co_await start(Operation::confirm_served);
    co_return started;
  }
  void initiator_attached() override { ++initiators_; }
  void initiator_left() override { --initiators_; }
  void add_observer(VolumeObserver& observer) override { observers_.push_back(&observer); }
  void remove_observer(VolumeObserver& observer) override { std::erase(observers_, &observer); }

  std::vector<std::byte> content(BlockRange range) const {
    std::vector<std::byte> bytes(range.count.value * kBlockBytes);
    for (std::uint64_t i = 0; i < range.count.value; ++i) load(range.first.value + i, &bytes[i * kBlockBytes]);
    return bytes;
  }

 private:
  using Chunk = std::vector<std::byte>;

  Task<Result<void>> start(Operation operation, std::optional<BlockRange> range = std::nullopt) {
    ++calls_[operation];
    while (held_ == operation) co_await released_.wait();
    if (const auto fault = faults_.find(operation); fault != faults_.end()) co_return fail(fault->second);
    if (range && !range_fits(*range, capacity_)) co_return fail(Errc::out_of_range);
    co_return Result<void>();
  }
  void load(std::uint64_t block, std::byte* into) const {
    const auto chunk = chunks_.find(block / kChunkBlocks);
    if (chunk == chunks_.end()) std::memset(into, 0, kBlockBytes);
    else std::memcpy(into, &chunk->second[block % kChunkBlocks * kBlockBytes], kBlockBytes);
  }
  void save(std::uint64_t block, const std::byte* from) {
    Chunk& chunk = chunks_.try_emplace(block / kChunkBlocks, kChunkBytes).first->second;
    std::memcpy(&chunk[block % kChunkBlocks * kBlockBytes], from, kBlockBytes);
  }

  Executor* executor_;
  Clock* clock_;
  BufferPool* buffers_;
  VolumeIdentity identity_;
  BlockCount capacity_;
  ClusterView view_;
  std::map<std::uint64_t, Chunk> chunks_;
  std::vector<std::byte> reservations_;
  std::vector<VolumeObserver*> observers_;
  std::size_t initiators_ = 0;
  std::map<Operation, Errc> faults_;
  std::map<Operation, std::size_t> calls_;
  std::optional<Operation> held_;
  WaitList released_;
};

}  // namespace holdfast::test
