#include "test/support/ram_volume.h"

#include <algorithm>
#include <cstring>

#include "base/ensure.h"

namespace holdfast::test {

RamVolume::RamVolume(Executor& executor, Clock& clock, BufferPool& buffers, std::string name, BlockCount capacity)
    : executor_(&executor), clock_(&clock), buffers_(&buffers), capacity_(capacity),
      bytes_(capacity.value * kBlockBytes), mapped_(capacity.value / kChunkBlocks) {
  ENSURE(capacity.value % kChunkBlocks == 0);
  identity_.name = std::move(name);
  for (std::size_t i = 0; i < identity_.uuid.size(); ++i) identity_.uuid[i] = static_cast<std::uint8_t>(i + 1);
}

MutableBytes RamVolume::at(BlockRange range) {
  return MutableBytes(bytes_).subspan(range.first.value * kBlockBytes, range.count.value * kBlockBytes);
}

void RamVolume::map(BlockRange range) {
  for (std::uint64_t block = range.first.value; block < range.end().value; ++block) mapped_[block / kChunkBlocks] = true;
}

ClusterView RamVolume::cluster_view() const {
  return ClusterView{.local_group = 1, .groups = {{.id = 1, .state = PortGroupState::active_optimized, .portals = {}}}};
}

Task<Result<ClusterView>> RamVolume::confirmed_cluster_view() { co_return cluster_view(); }

Task<Result<void>> RamVolume::read(BlockRange range, Buffer into) {
  if (!fits(range)) co_return fail(Errc::out_of_range);
  const MutableBytes from = at(range);
  ENSURE(into.size() == from.size());
  std::memcpy(into.data(), from.data(), from.size());
  co_return Result<void>();
}

Task<Result<void>> RamVolume::write(BlockRange range, Buffer from) {
  if (!fits(range)) co_return fail(Errc::out_of_range);
  const MutableBytes into = at(range);
  ENSURE(from.size() == into.size());
  std::memcpy(into.data(), from.data(), into.size());
  map(range);
  co_return Result<void>();
}

Task<Result<void>> RamVolume::unmap(BlockRange range) {
  if (!fits(range)) co_return fail(Errc::out_of_range);
  const MutableBytes zeroed = at(range);
  std::memset(zeroed.data(), 0, zeroed.size());
  const std::uint64_t first_chunk = divide_up(range.first.value, kChunkBlocks);
  for (std::uint64_t chunk = first_chunk; chunk < range.end().value / kChunkBlocks; ++chunk) mapped_[chunk] = false;
  co_return Result<void>();
}

Task<Result<void>> RamVolume::write_same(BlockRange range, Buffer block) {
  if (!fits(range)) co_return fail(Errc::out_of_range);
  ENSURE(block.size() == kBlockBytes);
  for (MutableBytes rest = at(range); !rest.empty(); rest = rest.subspan(kBlockBytes)) {
    std::memcpy(rest.data(), block.data(), kBlockBytes);
  }
  map(range);
  co_return Result<void>();
}

Task<Result<Volume::CompareResult>> RamVolume::compare_and_write(BlockRange range, Buffer expected, Buffer desired) {
  if (!fits(range)) co_return fail(Errc::out_of_range);
  const MutableBytes present = at(range);
  const Bytes wanted = expected.bytes();
  const auto difference = std::mismatch(present.begin(), present.end(), wanted.begin(), wanted.end());
  if (difference.first != present.end()) {
    co_return CompareResult{.matched = false, .mismatch_offset = static_cast<std::uint64_t>(difference.first - present.begin())};
  }
  std::memcpy(present.data(), desired.data(), present.size());
  map(range);
  co_return CompareResult{.matched = true, .mismatch_offset = 0};
}

Task<Result<void>> RamVolume::or_write(BlockRange range, Buffer mask) {
  if (!fits(range)) co_return fail(Errc::out_of_range);
  const MutableBytes present = at(range);
  for (std::size_t i = 0; i < present.size(); ++i) present[i] |= mask.data()[i];
  map(range);
  co_return Result<void>();
}

Task<Result<void>> RamVolume::flush() { co_return Result<void>(); }

Task<Result<std::vector<ProvisioningRun>>> RamVolume::provisioning(Lba first, std::size_t runs_max) {
  std::vector<ProvisioningRun> runs;
  if (first.value >= capacity_.value) co_return fail(Errc::out_of_range);
  for (std::uint64_t block = first.value; block < capacity_.value;) {
    const bool mapped = mapped_[block / kChunkBlocks];
    const std::uint64_t chunk_end = (block / kChunkBlocks + 1) * kChunkBlocks;
    if (!runs.empty() && runs.back().mapped == mapped) {
      runs.back().range.count.value += chunk_end - block;
    } else {
      if (runs.size() == runs_max) break;
      runs.push_back({.range = {Lba(block), BlockCount(chunk_end - block)}, .mapped = mapped});
    }
    block = chunk_end;
  }
  co_return runs;
}

Task<Result<void>> RamVolume::store_reservations(std::vector<std::byte> state) {
  reservations_ = std::move(state);
  co_return Result<void>();
}

}  // namespace holdfast::test
