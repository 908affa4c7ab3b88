// The fields of commands that name blocks, and how much data they move.
#pragma once

#include <cstdint>

#include "base/bytes.h"
#include "base/types.h"
#include "scsi/opcodes.h"

namespace holdfast::scsi {

struct BlockCdb {
  Lba first;
  BlockCount count;
  std::uint16_t length_at = 0;       // Byte of the CDB that holds the count, for the sense data's field pointer.
};

enum class ByteCheck : std::uint8_t { medium = 0, compare = 1, reserved = 2, compare_one = 3 };

inline std::uint8_t cdb_byte(const std::byte* cdb, std::size_t at) { return std::to_integer<std::uint8_t>(cdb[at]); }
inline ByteCheck byte_check(const std::byte* cdb) { return ByteCheck(cdb_byte(cdb, 1) >> 1 & 3); }

// By the operation code's group (SPC-4 §4.2.5.1), with the exceptions that put the count elsewhere.
inline BlockCdb parse_blocks(const std::byte* cdb) {
  switch (cdb_byte(cdb, 0)) {
    case 0x08:
    case 0x0a: {
      const std::uint64_t count = cdb_byte(cdb, 4);
      return {Lba(load_be24(cdb + 1) & 0x1fffff), BlockCount(count == 0 ? 256 : count), 4};
    }
    case 0x89: return {Lba(load_be<std::uint64_t>(cdb + 2)), BlockCount(cdb_byte(cdb, 13)), 13};
    case 0x9c: return {Lba(load_be<std::uint64_t>(cdb + 2)), BlockCount(load_be<std::uint16_t>(cdb + 12)), 12};
    default: break;
  }
  switch (cdb_byte(cdb, 0) >> 5) {
    case 1:
    case 2: return {Lba(load_be<std::uint32_t>(cdb + 2)), BlockCount(load_be<std::uint16_t>(cdb + 7)), 7};
    case 5: return {Lba(load_be<std::uint32_t>(cdb + 2)), BlockCount(load_be<std::uint32_t>(cdb + 6)), 6};
    default: return {Lba(load_be<std::uint64_t>(cdb + 2)), BlockCount(load_be<std::uint32_t>(cdb + 10)), 10};
  }
}

}  // namespace holdfast::scsi
