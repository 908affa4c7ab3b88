#include "wal/record.h"

#include "base/checksum.h"

namespace holdfast::wal {

std::uint64_t chain_of(const RecordHeader& header, std::span<const std::uint64_t> checksums, std::uint64_t previous) {
  // Placement (how the blocks are split between payload and chunks, and where) differs between members: it stays out.
  const std::uint64_t identity[] = {header.lsn, header.epoch, header.volume_id, header.first_block, header.count, header.kind};
  return xxh3(std::as_bytes(checksums), xxh3(std::as_bytes(std::span(identity)), previous));
}

}  // namespace holdfast::wal
