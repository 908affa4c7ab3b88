// The bytes of a disk: 4 KiB pages, shared until changed, so that images are copied and cut cheaply.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/types.h"

namespace holdfast::sim {

inline constexpr std::size_t kSectorBytes = 512;  // What a disk writes whole or not at all.
inline constexpr std::size_t kSectorsPerBlock = kBlockBytes / kSectorBytes;

// A counted reference to an immutable page. Empty means zeros that were never written.
class PageRef {
 public:
  PageRef() = default;
  // Zeros become the empty page.
  explicit PageRef(const std::byte* block);
  PageRef(const PageRef& other) : page_(other.page_) {
    if (page_) ++page_->references;
  }
  PageRef(PageRef&& other) noexcept : page_(std::exchange(other.page_, nullptr)) {}
  PageRef& operator=(PageRef other) noexcept {
    std::swap(page_, other.page_);
    return *this;
  }
  ~PageRef() {
    if (page_ && --page_->references == 0) release(page_);
  }

  const std::byte* data() const { return page_ ? page_->bytes : zero_block(); }
  bool is_zero() const { return page_ == nullptr; }
  bool same_bytes(const std::byte* block) const { return std::memcmp(data(), block, kBlockBytes) == 0; }
  // Sector i from `newer` where bit i of the mask is set, from `older` elsewhere.
  static PageRef merge(const PageRef& older, const PageRef& newer, unsigned sector_mask);
  static const std::byte* zero_block();

 private:
  struct Page {
    std::uint32_t references;
    Page* next_free;
    std::byte bytes[kBlockBytes];
  };
  struct FreePages;
  static void release(Page* page);
  static FreePages& free_pages();
  Page* page_ = nullptr;
};

// Pages by block number; what was never written is zeros.
class Image {
 public:
  const PageRef& at(std::uint64_t block) const;
  void put(std::uint64_t block, PageRef page);
  // XXH3 over all pages that are not zero, with their places.
  std::uint64_t fingerprint() const;
  Image() = default;
  Image(const Image& other);
  Image(Image&&) = default;
  Image& operator=(Image other) noexcept {
    leaves_.swap(other.leaves_);
    return *this;
  }

 private:
  static constexpr std::size_t kLeafPages = 64;
  using Leaf = std::array<PageRef, kLeafPages>;
  std::vector<std::unique_ptr<Leaf>> leaves_;
};

}  // namespace holdfast::sim
