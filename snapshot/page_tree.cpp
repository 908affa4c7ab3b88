#include "snapshot/page_tree.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "base/checksum.h"
#include "base/ensure.h"
#include "base/marks.h"
#include "base/text.h"

namespace holdfast::snapshot {
namespace {
constexpr std::align_val_t kPageAlign{kPageBytes};
}  // namespace

PageMemory::PageMemory() : bytes(static_cast<std::byte*>(::operator new(kPageBytes, kPageAlign))) {}
PageMemory::~PageMemory() { ::operator delete(bytes, kPageAlign); }

PageCache::~PageCache() {
  index_.for_each([](Frame& frame) { delete &frame; });
}

Frame* PageCache::find(std::uint64_t key) {
  Frame* frame = index_.find(key);
  if (!frame) return nullptr;
  frame->ListNode<Frame, LruTag>::unlink();
  lru_.push_back(*frame);
  return frame;
}

Frame* PageCache::insert(std::uint64_t key) {
  if (index_.size() >= frames_max_) evict();
  auto* frame = new Frame;
  frame->index_key = key;
  index_.insert(*frame);
  lru_.push_back(*frame);
  return frame;
}

void PageCache::remove(Frame* frame) {
  ENSURE(frame->pins == 0);
  index_.erase(*frame);
  delete frame;
}

void PageCache::mark_dirty(Frame* frame) {
  if (frame->dirty) return;
  frame->dirty = true;
  dirty_.push_back(*frame);
}

// Frees the least recently used frame that may go; when all are in use the cache grows beyond its size for a while.
void PageCache::evict() {
  for (int tries = 0; tries < 16 && !lru_.empty(); ++tries) {
    Frame& frame = lru_.front();
    const bool stays = frame.index_key >> 48 < kFirstMapNumber;
    if (frame.pins == 0 && !frame.dirty && !frame.flushing && !stays) {
      remove(&frame);
      if (index_.size() < frames_max_) return;
      continue;
    }
    frame.ListNode<Frame, LruTag>::unlink();
    lru_.push_back(frame);
  }
}

void PageTree::fill_header(std::byte* page, unsigned level, std::uint64_t index, std::uint64_t generation) const {
  PageHeader header{};
  header.magic = kPageMagic;
  header.level = static_cast<std::uint16_t>(level);
  header.kind = static_cast<std::uint16_t>(kind_);
  header.tree_id = tree_id_;
  header.index = index;
  header.generation = generation;
  std::memcpy(header.store_id, ports_.store_id.data(), ports_.store_id.size());
  std::memcpy(page, &header, sizeof header);
}

bool PageTree::is_page(const std::byte* bytes, PageRef ref, unsigned level, std::uint64_t index) const {
  PageHeader header;
  std::memcpy(&header, bytes, sizeof header);
  return xxh3(Bytes(bytes, kPageBytes)) == ref.xxh3 && header.magic == kPageMagic && header.level == level &&
         header.kind == static_cast<std::uint16_t>(kind_) && header.tree_id == tree_id_ && header.index == index;
}

Task<Result<Frame*>> PageTree::read_page(PageRef ref, unsigned level, std::uint64_t index) {
  constexpr int kTries = 2;  // What is wrong may be wrong on the way here only.
  const std::uint64_t key = page_key(number_, level, index);
  const std::uint64_t moves = moves_;
  PageMemory memory;
  bool refused = false;
  for (int i = 0; i < kTries; ++i) {
    auto done = co_await ports_.disk.read(ref.page * kPageBytes, MutableBytes(memory.bytes, kPageBytes));
    if (Frame* other = ports_.cache.find(key)) co_return other;  // Somebody was faster.
    // Somebody may also have been so much faster that the page was changed, written elsewhere and forgotten again.
    if (moves != moves_) {
      mark(Mark::page_moved_while_read);
      co_return nullptr;
    }
    refused = !done;
    if (!done || !is_page(memory.bytes, ref, level, index)) continue;
    Frame* frame = ports_.cache.insert(key);
    std::swap(frame->page.bytes, memory.bytes);
    co_return frame;
  }
  const std::string what = concat("map page ", ref.page, " (level ", level, ", index ", index,
                                  refused ? ") cannot be read from the disk" : ") does not match its checksum");
  co_return unreadable(Error{Errc::corrupt, what}, level, index);
}

Result<Frame*> PageTree::unreadable(Error error, unsigned level, std::uint64_t index) {
  PageDamage* damage = ports_.damage;
  if (!damage) return fail(std::move(error));
  if (damage->taken_as_empty) return take_as_empty(level, index);
  ++damage->met;
  if (damage->told) damage->told();
  return fail(std::move(error));
}

// Nothing is below it any more. A leaf is written by the next checkpoint; above one that is, all pages are.
Frame* PageTree::take_as_empty(unsigned level, std::uint64_t index) {
  mark(Mark::page_taken_as_empty);
  ++ports_.damage->emptied;
  if (level > 0) drop_below(level, index);
  Frame* page = create_page(level, index);
  std::uint64_t first = index;
  for (unsigned i = 0; i < level; ++i) first *= kFanout;
  ++page->pins;
  Frame* leaf = cached_leaf(first);
  if (leaf) writable(leaf, Lsn());
  else ports_.cache.mark_dirty(create_page(0, first));
  --page->pins;
  return page;
}

// What is in memory of the pages that only an emptied one named. Left there, a leaf would be taken for one that is on disk, and
// what a page between them refers to would come back after it was given to others. What is changed, or in use, is written anew.
void PageTree::drop_below(unsigned level, std::uint64_t index) {
  moved();  // Also for whoever is reading such a page now.
  for (Frame* frame : cached_pages()) {
    const auto below = static_cast<unsigned>(frame->index_key >> 44 & 0xf);
    std::uint64_t above = frame->index();
    for (unsigned i = below; i < level; ++i) above /= kFanout;
    if (below >= level || above != index) continue;
    const bool in_use = frame->pins > 0 || frame->dirty || frame->flushing;
    if (!in_use) ports_.cache.remove(frame);
    else if (below > 0) std::memset(frame->body(), 0, kPageBytes - sizeof(PageHeader));
    else writable(frame, Lsn());
  }
}

Task<Result<Frame*>> PageTree::load_page(unsigned level, std::uint64_t index) {
  for (;;) {
    if (Frame* frame = ports_.cache.find(page_key(number_, level, index))) co_return frame;
    PageRef ref = root;
    if (level < depth_) {
      auto parent = co_await load_page(level + 1, index / kFanout);
      if (!parent) co_return fail(parent.error());
      if (!*parent) co_return ports_.cache.find(page_key(number_, level, index));
      ref = refs_of(*parent)[index % kFanout];
    }
    // A hole on disk; somebody may have made the page in memory while the parent was being loaded.
    if (ref.page == 0) co_return ports_.cache.find(page_key(number_, level, index));
    auto loaded = co_await read_page(ref, level, index);
    if (!loaded || *loaded) co_return loaded;
  }
}

Task<Result<Frame*>> PageTree::load_leaf(std::uint64_t index) { return load_page(0, index); }

Frame* PageTree::create_page(unsigned level, std::uint64_t index) {
  Frame* frame = ports_.cache.insert(page_key(number_, level, index));
  std::memset(frame->page.bytes, 0, kPageBytes);
  return frame;
}

Task<Result<std::uint64_t>> PageTree::hole_lsn(unsigned level, std::uint64_t index) {
  PageRef ref = root;
  for (unsigned above = depth_; ref.page != 0 && above > level; --above) {
    std::uint64_t span = 1;  // Pages of `level` below one page of `above - 1`.
    for (unsigned i = level; i + 1 < above; ++i) span *= kFanout;
    auto page = co_await load_page(above, index / span / kFanout);
    if (!page) co_return fail(page.error());
    ref = *page ? refs_of(*page)[index / span % kFanout] : PageRef{};
  }
  co_return ref.modified_lsn;
}

Task<Result<PageTree::PageState>> PageTree::check_page(unsigned level, std::uint64_t index) {
  constexpr int kTries = 2;
  auto ref = co_await reference(level, index);
  if (!ref) co_return fail(ref.error());
  if (ref->page == 0) co_return PageState::absent;
  PageMemory memory;
  Error error{Errc::corrupt};
  for (int i = 0; i < kTries; ++i) {
    auto done = co_await ports_.disk.read(ref->page * kPageBytes, MutableBytes(memory.bytes, kPageBytes));
    if (done && is_page(memory.bytes, *ref, level, index)) co_return PageState::good;
    if (!done) error = done.error();
  }
  Frame* known = ports_.cache.find(page_key(number_, level, index));
  if (!known) (void)unreadable(error, level, index);
  else if (kind_ != TreeKind::space) co_await renew(known, level, index);
  co_return PageState::bad;
}

// A page above leaves is written with each of them.
Task<void> PageTree::renew(Frame* page, unsigned level, std::uint64_t index) {
  mark(Mark::scrub_page_renewed);
  std::uint64_t span = 1, behind = 0;
  for (unsigned i = 0; i < level; ++i) span *= kFanout;
  ++page->pins;
  Frame* leaf = level == 0 ? page : nullptr;
  if (!leaf) {
    auto next = co_await next_leaf(index * span, (index + 1) * span, &behind);
    if (next && *next < (index + 1) * span) {
      auto loaded = co_await load_leaf(*next);
      if (loaded) leaf = *loaded;
    }
  }
  --page->pins;
  if (leaf) writable(leaf, Lsn());
}

Task<Result<PageRef>> PageTree::reference(unsigned level, std::uint64_t index) {
  if (level == depth_) co_return root;
  auto parent = co_await load_page(level + 1, index / kFanout);
  if (!parent) co_return fail(parent.error());
  co_return *parent ? refs_of(*parent)[index % kFanout] : PageRef{};
}

Frame* PageTree::create_leaf(std::uint64_t index) {
  ENSURE(cached_leaf(index) == nullptr);
  Frame* frame = create_page(0, index);
  frame->new_pages = static_cast<std::uint32_t>(new_leaf_pages());
  ports_.cache.mark_dirty(frame);
  return frame;
}

std::byte* PageTree::writable(Frame* leaf, Lsn by) {
  if (leaf->flushing && !leaf->frozen) {
    mark(Mark::page_frozen_copy);
    leaf->frozen = std::make_unique<PageMemory>();
    std::memcpy(leaf->frozen->bytes, leaf->page.bytes, kPageBytes);
  }
  leaf->modified_lsn = std::max(leaf->modified_lsn, by.value);
  ports_.cache.mark_dirty(leaf);
  return leaf->body();
}

Task<Result<std::uint64_t>> PageTree::next_leaf(std::uint64_t from, std::uint64_t end, std::uint64_t* behind) {
  while (from < end) {
    std::uint64_t span = 1;  // Leaves below one page of the level.
    for (unsigned level = 0; level < depth_; ++level) span *= kFanout;
    unsigned level = depth_;
    bool hole = root.page == 0;
    for (; !hole && level > 0; --level) {
      auto page = co_await load_page(level, from / span);
      if (!page) {
        *behind = (from / span + 1) * span;
        co_return fail(page.error());
      }
      span /= kFanout;
      hole = *page == nullptr || refs_of(*page)[from / span % kFanout].page == 0;
    }
    if (!hole) co_return from;
    from = (from / span + 1) * span;
  }
  co_return end;
}

Task<Result<PageTree::Changed>> PageTree::next_changed(std::uint64_t from, std::uint64_t end, Lsn since) {
  const auto changed = [since](const PageRef& ref) { return ref.modified_lsn > since.value; };
  while (from < end) {
    std::uint64_t span = 1;  // Leaves below one page of the level.
    for (unsigned level = 0; level < depth_; ++level) span *= kFanout;
    PageRef ref = root;
    for (unsigned level = depth_; ref.page != 0 && changed(ref) && level > 0; --level) {
      auto page = co_await load_page(level, from / span);
      if (!page) co_return fail(page.error());
      span /= kFanout;
      ref = *page ? refs_of(*page)[from / span % kFanout] : PageRef{};
    }
    const std::uint64_t behind = std::min((from / span + 1) * span, end);
    if (changed(ref)) co_return Changed{from, behind - from, ref.page == 0};
    from = behind;
  }
  co_return Changed{end, 0, false};
}

std::vector<Frame*> PageTree::cached_pages() {
  std::vector<Frame*> mine;
  ports_.cache.for_each([&](Frame& frame) {
    if (frame.index_key >> 48 == number_) mine.push_back(&frame);
  });
  return mine;
}

void PageTree::forget() {
  for (Frame* frame : cached_pages()) ports_.cache.remove(frame);
}

void PageTree::abandon() {
  for (Frame* frame : cached_pages()) {
    frame->pins = 0;
    ports_.cache.remove(frame);
  }
}

}  // namespace holdfast::snapshot
