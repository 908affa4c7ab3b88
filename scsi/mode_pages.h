// Mode pages (SPC-4 §7.5, SBC-3 §6.5). Shared by all nexus; only D_SENSE and SWP can be changed, and nothing is saved.
#pragma once

#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "base/types.h"
#include "scsi/sense.h"

namespace holdfast::scsi {

struct ModeSettings {
  bool descriptor_sense = false;       // D_SENSE
  bool write_protected = false;        // SWP
  bool operator==(const ModeSettings&) const = default;
};

struct ModeReply {
  std::vector<std::byte> bytes;
  Verdict verdict;
};
// MODE SENSE (6) and (10): header, block descriptor unless DBD, pages.
ModeReply mode_sense(const ModeSettings& settings, BlockCount capacity, const std::byte* cdb);

// MODE SELECT (6) and (10): checks the whole list, then changes `settings`.
Verdict mode_select(ModeSettings& settings, BlockCount capacity, const std::byte* cdb, Bytes parameters);

}  // namespace holdfast::scsi
