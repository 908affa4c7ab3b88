#include "snapshot/checkpoint.h"

#include <algorithm>
#include <cstring>

#include "base/checksum.h"
#include "base/ensure.h"
#include "base/marks.h"
#include "base/planted.h"

namespace holdfast::snapshot {
namespace {

bool map_leaf_is_empty(const std::byte* body) {
  for (std::size_t i = 0; i < kLeafChunks; ++i) {
    MapEntry entry;
    std::memcpy(&entry, body + i * sizeof entry, sizeof entry);
    if (entry.location != 0) return false;
  }
  return true;
}

bool interior_is_empty(Frame* page) {
  const PageRef* refs = refs_of(page);
  return std::all_of(refs, refs + kFanout, [](const PageRef& ref) { return ref.page == 0; });
}

std::uint64_t newest_below(Frame* page) {
  std::uint64_t newest = 0;
  for (std::size_t i = 0; i < kFanout; ++i) newest = std::max(newest, refs_of(page)[i].modified_lsn);
  return newest;
}

}  // namespace

Checkpoint::Checkpoint(Store& store, CheckpointPoint point)
    : store_(store), point_(point), generation_(store.superblock_.generation + 1) {}

// Runs before the first suspension: everything it takes belongs to one instant.
void Checkpoint::freeze() {
  std::vector<Frame*> frozen;
  update_catalogue();
  while (!store_.cache_.dirty().empty()) {
    Frame& frame = store_.cache_.dirty().pop_front();
    frame.dirty = false;
    frame.flushing = true;
    frame.frozen_lsn = std::exchange(frame.modified_lsn, 0);
    pin(&frame);
    frozen.push_back(&frame);
  }
  std::sort(frozen.begin(), frozen.end(), [](Frame* a, Frame* b) { return a->index_key < b->index_key; });
  for (auto& volume : store_.volumes_) collect(*volume->map, volume.get(), frozen);
  collect(store_.blobs_, nullptr, frozen);
  collect(store_.catalogue_, nullptr, frozen);
  // What prepare_checkpoint() holds is held by this checkpoint from now on.
  for (Frame* frame : store_.held_) pin(frame);
  store_.let_go_of_paths();
  ops_ = store_.space_.take_ops();
}

void Checkpoint::collect(PageTree& tree, StoredVolume* volume, std::vector<Frame*>& frozen) {
  TreeWork work{&tree, volume, {}};
  for (Frame* frame : frozen)
    if (frame->index_key >> 48 == tree.number()) work.leaves.push_back(frame);
  if (!work.leaves.empty()) work_.push_back(std::move(work));
}

// Entries that records or checkpoints change; roots follow when the maps are written.
void Checkpoint::update_catalogue() {
  const auto write_entry = [&](std::uint64_t slot, const CatalogueEntry& entry) {
    Frame* leaf = store_.catalogue_.cached_leaf(slot / kLeafEntries);
    ENSURE(leaf != nullptr);  // Pinned since prepare_volume() or open().
    std::byte* body = store_.catalogue_.writable(leaf, Lsn(entry.modified_lsn));
    std::memcpy(body + slot % kLeafEntries * sizeof entry, &entry, sizeof entry);
  };
  for (const std::uint64_t slot : std::exchange(store_.freed_slots_, {})) write_entry(slot, CatalogueEntry{});
  for (auto& volume : store_.volumes_) {
    volume->entry.mapped_chunks = volume->mapped_chunks;
    volume->entry_changed = false;
    write_entry(volume->slot, volume->entry);
  }
}

Task<Result<void>> Checkpoint::run() {
  freeze();
  for (TreeWork& work : work_) {
    if (work.tree == &store_.catalogue_) {
      // The frozen copies get the roots that were just written.
      for (auto& volume : store_.volumes_) {
        Frame* leaf = store_.catalogue_.cached_leaf(volume->slot / kLeafEntries);
        std::byte* page = leaf->frozen ? leaf->frozen->bytes : leaf->page.bytes;
        std::byte* place = page + sizeof(PageHeader) + volume->slot % kLeafEntries * sizeof(CatalogueEntry);
        CatalogueEntry entry;
        std::memcpy(&entry, place, sizeof entry);
        if (entry.volume_id != volume->entry.volume_id) continue;  // Created after the freeze.
        volume->entry.root = entry.root = volume->map->root;
        std::memcpy(place, &entry, sizeof entry);
      }
    }
    CO_TRY(co_await flush_tree(&work));
  }
  if (!work_.empty() || !ops_.empty()) CO_TRY(co_await flush_space());
  CO_TRY(co_await write_out());
  if (!planted(Bug::checkpoint_superblock_before_pages)) CO_TRY(co_await store_.disk_->sync());
  // The file's growth syncs, too, and the system tells of lost data once: that it did not tell this checkpoint proves nothing.
  if (store_.space_.lost_sync()) co_return fail(Errc::sync_failed, "a sync failed while the file was being extended");
  store_.space_.settle_pages(pages_reserved_, pages_created_, pages_dropped_);
  CO_TRY(co_await store_.update_superblock([this](Superblock& next) { describe(next); }));
  for (const std::uint64_t page : old_pages_) store_.space_.free_page(page);
  unpin_all();
  co_return Result<void>{};
}

void Checkpoint::describe(Superblock& next) const {
  next.flags = point_.clean ? next.flags | kFlagClean : next.flags & ~kFlagClean;
  next.capacity_chunks = store_.space_.capacity_chunks();
  next.applied_lsn = point_.applied.value;
  next.durable_lsn = point_.rewind ? point_.durable.value : std::max(point_.durable.value, next.durable_lsn);
  next.commit_lsn = point_.rewind ? point_.applied.value : std::max(point_.committed.value, next.commit_lsn);
  next.durable_position = std::max(point_.durable_position, next.durable_position);
  next.tail_position = point_.tail.position;
  next.tail_first_lsn = point_.tail.first_lsn;
  next.tail_previous_xxh3 = point_.tail.previous_xxh3;
  next.tail_chain_xxh3 = point_.tail.chain_xxh3;
  next.tail_written_blocks = point_.tail.written_blocks;
  next.retained_position = point_.retained_position;
  next.space = store_.space_tree_.root;
  next.catalogue = store_.catalogue_.root;
  next.blobs = store_.blobs_.root;
  next.pages_live = store_.space_.pages_live();
}

void Checkpoint::pin(Frame* frame) {
  if (frame->checkpoint_slot < pinned_.size() && pinned_[frame->checkpoint_slot] == frame) return;
  ++frame->pins;
  frame->checkpoint_slot = static_cast<std::uint32_t>(pinned_.size());
  pinned_.push_back(frame);
}

void Checkpoint::forget(Frame* frame) {
  ENSURE(frame->pins == 1 && pinned_[frame->checkpoint_slot] == frame);
  pinned_[frame->checkpoint_slot] = nullptr;
  frame->pins = 0;
  store_.cache_.remove(frame);
}

void Checkpoint::unpin_all() {
  for (Frame* frame : pinned_) {
    if (!frame) continue;
    ENSURE(frame->pins > 0);
    --frame->pins;
  }
  pinned_.clear();
}

Task<Result<void>> Checkpoint::flush_tree(TreeWork* work) {
  PageTree* tree = work->tree;
  Level below, above;
  for (Frame* leaf : work->leaves) CO_TRY(co_await flush_leaf(tree, leaf, &below));
  for (unsigned level = 1; level <= tree->depth(); ++level) {
    CO_TRY(co_await flush_interior(tree, level, &below, &above));
    below = std::exchange(above, {});
  }
  co_return Result<void>{};
}

// The interior page that the checkpoint will rewrite: loaded or new, pinned until the end.
Task<Result<Frame*>> Checkpoint::pinned_page(PageTree* tree, unsigned level, std::uint64_t index, Level* pages) {
  const auto known = pages->find(index);
  if (known != pages->end()) co_return known->second;
  auto page = co_await tree->load_page(level, index);
  if (!page) co_return page;
  if (*page) {
    pin(*page);
    pages->emplace(index, *page);
    co_return *page;
  }
  // What was emptied with the page that was here stays known as such: a member may still have it.
  auto emptied = co_await tree->hole_lsn(level, index);
  if (!emptied) co_return fail(emptied.error());
  if (*emptied != 0) mark(Mark::page_interior_anew);
  Frame* made = tree->create_page(level, index);
  for (std::size_t i = 0; i < kFanout && !planted(Bug::delta_without_holes); ++i) refs_of(made)[i].modified_lsn = *emptied;
  pin(made);
  pages->emplace(index, made);
  co_return made;
}

Task<Result<void>> Checkpoint::flush_leaf(PageTree* tree, Frame* leaf, Level* parents) {
  const std::uint64_t index = leaf->index();
  tree->moved();
  auto parent = co_await pinned_page(tree, 1, index / kFanout, parents);
  if (!parent) co_return fail(parent.error());
  PageRef* ref = &refs_of(*parent)[index % kFanout];
  const std::uint64_t old_page = ref->page;
  const std::uint64_t modified = std::max(ref->modified_lsn, leaf->frozen_lsn);
  pages_reserved_ += std::exchange(leaf->new_pages, 0);
  const bool unused = leaf->pins == 1 && !leaf->dirty && !leaf->frozen;
  if (tree->kind() == TreeKind::map && unused && map_leaf_is_empty(leaf->body())) {
    tree->moved();
    mark(Mark::page_dropped);
    *ref = PageRef{0, 0, modified, 0};
    replace_page(old_page);
    if (old_page) ++pages_dropped_;
    leaf->flushing = false;
    forget(leaf);
    co_return Result<void>{};
  }
  auto page = store_.space_.take_page();
  if (!page) co_return fail(page.error());
  CO_TRY(co_await make_room(*page));
  std::byte* content = leaf->frozen ? leaf->frozen->bytes : leaf->page.bytes;
  tree->fill_header(content, 0, index, generation_);
  tree->moved();
  *ref = put_page(*page, content, modified);
  leaf->flushing = false;
  leaf->frozen.reset();
  if (old_page) replace_page(old_page);
  else ++pages_created_;
  co_return Result<void>{};
}

Task<Result<void>> Checkpoint::flush_interior(PageTree* tree, unsigned level, Level* pages, Level* parents) {
  for (auto [index, frame] : *pages) {
    PageRef* ref = &tree->root;
    if (level < tree->depth()) {
      auto parent = co_await pinned_page(tree, level + 1, index / kFanout, parents);
      if (!parent) co_return fail(parent.error());
      ref = &refs_of(*parent)[index % kFanout];
    }
    const std::uint64_t old_page = ref->page;
    tree->moved();
    if (interior_is_empty(frame)) {
      *ref = PageRef{0, 0, std::max(ref->modified_lsn, newest_below(frame)), 0};
      replace_page(old_page);
      if (old_page) ++pages_dropped_;
      forget(frame);
      continue;
    }
    auto page = store_.space_.take_page();
    if (!page) co_return fail(page.error());
    CO_TRY(co_await make_room(*page));
    tree->fill_header(frame->page.bytes, level, index, generation_);
    tree->moved();
    *ref = put_page(*page, frame->page.bytes, std::max(ref->modified_lsn, newest_below(frame)));
    if (old_page) replace_page(old_page);
    else ++pages_created_;
  }
  co_return Result<void>{};
}

Task<Result<void>> Checkpoint::make_room(std::uint64_t page) {
  const bool contiguous = run_pages_ > 0 && page == run_first_ + run_pages_;
  if (run_pages_ > 0 && (!contiguous || (run_pages_ + 1) * kPageBytes > kCheckpointBufferBytes)) CO_TRY(co_await write_out());
  if (run_pages_ == 0) run_first_ = page;
  co_return Result<void>{};
}

// Never suspends: the content is copied as it is now. make_room(page) came just before.
PageRef Checkpoint::put_page(std::uint64_t page, std::byte* content, std::uint64_t modified_lsn) {
  ENSURE(page == run_first_ + run_pages_);
  std::memcpy(store_.page_buffer_.data() + run_pages_ * kPageBytes, content, kPageBytes);
  ++run_pages_;
  new_pages_.push_back(page);
  return PageRef{page, xxh3(Bytes(content, kPageBytes)), modified_lsn, 0};
}

Task<Result<void>> Checkpoint::write_out() {
  if (run_pages_ == 0) co_return Result<void>{};
  const Bytes bytes = store_.page_buffer_.bytes().first(run_pages_ * kPageBytes);
  auto written = co_await store_.disk_->write(run_first_ * kPageBytes, bytes, Durability::cached);
  run_pages_ = 0;
  co_return written;
}

}  // namespace holdfast::snapshot
