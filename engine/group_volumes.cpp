// Creating and deleting volumes.
#include <algorithm>
#include <cstring>

#include "base/checksum.h"
#include "base/ensure.h"
#include "base/log.h"
#include "base/text.h"
#include "engine/group_impl.h"
#include "engine/operation.h"
#include "engine/volume_impl.h"

namespace holdfast::engine {

using snapshot::MapEntry;
using snapshot::StoredVolume;
using wal::RecordKind;

namespace {

Result<void> check_volume_input(const std::string& name, BlockCount size) {
  if (name.empty() || name.size() > snapshot::kNameBytesMax)
    return fail(Errc::invalid_argument, concat("name: must have 1 to ", snapshot::kNameBytesMax, " characters"));
  if (size.value == 0 || size.value % kChunkBlocks != 0)
    return fail(Errc::invalid_argument, "size: must be a multiple of 64 KiB and more than zero");
  if (size.value > (std::uint64_t{1} << 50) / kBlockBytes)
    return fail(Errc::invalid_argument, "size: at most 1 PiB");
  return {};
}

}  // namespace

Task<Result<Volume*>> GroupImpl::create_volume(std::string name, Uuid uuid, BlockCount size) {
  if (auto ok = check_volume_input(name, size); !ok) co_return fail(ok.error());
  Operation operation(*this);
  co_await catalogue_turn_.acquire();
  Turn turn(catalogue_turn_);
  const std::uint64_t reign = reign_;
  CO_TRY(co_await await_admission(reign, 0));
  if (find(name)) co_return fail(Errc::exists, concat("name: there is a volume ", name, " already"));
  auto prepared = co_await store_.prepare_volume();
  if (!prepared) co_return fail(prepared.error());
  snapshot::VolumeDescription description{};
  description.block_count = size.value;
  std::memcpy(description.uuid, uuid.data(), uuid.size());
  std::memcpy(description.name, name.data(), name.size());
  Tail::Handle record = tail_.make();
  record->kind = RecordKind::volume_create;
  record->volume = VolumeId(store_.superblock().next_volume_id);
  record->count = sizeof description;
  record->head_blocks = 1;
  record->payload = co_await ports_.buffers.acquire(kBlockBytes);
  std::memset(record->payload.data(), 0, kBlockBytes);
  std::memcpy(record->payload.data(), &description, sizeof description);
  record->checksums[0] = xxh3(record->payload.bytes());
  CO_TRY(co_await log_and_commit(std::move(record), reign));
  co_return find(name);
}

Task<Result<void>> GroupImpl::delete_volume(std::string name) {
  Operation operation(*this);
  co_await catalogue_turn_.acquire();
  Turn turn(catalogue_turn_);
  const std::uint64_t reign = reign_;
  CO_TRY(co_await await_admission(reign, 0));
  const auto found = std::find_if(volumes_.begin(), volumes_.end(), [&](const auto& v) { return v->identity().name == name; });
  if (found == volumes_.end()) co_return fail(Errc::not_found, concat("name: there is no volume ", name));
  VolumeImpl* volume = found->get();
  co_await volume->close();  // Nothing of it is in flight from here on.
  Tail::Handle record = tail_.make();
  record->kind = RecordKind::volume_delete;
  record->volume = volume->stored().id();
  record->target = &volume->stored();
  const VolumeId id = volume->stored().id();
  const std::uint64_t deletions = logged_deletions_;
  auto committed = co_await log_and_commit(std::move(record), reign);
  // Not even logged, perhaps because the reign was over by then: it goes on. What was logged is the next primary's to say.
  VolumeImpl* still = volume_of(id);
  if (!committed && deletions == logged_deletions_ && committed.error().code != Errc::io_error && still) still->reopen();
  co_return committed;
}

// Gives a deleted volume's space back, leaf by leaf. Restarts where it was after a crash: what is gone is a hole.
void GroupImpl::start_purge(VolumeId id) {
  if (purging_.insert(id.value).second) scope_.spawn(purge(id));
}

Task<void> GroupImpl::purge(VolumeId id) {
  co_await purge_alone(id);
  purging_.erase(id.value);
}

Task<void> GroupImpl::purge_alone(VolumeId id) {
  constexpr int kMorePurgesMax = 3;
  StoredVolume* volume = store_.find(id);
  if (!volume) co_return;
  const Lsn deleted(volume->entry.modified_lsn);
  // Where it was not served the log deletes it, and somebody may be reading it: a scrub, another copy's mender, a host's command of
  // an earlier reign. The newest one: an older volume may have lain in the same place.
  const auto gone = std::find_if(deleted_.rbegin(), deleted_.rend(), [&](const auto& v) { return &v->stored() == volume; });
  if (gone != deleted_.rend()) co_await (*gone)->close();
  if (failed_ || stopping_) co_return;
  // A checkpoint waits for what is pending, but in a full file system not for all of it: the turn is not held meanwhile.
  (void)co_await checkpoint();
  co_await applier_.wait_until_applied(deleted);
  co_await checkpoint_turn_.acquire();
  Turn turn(checkpoint_turn_);
  if (failed_ || stopping_) co_return;
  auto done = co_await checkpoint_locked(false);  // All leaves are on disk now, and nothing of it is pending.
  if (!done || failed_ || stopping_) co_return;
  ENSURE(checkpoint_lsn_ >= deleted.value);
  auto unreadable = co_await purge_leaves(volume);
  if (!unreadable && !failed_) store_failed(unreadable.error());
  if (!unreadable || stopping_ || failed_) co_return;
  auto last = co_await checkpoint_locked(false);
  if (!last || stopping_) co_return;
  // Leaves of pages that were taken as empty meanwhile came after those that were emptied here.
  for (int more = 0; more < kMorePurgesMax && *unreadable == 0 && volume->map->root.page != 0; ++more) {
    unreadable = co_await purge_leaves(volume);
    if (!unreadable && !failed_) store_failed(unreadable.error());
    if (!unreadable || stopping_ || failed_) co_return;
    last = co_await checkpoint_locked(false);
    if (!last || stopping_) co_return;
  }
  if (*unreadable == 0 && volume->map->root.page == 0) co_return store_.remove_volume(volume);
  log_warning(concat("volume ", volume->name(), " is deleted, but ", *unreadable,
                     " pages of its map cannot be read: the space they name stays taken until the store is rebuilt"));
}

// Returns how many pages cannot be read. Nobody needs what they say, so they must not end the service; the volume stays in
// the catalogue, as deleted, and each start tries again.
Task<Result<std::uint64_t>> GroupImpl::purge_leaves(StoredVolume* volume) {
  constexpr std::uint64_t kLeavesPerCheckpoint = 1024;
  const std::uint64_t end = volume->leaf_count();
  std::uint64_t done = 0, unreadable = 0;
  for (std::uint64_t index = 0; !stopping_ && !failed_;) {
    auto next = co_await volume->map->next_leaf(index, end, &index);
    Result<void> emptied;
    if (!next) {
      emptied = fail(next.error());
    } else if (*next < end) {
      index = *next + 1;
      emptied = co_await empty_leaf(volume, *next);
    } else {
      break;
    }
    if (!emptied) {
      ++unreadable;
      if (emptied.error().code == Errc::corrupt) count_checksum_error();
    } else if (++done % kLeavesPerCheckpoint == 0) {
      CO_TRY(co_await checkpoint_locked(false));
    }
  }
  co_return unreadable;
}

Task<Result<void>> GroupImpl::empty_leaf(StoredVolume* volume, std::uint64_t index) {
  auto leaf = co_await volume->map->load_leaf(index);
  if (!leaf) co_return fail(leaf.error());
  if (!*leaf) co_return Result<void>{};
  const Lsn by(commit_lsn_);
  std::byte* body = volume->map->writable(*leaf, by);
  for (std::size_t i = 0; i < snapshot::kLeafChunks; ++i) {
    MapEntry entry;
    std::memcpy(&entry, body + i * sizeof entry, sizeof entry);
    if (entry.location == 0) continue;
    store_.space().note(entry.location, false);
    store_.space().give_chunk(entry.location, by, snapshot::Given::discarded);
    --volume->mapped_chunks;
    MapEntry hole{};
    hole.modified_lsn = by.value;
    std::memcpy(body + i * sizeof hole, &hole, sizeof hole);
  }
  co_return Result<void>{};
}

}  // namespace holdfast::engine
