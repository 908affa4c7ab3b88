// The last tree of a checkpoint counts the pages of all trees, its own included: placing a page may touch another page of
// it, so places are chosen until nothing new is touched, and only then are the bits set and the pages written.
#include <cstring>

#include "base/ensure.h"
#include "snapshot/checkpoint.h"

namespace holdfast::snapshot {

void Checkpoint::touch_space(std::uint64_t chunk) {
  std::uint64_t index = chunk / kLeafMasks;
  for (unsigned level = 0; level <= kSpaceDepth; ++level) {
    space_levels_[level].try_emplace(index, SpacePage{nullptr});
    index /= kFanout;
  }
}

Task<Result<void>> Checkpoint::place_space_page(unsigned level, std::uint64_t index) {
  PageTree* tree = &store_.space_tree_;
  SpacePage* mine = &space_levels_[level].at(index);
  auto frame = co_await tree->load_page(level, index);
  if (!frame) co_return fail(frame.error());
  if (*frame) {
    mine->frame = *frame;
  } else {
    mine->frame = tree->create_page(level, index);
    ++pages_reserved_;  // Planned when the file grew, or at the first checkpoint.
    ++pages_created_;
    if (level == 0) ++mine->frame->pins;  // For good: the space tree stays in memory.
  }
  pin(mine->frame);
  auto page = store_.space_.take_page();
  if (!page) co_return fail(page.error());
  mine->page = *page;
  new_pages_.push_back(*page);
  touch_space(*page / kPagesPerChunk);
  PageRef ref = tree->root;
  if (level < kSpaceDepth) {
    auto parent = co_await tree->load_page(level + 1, index / kFanout);
    if (!parent) co_return fail(parent.error());
    ref = *parent ? refs_of(*parent)[index % kFanout] : PageRef{};
  }
  mine->old_page = ref.page;
  if (ref.page) {
    replace_page(ref.page);
    touch_space(ref.page / kPagesPerChunk);
  }
  co_return Result<void>{};
}

Task<Result<void>> Checkpoint::flush_space() {
  for (const SpaceOp& op : ops_) touch_space(op.chunk);
  for (const std::uint64_t page : new_pages_) touch_space(page / kPagesPerChunk);
  for (const std::uint64_t page : old_pages_) touch_space(page / kPagesPerChunk);
  for (bool settled = false; !settled;) {
    settled = true;
    for (unsigned level = 0; level <= kSpaceDepth; ++level)
      for (auto& [index, page] : space_levels_[level]) {
        if (page.page != 0) continue;
        settled = false;
        CO_TRY(co_await place_space_page(level, index));
      }
  }
  apply_space_bits();
  auto written = co_await write_space();
  co_return written;
}

void Checkpoint::apply_space_bits() {
  const auto change = [&](std::uint64_t chunk, std::uint16_t mask, bool set) {
    Frame* leaf = space_levels_[0].at(chunk / kLeafMasks).frame;
    std::byte* place = leaf->body() + chunk % kLeafMasks * 2;
    std::uint16_t value;
    std::memcpy(&value, place, 2);
    value = static_cast<std::uint16_t>(set ? value | mask : value & ~mask);
    std::memcpy(place, &value, 2);
  };
  for (const SpaceOp& op : ops_) change(op.chunk, op.mask, op.set);
  for (const std::uint64_t page : old_pages_)
    change(page / kPagesPerChunk, static_cast<std::uint16_t>(1u << page % kPagesPerChunk), false);
  for (const std::uint64_t page : new_pages_)
    change(page / kPagesPerChunk, static_cast<std::uint16_t>(1u << page % kPagesPerChunk), true);
}

Task<Result<void>> Checkpoint::write_space() {
  PageTree* tree = &store_.space_tree_;
  for (unsigned level = 0; level <= kSpaceDepth; ++level) {
    for (auto& [index, mine] : space_levels_[level]) {
      CO_TRY(co_await make_room(mine.page));
      tree->fill_header(mine.frame->page.bytes, level, index, generation_);
      tree->moved();
      const PageRef ref = put_page(mine.page, mine.frame->page.bytes, point_.applied.value);
      if (level == kSpaceDepth) tree->root = ref;
      else refs_of(space_levels_[level + 1].at(index / kFanout).frame)[index % kFanout] = ref;
    }
  }
  co_return Result<void>{};
}

}  // namespace holdfast::snapshot
