// REPORT and SET TARGET PORT GROUPS (SPC-4 §6.37, §6.45) as bytes.
#pragma once

#include <vector>

#include "base/bytes.h"
#include "engine/volume.h"
#include "scsi/sense.h"

namespace holdfast::scsi {

enum class ReportFormat : std::uint8_t { length_only, extended };
std::vector<std::byte> report_target_port_groups(const ClusterView& view, ReportFormat format);

// Explicit changes are not ours to make: what is asked for must be so already, else 04/67/0A.
Verdict set_target_port_groups(const ClusterView& view, Bytes parameters);

}  // namespace holdfast::scsi
