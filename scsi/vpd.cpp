#include <algorithm>
#include <array>
#include <cstring>
#include <string>

#include "base/bytes.h"
#include "scsi/inquiry.h"
#include "scsi/limits.h"
#include "scsi/mode_pages.h"
#include "scsi/third_party_copy.h"

namespace holdfast::scsi {
namespace {

using Page = std::vector<std::byte>;

std::string serial_of(const Volume& volume, const DeviceOptions& options) {
  if (!options.serial.empty()) return options.serial.substr(0, 64);
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (std::uint8_t b : volume.identity().uuid) {
    text += kDigits[b >> 4];
    text += kDigits[b & 15];
  }
  return text;
}

void append(Page& page, std::string_view text) {
  const Bytes bytes = as_bytes(text);
  page.insert(page.end(), bytes.begin(), bytes.end());
}

// Designation descriptors (SPC-4 §7.8.6). code_set: 1 binary, 2 ASCII, 3 UTF-8. association: 0 unit, 1 target port, 2 device.
struct Designator {
  std::uint8_t code_set;
  std::uint8_t association;
  std::uint8_t type;
};
void append(Page& page, Designator d, Bytes value) {
  const bool about_a_port = d.association != 0;
  page.push_back(std::byte(d.code_set | (about_a_port ? 0x50 : 0x00)));  // Protocol identifier 5: iSCSI.
  page.push_back(std::byte((about_a_port ? 0x80 : 0x00) | d.association << 4 | d.type));
  page.push_back(std::byte{0});
  page.push_back(std::byte(value.size()));
  page.insert(page.end(), value.begin(), value.end());
}
void append_name(Page& page, std::uint8_t association, std::string name) {
  name.push_back('\0');
  while (name.size() % 4 != 0) name.push_back('\0');
  append(page, Designator{3, association, 8}, as_bytes(name));
}
void append_short(Page& page, std::uint8_t type, std::uint16_t value) {
  std::array<std::byte, 4> bytes{};
  store_be<std::uint16_t>(&bytes[2], value);
  append(page, Designator{1, 1, type}, bytes);
}

// NAA 3h, locally assigned: the first 60 bits of a random uuid that are not version or variant bits. An IEEE company id
// would be needed for NAA 5h or 6h, and there is none to claim.
std::array<std::byte, 8> locally_assigned_name(const Uuid& uuid) {
  std::uint64_t mixed = 0;
  for (std::size_t i = 0; i < 8; ++i) mixed = mixed << 8 | static_cast<std::uint8_t>(uuid[i] ^ uuid[8 + (i + 1) % 8]);
  std::array<std::byte, 8> name;
  store_be<std::uint64_t>(name.data(), (mixed >> 4) | 0x3ULL << 60);
  return name;
}

void device_identification(Page& page, const Volume& volume, const DeviceOptions& options, std::uint16_t target_port) {
  const VolumeIdentity& identity = volume.identity();
  append(page, Designator{1, 0, 3}, locally_assigned_name(identity.uuid));
  std::string t10 = options.vendor.substr(0, 8);
  t10.resize(8, ' ');
  append(page, Designator{2, 0, 1}, as_bytes(t10 + serial_of(volume, options)));
  const std::string target = "iqn.2026-11.io.holdfast:" + identity.name;
  append_short(page, 4, target_port);  // Relative target port identifier.
  append_short(page, 5, target_port);  // Target port group: one port a group.
  char tag[16];
  std::snprintf(tag, sizeof tag, ",t,0x%04x", unsigned{target_port});
  append_name(page, 1, target + tag);
  append_name(page, 2, target);
}

void extended_inquiry(Page& page) {
  page.resize(64);
  page[5] = std::byte{0x07};   // HEADSUP, ORDSUP, SIMPSUP
  page[6] = std::byte{0x00};   // No volatile cache.
  page[7] = std::byte{0x01};   // LUICLR: unit attentions of all paths are cleared as SPC-4 has it.
}

// One mode page policy for all pages: shared (SPC-4 §7.8.8).
void mode_page_policy(Page& page) {
  for (int b : {0x3f, 0xff, 0x00, 0x00}) page.push_back(std::byte(b));
}

void block_limits(Page& page) {
  page.resize(64);
  page[4] = std::byte{0x01};                                         // WSNZ
  page[5] = std::byte{kCompareBlocksMax};
  store_be<std::uint16_t>(&page[6], kChunkBlocks);                   // Optimal transfer length granularity.
  store_be<std::uint32_t>(&page[8], kTransferBlocksMax);
  store_be<std::uint32_t>(&page[12], kTransferBlocksOptimal);
  store_be<std::uint32_t>(&page[20], kUnmapBlocksMax);
  store_be<std::uint32_t>(&page[24], kUnmapDescriptorsMax);
  store_be<std::uint32_t>(&page[28], kChunkBlocks);                  // Optimal unmap granularity,
  store_be<std::uint32_t>(&page[32], 0x80000000);                    // aligned at zero (UGAVALID).
  store_be<std::uint64_t>(&page[36], kWriteSameBlocksMax);
  store_be<std::uint32_t>(&page[44], kAtomicBlocksMax);              // No alignment, granularity or boundary.
}

void block_characteristics(Page& page) {
  page.resize(64);
  store_be<std::uint16_t>(&page[4], 1);  // Not rotating.
}

void logical_block_provisioning(Page& page) {
  page.resize(8);
  page[5] = std::byte{0xe4};  // LBPU, LBPWS, LBPWS10, LBPRZ 001b.
  page[6] = std::byte{0x02};  // Thin.
}

constexpr std::uint8_t kVolumePages[] = {0x00, 0x80, 0x83, 0x86, 0x87, 0x8f, 0xb0, 0xb1, 0xb2};
constexpr std::uint8_t kOtherPages[] = {0x00};

std::span<const std::uint8_t> pages_of(LogicalUnit unit) {
  return unit == LogicalUnit::volume ? std::span<const std::uint8_t>(kVolumePages)
                                     : std::span<const std::uint8_t>(kOtherPages);
}

}  // namespace

std::optional<std::vector<std::byte>> inquiry_vpd(const Volume& volume, const DeviceOptions& options, LogicalUnit unit,
                                                  std::uint16_t target_port, std::uint8_t page_code) {
  const auto pages = pages_of(unit);
  if (std::find(pages.begin(), pages.end(), page_code) == pages.end()) return std::nullopt;
  Page page(4);
  switch (page_code) {
    case 0x00:
      for (std::uint8_t code : pages) page.push_back(std::byte{code});
      break;
    case 0x80: append(page, serial_of(volume, options)); break;
    case 0x83: device_identification(page, volume, options, target_port); break;
    case 0x86: extended_inquiry(page); break;
    case 0x87: mode_page_policy(page); break;
    case 0x8f: third_party_copy_page(page); break;
    case 0xb0: block_limits(page); break;
    case 0xb1: block_characteristics(page); break;
    case 0xb2: logical_block_provisioning(page); break;
    default: return std::nullopt;
  }
  page[0] = inquiry_standard(options, unit)[0];
  page[1] = std::byte{page_code};
  store_be<std::uint16_t>(&page[2], static_cast<std::uint16_t>(page.size() - 4));
  return page;
}

}  // namespace holdfast::scsi
