#include "test/sim/media.h"

#include <algorithm>

#include "base/ensure.h"
#include "test/sim/random.h"

namespace holdfast::sim {
namespace {

constexpr unsigned kWholeBlock = 0xff;

// The sectors of block `index` (of `count`) that reached the disk.
unsigned surviving_sectors(Tear tear, std::uint64_t seed, std::size_t index, std::size_t count) {
  switch (tear) {
    case Tear::lost: return 0;
    case Tear::kept: return kWholeBlock;
    case Tear::first_sector: return index == 0 ? 1u : 0u;
    case Tear::all_but_last_sector: return index + 1 == count ? kWholeBlock >> 1 : kWholeBlock;
    case Tear::alternate_sectors: return 0x55;
    case Tear::any_sectors: return static_cast<unsigned>(mix(seed + index) & kWholeBlock);
    case Tear::prefix: {
      const std::uint64_t sectors = mix(seed) % (count * kSectorsPerBlock);
      const std::uint64_t before = index * kSectorsPerBlock;
      if (sectors <= before) return 0;
      return sectors - before >= kSectorsPerBlock ? kWholeBlock : (1u << (sectors - before)) - 1;
    }
  }
  return 0;
}

}  // namespace

void Media::begin_write(std::uint64_t id, std::uint64_t first_block, std::vector<PageRef> pages, Durability durability) {
  unsettled_.push_back(UnsettledWrite{id, first_block, std::move(pages), {}, durability, 0});
  ++in_flight_;
}

UnsettledWrite& Media::find(std::uint64_t id) {
  const auto found = std::find_if(unsettled_.begin(), unsettled_.end(), [id](const auto& w) { return w.id == id; });
  ENSURE(found != unsettled_.end());
  return *found;
}

void Media::erase(std::uint64_t id) { unsettled_.erase(unsettled_.begin() + (&find(id) - unsettled_.data())); }

void Media::apply(Image& image, const UnsettledWrite& write, Tear tear, std::uint64_t seed) {
  for (std::size_t i = 0; i < write.pages.size(); ++i) {
    if (!write.superseded.empty() && write.superseded[i]) continue;
    const unsigned mask = surviving_sectors(tear, seed, i, write.pages.size());
    const std::uint64_t block = write.first_block + i;
    if (mask == kWholeBlock) image.put(block, write.pages[i]);
    else if (mask != 0) image.put(block, PageRef::merge(image.at(block), write.pages[i], mask));
  }
}

// A durable write has completed: what completed before it can no longer show through.
void Media::supersede(const UnsettledWrite& by) {
  const std::uint64_t end = by.first_block + by.pages.size();
  for (UnsettledWrite& other : unsettled_) {
    if (other.id == by.id || other.completed == 0) continue;
    const std::uint64_t first = std::max(other.first_block, by.first_block);
    const std::uint64_t last = std::min<std::uint64_t>(other.first_block + other.pages.size(), end);
    if (first >= last) continue;
    other.superseded.resize(other.pages.size());
    for (std::uint64_t block = first; block < last; ++block) other.superseded[block - other.first_block] = true;
  }
}

void Media::complete_write(std::uint64_t id) {
  UnsettledWrite& write = find(id);
  ENSURE(write.completed == 0);
  --in_flight_;
  apply(visible_, write, Tear::kept, 0);
  if (write.durability == Durability::cached) {
    write.completed = ++completions_;
    return;
  }
  apply(durable_, write, Tear::kept, 0);
  supersede(write);
  erase(id);
}

void Media::abandon_write(std::uint64_t id) {
  find(id).durability = Durability::cached;
  complete_write(id);
}

void Media::fail_write(std::uint64_t id, std::uint64_t seed) {
  UnsettledWrite& write = find(id);
  --in_flight_;
  for (std::size_t i = 0; i < write.pages.size(); ++i) {
    const std::uint64_t block = write.first_block + i;
    const auto mask = static_cast<unsigned>(mix(seed + i) & kWholeBlock);
    write.pages[i] = PageRef::merge(visible_.at(block), write.pages[i], mix(seed) % 3 == 0 ? 0 : mask);
  }
  apply(visible_, write, Tear::kept, 0);
  write.completed = ++completions_;
}

void Media::complete_sync(std::uint64_t horizon) {
  std::vector<const UnsettledWrite*> covered;
  for (const UnsettledWrite& write : unsettled_)
    if (write.completed != 0 && write.completed <= horizon) covered.push_back(&write);
  std::sort(covered.begin(), covered.end(), [](auto* a, auto* b) { return a->completed < b->completed; });
  for (const UnsettledWrite* write : covered) apply(durable_, *write, Tear::kept, 0);
  std::erase_if(unsettled_, [horizon](const auto& w) { return w.completed != 0 && w.completed <= horizon; });
}

void Media::fail_sync(std::uint64_t horizon, std::uint64_t seed) {
  std::uint64_t n = 0;
  std::erase_if(unsettled_, [&](const auto& w) {
    return w.completed != 0 && w.completed <= horizon && mix(seed + n++) % 2 == 0;
  });
}

PageRef Media::read(std::uint64_t block, std::uint64_t seed) const {
  PageRef page = visible_.at(block);
  if (in_flight_ == 0) return page;
  for (const UnsettledWrite& write : unsettled_) {
    if (write.completed != 0 || block < write.first_block || block - write.first_block >= write.pages.size()) continue;
    page = PageRef::merge(page, write.pages[block - write.first_block],
                          static_cast<unsigned>(mix(seed ^ write.id) & kWholeBlock));
  }
  return page;
}

Image Media::after_power_loss(std::span<const Fate> fates) const {
  Image image = durable_;
  for (const Fate& fate : fates) apply(image, unsettled_[fate.write], fate.tear, fate.seed);
  return image;
}

void Media::corrupt(std::uint64_t block, PageRef page) {
  durable_.put(block, page);
  visible_.put(block, std::move(page));
}

}  // namespace holdfast::sim
