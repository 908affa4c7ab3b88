#include "test/sim/image.h"

#include "base/checksum.h"
#include "test/sim/random.h"

namespace holdfast::sim {
namespace {
alignas(64) constexpr std::byte kZeroBlock[kBlockBytes]{};
}

// Pages come and go by the thousand in every seed: keep them.
struct PageRef::FreePages {
  Page* head = nullptr;
  ~FreePages() {
    while (head) delete std::exchange(head, head->next_free);
  }
};

PageRef::FreePages& PageRef::free_pages() {
  thread_local FreePages pages;
  return pages;
}

const std::byte* PageRef::zero_block() { return kZeroBlock; }

PageRef::PageRef(const std::byte* block) {
  if (std::memcmp(block, kZeroBlock, kBlockBytes) == 0) return;
  FreePages& pages = free_pages();
  if (pages.head) page_ = std::exchange(pages.head, pages.head->next_free);
  else page_ = new Page;
  page_->references = 1;
  std::memcpy(page_->bytes, block, kBlockBytes);
}

void PageRef::release(Page* page) {
  FreePages& pages = free_pages();
  page->next_free = pages.head;
  pages.head = page;
}

PageRef PageRef::merge(const PageRef& older, const PageRef& newer, unsigned sector_mask) {
  std::byte block[kBlockBytes];
  for (std::size_t sector = 0; sector < kSectorsPerBlock; ++sector) {
    const PageRef& from = (sector_mask >> sector & 1) != 0 ? newer : older;
    std::memcpy(block + sector * kSectorBytes, from.data() + sector * kSectorBytes, kSectorBytes);
  }
  return PageRef(block);
}

Image::Image(const Image& other) : leaves_(other.leaves_.size()) {
  for (std::size_t i = 0; i < leaves_.size(); ++i)
    if (other.leaves_[i]) leaves_[i] = std::make_unique<Leaf>(*other.leaves_[i]);
}

const PageRef& Image::at(std::uint64_t block) const {
  static const PageRef zero;
  const std::uint64_t leaf = block / kLeafPages;
  if (leaf >= leaves_.size() || !leaves_[leaf]) return zero;
  return (*leaves_[leaf])[block % kLeafPages];
}

void Image::put(std::uint64_t block, PageRef page) {
  const std::uint64_t leaf = block / kLeafPages;
  if (leaf >= leaves_.size()) {
    if (page.is_zero()) return;
    leaves_.resize(leaf + 1);
  }
  if (!leaves_[leaf]) {
    if (page.is_zero()) return;
    leaves_[leaf] = std::make_unique<Leaf>();
  }
  (*leaves_[leaf])[block % kLeafPages] = std::move(page);
}

std::uint64_t Image::fingerprint() const {
  std::uint64_t hash = 0;
  for (std::size_t i = 0; i < leaves_.size(); ++i) {
    if (!leaves_[i]) continue;
    for (std::size_t j = 0; j < kLeafPages; ++j) {
      const PageRef& page = (*leaves_[i])[j];
      if (page.is_zero()) continue;
      hash = mix(hash ^ (i * kLeafPages + j)) ^ xxh3(Bytes(page.data(), kBlockBytes));
    }
  }
  return hash;
}

}  // namespace holdfast::sim
