// What an operator decides about a logical unit.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace holdfast::scsi {

// For the logical block provisioning log page.
struct SpaceFigures {
  std::uint64_t used_blocks = 0;
  std::uint64_t available_blocks = 0;
};

enum class AluaMode : std::uint8_t { implicit, implicit_and_explicit };

struct DeviceOptions {
  std::string vendor = "HOLDFAST";         // At most 8 printable ASCII characters.
  std::string product = "Volume";          // At most 16.
  std::string revision = "0001";           // At most 4.
  std::string serial;                      // Empty: the volume's uuid in hex.
  AluaMode alua = AluaMode::implicit;
  std::int64_t report_hold_ms = 20'000;    // How long an unconfirmed REPORT TARGET PORT GROUPS is held (alua.md).
  std::function<std::optional<SpaceFigures>()> space;  // May be empty.
};

}  // namespace holdfast::scsi
