// XXH3-64: the checksum of every block, record and page. About 80 ns for a hot 4 KiB block.
#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace holdfast {

std::uint64_t xxh3(Bytes bytes, std::uint64_t seed = 0);

// XXH3 of 4096 zero bytes: what an unmapped block would have.
std::uint64_t xxh3_zero_block();

// CRC32C (Castagnoli) as iSCSI digests want it (RFC 7143 §13.1), seedable for data in pieces: start with 0.
std::uint32_t crc32c(Bytes bytes, std::uint32_t previous = 0);

}  // namespace holdfast
