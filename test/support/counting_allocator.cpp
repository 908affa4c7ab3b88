#include "test/support/counting_allocator.h"

#include <execinfo.h>

#include <cstdio>
#include <cstdlib>
#include <new>

#include "base/ensure.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HOLDFAST_COUNTS_ALLOCATIONS 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define HOLDFAST_COUNTS_ALLOCATIONS 0
#endif
#endif
#ifndef HOLDFAST_COUNTS_ALLOCATIONS
#define HOLDFAST_COUNTS_ALLOCATIONS 1
#endif

namespace holdfast::test {
namespace {

constexpr std::size_t kSitesMax = 8;
constexpr int kSiteDepth = 16;

struct Site {
  std::array<void*, kSiteDepth> frames;
  int depth;
  std::size_t bytes;
};

struct Tally {
  bool watched = false;
  bool inside = false;  // The backtrace may allocate on its first use.
  std::uint64_t allocations = 0;
  std::uint64_t bytes = 0;
  std::array<Site, kSitesMax> sites;
};

thread_local constinit Tally tally{};

#if HOLDFAST_COUNTS_ALLOCATIONS
void count(std::size_t bytes) {
  if (!tally.watched || tally.inside) return;
  tally.inside = true;
  if (tally.allocations < kSitesMax) {
    Site& site = tally.sites[tally.allocations];
    site.depth = ::backtrace(site.frames.data(), kSiteDepth);
    site.bytes = bytes;
  }
  ++tally.allocations;
  tally.bytes += bytes;
  tally.inside = false;
}
#endif

}  // namespace

bool allocations_are_counted() { return HOLDFAST_COUNTS_ALLOCATIONS != 0; }

AllocationWatch::AllocationWatch() {
  ENSURE(!tally.watched);
  std::array<void*, 1> warm;
  ::backtrace(warm.data(), 1);  // Loads its library now.
  tally.allocations = 0;
  tally.bytes = 0;
  tally.watched = true;
}

AllocationWatch::~AllocationWatch() { tally.watched = false; }

std::uint64_t AllocationWatch::allocations() const { return tally.allocations; }
std::uint64_t AllocationWatch::bytes() const { return tally.bytes; }

std::string AllocationWatch::sites() const {
  tally.inside = true;  // This report allocates too.
  std::string text;
  for (std::size_t i = 0; i < kSitesMax && i < tally.allocations; ++i) {
    const Site& site = tally.sites[i];
    text += "\n  " + std::to_string(site.bytes) + " bytes:";
    char** names = ::backtrace_symbols(site.frames.data(), site.depth);
    // The first two frames are this file's.
    for (int frame = 2; names && frame < site.depth; ++frame) text.append("\n    ").append(names[frame]);
    std::free(names);
  }
  tally.inside = false;
  return text;
}

}  // namespace holdfast::test

#if HOLDFAST_COUNTS_ALLOCATIONS

namespace {

void* allocate(std::size_t bytes, std::size_t alignment) {
  holdfast::test::count(bytes);
  const std::size_t size = bytes ? bytes : 1;
  if (alignment <= __STDCPP_DEFAULT_NEW_ALIGNMENT__) return std::malloc(size);
  return std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
}

void* allocate_or_throw(std::size_t bytes, std::size_t alignment) {
  void* memory = allocate(bytes, alignment);
  if (!memory) throw std::bad_alloc();
  return memory;
}

constexpr std::size_t kDefault = __STDCPP_DEFAULT_NEW_ALIGNMENT__;

}  // namespace

// The array and nothrow forms of the library call these two ([new.delete.single], [new.delete.array]).
void* operator new(std::size_t bytes) { return allocate_or_throw(bytes, kDefault); }
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return allocate_or_throw(bytes, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

#endif
