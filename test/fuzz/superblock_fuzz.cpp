// The superblock's decoder: any bytes as one copy. It must answer, and what it accepts must not contradict itself.
#include <cstdint>
#include <cstring>
#include <vector>

#include "base/checksum.h"
#include "base/ensure.h"
#include "snapshot/superblock.h"

using namespace holdfast;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::vector<std::byte> block(sizeof(snapshot::Superblock));
  std::memcpy(block.data(), data, std::min(size, block.size()));
  if (size > 0 && (data[size - 1] & 1) != 0) {
    snapshot::Superblock superblock;
    std::memcpy(&superblock, block.data(), sizeof superblock);
    snapshot::encode_superblock(superblock, block);
  }
  const auto superblock = snapshot::decode_superblock(size < 64 ? Bytes(block).first(size) : Bytes(block));
  if (!superblock) return 0;
  ENSURE(superblock->generation > 0 && superblock->epoch_count <= snapshot::kEpochsKept);
  ENSURE(superblock->capacity_chunks <= snapshot::kStoreChunksMax && superblock->applied_lsn <= superblock->durable_lsn);
  return 0;
}
