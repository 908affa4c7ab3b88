#include "snapshot/superblock.h"

#include <algorithm>
#include <cstring>

#include "base/checksum.h"
#include "base/marks.h"
#include "base/planted.h"
#include "base/text.h"

namespace holdfast::snapshot {
namespace {

Result<void> check_bounds(const Superblock& s) {
  const std::uint64_t log_chunks = divide_up(s.log_blocks, kChunkBlocks);
  const bool sane = s.generation > 0 && s.capacity_chunks <= kStoreChunksMax && log_chunks < s.capacity_chunks &&
                    s.capacity_chunks - log_chunks > 2 && s.log_blocks > 0 && s.epoch_count <= kEpochsKept &&
                    s.tail_first_lsn > 0 && s.tail_first_lsn <= s.applied_lsn + 1 && s.applied_lsn <= s.durable_lsn;
  if (!sane) return fail(Errc::corrupt, "the superblock's checksum is right but its values contradict each other");
  return {};
}

// A rotten version number looks like a newer format's, which must not be touched. The checksum tells them apart: here it is
// right for the version that this program writes.
bool only_the_version_is_rotten(Superblock s) {
  s.format_version = kStoreVersion;
  return xxh3(bytes_of(s).subspan(16)) == s.xxh3;
}

}  // namespace

Result<Superblock> decode_superblock(Bytes block) {
  if (block.size() < sizeof(Superblock)) return fail(Errc::truncated, "shorter than a superblock");
  Superblock s;
  std::memcpy(&s, block.data(), sizeof s);
  if (s.magic != kStoreMagic) return fail(Errc::foreign, "no holdfast store: the magic number is missing");
  // The version comes before the checksum: a newer format may compute it otherwise.
  if (s.format_version > kStoreVersion && !only_the_version_is_rotten(s))
    return fail(Errc::version_too_new, concat("written by format version ", s.format_version, "; this program knows up to ",
                                              kStoreVersion, ": use a newer holdfast"));
  if (xxh3(block.subspan(16, sizeof s - 16)) != s.xxh3) return fail(Errc::corrupt, "the superblock's checksum is wrong");
  if (s.format_version == 0) return fail(Errc::corrupt, "format version 0 does not exist");
  TRY(check_bounds(s));
  return s;
}

void encode_superblock(Superblock superblock, MutableBytes block) {
  ENSURE(block.size() >= sizeof superblock);
  superblock.magic = kStoreMagic;
  superblock.format_version = kStoreVersion;
  superblock.xxh3 = xxh3(bytes_of(superblock).subspan(16));
  std::memcpy(block.data(), &superblock, sizeof superblock);
}

Task<Result<SuperblockPair>> read_superblocks(Disk& disk, BufferPool& buffers) {
  if (disk.size_bytes() < kLogOffset) co_return fail(Errc::truncated, concat("only ", disk.size_bytes(), " bytes long"));
  Buffer block = co_await buffers.acquire(sizeof(Superblock));
  Result<Superblock> copies[2] = {fail(Errc::io_error), fail(Errc::io_error)};
  for (int i = 0; i < 2; ++i) {
    auto done = co_await disk.read(kSuperblockOffsets[i], block.bytes());
    if (done) copies[i] = decode_superblock(block.bytes());
  }
  // A newer format's copy must never be taken for damage and overwritten.
  for (const auto& copy : copies)
    if (!copy && copy.error().code == Errc::version_too_new) co_return fail(copy.error());
  if (!copies[0] && !copies[1]) {
    const bool foreign = copies[0].error().code == Errc::foreign;
    co_return fail(foreign ? copies[1].error() : copies[0].error());
  }
  SuperblockPair pair;
  if (!copies[0] || !copies[1]) {
    pair.newest = copies[0] ? *copies[0] : *copies[1];
    pair.lost_copy = copies[0] ? 1 : 0;
    mark(Mark::superblock_copy_lost);
  } else {
    pair.newest = copies[0]->generation >= copies[1]->generation ? *copies[0] : *copies[1];
  }
  const std::uint64_t expected = pair.newest.capacity_chunks * kChunkBytes;
  if (disk.size_bytes() < expected)
    co_return fail(Errc::truncated, concat("the store should be ", expected, " bytes long but is ", disk.size_bytes(),
                                           ": it was truncated; restore it from a copy"));
  co_return pair;
}

namespace {

// What a superblock promises has no second witness: a disk that loses writes, or does them somewhere else, is found out now.
Task<Result<void>> is_kept(Disk* disk, std::uint64_t offset, Bytes written, MutableBytes read) {
  auto looked = co_await disk->read(offset, read);
  if (!looked) CO_TRY(co_await disk->read(offset, read));  // One request that fails is not what this looks for.
  if (std::memcmp(read.data(), written.data(), written.size()) == 0) co_return Result<void>{};
  mark(Mark::superblock_not_kept);
  co_return fail(Errc::io_error, concat("the superblock at offset ", offset, " is not what was just written there: the device loses writes, or does them somewhere else"));
}

}  // namespace

Task<Result<void>> write_superblocks(Disk& disk, Buffer two_blocks, Superblock* superblock, std::optional<std::size_t> lost_copy) {
  ++superblock->generation;
  const MutableBytes block = two_blocks.bytes().first(kBlockBytes), read = two_blocks.bytes().subspan(kBlockBytes, kBlockBytes);
  encode_superblock(*superblock, block);
  // A crash in between leaves the other one whole. Which is first alternates, unless only one is whole now.
  const std::size_t first = lost_copy ? *lost_copy : superblock->generation % 2;
  for (std::size_t i = 0; i < 2; ++i) {
    auto done = co_await disk.write(kSuperblockOffsets[(first + i) % 2], block, Durability::durable);
    if (!done) co_return done;
    CO_TRY(co_await is_kept(&disk, kSuperblockOffsets[(first + i) % 2], block, read));
    if (planted(Bug::free_before_second_superblock)) break;
  }
  co_return Result<void>{};
}

}  // namespace holdfast::snapshot
