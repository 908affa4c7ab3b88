// Reading: what is pending wins over the map; every block from the disk is held against its checksum.
#include <cstring>

#include "base/checksum.h"
#include "base/ensure.h"
#include "base/scope.h"
#include "engine/volume_impl.h"
#include "engine/volume_operation.h"

namespace holdfast::engine {

using snapshot::MapEntry;

Task<Result<void>> VolumeImpl::read(BlockRange range, Buffer into) {
  if (auto ok = check(range, into.size()); !ok) co_return ok;
  VolumeOperation operation(*this);
  const std::uint64_t reign = group_->reign();
  auto done = co_await read_blocks(range, into);
  if (done) done = co_await group_->await_lease(reign);
  reads_.add();
  read_bytes_.add(range.count.value * kBlockBytes);
  co_return done;
}

Task<Result<void>> VolumeImpl::read_blocks(BlockRange range, Buffer into) {
  ReadPlan plan;
  // A block may be overwritten or moved under the read: look where it is now before calling it corrupt. It is, when the same
  // block at the same checksum fails again and again; a wide read may well meet a moving block each time.
  std::size_t suspect = kNoBlock;
  std::uint64_t suspect_checksum = 0;
  for (int attempt = 0, same = 0; same < kReadTries && attempt < kReadAttemptsMax; ++attempt) {
    CO_TRY(co_await plan_read(&plan, range, into));
    plan.error = Errc{};
    if (plan.run_count == 1) {
      co_await read_run(&plan, plan.runs[0], into);
    } else if (plan.run_count > 1) {
      Scope scope(executor());
      for (std::size_t i = 0; i < plan.run_count; ++i) scope.spawn(read_run(&plan, plan.runs[i], into));
      co_await scope.join();
    }
    if (plan.error != Errc{}) co_return fail(plan.error);
    const std::size_t bad = first_mismatch(plan, range.count.value, into);
    if (bad == kNoBlock) co_return Result<void>{};
    same = bad == suspect && plan.checksums[bad] == suspect_checksum ? same + 1 : 1;
    suspect = bad;
    suspect_checksum = plan.checksums[bad];
  }
  group_->count_checksum_error();
  co_return fail(Errc::corrupt);
}

Task<Result<void>> VolumeImpl::plan_read(ReadPlan* plan, BlockRange range, Buffer into) {
  plan->run_count = 0;
  const std::uint64_t end = range.end().value;
  for (std::uint64_t chunk = range.first.value / kChunkBlocks; chunk * kChunkBlocks < end; ++chunk) {
    snapshot::PageTree* map = stored_->map.get();
    const std::uint64_t index = chunk / snapshot::kLeafChunks;
    snapshot::Frame* leaf = map->cached_leaf(index);
    if (!leaf) {
      auto loaded = co_await map->load_leaf(index);
      if (!loaded) {
        if (loaded.error().code == Errc::corrupt) group_->count_checksum_error();
        co_return fail(loaded.error());
      }
      leaf = *loaded;
    }
    // Nothing suspends from here on: the entry and what is pending are of one instant.
    MapEntry entry{};
    if (leaf) std::memcpy(&entry, leaf->body() + chunk % snapshot::kLeafChunks * sizeof entry, sizeof entry);
    plan_chunk(*plan, range, into, chunk, entry, group_->pending().find(*stored_, chunk));
  }
  co_return Result<void>{};
}

void VolumeImpl::plan_chunk(ReadPlan& plan, BlockRange range, Buffer& into, std::uint64_t chunk, const MapEntry& entry,
                            const PendingChunk* pending) {
  const std::uint64_t first = std::max(range.first.value, chunk * kChunkBlocks);
  const std::uint64_t end = std::min(range.end().value, (chunk + 1) * kChunkBlocks);
  for (std::uint64_t block = first; block < end; ++block) {
    const auto at = static_cast<std::uint32_t>(block - range.first.value);
    const auto in_chunk = static_cast<std::uint8_t>(block % kChunkBlocks);
    std::byte* place = into.data() + std::size_t{at} * kBlockBytes;
    plan.on_disk[at] = false;
    const auto found = pending ? PendingIndex::look_up(*pending, in_chunk) : PendingIndex::Found{};
    if (found.zeros || (found.block && found.block->source == BlockSource::zero)) {
      std::memset(place, 0, kBlockBytes);
    } else if (found.block && found.block->source == BlockSource::memory) {
      std::memcpy(place, found.block->data.data(), kBlockBytes);
    } else if (found.block) {
      const bool in_log = found.block->source == BlockSource::log;
      const std::uint64_t chunk_offset = found.block->position * kChunkBytes + in_chunk * kBlockBytes;
      plan.checksums[at] = found.block->checksum;
      add_run(plan, in_log ? group_->log().offset_of(found.block->position) : chunk_offset, at);
    } else if (entry.location != 0 && (entry.valid_mask >> in_chunk & 1)) {
      plan.checksums[at] = entry.checksums[in_chunk];
      add_run(plan, entry.location * kChunkBytes + in_chunk * kBlockBytes, at);
    } else {
      std::memset(place, 0, kBlockBytes);
    }
  }
}

void VolumeImpl::add_run(ReadPlan& plan, std::uint64_t offset, std::uint32_t block) {
  plan.on_disk[block] = true;
  if (plan.run_count > 0) {
    ReadRun& last = plan.runs[plan.run_count - 1];
    const bool adjoins = last.first_block + last.block_count == block &&
                         last.offset + std::uint64_t{last.block_count} * kBlockBytes == offset;
    if (adjoins) {
      ++last.block_count;
      return;
    }
  }
  plan.runs[plan.run_count++] = ReadRun{offset, block, 1};
}

Task<void> VolumeImpl::read_run(ReadPlan* plan, ReadRun run, Buffer into) {
  const MutableBytes place(into.data() + std::size_t{run.first_block} * kBlockBytes, std::size_t{run.block_count} * kBlockBytes);
  auto done = co_await group_->ports().disk.read(run.offset, place);
  if (!done) plan->error = done.error().code;
}

std::size_t VolumeImpl::first_mismatch(const ReadPlan& plan, std::size_t blocks, const Buffer& into) {
  for (std::size_t i = 0; i < blocks; ++i)
    if (plan.on_disk[i] && xxh3(Bytes(into.data() + i * kBlockBytes, kBlockBytes)) != plan.checksums[i]) return i;
  return kNoBlock;
}

}  // namespace holdfast::engine
