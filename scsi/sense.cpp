#include "scsi/sense.h"

#include <limits>

#include "base/bytes.h"

namespace holdfast::scsi {
namespace {

constexpr std::byte kFixedCurrent{0x70};
constexpr std::byte kDescriptorCurrent{0x72};
constexpr std::byte kValid{0x80};
constexpr std::uint8_t kFixedBytes = 18;

// Sense-key specific bytes: SKSV, C/D, BPV and the bit, then the byte (SPC-4 table 29).
void put_field_pointer(std::byte* at, const SenseData& data) {
  std::uint8_t flags = 0x80;
  if (data.field_in == FieldIn::cdb) flags |= 0x40;
  if (data.field_bit != kWholeByte) flags = static_cast<std::uint8_t>(flags | 0x08 | (data.field_bit & 7));
  at[0] = std::byte{flags};
  store_be<std::uint16_t>(at + 1, data.field_byte);
}

Sense encode_fixed(const SenseData& data) {
  Sense sense;
  auto& b = sense.bytes;
  b[0] = kFixedCurrent;
  b[2] = std::byte(data.key);
  // What does not fit into four bytes is left out rather than cut.
  if (data.has_information && data.information <= std::numeric_limits<std::uint32_t>::max()) {
    b[0] |= kValid;
    store_be<std::uint32_t>(&b[3], static_cast<std::uint32_t>(data.information));
  }
  b[7] = std::byte{kFixedBytes - 8};
  store_be<std::uint16_t>(&b[12], static_cast<std::uint16_t>(data.asc));
  if (data.field_in != FieldIn::none) put_field_pointer(&b[15], data);
  sense.length = kFixedBytes;
  return sense;
}

Sense encode_descriptor(const SenseData& data) {
  Sense sense;
  auto& b = sense.bytes;
  b[0] = kDescriptorCurrent;
  b[1] = std::byte(data.key);
  store_be<std::uint16_t>(&b[2], static_cast<std::uint16_t>(data.asc));
  std::uint8_t at = 8;
  if (data.has_information) {  // Information descriptor, SPC-4 §4.5.2.2.
    b[at + 1] = std::byte{0x0a};
    b[at + 2] = kValid;
    store_be<std::uint64_t>(&b[at + 4], data.information);
    at += 12;
  }
  if (data.field_in != FieldIn::none) {  // Sense-key specific descriptor, SPC-4 §4.5.2.4.
    b[at] = std::byte{0x02};
    b[at + 1] = std::byte{0x06};
    put_field_pointer(&b[at + 4], data);
    at += 8;
  }
  b[7] = std::byte(at - 8);
  sense.length = at;
  return sense;
}

}  // namespace

Sense encode_sense(const SenseData& data, SenseFormat format) {
  return format == SenseFormat::fixed ? encode_fixed(data) : encode_descriptor(data);
}

}  // namespace holdfast::scsi
