#include "snapshot/space.h"

#include <algorithm>
#include <bit>

#include "base/ensure.h"
#include "base/planted.h"

namespace holdfast::snapshot {

Space::Space(Disk& disk) : disk_(&disk), extending_(disk.executor(), 1) {}

void Space::attach(std::uint64_t capacity_chunks, std::uint64_t first_data_chunk, std::vector<std::uint16_t> masks,
                   std::uint64_t pages_live) {
  capacity_ = capacity_chunks;
  first_data_ = take_cursor_ = first_data_chunk;
  masks_ = std::move(masks);
  masks_.resize(capacity_);
  backed_.resize(capacity_);
  written_.resize(capacity_);
  unbacked_.resize(capacity_);
  pages_live_ = pages_planned_ = pages_used_ = pages_live;
  unproven_ = first_data_;
  unproven_end_ = disk_->is_file() ? capacity_ : first_data_;
  for (std::uint64_t chunk = first_data_; chunk < capacity_; ++chunk) {
    const std::uint16_t mask = masks_[chunk];
    if (mask == 0) {
      // After a start every free chunk counts as a hole: backing it again costs nothing when it is none.
      (disk_->is_file() ? unbacked_ : backed_).set(chunk);
      ++(disk_->is_file() ? unbacked_count_ : backed_count_);
    } else if (mask != 0xffff) {
      page_slots_ += kPagesPerChunk - static_cast<unsigned>(std::popcount(mask));
      page_chunks_.push_back(chunk);
    }
  }
}

bool Space::mark_used(std::uint64_t chunk) {
  if (!usable(chunk)) return false;
  if (masks_[chunk] == 0xffff) return true;  // The map has it already.
  if (masks_[chunk] != 0) return false;      // Map pages live there.
  masks_[chunk] = 0xffff;
  if (backed_.test(chunk)) {
    unback(chunk);
  } else if (unbacked_.test(chunk)) {
    unbacked_.clear(chunk);
    --unbacked_count_;
  }
  return true;
}

// The room for checkpoints that the superblock implies.
Task<Result<void>> Space::establish() {
  for (;;) {
    auto reserved = co_await reserve(0, 0);
    if (reserved || reserved.error().code != Errc::no_space) co_return reserved;
    if (unproven_ >= unproven_end_) break;
  }
  co_return fail(Errc::no_space, "the file system is too full to open the store: free some space and try again");
}

std::uint64_t Space::meta_chunks_missing(std::uint64_t new_pages) const {
  const std::uint64_t needed = 2 * (pages_planned_ + new_pages);
  const std::uint64_t present = pages_used_ + page_slots_ + meta_reserved_ * kPagesPerChunk;
  return needed <= present ? 0 : divide_up(needed - present, kPagesPerChunk);
}

void Space::commit_reservation(std::uint64_t chunks, std::uint64_t new_pages, std::uint64_t meta_chunks) {
  reserved_ += chunks + meta_chunks;
  meta_reserved_ += meta_chunks;
  pages_planned_ += new_pages;
  ENSURE(reserved_ <= backed_count_);
}

bool Space::try_reserve(std::uint64_t chunks, std::uint64_t new_pages) {
  const std::uint64_t meta = meta_chunks_missing(new_pages);
  if (backed_count_ - reserved_ < chunks + meta + owed_) return false;
  commit_reservation(chunks, new_pages, meta);
  return true;
}

Task<Result<void>> Space::reserve(std::uint64_t chunks, std::uint64_t new_pages) {
  while (!try_reserve(chunks, new_pages)) {
    const std::uint64_t wanted = chunks + meta_chunks_missing(new_pages) + owed_;
    auto extended = co_await extend(wanted);
    if (extended) continue;
    if (extended.error().code == Errc::no_space) refused_with_ = disk_->available_bytes();
    co_return extended;
  }
  refused_with_.reset();
  co_return Result<void>{};
}

Task<Result<void>> Space::reserve_owed(std::uint64_t chunks, std::uint64_t new_pages) {
  for (;;) {
    const std::uint64_t needed = chunks + meta_chunks_missing(new_pages);
    if (backed_count_ - reserved_ >= needed) {
      commit_reservation(chunks, new_pages, needed - chunks);
      owed_ -= std::min(owed_, needed);
      refused_with_.reset();
      co_return Result<void>{};
    }
    auto extended = co_await extend(needed);
    if (extended) continue;
    if (extended.error().code == Errc::no_space) refused_with_ = disk_->available_bytes();
    co_return extended;
  }
}

std::uint64_t Space::free_by_the_books() const { return (backed_count_ - reserved_) * kChunkBytes + disk_->available_bytes(); }

// Nothing is free from a refusal on, whatever the books say: the file system keeps a rest that it gives to nobody, and who was
// refused has given back what it held already. Until something is had again, or the file system has clearly more.
std::uint64_t Space::free_bytes() const {
  constexpr std::uint64_t kClearlyMore = 4 << 20;
  const bool refused = refused_with_ && disk_->available_bytes() < *refused_with_ + kClearlyMore;
  return refused ? 0 : free_by_the_books();
}

void Space::settle_pages(std::uint64_t reserved, std::uint64_t created, std::uint64_t dropped) {
  ENSURE(pages_planned_ + created >= reserved + dropped);
  pages_planned_ = pages_planned_ + created - reserved - dropped;
  ENSURE(pages_live_ + created >= dropped);
  pages_live_ = pages_live_ + created - dropped;
  // What was reserved for pages that did not come is anybody's again.
  while (meta_reserved_ > 0 && pages_used_ + page_slots_ + (meta_reserved_ - 1) * kPagesPerChunk >= 2 * pages_planned_) {
    --meta_reserved_;
    --reserved_;
  }
}

std::uint64_t Space::take_chunk() {
  ENSURE(reserved_ > 0 && backed_count_ > 0);
  const Bitmap& from = written_count_ > 0 ? written_ : backed_;
  std::uint64_t chunk = from.next(take_cursor_);
  if (chunk == Bitmap::kNone) chunk = from.next(first_data_);
  ENSURE(chunk != Bitmap::kNone && masks_[chunk] == 0);
  unback(chunk);
  --reserved_;
  masks_[chunk] = 0xffff;
  take_cursor_ = chunk + 1;
  return chunk;
}

void Space::untake_chunk(std::uint64_t chunk) {
  ENSURE(masks_[chunk] == 0xffff);
  masks_[chunk] = 0;
  back(chunk, true);
}

void Space::back(std::uint64_t chunk, bool written) {
  backed_.set(chunk);
  ++backed_count_;
  if (!written) return;
  written_.set(chunk);
  ++written_count_;
}

void Space::unback(std::uint64_t chunk) {
  ENSURE(backed_.test(chunk));
  backed_.clear(chunk);
  --backed_count_;
  if (!written_.test(chunk)) return;
  written_.clear(chunk);
  --written_count_;
}

Result<std::uint64_t> Space::take_page() {
  while (page_chunk_ == 0 || masks_[page_chunk_] == 0xffff) {
    if (!page_chunks_.empty()) {
      page_chunk_ = page_chunks_.back();
      page_chunks_.pop_back();
      continue;
    }
    if (meta_reserved_ == 0) return fail(Errc::no_space, "no room for a checkpoint");
    --meta_reserved_;
    page_chunk_ = take_chunk();
    masks_[page_chunk_] = 0;
    page_slots_ += kPagesPerChunk;
  }
  const unsigned slot = static_cast<unsigned>(std::countr_one(masks_[page_chunk_]));
  masks_[page_chunk_] = static_cast<std::uint16_t>(masks_[page_chunk_] | 1u << slot);
  --page_slots_;
  ++pages_used_;
  return page_chunk_ * kPagesPerChunk + slot;
}

void Space::free_page(std::uint64_t page) {
  const std::uint64_t chunk = page / kPagesPerChunk;
  const auto bit = static_cast<std::uint16_t>(1u << page % kPagesPerChunk);
  ENSURE(masks_[chunk] & bit);
  if (masks_[chunk] == 0xffff && chunk != page_chunk_) page_chunks_.push_back(chunk);
  masks_[chunk] = static_cast<std::uint16_t>(masks_[chunk] & ~bit);
  ++page_slots_;
  --pages_used_;
}

void Space::give_chunk(std::uint64_t chunk, Lsn by, Given how) {
  ENSURE(usable(chunk) && masks_[chunk] == 0xffff);
  if (planted(Bug::chunk_reused_before_checkpoint)) return untake_chunk(chunk);
  quarantine_.push_back({chunk, by, how});
}

void Space::release_until(Lsn applied, std::vector<std::uint64_t>& to_punch) {
  std::size_t kept = 0;
  for (std::size_t i = 0; i < quarantine_.size(); ++i) {
    const Quarantined q = quarantine_[i];
    if (q.by > applied || i >= frozen_quarantine_) {
      quarantine_[kept++] = q;
      continue;
    }
    masks_[q.chunk] = 0;
    const bool spare = keep_backed_ || (q.how == Given::replaced && backed_count_ - reserved_ < kBackedSpareMax);
    if (spare) {
      back(q.chunk, true);
    } else {
      to_punch.push_back(q.chunk);
    }
  }
  quarantine_.resize(kept);
  frozen_quarantine_ = 0;
  keep_backed_ = false;
  // Empty page chunks beyond what the next checkpoints can need go back too.
  const std::uint64_t needed = 2 * pages_planned_ + 4 * kPagesPerChunk;
  for (std::size_t i = 0; i < page_chunks_.size();) {
    const std::uint64_t chunk = page_chunks_[i];
    const bool surplus = pages_used_ + page_slots_ + meta_reserved_ * kPagesPerChunk >= needed + kPagesPerChunk;
    if (masks_[chunk] != 0 || !surplus) {
      ++i;
      continue;
    }
    page_chunks_[i] = page_chunks_.back();
    page_chunks_.pop_back();
    page_slots_ -= kPagesPerChunk;
    to_punch.push_back(chunk);
  }
}

std::uint64_t Space::free_unnamed(const std::vector<std::uint16_t>& named, std::uint64_t pages, Lsn applied) {
  std::vector<bool> waits(capacity_);
  for (const Quarantined& q : quarantine_) waits[q.chunk] = true;
  std::uint64_t freed = 0;
  for (std::uint64_t chunk = first_data_; chunk < std::min<std::uint64_t>(named.size(), capacity_); ++chunk) {
    const auto unnamed = static_cast<std::uint16_t>(masks_[chunk] & ~named[chunk]);
    if (unnamed == 0 || waits[chunk]) continue;
    ++freed;
    if (unnamed == 0xffff) {
      note(chunk, false);
      give_chunk(chunk, applied, Given::discarded);
      continue;
    }
    if (masks_[chunk] == 0xffff && chunk != page_chunk_) page_chunks_.push_back(chunk);
    masks_[chunk] = static_cast<std::uint16_t>(masks_[chunk] & ~unnamed);
    page_slots_ += static_cast<unsigned>(std::popcount(unnamed));
    ops_.push_back({chunk, unnamed, false});
  }
  // A chunk full of pages looks like one of data; all that is gone is known by how many there were.
  const std::uint64_t gone = pages_live_ > pages ? pages_live_ - pages : 0;
  ENSURE(pages_planned_ >= gone && pages_used_ >= gone);
  pages_live_ -= gone;
  pages_planned_ -= gone;
  pages_used_ -= gone;
  return freed;
}

// Backs more free chunks with real space, growing the file when there is no hole left.
Task<Result<void>> Space::extend(std::uint64_t wanted) {
  co_await extending_.acquire();
  struct Turn {
    Semaphore* semaphore;
    ~Turn() { semaphore->release(); }
  } turn{&extending_};
  if (backed_count_ - reserved_ >= wanted) co_return Result<void>{};
  const std::uint64_t begin = unbacked_.next(first_data_);
  if (begin == Bitmap::kNone) {
    auto grown = co_await grow();
    co_return grown;
  }
  std::uint64_t length = 0;
  while (length < kExtendChunks && begin + length < capacity_ && unbacked_.test(begin + length)) ++length;
  for (; length > 0; length /= 2) {
    for (std::uint64_t i = 0; i < length; ++i) unbacked_.clear(begin + i);  // Nobody else takes them meanwhile.
    unbacked_count_ -= length;
    auto done = co_await disk_->allocate(begin * kChunkBytes, length * kChunkBytes);
    if (done) {
      for (std::uint64_t i = 0; i < length; ++i) backed_.set(begin + i);
      backed_count_ += length;
      co_return done;
    }
    for (std::uint64_t i = 0; i < length; ++i) unbacked_.set(begin + i);
    unbacked_count_ += length;
    if (done.error().code != Errc::no_space) co_return done;
  }
  searching_ = true;
  auto found = co_await find_backed(wanted);
  searching_ = false;
  co_return found;
}

// The file system is full, but after a start many a free chunk still has its space from before: it is looked for one by
// one, each once, and some at a time.
Task<Result<void>> Space::find_backed(std::uint64_t wanted) {
  constexpr int kTriesMax = 4096;
  for (int tries = 0; tries < kTriesMax && unproven_ < unproven_end_; ++tries) {
    const std::uint64_t chunk = unbacked_.next(unproven_);
    unproven_ = std::min(chunk, unproven_end_);
    if (unproven_ == unproven_end_) break;
    ++unproven_;
    unbacked_.clear(chunk);  // Nobody else takes it meanwhile.
    --unbacked_count_;
    auto done = co_await disk_->allocate(chunk * kChunkBytes, kChunkBytes);
    if (done) {
      back(chunk, false);
      if (backed_count_ - reserved_ >= wanted) co_return done;
      continue;
    }
    unbacked_.set(chunk);
    ++unbacked_count_;
    if (done.error().code != Errc::no_space) co_return done;
  }
  co_return fail(Errc::no_space);
}

// A larger file has a larger space tree. Its space comes before its size: that of a file that only got longer would be taken from
// what others have been promised.
Task<Result<void>> Space::grow() {
  if (!disk_->is_file() || capacity_ >= kStoreChunksMax) co_return fail(Errc::no_space);
  const std::uint64_t next = std::min(capacity_ + kGrowChunks, kStoreChunksMax);
  const std::uint64_t pages = space_tree_pages(next) - space_tree_pages(capacity_);
  std::uint64_t length = std::min(kExtendChunks, next - capacity_);
  for (;; length /= 2) {
    if (length <= divide_up(2 * pages, kPagesPerChunk)) co_return fail(Errc::no_space);  // Not more than it costs.
    auto allocated = co_await disk_->allocate(capacity_ * kChunkBytes, length * kChunkBytes);
    if (allocated) break;
    if (allocated.error().code != Errc::no_space) co_return allocated;
  }
  auto grown = co_await disk_->grow(next * kChunkBytes);
  if (!grown) lost_sync_ = lost_sync_ || grown.error().code == Errc::sync_failed;
  if (!grown) co_return grown;
  masks_.resize(next);
  backed_.resize(next);
  written_.resize(next);
  unbacked_.resize(next);
  for (std::uint64_t chunk = capacity_; chunk < capacity_ + length; ++chunk) back(chunk, false);
  for (std::uint64_t chunk = capacity_ + length; chunk < next; ++chunk) unbacked_.set(chunk);
  unbacked_count_ += next - capacity_ - length;
  capacity_ = next;
  commit_reservation(0, pages, meta_chunks_missing(pages) - meta_chunks_missing(0));
  co_return Result<void>{};
}

}  // namespace holdfast::snapshot
