#include "scsi/mode_pages.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <span>

namespace holdfast::scsi {
namespace {

enum class PageControl : std::uint8_t { current = 0, changeable = 1, defaults = 2, saved = 3 };

// Each page as it is by default and the bits that may change, header included.
struct ModePage {
  std::uint8_t code;
  std::uint8_t subpage;
  std::span<const std::uint8_t> defaults;
  std::span<const std::uint8_t> changeable;
};

constexpr std::uint8_t kErrorRecovery[12] = {0x01, 0x0a, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0};  // AWRE, ARRE
constexpr std::uint8_t kErrorRecoveryMask[12] = {0x01, 0x0a};
constexpr std::uint8_t kCaching[20] = {0x08, 0x12};                                         // WCE 0, RCD 0
constexpr std::uint8_t kCachingMask[20] = {0x08, 0x12};
constexpr std::uint8_t kControl[12] = {0x0a, 0x0a, 0x00, 0x10, 0, 0x00, 0, 0, 0xff, 0xff, 0, 0};  // Unrestricted
// reordering; TAS 0: the commands that another host aborts end without a word; busy timeout unlimited.
constexpr std::uint8_t kControlMask[12] = {0x0a, 0x0a, 0x04, 0, 0x08};
constexpr std::uint8_t kControlExtension[32] = {0x4a, 0x01, 0x00, 0x1c};
constexpr std::uint8_t kControlExtensionMask[32] = {0x4a, 0x01, 0x00, 0x1c};
constexpr std::uint8_t kExceptions[12] = {0x1c, 0x0a, 0x08};                                // DEXCPT: none are reported.
constexpr std::uint8_t kExceptionsMask[12] = {0x1c, 0x0a};

constexpr ModePage kModePages[] = {
    {0x01, 0x00, kErrorRecovery, kErrorRecoveryMask},
    {0x08, 0x00, kCaching, kCachingMask},
    {0x0a, 0x00, kControl, kControlMask},
    {0x0a, 0x01, kControlExtension, kControlExtensionMask},
    {0x1c, 0x00, kExceptions, kExceptionsMask},
};
constexpr std::uint8_t kAllPages = 0x3f;
constexpr std::uint8_t kAllSubpages = 0xff;
constexpr std::uint8_t kDescriptorSenseBit = 0x04;  // Control page, byte 2.
constexpr std::uint8_t kWriteProtectBit = 0x08;     // Control page, byte 4.

bool is_control(const ModePage& page) { return page.code == 0x0a && page.subpage == 0; }

std::array<std::uint8_t, 32> page_values(const ModePage& page, PageControl control, const ModeSettings& settings) {
  std::array<std::uint8_t, 32> values{};
  const auto& source = control == PageControl::changeable ? page.changeable : page.defaults;
  std::copy(source.begin(), source.end(), values.begin());
  if (control == PageControl::current && is_control(page)) {
    if (settings.descriptor_sense) values[2] |= kDescriptorSenseBit;
    if (settings.write_protected) values[4] |= kWriteProtectBit;
  }
  return values;
}

bool wanted(const ModePage& page, std::uint8_t code, std::uint8_t subpage) {
  if (code != kAllPages && code != page.code) return false;
  return subpage == kAllSubpages || subpage == page.subpage;
}

void append_block_descriptor(std::vector<std::byte>& out, BlockCount capacity, bool long_lba) {
  const std::size_t at = out.size();
  if (long_lba) {
    out.resize(at + 16);
    store_be<std::uint64_t>(&out[at], capacity.value);
    store_be<std::uint32_t>(&out[at + 12], kBlockBytes);
  } else {
    out.resize(at + 8);
    const std::uint64_t all_ones = std::numeric_limits<std::uint32_t>::max();
    store_be<std::uint32_t>(&out[at], static_cast<std::uint32_t>(std::min(capacity.value, all_ones)));
    store_be24(&out[at + 5], kBlockBytes);
  }
}

struct Layout {
  std::size_t header_bytes;
  std::size_t block_descriptor_bytes;
};

// The mode parameter header of a MODE SELECT list.
Verdict parse_header(const std::byte* cdb, Bytes parameters, Layout& layout) {
  const bool six = cdb[0] == std::byte{0x15};
  layout.header_bytes = six ? 4 : 8;
  if (parameters.size() < layout.header_bytes) return illegal(Asc::parameter_list_length_error);
  layout.block_descriptor_bytes = six ? std::to_integer<std::size_t>(parameters[3]) : load_be<std::uint16_t>(&parameters[6]);
  if (layout.block_descriptor_bytes > parameters.size() - layout.header_bytes)
    return illegal(Asc::parameter_list_length_error);
  return go_on();
}

// A block descriptor may only repeat what is: the size is not set from here.
Verdict check_block_descriptor(Bytes descriptor, BlockCount capacity, std::uint16_t at) {
  if (descriptor.empty()) return go_on();
  if (descriptor.size() != 8 && descriptor.size() != 16) return invalid_parameter(at);
  const bool long_lba = descriptor.size() == 16;
  const std::uint64_t blocks = long_lba ? load_be<std::uint64_t>(&descriptor[0]) : load_be<std::uint32_t>(&descriptor[0]);
  const std::uint32_t bytes = long_lba ? load_be<std::uint32_t>(&descriptor[12]) : load_be24(&descriptor[5]);
  const bool same = blocks == 0 || blocks == capacity.value || (!long_lba && blocks == 0xffffffff);
  if (!same) return invalid_parameter(at);
  if (bytes != kBlockBytes) return invalid_parameter(static_cast<std::uint16_t>(at + (long_lba ? 12 : 5)));
  return go_on();
}

// One page of a MODE SELECT list: known, of its length, and unchanged where it cannot change.
Verdict apply_page(ModeSettings& settings, Bytes list, std::uint16_t at, std::size_t& page_bytes) {
  const Bytes rest = list.subspan(at);
  if (rest.size() < 2) return illegal(Asc::parameter_list_length_error);
  const auto first = std::to_integer<std::uint8_t>(rest[0]);
  if ((first & 0x80) != 0) return invalid_parameter(at, 7);  // PS is reserved here.
  const bool has_subpage = (first & 0x40) != 0;
  const std::uint8_t code = first & 0x3f;
  const std::uint8_t subpage = has_subpage ? std::to_integer<std::uint8_t>(rest[1]) : 0;
  const auto* page = std::find_if(std::begin(kModePages), std::end(kModePages),
                                  [&](const ModePage& p) { return p.code == code && p.subpage == subpage; });
  if (page == std::end(kModePages)) return invalid_parameter(at, 5);
  page_bytes = page->defaults.size();
  if (rest.size() < page_bytes) return illegal(Asc::parameter_list_length_error);
  const auto now = page_values(*page, PageControl::current, settings);
  const std::size_t header = has_subpage ? 4 : 2;
  for (std::size_t i = 0; i < page_bytes; ++i) {
    const unsigned difference = std::to_integer<unsigned>(rest[i]) ^ now[i];
    const unsigned may_change = i < header ? 0U : page->changeable[i];
    if ((difference & ~may_change) != 0) return invalid_parameter(static_cast<std::uint16_t>(at + i));
  }
  if (is_control(*page)) {
    settings.descriptor_sense = (std::to_integer<unsigned>(rest[2]) & kDescriptorSenseBit) != 0;
    settings.write_protected = (std::to_integer<unsigned>(rest[4]) & kWriteProtectBit) != 0;
  }
  return go_on();
}

}  // namespace

ModeReply mode_sense(const ModeSettings& settings, BlockCount capacity, const std::byte* cdb) {
  const bool six = cdb[0] == std::byte{0x1a};
  const bool without_descriptors = (cdb[1] & std::byte{0x08}) != std::byte{};
  const bool long_lba = !six && (cdb[1] & std::byte{0x10}) != std::byte{};
  const auto control = PageControl(std::to_integer<std::uint8_t>(cdb[2]) >> 6);
  const std::uint8_t code = std::to_integer<std::uint8_t>(cdb[2]) & 0x3f;
  const auto subpage = std::to_integer<std::uint8_t>(cdb[3]);
  if (control == PageControl::saved) return {{}, illegal(Asc::saving_parameters_not_supported)};
  if (code == kAllPages && subpage != 0 && subpage != kAllSubpages) return {{}, invalid_cdb(3)};

  std::vector<std::byte> out(six ? 4 : 8);
  const std::size_t header = out.size();
  if (!without_descriptors) append_block_descriptor(out, capacity, long_lba);
  const std::size_t descriptors = out.size() - header;
  bool found = false;
  for (const ModePage& page : kModePages) {
    if (!wanted(page, code, subpage)) continue;
    found = true;
    const auto values = page_values(page, control, settings);
    for (std::size_t i = 0; i < page.defaults.size(); ++i) out.push_back(std::byte{values[i]});
  }
  if (!found) return {{}, invalid_cdb(code == kAllPages ? 3 : 2, code == kAllPages ? kWholeByte : 5)};
  const std::byte device_specific{static_cast<std::uint8_t>(0x10 | (settings.write_protected ? 0x80 : 0))};  // DPOFUA, WP
  if (six) {
    out[0] = std::byte(out.size() - 1);
    out[2] = device_specific;
    out[3] = std::byte(descriptors);
  } else {
    store_be<std::uint16_t>(&out[0], static_cast<std::uint16_t>(out.size() - 2));
    out[3] = device_specific;
    if (long_lba && !without_descriptors) out[4] = std::byte{0x01};
    store_be<std::uint16_t>(&out[6], static_cast<std::uint16_t>(descriptors));
  }
  return {std::move(out), go_on()};
}

Verdict mode_select(ModeSettings& settings, BlockCount capacity, const std::byte* cdb, Bytes parameters) {
  if ((cdb[1] & std::byte{0x01}) != std::byte{}) return invalid_cdb(1, 0);  // SP: nothing is saved.
  if (parameters.empty()) return go_on();
  if ((cdb[1] & std::byte{0x10}) == std::byte{}) return invalid_cdb(1, 4);  // PF: pages as SPC-4 has them.
  Layout layout{};
  if (Verdict v = parse_header(cdb, parameters, layout); !v.ok()) return v;
  const auto descriptor_at = static_cast<std::uint16_t>(layout.header_bytes);
  if (Verdict v = check_block_descriptor(parameters.subspan(descriptor_at, layout.block_descriptor_bytes), capacity,
                                         descriptor_at);
      !v.ok())
    return v;
  ModeSettings changed = settings;
  std::size_t at = layout.header_bytes + layout.block_descriptor_bytes;
  while (at < parameters.size()) {
    std::size_t page_bytes = 0;
    if (Verdict v = apply_page(changed, parameters, static_cast<std::uint16_t>(at), page_bytes); !v.ok()) return v;
    at += page_bytes;
  }
  settings = changed;
  return go_on();
}

}  // namespace holdfast::scsi
