#include "snapshot/store.h"

#include <algorithm>
#include <cstring>

#include "base/ensure.h"
#include "base/scope.h"
#include "base/text.h"
#include "snapshot/checkpoint.h"

namespace holdfast::snapshot {

Store::Store(Disk& disk, BufferPool& buffers, std::uint64_t cache_bytes)
    : disk_(&disk), buffers_(&buffers), cache_(cache_bytes), space_(disk),
      space_tree_(tree_ports(), 1, TreeKind::space, 0, kSpaceDepth),
      catalogue_(tree_ports(), 2, TreeKind::catalogue, 0, kCatalogueDepth),
      blobs_(tree_ports(), 3, TreeKind::blobs, 0, kBlobsDepth), superblock_turn_(disk.executor(), 1),
      background_(disk.executor()) {}

Store::~Store() = default;

wal::LogCursor Store::log_tail() const {
  return {superblock_.tail_position, superblock_.tail_first_lsn, superblock_.tail_previous_xxh3,
          superblock_.tail_chain_xxh3, superblock_.tail_written_blocks};
}

Task<Result<void>> Store::open(Loss loss) {
  page_buffer_ = co_await buffers_->acquire(kCheckpointBufferBytes);
  superblock_buffer_ = co_await buffers_->acquire(2 * kBlockBytes);
  auto pair = co_await read_superblocks(*disk_, *buffers_);
  if (!pair) co_return fail(pair.error());
  superblock_ = pair->newest;
  lost_superblock_ = pair->lost_copy;
  std::memcpy(store_id_.data(), superblock_.store_id, store_id_.size());
  CO_TRY(consumers_.load(superblock_));
  space_tree_.root = superblock_.space;
  catalogue_.root = superblock_.catalogue;
  blobs_.root = superblock_.blobs;
  const bool known_lost = superblock_.flags & kFlagMapsLost;
  if (known_lost && loss == Loss::refused) co_return fail(Errc::corrupt, "this copy's maps were given up: it is rebuilt from another copy, among others");
  auto space = co_await load_space();
  if (!space && space.error().code != Errc::corrupt) co_return space;
  space_lost_ = !space;
  damage_.taken_as_empty = known_lost;
  auto trees = co_await load_trees(loss);
  co_return trees;
}

Task<Result<void>> Store::establish() {
  // Pages of the space tree that the capacity will need but that do not exist yet.
  space_.plan_pages(space_tree_pages(superblock_.capacity_chunks) - space_pages_loaded_);
  auto established = co_await space_.establish();
  co_return established;
}

// All of the space tree stays in memory: 2 bytes a chunk, 32 MiB a TiB.
Task<Result<void>> Store::load_space() {
  // A file may have grown since the superblock was written; log records may refer to what was added.
  superblock_.capacity_chunks = std::min(std::max(superblock_.capacity_chunks, disk_->size_bytes() / kChunkBytes), kStoreChunksMax);
  std::vector<std::uint16_t> masks(superblock_.capacity_chunks);
  const std::uint64_t leaves = divide_up(superblock_.capacity_chunks, kLeafMasks);
  for (std::uint64_t i = 0; i < leaves; ++i) {
    auto leaf = co_await space_tree_.load_leaf(i);
    if (!leaf) co_return fail(leaf.error());
    if (!*leaf) continue;  // Nothing there was ever used.
    ++(*leaf)->pins;
    ++space_pages_loaded_;
    const std::uint64_t count = std::min<std::uint64_t>(kLeafMasks, superblock_.capacity_chunks - i * kLeafMasks);
    std::memcpy(masks.data() + i * kLeafMasks, (*leaf)->body(), count * 2);
  }
  std::uint64_t pages = leaves;
  for (unsigned level = 1; level <= kSpaceDepth; ++level) {
    pages = divide_up(pages, kFanout);
    for (std::uint64_t i = 0; i < pages; ++i) {
      auto page = co_await space_tree_.load_page(level, i);
      if (!page) co_return fail(page.error());
      if (*page) ++space_pages_loaded_;
    }
  }
  space_.attach(superblock_.capacity_chunks, first_data_chunk(), std::move(masks), superblock_.pages_live);
  co_return Result<void>{};
}

Task<Result<void>> Store::load_catalogue() {
  const std::uint64_t leaves = kVolumesMax / kLeafEntries;
  for (std::uint64_t i = 0; i < leaves; ++i) {
    auto leaf = co_await catalogue_.load_leaf(i);
    if (!leaf) co_return fail(leaf.error());
    if (!*leaf) continue;
    ++(*leaf)->pins;  // Few, and changed by every checkpoint.
    for (std::uint64_t e = 0; e < kLeafEntries; ++e) {
      CatalogueEntry entry;
      std::memcpy(&entry, (*leaf)->body() + e * sizeof entry, sizeof entry);
      if (entry.kind == static_cast<std::uint16_t>(EntryKind::free)) continue;
      if (entry.kind != static_cast<std::uint16_t>(EntryKind::volume) || entry.name[63] != 0)
        co_return fail(Errc::unsupported, concat("catalogue entry ", i * kLeafEntries + e, " is of an unknown kind"));
      adopt(i * kLeafEntries + e, entry);
    }
  }
  for (auto& volume : volumes_) CO_TRY(co_await load_reservations(volume.get()));
  co_return Result<void>{};
}

// 16 bits name a tree in a page's key. One that was used long ago may be used again.
std::uint32_t Store::free_tree_number() {
  const auto used = [&](std::uint32_t number) {
    return std::any_of(volumes_.begin(), volumes_.end(), [&](const auto& v) { return v->map->number() == number; }) ||
           std::any_of(graveyard_.begin(), graveyard_.end(), [&](const auto& map) { return map->number() == number; });
  };
  do {
    next_tree_number_ = next_tree_number_ == kTreeNumberMax ? kFirstMapNumber : next_tree_number_ + 1;
  } while (used(next_tree_number_));
  return next_tree_number_;
}

StoredVolume* Store::adopt(std::uint64_t slot, const CatalogueEntry& entry) {
  auto volume = std::make_unique<StoredVolume>();
  volume->slot = slot;
  volume->entry = entry;
  volume->mapped_chunks = entry.mapped_chunks;
  volume->map = std::make_unique<PageTree>(tree_ports(), free_tree_number(), TreeKind::map, entry.volume_id, entry.map_depth);
  volume->map->root = entry.root;
  volumes_.push_back(std::move(volume));
  return volumes_.back().get();
}

Task<Result<void>> Store::load_reservations(StoredVolume* volume) {
  const std::uint64_t bytes = volume->entry.reservation_bytes;
  if (bytes > kBlobBytesMax) co_return fail(Errc::corrupt, "the length of a volume's reservations is impossible");
  volume->reservations.resize(bytes);
  for (std::size_t i = 0; i < kBlobPages; ++i) {
    auto leaf = co_await blobs_.load_leaf(volume->slot * kBlobPages + i);
    if (!leaf) co_return fail(leaf.error());
    if (!*leaf) continue;
    ++(*leaf)->pins;
    volume->blobs[i] = *leaf;
    const std::uint64_t begin = std::min<std::uint64_t>(bytes, i * kPageBody);
    const std::uint64_t length = std::min<std::uint64_t>(bytes - begin, kPageBody);
    if (length > 0) std::memcpy(volume->reservations.data() + begin, (*leaf)->body(), length);
  }
  co_return Result<void>{};
}

StoredVolume* Store::find(VolumeId id) {
  for (auto& volume : volumes_)
    if (volume->id() == id) return volume.get();
  return nullptr;
}

namespace {
std::uint64_t first_free_slot(const std::vector<std::unique_ptr<StoredVolume>>& volumes) {
  std::uint64_t slot = 0;
  for (bool taken = true; taken;) {
    taken = std::any_of(volumes.begin(), volumes.end(), [&](const auto& v) { return v->slot == slot; });
    if (taken) ++slot;
  }
  return slot;
}
}  // namespace

Task<Result<void>> Store::prepare_volume() {
  const std::uint64_t slot = first_free_slot(volumes_);
  if (slot >= kVolumesMax) co_return fail(Errc::overloaded, concat("a group holds at most ", kVolumesMax, " volumes"));
  const std::uint64_t index = slot / kLeafEntries;
  auto leaf = co_await catalogue_.load_leaf(index);
  if (!leaf) co_return fail(leaf.error());
  if (*leaf) co_return Result<void>{};
  CO_TRY(co_await space_.reserve(0, catalogue_.new_leaf_pages()));
  if (catalogue_.cached_leaf(index)) {  // Somebody else made it meanwhile.
    space_.settle_pages(catalogue_.new_leaf_pages(), 0, 0);
    co_return Result<void>{};
  }
  ++catalogue_.create_leaf(index)->pins;
  co_return Result<void>{};
}

StoredVolume* Store::add_volume(VolumeId id, const VolumeDescription& description, Lsn by) {
  CatalogueEntry entry{};
  entry.volume_id = id.value;
  entry.kind = static_cast<std::uint16_t>(EntryKind::volume);
  entry.map_depth = map_depth_for(divide_up(description.block_count, kChunkBlocks));
  entry.block_count = description.block_count;
  entry.created_lsn = entry.modified_lsn = by.value;
  std::memcpy(entry.uuid, description.uuid, sizeof entry.uuid);
  std::memcpy(entry.name, description.name, sizeof entry.name);
  entry.name[63] = 0;
  StoredVolume* volume = adopt(first_free_slot(volumes_), entry);
  volume->entry_changed = true;
  superblock_.next_volume_id = std::max(superblock_.next_volume_id, id.value + 1);
  return volume;
}

Task<Result<void>> Store::prepare_reservations(StoredVolume* volume) {
  for (std::size_t i = 0; i < kBlobPages; ++i) {
    if (volume->blobs[i]) continue;
    CO_TRY(co_await space_.reserve(0, blobs_.new_leaf_pages()));
    const std::uint64_t index = volume->slot * kBlobPages + i;
    auto leaf = co_await blobs_.load_leaf(index);
    if (!leaf || volume->blobs[i] || *leaf) space_.settle_pages(blobs_.new_leaf_pages(), 0, 0);
    if (!leaf) co_return fail(leaf.error());
    if (volume->blobs[i]) continue;
    volume->blobs[i] = *leaf ? *leaf : blobs_.create_leaf(index);
    ++volume->blobs[i]->pins;
  }
  co_return Result<void>{};
}

void Store::set_reservations(StoredVolume* volume, std::vector<std::byte> state, Lsn by) {
  ENSURE(state.size() <= kBlobBytesMax);
  for (std::size_t i = 0; i < kBlobPages; ++i) {
    ENSURE(volume->blobs[i] != nullptr);
    std::byte* body = blobs_.writable(volume->blobs[i], by);
    const std::size_t begin = std::min(state.size(), i * kPageBody);
    const std::size_t length = std::min(state.size() - begin, kPageBody);
    if (length > 0) std::memcpy(body, state.data() + begin, length);
    std::memset(body + length, 0, kPageBody - length);
  }
  volume->entry.reservation_bytes = state.size();
  volume->entry.modified_lsn = by.value;
  volume->entry_changed = true;
  volume->reservations = std::move(state);
}

void Store::mark_deleting(StoredVolume* volume, Lsn by) {
  volume->entry.flags |= kEntryDeleting;
  volume->entry.modified_lsn = by.value;
  volume->entry_changed = true;
}

void Store::remove_volume(StoredVolume* volume) {
  ENSURE(volume->deleting() && volume->map->root.page == 0);  // Not its count of chunks: a page that was taken as empty kept its own.
  for (Frame*& blob : volume->blobs) {
    if (!blob) continue;
    std::memset(blobs_.writable(blob, Lsn(volume->entry.modified_lsn)), 0, kPageBody);
    --blob->pins;
    blob = nullptr;
  }
  volume->map->forget();
  graveyard_.push_back(std::move(volume->map));
  freed_slots_.push_back(volume->slot);
  std::erase_if(volumes_, [&](const auto& v) { return v.get() == volume; });
}

Task<Result<void>> Store::update_superblock(std::function<void(Superblock&)> change) {
  co_await superblock_turn_.acquire();
  if (failed_) {
    superblock_turn_.release();
    co_return fail(Errc::io_error);
  }
  Superblock next = superblock_;
  change(next);
  consumers_.save(next);
  auto written = co_await write_superblocks(*disk_, superblock_buffer_, &next, lost_superblock_);
  if (written) {
    next.next_volume_id = std::max(next.next_volume_id, superblock_.next_volume_id);
    next.seq_seen = std::max(next.seq_seen, superblock_.seq_seen);
    next.changes_since_lsn = std::max(next.changes_since_lsn, superblock_.changes_since_lsn);
    // What was noted while the copies were being written stays for the next time.
    next.epoch_count = superblock_.epoch_count;
    next.forgotten = superblock_.forgotten;
    std::copy(std::begin(superblock_.epochs), std::end(superblock_.epochs), next.epochs);
    superblock_ = next;
    lost_superblock_.reset();
  }
  superblock_turn_.release();
  co_return written;
}

void Store::note_epoch(Epoch epoch, Lsn first) {
  const std::uint64_t count = superblock_.epoch_count;
  if (count > 0 && superblock_.epochs[count - 1].epoch >= epoch.value) return;  // Replayed.
  wal::EpochHistory noted = history(Lsn(first.value - 1));  // What began there or later was lost with the end of the log.
  noted.note(epoch, first);
  replace_history(noted);
}

wal::EpochHistory Store::history(Lsn applied) const {
  std::vector<wal::EpochBegin> epochs;
  for (const EpochStart& e : std::span(superblock_.epochs).first(superblock_.epoch_count))
    if (e.first_lsn <= applied.value) epochs.push_back({Epoch(e.epoch), Lsn(e.first_lsn)});
  const wal::EpochHistory::Content forgotten{Epoch(superblock_.forgotten.epoch), Lsn(superblock_.forgotten.first_lsn)};
  return wal::EpochHistory(std::move(epochs), forgotten.end <= applied ? forgotten : wal::EpochHistory::Content{});
}

void Store::replace_history(const wal::EpochHistory& history) {
  wal::EpochHistory kept = history;
  kept.keep_newest(kEpochsKept);
  superblock_.epoch_count = 0;
  for (const wal::EpochBegin& e : kept.epochs()) superblock_.epochs[superblock_.epoch_count++] = EpochStart{e.epoch.value, e.first.value};
  superblock_.forgotten = EpochStart{kept.forgotten().epoch.value, kept.forgotten().end.value};
}

Task<Result<void>> Store::checkpoint(CheckpointPoint point) {
  Checkpoint run(*this, point);
  auto done = co_await run.run();
  if (!done) co_return done;
  graveyard_.clear();
  std::vector<std::uint64_t> to_punch;
  space_.release_until(point.applied, to_punch);
  if (!to_punch.empty()) background_.spawn(punch(std::move(to_punch)));
  co_return done;
}

Task<void> Store::punch(std::vector<std::uint64_t> chunks) {
  std::sort(chunks.begin(), chunks.end());
  for (std::size_t i = 0; i < chunks.size();) {
    std::size_t end = i + 1;
    while (end < chunks.size() && chunks[end] == chunks[end - 1] + 1) ++end;
    // A failure costs space, not data: the chunks count as holes either way and are backed again before their next use.
    (void)co_await disk_->punch(chunks[i] * kChunkBytes, (end - i) * kChunkBytes);
    for (; i < end; ++i) space_.punched(chunks[i]);
  }
}

}  // namespace holdfast::snapshot
