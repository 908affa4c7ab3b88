#include "scsi/log_pages.h"

#include <algorithm>

#include "base/bytes.h"
#include "scsi/limits.h"

namespace holdfast::scsi {
namespace {

using Page = std::vector<std::byte>;

constexpr std::uint8_t kLogPages[] = {0x00, 0x02, 0x03, 0x05, 0x0c, 0x0d, 0x2f};
constexpr std::uint32_t kProvisioningUnitBlocks = kChunkBlocks;  // Threshold sets are of 2^4 blocks.

void append_counter(Page& page, std::uint16_t parameter, std::uint64_t value) {
  const std::size_t at = page.size();
  page.resize(at + 12);
  store_be<std::uint16_t>(&page[at], parameter);
  page[at + 2] = std::byte{0x02};  // A bounded binary counter.
  page[at + 3] = std::byte{8};
  store_be<std::uint64_t>(&page[at + 4], value);
}

// Total errors, bytes processed, errors that could not be corrected (SPC-4 table 363).
void error_counters(Page& page, const Counter& bytes, const Counter& errors) {
  append_counter(page, 0x0003, errors.get());
  append_counter(page, 0x0005, bytes.get());
  append_counter(page, 0x0006, errors.get());
}

void append_resource_count(Page& page, std::uint16_t parameter, std::uint64_t blocks) {
  const std::size_t at = page.size();
  page.resize(at + 12);
  store_be<std::uint16_t>(&page[at], parameter);
  page[at + 2] = std::byte{0x03};  // A binary list.
  page[at + 3] = std::byte{8};
  const std::uint64_t units = blocks / kProvisioningUnitBlocks;
  store_be<std::uint32_t>(&page[at + 4], static_cast<std::uint32_t>(std::min<std::uint64_t>(units, 0xffffffff)));
  page[at + 8] = std::byte{0x02};  // Scope: not dedicated to this logical unit.
}

void provisioning(Page& page, const DeviceOptions& options) {
  const auto figures = options.space ? options.space() : std::nullopt;
  if (!figures) return;
  append_resource_count(page, 0x0001, figures->available_blocks);
  append_resource_count(page, 0x0002, figures->used_blocks);
}

void temperature(Page& page) {
  for (int b : {0, 0, 3, 2, 0, 0xff, 0, 1, 3, 2, 0, 0xff}) page.push_back(std::byte(b));  // Not known.
}

void informational_exceptions(Page& page) {
  for (int b : {0, 0, 3, 4, 0, 0, 0xff, 0}) page.push_back(std::byte(b));  // None.
}

}  // namespace

LogReply log_sense(const ErrorCounters& counters, const DeviceOptions& options, const std::byte* cdb) {
  const auto control = std::to_integer<std::uint8_t>(cdb[2]) >> 6;
  const std::uint8_t code = std::to_integer<std::uint8_t>(cdb[2]) & 0x3f;
  const auto subpage = std::to_integer<std::uint8_t>(cdb[3]);
  if (control == 0 || control == 2) return {{}, invalid_cdb(2, 7)};  // Thresholds are not kept.
  const bool list_subpages = code == 0x00 && subpage == 0xff;
  if (subpage != 0 && !list_subpages) return {{}, invalid_cdb(3)};
  Page page(4);
  switch (code) {
    case 0x00:
      for (std::uint8_t supported : kLogPages) {
        page.push_back(std::byte{supported});
        if (list_subpages) page.push_back(std::byte{0});
      }
      break;
    case 0x02: error_counters(page, counters.write_bytes, counters.write_errors); break;
    case 0x03: error_counters(page, counters.read_bytes, counters.read_errors); break;
    case 0x05: error_counters(page, counters.verify_bytes, counters.verify_errors); break;
    case 0x0c: provisioning(page, options); break;
    case 0x0d: temperature(page); break;
    case 0x2f: informational_exceptions(page); break;
    default: return {{}, invalid_cdb(2, 5)};
  }
  page[0] = std::byte(code | (list_subpages ? 0x40 : 0));
  page[1] = std::byte{subpage};
  store_be<std::uint16_t>(&page[2], static_cast<std::uint16_t>(page.size() - 4));
  return {std::move(page), go_on()};
}

}  // namespace holdfast::scsi
