// The table of supported commands. It drives dispatch, the check of reserved bits, reservation conflicts, what a standby
// answers, and REPORT SUPPORTED OPERATION CODES: a command that is not in it does not exist.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "base/bytes.h"
#include "scsi/sense.h"

namespace holdfast::scsi {

enum class Op : std::uint8_t {
  test_unit_ready, request_sense, read, write, reserve, release, inquiry, mode_select, mode_sense, start_stop_unit,
  send_diagnostic, prevent_allow, read_capacity_10, write_verify, verify, prefetch, synchronize_cache, read_defect_10,
  write_same, unmap, log_sense, pr_in, pr_out, extended_copy, receive_copy_results, compare_and_write, or_write,
  write_atomic, read_capacity_16, get_lba_status, report_luns, report_target_port_groups, report_opcodes, report_tmfs,
  set_target_port_groups, read_defect_12,
};

// What a reservation of another nexus does to the command (SPC-4 table 66, SBC-3 table 13).
enum class Access : std::uint8_t {
  always,        // Never conflicts.
  unless_legacy, // Conflicts with a RESERVE (6)/(10) only.
  read,          // Conflicts with exclusive access.
  write,         // Conflicts with exclusive access and write exclusive.
  reservation,   // PERSISTENT RESERVE OUT, RESERVE and RELEASE decide for themselves.
};

// In which port group states it is answered (SPC-4 §5.15.2).
enum class Needs : std::uint8_t { nothing, standby, active };

struct OpcodeEntry {
  std::uint8_t code;
  std::int16_t service_action;  // kNoServiceAction when the opcode has none.
  Op op;
  Access access;
  Needs needs;
  std::uint8_t cdb_bytes;
  std::array<std::uint8_t, 16> usage;  // CDB usage data: 1 for each bit that is looked at.
};
inline constexpr std::int16_t kNoServiceAction = -1;

std::span<const OpcodeEntry> opcodes();

// The command's entry, or the refusal: 5/20/00, or 5/24/00 for an unknown service action.
struct Lookup {
  const OpcodeEntry* entry = nullptr;
  Verdict verdict;
};
Lookup find_opcode(const std::byte* cdb);
bool has_service_actions(std::uint8_t code);
const OpcodeEntry* find_opcode(std::uint8_t code, std::int16_t service_action);

// 5/24/00 with a pointer to the first bit that must be zero and is not.
Verdict check_usage(const OpcodeEntry& entry, const std::byte* cdb);

}  // namespace holdfast::scsi
