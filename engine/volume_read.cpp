// Reading: what is pending wins over the map; every block from the disk is held against its checksum.
#include <algorithm>
#include <cstring>

#include "base/checksum.h"
#include "base/ensure.h"
#include "base/scope.h"
#include "engine/mender.h"
#include "engine/volume_impl.h"
#include "engine/volume_operation.h"

namespace holdfast::engine {

using snapshot::MapEntry;

Task<Result<void>> VolumeImpl::read(BlockRange range, Buffer into) {
  if (auto ok = check(range, into.size()); !ok) co_return ok;
  VolumeOperation operation(*this);
  const std::uint64_t reign = group_->reign();
  auto done = co_await read_blocks(range, into, Unreadable::mended, nullptr);
  if (!done) done = co_await group_->after_damage(done.error(), reign);
  else done = co_await group_->await_lease(reign);
  reads_.add();
  read_bytes_.add(range.count.value * kBlockBytes);
  co_return done;
}

Task<Result<void>> VolumeImpl::read_blocks(BlockRange range, Buffer into, Unreadable unreadable, std::vector<LostBlock>* lost) {
  ReadPlan plan;
  std::vector<Mended> mended;
  // A block may be overwritten or moved under the read: look where it is now before calling it corrupt. It is, when the same
  // block at the same checksum fails again and again; a wide read may well meet a moving block each time.
  std::size_t suspect = kNoBlock;
  std::uint64_t suspect_checksum = 0;
  for (int attempt = 0, same = 0; attempt < kReadAttemptsMax; ++attempt) {
    CO_TRY(co_await plan_read(&plan, range, into));
    co_await read_plan(&plan, into);
    const std::size_t bad = first_unreadable(plan, range.count.value, into, mended);
    if (bad == kNoBlock) {
      if (lost) name_lost(plan, into, mended, lost);
      co_return Result<void>{};
    }
    if (group_->has_failed()) co_return fail(Errc::io_error);
    same = bad == suspect && plan.checksums[bad] == suspect_checksum ? same + 1 : 1;
    suspect = bad;
    suspect_checksum = plan.checksums[bad];
    if (same < kReadTries) continue;
    const Errc why = plan.unread[bad] ? Errc::io_error : Errc::corrupt;
    if (why == Errc::corrupt) group_->count_checksum_error();
    if (unreadable == Unreadable::fails || mended.size() >= kMendedMax) co_return fail(why);
    mended.push_back(Mended{bad, suspect_checksum, {}});
    auto found = co_await group_->mender().mend(this, range.first.value + bad, suspect_checksum, mended.back().bytes.data());
    if (!found) {
      // It may have been overwritten meanwhile, here and there: what nobody has any more is then nobody's loss.
      CO_TRY(co_await plan_read(&plan, range, into));
      if (plan.on_disk[bad] && plan.checksums[bad] == suspect_checksum) {
        group_->mender().report_lost(*this, range.first.value + bad);
        if (!lost) co_return fail(why);
      } else {
        mended.pop_back();
      }
    }
    attempt = same = 0;
  }
  co_return fail(Errc::corrupt);
}

Task<void> VolumeImpl::read_plan(ReadPlan* plan, Buffer into) {
  plan->unread.fill(false);
  if (plan->run_count == 1) {
    co_await read_run(plan, plan->runs[0], into);
  } else if (plan->run_count > 1) {
    Scope scope(executor());
    for (std::size_t i = 0; i < plan->run_count; ++i) scope.spawn(read_run(plan, plan->runs[i], into));
    co_await scope.join();
  }
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

// What cannot be read as a whole is read block by block: most of it may be well.
Task<void> VolumeImpl::read_run(ReadPlan* plan, ReadRun run, Buffer into) {
  const MutableBytes place(into.data() + std::size_t{run.first_block} * kBlockBytes, std::size_t{run.block_count} * kBlockBytes);
  auto done = co_await group_->ports().disk.read(run.offset, place);
  if (done) co_return;
  if (run.block_count == 1) {
    plan->unread[run.first_block] = true;
    co_return;
  }
  for (std::size_t i = 0; i < run.block_count; ++i) {
    auto one = co_await group_->ports().disk.read(run.offset + i * kBlockBytes, place.subspan(i * kBlockBytes, kBlockBytes));
    if (!one) plan->unread[run.first_block + i] = true;
  }
}

// Blocks that another copy gave are filled in.
std::size_t VolumeImpl::first_unreadable(const ReadPlan& plan, std::size_t blocks, Buffer& into, const std::vector<Mended>& mended) {
  for (std::size_t i = 0; i < blocks; ++i) {
    std::byte* place = into.data() + i * kBlockBytes;
    if (!plan.on_disk[i] || (!plan.unread[i] && xxh3(Bytes(place, kBlockBytes)) == plan.checksums[i])) continue;
    const auto known = std::find_if(mended.begin(), mended.end(), [&](const Mended& m) { return m.index == i && m.checksum == plan.checksums[i]; });
    if (known == mended.end()) return i;
    std::memcpy(place, known->bytes.data(), kBlockBytes);
  }
  return kNoBlock;
}

// Of what was found lost on the way, what still is: it may have been overwritten, or repaired, before the last look.
void VolumeImpl::name_lost(const ReadPlan& plan, const Buffer& into, const std::vector<Mended>& mended, std::vector<LostBlock>* lost) {
  for (const Mended& m : mended) {
    const bool same = plan.on_disk[m.index] && plan.checksums[m.index] == m.checksum;
    const Bytes place(into.data() + m.index * kBlockBytes, kBlockBytes);
    if (same && xxh3(place) != m.checksum) lost->push_back({m.index, m.checksum});
  }
}

std::optional<std::uint64_t> VolumeImpl::place_of(snapshot::Frame* leaf, std::uint64_t block, std::uint64_t checksum) const {
  const std::uint64_t chunk = block / kChunkBlocks;
  const auto in_chunk = static_cast<std::uint8_t>(block % kChunkBlocks);
  const PendingChunk* pending = group_->pending().find(*stored_, chunk);
  if (const auto found = pending ? PendingIndex::look_up(*pending, in_chunk) : PendingIndex::Found{}) {
    const bool on_disk = found.block && (found.block->source == BlockSource::log || found.block->source == BlockSource::chunk);
    if (!on_disk || found.block->checksum != checksum) return std::nullopt;
    if (found.block->source == BlockSource::log) return group_->log().offset_of(found.block->position);
    return found.block->position * kChunkBytes + in_chunk * kBlockBytes;
  }
  const MapEntry entry = leaf ? snapshot::entry_of(leaf, chunk) : MapEntry{};
  if (entry.location == 0 || !(entry.valid_mask >> in_chunk & 1) || entry.checksums[in_chunk] != checksum) return std::nullopt;
  return entry.location * kChunkBytes + in_chunk * kBlockBytes;
}

}  // namespace holdfast::engine
