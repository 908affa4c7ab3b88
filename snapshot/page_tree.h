// Trees of 4 KiB pages, and the cache they share. A page in memory is the page on disk; leaves are changed only through
// writable(), which keeps a frozen copy while a checkpoint is under way; interior pages are changed by checkpoints alone.
#pragma once

#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "base/buffer.h"
#include "base/disk.h"
#include "base/hash_index.h"
#include "base/intrusive_list.h"
#include "base/result.h"
#include "base/task.h"
#include "snapshot/store_format.h"

namespace holdfast::snapshot {

struct PageMemory {
  std::byte* bytes;
  PageMemory();
  ~PageMemory();
  PageMemory(const PageMemory&) = delete;
  PageMemory& operator=(const PageMemory&) = delete;
};

struct LruTag;
struct DirtyTag;

struct Frame : ListNode<Frame, LruTag>, ListNode<Frame, DirtyTag> {
  std::uint64_t index_key = 0;     // tree number, level and index: page_key().
  Frame* index_next = nullptr;
  std::uint32_t pins = 0;          // Users across suspensions; a pinned frame stays.
  bool dirty = false;              // Changed since the last checkpoint took it.
  bool flushing = false;           // The running checkpoint has yet to take its content.
  std::uint32_t checkpoint_slot = 0;  // In the running checkpoint's list; written by it.
  std::uint32_t new_pages = 0;     // Reserved for it and its ancestors while it is not on disk; settled by the checkpoint.
  std::uint64_t modified_lsn = 0;  // Newest change since the last checkpoint took it.
  std::uint64_t frozen_lsn = 0;    // modified_lsn at the freeze.
  PageMemory page;
  std::unique_ptr<PageMemory> frozen;  // What the checkpoint shall write, when the page has changed since.

  std::byte* body() { return page.bytes + sizeof(PageHeader); }
  std::uint64_t index() const { return index_key & ((std::uint64_t{1} << 44) - 1); }
};

constexpr std::uint64_t page_key(std::uint32_t tree, unsigned level, std::uint64_t index) {
  return std::uint64_t{tree} << 48 | std::uint64_t{level} << 44 | index;
}

// The trees of the group itself have smaller numbers than the volumes' maps. Their pages stay in memory once they were read.
inline constexpr std::uint32_t kFirstMapNumber = 4;

class PageCache {
 public:
  explicit PageCache(std::uint64_t bytes) : frames_max_(std::max<std::uint64_t>(bytes / kPageBytes, 8)) {}
  ~PageCache();
  Frame* find(std::uint64_t key);
  // A frame with undefined content that the caller fills before it suspends.
  Frame* insert(std::uint64_t key);
  void remove(Frame* frame);
  void mark_dirty(Frame* frame);
  IntrusiveList<Frame, DirtyTag>& dirty() { return dirty_; }
  std::size_t size() const { return index_.size(); }
  template <class F>
  void for_each(F&& f) const { index_.for_each(f); }

 private:
  void evict();
  HashIndex<Frame> index_;
  IntrusiveList<Frame, LruTag> lru_;   // Least recently used first.
  IntrusiveList<Frame, DirtyTag> dirty_;
  std::uint64_t frames_max_;
};

// What becomes of a page that cannot be read. Its owner decides once for all trees of a store.
struct PageDamage {
  bool taken_as_empty = false;  // All of the store is about to be compared with another copy: then what such a page said is not needed.
  std::uint64_t emptied = 0;    // Pages that were taken so.
  std::uint64_t met = 0;        // Pages that were unreadable when nothing was taken as empty.
  std::function<void()> told;   // One was met. Never suspends.
};

struct TreePorts {
  Disk& disk;
  PageCache& cache;
  const Uuid& store_id;
  PageDamage* damage = nullptr;
};

class PageTree {
 public:
  // number: unique among the open trees of the store.
  PageTree(TreePorts ports, std::uint32_t number, TreeKind kind, std::uint64_t tree_id, unsigned depth)
      : ports_(ports), number_(number), kind_(kind), tree_id_(tree_id), depth_(depth) {}

  PageRef root{};  // Of the last checkpoint; written by the checkpoint.

