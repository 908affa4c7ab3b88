#include "scsi/inquiry.h"

#include <algorithm>
#include <string_view>

#include "base/bytes.h"

namespace holdfast::scsi {
namespace {

constexpr std::uint8_t peripheral(LogicalUnit unit) {
  switch (unit) {
    case LogicalUnit::volume: return 0x00;       // Direct access block device.
    case LogicalUnit::report_luns: return 0x1e;  // Well-known logical unit.
    case LogicalUnit::absent: return 0x7f;       // Qualifier 011b: no device can be there.
  }
  return 0x7f;
}

void put_padded(std::vector<std::byte>& out, std::size_t at, std::size_t width, std::string_view text) {
  for (std::size_t i = 0; i < width; ++i) out[at + i] = std::byte(i < text.size() ? text[i] : ' ');
}

}  // namespace

std::vector<std::byte> inquiry_standard(const DeviceOptions& options, LogicalUnit unit) {
  std::vector<std::byte> out(96);
  out[0] = std::byte{peripheral(unit)};
  out[2] = std::byte{0x06};                  // SPC-4
  out[3] = std::byte{0x12};                  // HISUP, response data format 2.
  out[4] = std::byte(out.size() - 5);
  const bool explicit_alua = options.alua == AluaMode::implicit_and_explicit;
  if (unit == LogicalUnit::volume) out[5] = std::byte(explicit_alua ? 0x38 : 0x18);  // TPGS and 3PC.
  out[6] = std::byte{0x10};                  // MULTIP
  out[7] = std::byte{0x02};                  // CMDQUE
  put_padded(out, 8, 8, options.vendor);
  put_padded(out, 16, 16, options.product);
  put_padded(out, 32, 4, options.revision);
  // SAM-5, iSCSI, SPC-4, SBC-3, no version claimed.
  constexpr std::uint16_t kStandards[] = {0x00a0, 0x0960, 0x0460, 0x04c0};
  std::size_t at = 58;
  for (std::uint16_t standard : kStandards) {
    store_be<std::uint16_t>(&out[at], standard);
    at += 2;
  }
  return out;
}

}  // namespace holdfast::scsi
