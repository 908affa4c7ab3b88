#include "base/checksum.h"

#define XXH_INLINE_ALL
#include <isa-l/crc.h>
#include <xxhash.h>

#include <array>

#include "base/types.h"

namespace holdfast {

std::uint64_t xxh3(Bytes bytes, std::uint64_t seed) { return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed); }

std::uint64_t xxh3_zero_block() {
  static const std::uint64_t value = [] {
    const std::array<std::byte, kBlockBytes> zeros{};
    return xxh3(zeros);
  }();
  return value;
}

std::uint32_t crc32c(Bytes bytes, std::uint32_t previous) {
  // ISA-L takes a non-const pointer and does not invert: the iSCSI CRC starts from all ones and is inverted at the end.
  auto* data = const_cast<unsigned char*>(reinterpret_cast<const unsigned char*>(bytes.data()));
  return ~crc32_iscsi(data, static_cast<int>(bytes.size()), ~previous);
}

}  // namespace holdfast