  Frame* cached_leaf(std::uint64_t index) { return ports_.cache.find(page_key(number_, 0, index)); }
  // The leaf, or nullptr for a hole. Errors: corrupt, also when the disk refuses it time and again. Use the frame before the next suspension, or pin it. A page
  // that is taken as empty is there, empty, and the next checkpoint writes it so.
  Task<Result<Frame*>> load_leaf(std::uint64_t index);
  // A checkpoint changed or dropped a reference to a page: whoever is reading a page meanwhile must look again, for what it
  // reads may be of before.
  void moved() { ++moves_; }
  std::uint64_t moves() const { return moves_; }
  // A zeroed leaf for a hole; the caller has reserved new_leaf_pages().
  Frame* create_leaf(std::uint64_t index);
  std::uint64_t new_leaf_pages() const { return depth_ + 1; }
  // Marks a leaf changed by the record and returns its body. Never suspends.
  std::byte* writable(Frame* leaf, Lsn by);
  // An interior page, or nullptr for a hole.
  Task<Result<Frame*>> load_page(unsigned level, std::uint64_t index);
  Frame* create_page(unsigned level, std::uint64_t index);
  // When what would be below a page that is not there was last changed: it was emptied then, or never used (zero).
  Task<Result<std::uint64_t>> hole_lsn(unsigned level, std::uint64_t index);
  // How the page is known to the one above it, as of the last checkpoint; page = 0: not at all.
  Task<Result<PageRef>> reference(unsigned level, std::uint64_t index);
  // Reads the page from the disk, wherever else it is, and holds it against its checksum; no checkpoint runs meanwhile. What is bad
  // there and right in memory is written anew by the next checkpoint (of the space tree: by its owner); else it was told as damage.
  // Errors: of the pages above it.
  enum class PageState : std::uint8_t { absent, good, bad };
  Task<Result<PageState>> check_page(unsigned level, std::uint64_t index);
  // The first leaf on disk at or after `from`, below `end`; `end` when there is none. After an error *behind is the first
  // leaf that is not below the page that cannot be read.
  Task<Result<std::uint64_t>> next_leaf(std::uint64_t from, std::uint64_t end, std::uint64_t* behind);

  // What changed after the LSN, as of the last checkpoint, at or after `from` and below
  // `end`: one leaf, or leaves that are holes now. count 0: nothing up to `end`.
  struct Changed {
    std::uint64_t first = 0;
    std::uint64_t count = 0;
    bool hole = false;
  };
  Task<Result<Changed>> next_changed(std::uint64_t from, std::uint64_t end, Lsn since);

  unsigned depth() const { return depth_; }
  TreeKind kind() const { return kind_; }
  std::uint64_t tree_id() const { return tree_id_; }
  std::uint32_t number() const { return number_; }
  void fill_header(std::byte* page, unsigned level, std::uint64_t index, std::uint64_t generation) const;
  // Drops every frame of the tree: it is deleted. None is pinned.
  void forget();
  // The same, pinned or not: what it says is not believed.
  void abandon();

 private:
  // nullptr: a reference moved meanwhile.
  Task<Result<Frame*>> read_page(PageRef ref, unsigned level, std::uint64_t index);
  std::vector<Frame*> cached_pages();
  Task<void> renew(Frame* page, unsigned level, std::uint64_t index);
  bool is_page(const std::byte* bytes, PageRef ref, unsigned level, std::uint64_t index) const;
  Result<Frame*> unreadable(Error error, unsigned level, std::uint64_t index);
  Frame* take_as_empty(unsigned level, std::uint64_t index);
  void drop_below(unsigned level, std::uint64_t index);
  std::uint64_t moves_ = 0;
  TreePorts ports_;
  std::uint32_t number_;
  TreeKind kind_;
  std::uint64_t tree_id_;
  unsigned depth_;
};

// The entry of a chunk of the volume in its leaf.
inline MapEntry entry_of(Frame* leaf, std::uint64_t chunk) {
  MapEntry entry;
  std::memcpy(&entry, leaf->body() + chunk % kLeafChunks * sizeof entry, sizeof entry);
  return entry;
}

inline PageRef* refs_of(Frame* frame) { return reinterpret_cast<PageRef*>(frame->body()); }

}  // namespace holdfast::snapshot
