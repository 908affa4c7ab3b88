// UNMAP (SBC-3 §5.28): all descriptors are checked before the first block goes, then joined where they touch and unmapped
// side by side, so that many small ones cost one sync of the log and not one each.
#include <algorithm>
#include <vector>

#include "base/ensure.h"
#include "scsi/limits.h"
#include "scsi/server.h"
#include "scsi/volume_error.h"

namespace holdfast::scsi {
namespace {

constexpr std::size_t kListHeaderBytes = 8;
constexpr std::size_t kDescriptorBytes = 16;
constexpr std::uint64_t kAtOnceMax = 32;

struct UnmapList {
  Verdict verdict;
  std::vector<BlockRange> ranges;      // Within the volume, not empty, as sent.
};

UnmapList decode(Bytes list, BlockCount capacity) {
  UnmapList out;
  if (list.empty()) return out;
  const bool has_header = list.size() >= kListHeaderBytes;
  const std::size_t bytes = has_header ? load_be<std::uint16_t>(&list[2]) : 0;
  if (!has_header || bytes > list.size() - kListHeaderBytes) return {illegal(Asc::parameter_list_length_error), {}};
  const std::size_t count = bytes / kDescriptorBytes;
  if (count > kUnmapDescriptorsMax) return {invalid_parameter(2), {}};
  std::uint64_t blocks = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t at = kListHeaderBytes + i * kDescriptorBytes;
    const BlockRange range{Lba(load_be<std::uint64_t>(&list[at])), BlockCount(load_be<std::uint32_t>(&list[at + 8]))};
    if (!range_fits(range, capacity))
      return {check_at(SenseKey::illegal_request, Asc::lba_out_of_range, range.first.value), {}};
    blocks += range.count.value;  // At most 256 × 2^32.
    if (blocks > kUnmapBlocksMax) return {invalid_parameter(static_cast<std::uint16_t>(at + 8)), {}};
    if (range.count.value > 0) out.ranges.push_back(range);
  }
  return out;
}

void join_touching(std::vector<BlockRange>& ranges) {
  std::sort(ranges.begin(), ranges.end(), [](BlockRange a, BlockRange b) { return a.first < b.first; });
  std::vector<BlockRange> joined;
  for (const BlockRange& range : ranges) {
    if (joined.empty() || joined.back().end() < range.first) {
      joined.push_back(range);
      continue;
    }
    const Lba end = std::max(joined.back().end(), range.end());
    joined.back().count = BlockCount(end.value - joined.back().first.value);
  }
  ranges = std::move(joined);
}

// What the ranges of one command share. The first failure is the command's.
struct Unmapping {
  Volume* volume;
  const Command* command;
  const std::uint64_t* reign;  // As it is now.
  Semaphore slots;
  Verdict verdict;
};

Task<void> unmap_one(Unmapping* all, BlockRange range) {
  co_await all->slots.acquire();
  Result<void> result;
  if (all->command->reign != *all->reign) result = fail(Errc::fenced);
  else if (!all->command->aborted && all->verdict.ok()) result = co_await all->volume->unmap(range);
  all->slots.release();
  if (!result && all->verdict.ok()) all->verdict = volume_error(result.error(), Direction::write, range.first);
}

}  // namespace

Task<void> Server::run_unmap(Command* command) {
  const Executing executing(this, command->nexus);
  if (command->aborted) co_return;
  if (Verdict v = recheck(*command); !v.ok()) {
    co_await refuse_late(command, v);
    co_return;
  }
  UnmapList list = decode(command->data_out.bytes().first(command->data_out_bytes), volume_.capacity());
  if (!list.verdict.ok()) co_return finish(*command, list.verdict);
  join_touching(list.ranges);
  Unmapping all{&volume_, command, &reign_, Semaphore(volume_.executor(), kAtOnceMax), {}};
  Scope flows(volume_.executor());
  for (const BlockRange& range : list.ranges) flows.spawn(unmap_one(&all, range));
  co_await flows.join();
  if (!all.verdict.ok()) counters_.write_errors.add();
  finish(*command, all.verdict);
}

}  // namespace holdfast::scsi
