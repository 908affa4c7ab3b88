// Reads everything back and holds it against its checksums.
#include <cstring>

#include "base/checksum.h"
#include "base/text.h"
#include "engine/group_impl.h"
#include "engine/operation.h"
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

}  // namespace holdfast::engine
