#include "tools/holdfastd/power_loss_disk.h"

#include <cerrno>
#include <cstring>

namespace holdfast::daemon {
namespace {

constexpr std::uint64_t kWritersMax = 1024;
constexpr std::size_t kUnsyncedBlocksMax = 1u << 16;  // 256 MiB; beyond, every write is kept.
constexpr std::size_t kSectorBytes = 512;

int errno_of(const Result<void>& result) {
  if (result) return 0;
  return result.error().code == Errc::no_space ? ENOSPC : EIO;
}

// The segments of a request as one row of 4 KiB blocks: visit(offset on disk, memory).
template <class Visit>
void each_block(const DiskRequest& request, Visit visit) {
  std::uint64_t offset = request.offset;
  for (const iovec& segment : request.segments) {
    auto* memory = static_cast<std::byte*>(segment.iov_base);
    for (std::size_t at = 0; at < segment.iov_len; at += kBlockBytes, offset += kBlockBytes) visit(offset, memory + at);
  }
}

}  // namespace

PowerLossDisk::PowerLossDisk(std::unique_ptr<Disk> below, std::uint64_t seed)
    : Disk(below->executor()), below_(std::move(below)), dice_(seed * 2 + 1), writers_(executor(), kWritersMax),
      scope_(executor()) {}

void PowerLossDisk::submit(DiskRequest& request) { scope_.spawn(serve(&request)); }

// SplitMix64.
std::uint64_t PowerLossDisk::dice() {
  std::uint64_t z = dice_ += 0x9e3779b97f4a7c15ULL;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

Task<void> PowerLossDisk::serve(DiskRequest* request) {
  Result<void> result;
  switch (request->op) {
    case DiskOp::read: result = co_await serve_read(request); break;
    case DiskOp::write: result = co_await serve_write(request); break;
    case DiskOp::sync: result = co_await serve_sync(); break;
    case DiskOp::allocate: result = co_await below_->allocate(request->offset, request->length); break;
    case DiskOp::punch:
      forget(request->offset, request->length);
      result = co_await below_->punch(request->offset, request->length);
      break;
    case DiskOp::grow: result = co_await below_->grow(request->offset); break;
  }
  request->error = errno_of(result);
  executor().post(request->waiter);
}

void PowerLossDisk::forget(std::uint64_t offset, std::uint64_t length) {
  unsynced_.erase(unsynced_.lower_bound(offset), unsynced_.lower_bound(offset + length));
}

void PowerLossDisk::patch(const DiskRequest& request, const std::map<std::uint64_t, BlockRef>& blocks) const {
  each_block(request, [&](std::uint64_t offset, std::byte* memory) {
    if (const auto block = blocks.find(offset); block != blocks.end()) std::memcpy(memory, block->second->bytes, kBlockBytes);
  });
}

Task<Result<void>> PowerLossDisk::serve_read(DiskRequest* request) {
  // A sync may write a block out and forget it between the read below and the patch: keep what is known now.
  const std::map<std::uint64_t, BlockRef> before(unsynced_.lower_bound(request->offset),
                                                 unsynced_.lower_bound(request->offset + request->length));
  const Result<void> done = co_await below_->read(request->offset, request->length, request->segments);
  if (!done) co_return done;
  patch(*request, before);
  patch(*request, unsynced_);
  co_return done;
}

Task<Result<void>> PowerLossDisk::serve_write(DiskRequest* request) {
  co_await writers_.acquire();
  Result<void> result;
  if (request->durability == Durability::durable) {
    result = co_await below_->write(request->offset, request->length, request->segments, Durability::durable);
    if (result) forget(request->offset, request->length);
    writers_.release();
    co_return result;
  }
  std::vector<std::pair<std::uint64_t, BlockRef>> torn, kept;
  each_block(*request, [&](std::uint64_t offset, std::byte* memory) {
    auto block = std::make_shared<Block>();
    std::memcpy(block->bytes, memory, kBlockBytes);
    const std::uint64_t roll = dice() % 8;
    const Fate fate = unsynced_.size() >= kUnsyncedBlocksMax || roll < 2 ? Fate::kept : roll == 2 ? Fate::torn : Fate::lost;
    unsynced_[offset] = block;
    if (fate == Fate::kept) kept.emplace_back(offset, block);
    if (fate == Fate::torn) torn.emplace_back(offset, block);
  });
  for (const auto& [offset, block] : kept) {
    if (result) result = co_await below_->write(offset, block->bytes, Durability::cached);
    if (result && unsynced_[offset] == block) unsynced_.erase(offset);
  }
  for (const auto& [offset, block] : torn) {
    if (result) result = co_await tear(offset, block);
  }
  writers_.release();
  co_return result;
}

// Some sectors of the block get through: the file holds a mixture until the block is synced.
Task<Result<void>> PowerLossDisk::tear(std::uint64_t offset, BlockRef block) {
  auto mixture = std::make_shared<Block>();
  const Result<void> old = co_await below_->read(offset, mixture->bytes);
  if (!old) co_return old;
  const std::uint64_t through = dice();
  for (std::size_t sector = 0; sector < kBlockBytes / kSectorBytes; ++sector) {
    if (!(through >> sector & 1)) continue;
    std::memcpy(mixture->bytes + sector * kSectorBytes, block->bytes + sector * kSectorBytes, kSectorBytes);
  }
  const Result<void> written = co_await below_->write(offset, mixture->bytes, Durability::cached);
  co_return written;
}

Task<Result<void>> PowerLossDisk::serve_sync() {
  co_await writers_.acquire(kWritersMax);
  Result<void> result;
  const std::map<std::uint64_t, BlockRef> blocks = unsynced_;
  for (const auto& [offset, block] : blocks) {
    if (result) result = co_await below_->write(offset, block->bytes, Durability::cached);
  }
  if (result) result = co_await below_->sync();
  if (result) unsynced_.clear();
  writers_.release(kWritersMax);
  co_return result;
}

}  // namespace holdfast::daemon
