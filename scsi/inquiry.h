// INQUIRY: standard data and vital product data (SPC-4 §6.6, §7.8; SBC-3 §6.6). The same on every node, but for the
// target port that it was asked through.
#pragma once

#include <optional>
#include <vector>

#include "engine/volume.h"
#include "scsi/device_options.h"

namespace holdfast::scsi {

enum class LogicalUnit : std::uint8_t { volume, report_luns, absent };

std::vector<std::byte> inquiry_standard(const DeviceOptions& options, LogicalUnit unit);
// Empty when there is no such page.
std::optional<std::vector<std::byte>> inquiry_vpd(const Volume& volume, const DeviceOptions& options, LogicalUnit unit,
                                                  std::uint16_t target_port, std::uint8_t page);

}  // namespace holdfast::scsi
