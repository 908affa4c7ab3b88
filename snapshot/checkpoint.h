// One checkpoint: the freeze, new pages for everything dirty, then the superblocks. Order is what makes it safe:
//   1. freeze, without a suspension: what is dirty now, up to which LSN, and which space changes belong to it;
//   2. maps and blobs, bottom up; then the catalogue that names their roots; then the space tree that counts all pages;
//   3. sync: pages and all data applied before the freeze are durable;
//   4. superblock copies, one after the other; 5. only then old pages and chunks are free.
#pragma once

#include <map>
#include <vector>

#include "snapshot/store.h"

namespace holdfast::snapshot {

inline constexpr std::size_t kCheckpointBufferBytes = 256 << 10;

class Checkpoint {
 public:
  Checkpoint(Store& store, CheckpointPoint point);
  Task<Result<void>> run();

 private:
  struct TreeWork {
    PageTree* tree;
    StoredVolume* volume;         // Null for the group's trees.
    std::vector<Frame*> leaves;   // Frozen, by index.
  };
  using Level = std::map<std::uint64_t, Frame*>;  // Pinned pages of one level.

  void freeze();
  void collect(PageTree& tree, StoredVolume* volume, std::vector<Frame*>& frozen);
  Task<Result<void>> flush_tree(TreeWork* work);
  Task<Result<void>> flush_leaf(PageTree* tree, Frame* leaf, Level* parents);
  Task<Result<void>> flush_interior(PageTree* tree, unsigned level, Level* pages, Level* parents);
  Task<Result<Frame*>> pinned_page(PageTree* tree, unsigned level, std::uint64_t index, Level* pages);
  void update_catalogue();
  Task<Result<void>> flush_space();
  Task<Result<void>> place_space_page(unsigned level, std::uint64_t index);
  void touch_space(std::uint64_t chunk);
  void apply_space_bits();
  Task<Result<void>> write_space();

  // The page writer: contiguous pages share a write.
  Task<Result<void>> make_room(std::uint64_t page);
  PageRef put_page(std::uint64_t page, std::byte* content, std::uint64_t modified_lsn);
  Task<Result<void>> write_out();
  void replace_page(std::uint64_t old_page) { if (old_page) old_pages_.push_back(old_page); }
  void describe(Superblock& next) const;
  void pin(Frame* frame);
  void forget(Frame* frame);  // Unpins and removes a page that became a hole.
  void unpin_all();

  Store& store_;
  CheckpointPoint point_;
  std::uint64_t generation_;
  std::vector<TreeWork> work_;
  std::vector<SpaceOp> ops_;
  std::vector<std::uint64_t> new_pages_;
  std::vector<std::uint64_t> old_pages_;
  std::vector<Frame*> pinned_;    // By their checkpoint_slot; null where one became a hole.
  std::uint64_t pages_reserved_ = 0, pages_created_ = 0, pages_dropped_ = 0;

  struct SpacePage {
    Frame* frame;
    std::uint64_t page = 0;  // Its new place.
    std::uint64_t old_page = 0;
  };
  std::map<std::uint64_t, SpacePage> space_levels_[kSpaceDepth + 1];

  std::uint64_t run_first_ = 0;   // First page of the run in the buffer.
  std::size_t run_pages_ = 0;
};

}  // namespace holdfast::snapshot
