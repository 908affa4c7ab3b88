#include "rebuild/target.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/checksum.h"
#include "base/ensure.h"
#include "base/marks.h"
#include "base/scope.h"
#include "base/text.h"

namespace holdfast::rebuild {

using snapshot::Frame;
using snapshot::Given;
using snapshot::MapEntry;
using snapshot::StoredVolume;

namespace {

bool same_content(const MapEntry& a, const MapEntry& b) {
  for (std::size_t i = 0; i < kChunkBlocks; ++i)
    if (content_of(a, i) != content_of(b, i)) return false;
  return true;
}

}  // namespace

Task<Result<Answer>> Target::ask(Question question) {
  Timer pause(*clock_);
  for (;;) {
    if (owner_->gives_up()) co_return fail(Errc::cancelled);
    auto answer = co_await peer_->ask(question);
    if (answer && answer->code == Errc{}) co_return answer;
    if (!answer) co_return fail(answer.error());
    if (answer->code == Errc::busy) mark(Mark::rebuild_busy);
    if (answer->code != Errc::busy) co_return fail(answer->code, "the other copy cannot answer");
    co_await pause.after(milliseconds(kBusyPauseMs));
  }
}

Task<Result<Target::Done>> Target::run(Lsn base) {
  base_ = base;
  delta_ = base != Lsn();
  CO_TRY(co_await owner_->keep());
  auto answer = co_await ask(Question{0, QuestionKind::image, {}, 0, 0});
  if (!answer) co_return fail(answer.error());
  auto image = decode_image(answer->payload.bytes().first(answer->bytes), answer->lsn);
  if (!image) co_return fail(image.error());
  if (answer->lsn < base) co_return fail(Errc::protocol, "the other copy's image is older than what this copy has");
  image_ = std::move(*image);
  if (base_ != Lsn() && base_ < image_.changes_since) {
    mark(Mark::rebuild_base_too_old);
    base_ = Lsn();  // What was emptied before is not told there: all is compared.
  }
  reach_ = std::max(answer->lsn, answer->reach);
  CO_TRY(co_await match_catalogue());
  progress_->bytes_done = progress_->bytes_total = 0;
  for (const snapshot::CatalogueEntry& theirs : image_.volumes) progress_->bytes_total += theirs.block_count * kBlockBytes;
  std::uint64_t before = 0;
  for (const snapshot::CatalogueEntry& theirs : image_.volumes) {
    progress_->bytes_done = before;
    before += theirs.block_count * kBlockBytes;
    StoredVolume* volume = theirs.flags & snapshot::kEntryDeleting ? nullptr : store_->find(VolumeId(theirs.volume_id));
    if (!volume) continue;  // It is on its way out there, or here by now.
    auto matched = co_await match_volume(volume, theirs);
    // Deleted meanwhile: the log that follows says so, too.
    if (!matched && matched.error().code != Errc::not_found) co_return fail(matched.error());
  }
  progress_->bytes_done = progress_->bytes_total;
  co_return Done{image_, reach_};
}

Task<Result<void>> Target::match_catalogue() {
  std::vector<StoredVolume*> gone;
  for (auto& mine : store_->volumes()) {
    const auto found = std::find_if(image_.volumes.begin(), image_.volumes.end(), [&](const auto& theirs) {
      return theirs.volume_id == mine->entry.volume_id && std::equal(std::begin(theirs.uuid), std::end(theirs.uuid), mine->entry.uuid);
    });
    // Who is on the way out there is not made here, and goes at once if it is here.
    const bool there = found != image_.volumes.end() && !(found->flags & snapshot::kEntryDeleting);
    if (!there && mine->deleting()) continue;  // Its purge goes on by itself.
    if (!there || mine->deleting() || mine->entry.block_count > found->block_count) gone.push_back(mine.get());
  }
  for (StoredVolume* volume : gone) {
    // Of one history a number names one volume. Should this be interrupted, records of it would be taken for those of a deleted one.
    const bool another = std::any_of(image_.volumes.begin(), image_.volumes.end(), [&](const auto& theirs) {
      return theirs.volume_id == volume->entry.volume_id && !(theirs.flags & snapshot::kEntryDeleting) && !volume->deleting();
    });
    if (another && delta_) co_return fail(Errc::protocol, "a volume is another one there, though the logs agree");
    mark(Mark::rebuild_volume_dropped);
    CO_TRY(co_await owner_->drop_volume(volume));
  }
  for (const snapshot::CatalogueEntry& theirs : image_.volumes) {
    if (theirs.flags & snapshot::kEntryDeleting) continue;
    StoredVolume* mine = store_->find(VolumeId(theirs.volume_id));
    if (!mine) {
      mark(Mark::rebuild_volume_made);
      CO_TRY(co_await store_->prepare_volume());
      snapshot::VolumeDescription description{};
      description.block_count = theirs.block_count;
      std::memcpy(description.uuid, theirs.uuid, sizeof description.uuid);
      std::memcpy(description.name, theirs.name, sizeof description.name);
      mine = store_->add_volume(VolumeId(theirs.volume_id), description, Lsn(theirs.created_lsn));
      owner_->volume_added(mine);
    }
  }
  store_->note_next_volume(VolumeId(image_.next_volume_id));
  co_return Result<void>{};
}

Task<Result<void>> Target::match_volume(StoredVolume* volume, const snapshot::CatalogueEntry& theirs) {
  if (volume->deleting()) co_return Result<void>{};  // Its purge goes on here by itself.
  // With what it stands for and not before: should this be interrupted, the records up to there may still come by the log.
  if (theirs.reservation_bytes != 0 || !volume->reservations.empty()) {
    CO_TRY(co_await match_reservations(volume, Lsn(theirs.modified_lsn)));
  } else {
    volume->entry.modified_lsn = theirs.modified_lsn;
    volume->entry_changed = true;
  }
  const std::uint64_t end = volume->leaf_count(), before = progress_->bytes_done, size = volume->entry.block_count * kBlockBytes;
  for (std::uint64_t index = 0; index < end;) {
    progress_->bytes_done = before + std::min(size, index * snapshot::kLeafChunks * kChunkBytes);
    auto leaf = co_await ask(Question{0, QuestionKind::leaf, volume->id(), index, base_.value});
    if (!leaf) co_return fail(leaf.error());
    reach_ = std::max(reach_, leaf->reach);
    if (leaf->index < index || leaf->index > end || leaf->count > end - leaf->index) co_return fail(Errc::protocol, "a map page makes no sense");
    // Without a base, what is not mentioned is not there.
    if (base_ == Lsn()) CO_TRY(co_await empty_leaves(volume, index, leaf->index));
    index = leaf->index;
    if (leaf->count > 0) {
      CO_TRY(co_await empty_leaves(volume, index, index + leaf->count));
      index += leaf->count;
    } else if (index < end) {
      if (leaf->payload.size() != snapshot::kPageBytes) co_return fail(Errc::protocol, "a map page has another length");
      CO_TRY(co_await match_leaf(volume, index, leaf->payload));
      ++index;
    }
  }
  co_return Result<void>{};
}

// The payload is the page's body, padded.
Task<Result<void>> Target::match_leaf(StoredVolume* volume, std::uint64_t index, Buffer theirs) {
  auto leaf = co_await volume->map->load_leaf(index);
  if (!leaf) co_return fail(leaf.error());
  Frame* frame = *leaf;
  if (frame) ++frame->pins;
  Scope fetches(clock_->executor());
  for (std::uint64_t i = 0; i < snapshot::kLeafChunks; ++i) {
    const std::uint64_t chunk = index * snapshot::kLeafChunks + i;
    MapEntry their{}, mine{};
    std::memcpy(&their, theirs.data() + i * sizeof their, sizeof their);
    if (frame) mine = snapshot::entry_of(frame, chunk);
    ++progress_->chunks_compared;
    const bool there = chunk < volume->chunk_count(), same = same_content(their, mine), changed = mine.modified_lsn != their.modified_lsn;
    const bool doubted = there && same && mine.valid_mask != 0 && (changed || !delta_);
    if (there && (!same || doubted)) {
      const bool has_turn = co_await take_turn();
      if (!has_turn) break;
      fetches.spawn(same ? confirm(volume, frame, chunk, their.modified_lsn) : fetch(volume, chunk));
    } else if (frame && changed) {
      note_same(volume, frame, chunk, their.modified_lsn);
    }
  }
  co_await fetches.join();
  if (frame) --frame->pins;
  if (error_) co_return fail(*std::exchange(error_, std::nullopt));  // Of this volume: perhaps it was deleted.
  if (fetched_since_kept_ >= keep_chunks_) {
    fetched_since_kept_ = 0;
    CO_TRY(co_await owner_->keep());
  }
  co_return Result<void>{};
}

// False: a fetch failed.
Task<bool> Target::take_turn() {
  co_await window_.acquire();
  if (!error_) co_return true;
  window_.release();
  co_return false;
}

// The same content by another way: records that follow are held against their LSN, not this copy's.
void Target::note_same(StoredVolume* volume, Frame* leaf, std::uint64_t chunk, std::uint64_t modified_lsn) {
  MapEntry entry = snapshot::entry_of(leaf, chunk);
  if (entry.modified_lsn == modified_lsn) return;
  mark(Mark::rebuild_same_content);
  entry.modified_lsn = modified_lsn;
  set_entry(volume, leaf, chunk, entry);
}

// The maps agree. What was applied in place shortly before a crash is not in this one: when the log that told of it is gone, the disk has
// that, and the other copy may have again what the map says.
Task<void> Target::confirm(StoredVolume* volume, Frame* leaf, std::uint64_t chunk, std::uint64_t modified_lsn) {
  const MapEntry entry = snapshot::entry_of(leaf, chunk);
  const bool found = co_await is_on_disk(entry);
  if (found && snapshot::entry_of(leaf, chunk).location == entry.location) {
    note_same(volume, leaf, chunk, modified_lsn);
    window_.release();
    co_return;
  }
  mark(Mark::rebuild_disk_differs);
  co_await fetch(volume, chunk);
}

Task<bool> Target::is_on_disk(MapEntry entry) {
  Buffer content = co_await store_->buffers().acquire(kChunkBytes);
  auto read = co_await store_->disk().read(entry.location * kChunkBytes, content.bytes());
  if (!read) co_return false;
  for (std::size_t i = 0; i < kChunkBlocks; ++i)
    if ((entry.valid_mask >> i & 1) && xxh3(content.bytes().subspan(i * kBlockBytes, kBlockBytes)) != entry.checksums[i]) co_return false;
  co_return true;
}

Task<Result<void>> Target::empty_leaves(StoredVolume* volume, std::uint64_t from, std::uint64_t end) {
  for (std::uint64_t behind = 0; from < end;) {
    auto next = co_await volume->map->next_leaf(from, end, &behind);
    if (!next) co_return fail(next.error());
    if (*next >= end) break;
    auto leaf = co_await volume->map->load_leaf(*next);
    if (!leaf) co_return fail(leaf.error());
    for (std::uint64_t i = 0; *leaf && i < snapshot::kLeafChunks; ++i) {
      const std::uint64_t chunk = *next * snapshot::kLeafChunks + i;
      if (snapshot::entry_of(*leaf, chunk).location == 0) continue;
      mark(Mark::rebuild_hole);
      set_entry(volume, *leaf, chunk, MapEntry{});
    }
    from = *next + 1;
  }
  co_return Result<void>{};
}

Task<void> Target::fetch(StoredVolume* volume, std::uint64_t chunk) {
  auto fetched = co_await fetch_chunk(volume, chunk);
  if (!fetched && !error_) error_ = fetched.error();
  window_.release();
}

Task<Result<void>> Target::fetch_chunk(StoredVolume* volume, std::uint64_t chunk) {
  auto content = co_await ask(Question{0, QuestionKind::chunk, volume->id(), chunk, 0});
  if (!content) co_return fail(content.error());
  if (content->payload.size() != (content->mask != 0 ? kChunkBytes : 0)) co_return fail(Errc::protocol, "a chunk has another length");
  reach_ = std::max(reach_, content->reach);
  ++progress_->chunks_fetched;
  ++fetched_since_kept_;
  progress_->bytes_fetched += content->payload.size();
  auto installed = co_await install(volume, chunk, &*content);
  co_return installed;
}

Task<Result<void>> Target::install(StoredVolume* volume, std::uint64_t chunk, Answer* content) {
  MapEntry entry{};
  entry.modified_lsn = content->lsn.value;
  if (content->mask != 0) {
    CO_TRY(co_await store_->space().reserve(1, 0));
    entry.location = store_->space().take_chunk();
    entry.birth_lsn = content->lsn.value;
    entry.valid_mask = content->mask;
    for (std::size_t i = 0; i < kChunkBlocks; ++i) {
      if (!(content->mask >> i & 1)) continue;
      const Bytes block = content->payload.bytes().subspan(i * kBlockBytes, kBlockBytes);
      // Of a lost block the entry has what it should hold, and the disk what does not match that: as if it had rotted here.
      if (content->lost >> i & 1) std::memcpy(&entry.checksums[i], block.data(), sizeof entry.checksums[i]);
      else entry.checksums[i] = xxh3(block);
    }
    auto written = co_await store_->disk().write(entry.location * kChunkBytes, content->payload.bytes(), Durability::cached);
    if (!written) {
      store_->space().untake_chunk(entry.location);
      co_return written;
    }
  }
  auto leaf = co_await leaf_to_change(volume, chunk / snapshot::kLeafChunks);
  if (!leaf) {
    if (entry.location != 0) store_->space().untake_chunk(entry.location);
    co_return fail(leaf.error());
  }
  set_entry(volume, *leaf, chunk, entry);
  for (std::size_t i = 0; i < kChunkBlocks; ++i)
    if (content->lost >> i & 1) owner_->block_lost(volume, chunk * kChunkBlocks + i);
  co_return Result<void>{};
}

Task<Result<Frame*>> Target::leaf_to_change(StoredVolume* volume, std::uint64_t index) {
  snapshot::PageTree* map = volume->map.get();
  for (bool reserved = false;;) {
    auto leaf = co_await map->load_leaf(index);
    if (!leaf || *leaf) {
      if (reserved) store_->space().settle_pages(map->new_leaf_pages(), 0, 0);
      co_return leaf;
    }
    if (reserved) co_return map->create_leaf(index);
    CO_TRY(co_await store_->space().reserve(0, map->new_leaf_pages()));
    reserved = true;
  }
}

// Never suspends.
void Target::set_entry(StoredVolume* volume, Frame* leaf, std::uint64_t chunk, const MapEntry& entry) {
  const MapEntry old = snapshot::entry_of(leaf, chunk);
  std::byte* body = volume->map->writable(leaf, std::max(image_.lsn, Lsn(entry.modified_lsn)));
  if (old.location != entry.location) {
    if (entry.location != 0) store_->space().note(entry.location, true);
    if (old.location != 0) {
      store_->space().note(old.location, false);
      store_->space().give_chunk(old.location, owner_->applied(), entry.location == 0 ? Given::discarded : Given::replaced);
    }
    volume->mapped_chunks = volume->mapped_chunks + (entry.location != 0) - (old.location != 0);
  }
  std::memcpy(body + chunk % snapshot::kLeafChunks * sizeof entry, &entry, sizeof entry);
}

Task<Result<void>> Target::match_reservations(StoredVolume* volume, Lsn image_modified) {
  auto theirs = co_await ask(Question{0, QuestionKind::reservations, volume->id(), 0, 0});
  if (!theirs) co_return fail(theirs.error());
  const Bytes state = theirs->payload.bytes().first(theirs->bytes);
  if (state.size() > snapshot::kBlobBytesMax) co_return fail(Errc::protocol, "the reservations are too long");
  CO_TRY(co_await store_->prepare_reservations(volume));
  // By the image's catalogue, or by what was read later: the newer one. Records up to it are not done again.
  const Lsn by = std::max(image_modified, theirs->lsn);
  store_->set_reservations(volume, std::vector<std::byte>(state.begin(), state.end()), by);
  reach_ = std::max(reach_, theirs->reach);
  co_return Result<void>{};
}

}  // namespace holdfast::rebuild
