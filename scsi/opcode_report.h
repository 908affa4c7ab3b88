// REPORT SUPPORTED OPERATION CODES and TASK MANAGEMENT FUNCTIONS (SPC-4 §6.35, §6.36).
#pragma once

#include <vector>

#include "scsi/sense.h"

namespace holdfast::scsi {

struct OpcodeReport {
  std::vector<std::byte> bytes;
  Verdict verdict;
};
OpcodeReport report_opcodes(const std::byte* cdb, bool explicit_alua);
std::vector<std::byte> report_tmfs(const std::byte* cdb);

}  // namespace holdfast::scsi
