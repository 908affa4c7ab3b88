// EXTENDED COPY (LID1) from block to block within this volume, and what RECEIVE COPY RESULTS and VPD 8F tell about it
// (SPC-4 §6.4, §6.18, §7.8.18).
#pragma once

#include <vector>

#include "base/bytes.h"
#include "base/types.h"
#include "scsi/nexus.h"

namespace holdfast::scsi {

inline constexpr std::size_t kCopyTargetsMax = 8;
inline constexpr std::size_t kCopySegmentsMax = 16;
inline constexpr std::size_t kCopyDescriptorBytesMax = 1024;
inline constexpr std::uint32_t kCopySegmentBlocksMax = 65535;

struct CopySegment {
  BlockRange from;
  Lba to;
};
struct CopyRequest {
  Verdict verdict;
  std::uint8_t list_id = 0;
  bool keep_result = true;             // LIST ID USAGE does not say discard or disable.
  std::vector<CopySegment> segments;   // All within the volume.
};
// device_page: our VPD 83, to recognise ourselves as source and destination.
CopyRequest decode_extended_copy(Bytes parameters, BlockCount capacity, Bytes device_page);

std::vector<std::byte> copy_operating_parameters();
std::vector<std::byte> copy_status(const CopyOutcome& outcome);
// Appends the descriptors of the third-party copy VPD page.
void third_party_copy_page(std::vector<std::byte>& page);

}  // namespace holdfast::scsi
