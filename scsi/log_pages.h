// LOG SENSE (SPC-4 §7.3, SBC-3 §6.4): error counters, temperature, provisioning, informational exceptions.
#pragma once

#include <optional>
#include <vector>

#include "base/counters.h"
#include "scsi/device_options.h"
#include "scsi/sense.h"

namespace holdfast::scsi {

struct ErrorCounters {
  Counter read_bytes, read_errors;
  Counter write_bytes, write_errors;
  Counter verify_bytes, verify_errors;
};

struct LogReply {
  std::vector<std::byte> bytes;
  Verdict verdict;
};
LogReply log_sense(const ErrorCounters& counters, const DeviceOptions& options, const std::byte* cdb);

}  // namespace holdfast::scsi
