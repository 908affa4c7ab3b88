// What a store does about pages that cannot be read. The space tree says nothing that the maps do not say, too; the maps and the
// catalogue come from another copy, and until then nothing that they may have named is used for anything else.
#include <algorithm>
#include <cstring>
#include <set>
#include <utility>

#include "base/ensure.h"
#include "base/log.h"
#include "base/marks.h"
#include "base/sync.h"
#include "base/text.h"
#include "snapshot/store.h"

namespace holdfast::snapshot {

Task<Result<void>> Store::load_trees(Loss loss) {
  auto loaded = co_await load_catalogue();
  if (loaded && space_lost_) {
    auto counted = co_await count_space_anew();
    loaded = std::move(counted);
  }
  const bool lost = !loaded && loaded.error().code == Errc::corrupt;
  if (!lost || loss == Loss::refused || damage_.taken_as_empty) co_return loaded;
  mark(Mark::maps_await_rebuild);
  log_error(concat("this copy's catalogue or maps cannot be read: ", loaded.error().text(), "; what is lost comes from another copy"));
  catalogue_lost_ = damage_.taken_as_empty = true;
  volumes_.clear();
  CO_TRY(co_await load_catalogue());
  if (space_lost_) CO_TRY(co_await count_space_anew());
  co_return Result<void>{};
}

// The next checkpoint writes all of the space tree.
Task<Result<void>> Store::count_space_anew() {
  mark(Mark::space_counted_anew);
  auto named = co_await find_named();
  if (!named) co_return fail(named.error());
  log_warning(concat("the store's space tree cannot be read: counted anew, ", named->pages, " pages and what they name are in use"));
  space_tree_.root = PageRef{};
  space_tree_.abandon();
  space_pages_loaded_ = 0;
  const std::vector<std::uint16_t> masks = named->masks;
  space_.attach(superblock_.capacity_chunks, first_data_chunk(), std::move(named->masks), named->pages);
  for (std::uint64_t chunk = 0; chunk < masks.size(); ++chunk)
    if (masks[chunk] != 0) space_.note_mask(chunk, masks[chunk]);
  space_lost_ = false;
  co_return Result<void>{};
}

Task<Result<Store::Named>> Store::find_named() {
  Named named;
  named.masks.resize(std::max(superblock_.capacity_chunks, space_.capacity_chunks()));
  CO_TRY(co_await name_tree(&catalogue_, kVolumesMax / kLeafEntries, &named));
  CO_TRY(co_await name_tree(&blobs_, kVolumesMax * kBlobPages, &named));
  for (std::size_t i = 0; i < volumes_.size(); ++i) {
    const VolumeId id = volumes_[i]->id();
    const std::uint64_t before = named.mapped;
    CO_TRY(co_await name_tree(volumes_[i]->map.get(), volumes_[i]->leaf_count(), &named));
    named.mapped_of[id.value] = named.mapped - before;
  }
  co_return named;
}

// From the root down, in the order of the leaves. A page counts when it is referred to, and not when something is below it: one that
// was taken as empty may be all that its own page refers to, and both are in use until a checkpoint has replaced them.
Task<Result<void>> Store::name_tree(PageTree* tree, std::uint64_t leaves, Named* named) {
  constexpr std::uint64_t kPathsInATurn = 64;
  std::vector<std::uint64_t> counted(tree->depth() + 1, ~std::uint64_t{0});  // By level: the page that was counted last.
  const auto name = [&](std::uint64_t chunk, std::uint16_t mask) {
    if (chunk == 0 || chunk >= named->masks.size()) return false;
    named->masks[chunk] = static_cast<std::uint16_t>(named->masks[chunk] | mask);
    return true;
  };
  std::uint64_t whole = 1, looked = 0;  // Leaves below the root.
  for (unsigned level = 0; level < tree->depth(); ++level) whole *= kFanout;
  for (std::uint64_t index = 0; index < leaves;) {
    if (++looked % kPathsInATurn == 0) co_await Yield{disk_->executor()};
    std::uint64_t span = whole;  // Leaves below the page at hand.
    PageRef ref = tree->root;
    unsigned level = tree->depth();
    for (; ref.page != 0; --level, span /= kFanout) {
      if (std::exchange(counted[level], index / span) != index / span) {
        ++named->pages;
        const bool fits = name(ref.page / kPagesPerChunk, static_cast<std::uint16_t>(1u << ref.page % kPagesPerChunk));
        if (!fits) co_return fail(Errc::corrupt, concat("a page at ", ref.page, " cannot be"));
      }
      if (level == 0) break;
      auto page = co_await tree->load_page(level, index / span);
      if (!page) co_return fail(page.error());
      ref = *page ? refs_of(*page)[index / (span / kFanout) % kFanout] : PageRef{};
    }
    if (ref.page != 0 && tree->kind() == TreeKind::map) CO_TRY(co_await name_chunks(tree, index, named));
    index = (index / span + 1) * span;
  }
  co_return Result<void>{};
}

Task<Result<void>> Store::name_chunks(PageTree* map, std::uint64_t index, Named* named) {
  auto leaf = co_await map->load_leaf(index);
  if (!leaf) co_return fail(leaf.error());
  for (std::uint64_t i = 0; *leaf && i < kLeafChunks; ++i) {
    const std::uint64_t chunk = entry_of(*leaf, i).location;
    if (chunk == 0) continue;
    if (chunk >= named->masks.size()) co_return fail(Errc::corrupt, concat("a map names chunk ", chunk, ", which cannot be"));
    ++named->mapped;
    named->masks[chunk] = 0xffff;
  }
  co_return Result<void>{};
}

Task<Result<std::uint64_t>> Store::free_unnamed(Lsn applied) {
  const std::uint64_t before = damage_.emptied;
  auto named = co_await find_named();
  if (!named) co_return fail(named.error());
  CO_TRY(co_await name_tree(&space_tree_, divide_up(space_.capacity_chunks(), kLeafMasks), &*named));
  if (damage_.emptied != before) co_return fail(Errc::busy);
  for (const auto& volume : volumes_)
    if (const auto counted = named->mapped_of.find(volume->id().value); counted != named->mapped_of.end()) volume->mapped_chunks = counted->second;
  const std::uint64_t freed = space_.free_unnamed(named->masks, named->pages, applied);
  if (freed > 0) mark(Mark::maps_leaked_found);
  co_return freed;
}

Task<Result<Store::Checked>> Store::check_group_pages() {
  struct Part {
    PageTree* tree;
    std::uint64_t leaves;
  };
  const Part parts[] = {{&catalogue_, kVolumesMax / kLeafEntries},
                        {&blobs_, kVolumesMax * kBlobPages},
                        {&space_tree_, divide_up(space_.capacity_chunks(), kLeafMasks)}};
  Checked checked;
  for (const Part& part : parts) {
    std::uint64_t pages = part.leaves;
    for (unsigned level = 0; level <= part.tree->depth(); ++level, pages = divide_up(pages, kFanout))
      for (std::uint64_t i = 0; i < pages; ++i) {
        auto state = co_await part.tree->check_page(level, i);
        if (!state) co_return fail(state.error());
        checked.good += *state == PageTree::PageState::good;
        checked.bad += *state == PageTree::PageState::bad;
        // Its leaves are written where bits change: none does, in the first chunk below the page.
        std::uint64_t chunk = i * kLeafMasks;
        for (unsigned l = 0; l < level; ++l) chunk *= kFanout;
        if (*state == PageTree::PageState::bad && part.tree == &space_tree_) space_.note_mask(chunk, 0);
      }
  }
  co_return checked;
}

Task<Result<void>> Store::prepare_checkpoint() {
  let_go_of_paths();
  std::set<std::uint64_t> done;  // Lowest pages above leaves.
  for (;;) {
    std::vector<std::uint64_t> missing;
    for (const Frame& frame : cache_.dirty())
      if (const std::uint64_t number = frame.index_key >> 48; number >= kFirstMapNumber)
        if (const std::uint64_t key = page_key(static_cast<std::uint32_t>(number), 1, frame.index() / kFanout); done.insert(key).second)
          missing.push_back(key);
    if (missing.empty()) co_return Result<void>{};
    for (const std::uint64_t key : missing) {
      const auto volume = std::find_if(volumes_.begin(), volumes_.end(), [&](const auto& v) { return v->map->number() == key >> 48; });
      if (volume == volumes_.end()) continue;
      auto loaded = co_await hold_path((*volume)->map.get(), key & ((std::uint64_t{1} << 44) - 1));
      if (loaded) continue;
      let_go_of_paths();
      co_return loaded;
    }
  }
}

// From the root down, so that what is above a page is held before it is.
Task<Result<void>> Store::hold_path(PageTree* map, std::uint64_t index) {
  for (unsigned level = map->depth(); level >= 1; --level) {
    std::uint64_t of_level = index;
    for (unsigned i = 1; i < level; ++i) of_level /= kFanout;
    auto page = co_await map->load_page(level, of_level);
    if (!page) co_return fail(page.error());
    if (!*page) co_return Result<void>{};
    ++(*page)->pins;
    held_.push_back(*page);
  }
  co_return Result<void>{};
}

void Store::let_go_of_paths() {
  for (Frame* frame : std::exchange(held_, {})) --frame->pins;
}

}  // namespace holdfast::snapshot
