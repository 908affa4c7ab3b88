// Reads everything back and holds it against its checksums; and what a scrub asks of the group.
#include <cstring>

#include "base/checksum.h"
#include "base/ensure.h"
#include "base/text.h"
#include "engine/group_impl.h"
#include "engine/operation.h"
#include "engine/scrubber.h"
#include "engine/volume_impl.h"
#include "engine/volume_operation.h"

namespace holdfast::engine {

using snapshot::MapEntry;
using snapshot::StoredVolume;

Task<Result<std::uint64_t>> GroupImpl::verify_all() {
  Operation operation(*this);
  std::uint64_t checked = 0;
  for (std::size_t i = 0; i < volumes_.size(); ++i) {
    if (failed_ || stopping_) co_return fail(failed_ ? Errc::io_error : Errc::closed);
    if (volumes_[i]->is_closed()) continue;
    VolumeOperation reading(*volumes_[i]);  // It is not deleted meanwhile.
    auto one = co_await verify_volume(&volumes_[i]->stored());
    if (!one) co_return one;
    checked += *one;
  }
  co_return checked;
}

Task<Result<std::uint64_t>> GroupImpl::verify_volume(StoredVolume* volume) {
  std::uint64_t checked = 0;
  for (std::uint64_t chunk = 0; chunk < volume->chunk_count(); ++chunk) {
    if (failed_ || stopping_) co_return fail(failed_ ? Errc::io_error : Errc::closed);
    if (chunk % snapshot::kLeafChunks == 0) {
      // Others get their turn, also where the map is all holes or all in memory.
      if (chunk / snapshot::kLeafChunks % 64 == 0) co_await Yield{ports_.executor};
      auto leaf = co_await volume->map->load_leaf(chunk / snapshot::kLeafChunks);
      if (!leaf) co_return fail(leaf.error());
      if (!*leaf) {
        chunk += snapshot::kLeafChunks - 1;
        continue;
      }
    }
    auto one = co_await verify_chunk(volume, chunk);
    if (!one) co_return one;
    checked += *one;
  }
  co_return checked;
}

Task<Result<std::uint64_t>> GroupImpl::verify_chunk(StoredVolume* volume, std::uint64_t chunk) {
  constexpr int kTries = 4;
  Buffer bytes = co_await ports_.buffers.acquire(kChunkBytes);
  for (int attempt = 0; attempt < kTries; ++attempt) {
    auto leaf = co_await volume->map->load_leaf(chunk / snapshot::kLeafChunks);
    if (!leaf) co_return fail(leaf.error());
    if (!*leaf) co_return 0;
    MapEntry entry;
    std::memcpy(&entry, (*leaf)->body() + chunk % snapshot::kLeafChunks * sizeof entry, sizeof entry);
    if (entry.location == 0 || entry.valid_mask == 0) co_return 0;
    auto done = co_await ports_.disk.read(entry.location * kChunkBytes, bytes.bytes());
    if (!done) co_return fail(done.error());
    std::uint64_t checked = 0;
    bool good = true;
    for (std::size_t i = 0; i < kChunkBlocks; ++i) {
      if (!(entry.valid_mask >> i & 1)) continue;
      good = good && xxh3(Bytes(bytes.data() + i * kBlockBytes, kBlockBytes)) == entry.checksums[i];
      ++checked;
    }
    if (good) co_return checked;
    co_await applier_.drain(Lsn(commit_lsn_));  // It may have been under a write: look again when that is done.
  }
  count_checksum_error();
  co_return fail(Errc::corrupt, concat("volume ", volume->name(), ": chunk ", chunk, " does not match its checksums"));
}

void GroupImpl::start_scrub() {
  if (running_ && !stopping_) scrubber_->begin();
}

// All that is committed is either pending or in the map, and nothing else is.
Task<Result<Lsn>> GroupImpl::contents_of(VolumeImpl* volume, std::uint64_t leaf, std::span<std::uint64_t> contents) {
  ENSURE(contents.size() == rebuild::kLeafContents);
  auto loaded = co_await volume->stored().map->load_leaf(leaf);
  if (!loaded) co_return fail(loaded.error());
  // Nothing suspends from here on: it is all of one instant.
  for (std::size_t i = 0; i < contents.size(); ++i) {
    const std::uint64_t chunk = leaf * snapshot::kLeafChunks + i / kChunkBlocks;
    const auto block = static_cast<std::uint8_t>(i % kChunkBlocks);
    const PendingChunk* pending = pending_.find(volume->stored(), chunk);
    const auto found = pending ? PendingIndex::look_up(*pending, block) : PendingIndex::Found{};
    const bool zeros = found.zeros || (found.block && found.block->source == BlockSource::zero);
    if (zeros) contents[i] = rebuild::checksum_of_zeros();
    else if (found.block) contents[i] = found.block->checksum;
    else contents[i] = rebuild::content_of(*loaded ? snapshot::entry_of(*loaded, chunk) : MapEntry{}, block);
  }
  co_return Lsn(commit_lsn_);
}

Task<Result<rebuild::Answer>> GroupImpl::answer_contents(VolumeImpl* volume, std::uint64_t leaf, Lsn at_least) {
  if (unfit_ || rebuilding_) co_return fail(Errc::fenced);
  if (leaf >= volume->stored().leaf_count()) co_return fail(Errc::out_of_range);
  rebuild::Answer answer;
  answer.payload = co_await other_copies_memory()->acquire(kBlockBytes);
  std::memset(answer.payload.data(), 0, answer.payload.size());
  auto at = co_await contents_of(volume, leaf, std::span(reinterpret_cast<std::uint64_t*>(answer.payload.data()), rebuild::kLeafContents));
  if (!at) co_return fail(at.error());
  if (*at < at_least) co_return fail(Errc::busy);
  answer.lsn = *at;
  answer.bytes = rebuild::kLeafContents * sizeof(std::uint64_t);
  co_return answer;
}

Task<Result<rebuild::Answer>> GroupImpl::ask_member(NodeId node, rebuild::Question question) {
  auto answer = co_await replica_->ask_node(node, question);
  co_return answer;
}

std::vector<NodeId> GroupImpl::members_in_step() const {
  std::vector<NodeId> nodes;
  for (const Copy& copy : replica_->machine().view().in_sync)
    if (replica_->machine().is_in_step(copy.node)) nodes.push_back(copy.node);
  return nodes;
}

void GroupImpl::distrust(NodeId node) { replica_->distrust(node); }

}  // namespace holdfast::engine
