#include "scsi/opcode_report.h"

#include "scsi/block_cdb.h"
#include "scsi/opcodes.h"

namespace holdfast::scsi {
namespace {

constexpr std::size_t kTimeoutsBytes = 12;
constexpr std::uint32_t kRecommendedTimeoutSeconds = 30;

void append_timeouts(std::vector<std::byte>& out) {
  const std::size_t at = out.size();
  out.resize(at + kTimeoutsBytes);
  store_be<std::uint16_t>(&out[at], kTimeoutsBytes - 2);
  store_be<std::uint32_t>(&out[at + 8], kRecommendedTimeoutSeconds);
}

bool listed(const OpcodeEntry& entry, bool explicit_alua) { return entry.op != Op::set_target_port_groups || explicit_alua; }

std::vector<std::byte> all_commands(bool timeouts, bool explicit_alua) {
  std::vector<std::byte> out(4);
  for (const OpcodeEntry& entry : opcodes()) {
    if (!listed(entry, explicit_alua)) continue;
    const std::size_t at = out.size();
    out.resize(at + 8);
    out[at] = std::byte{entry.code};
    const bool has_action = entry.service_action != kNoServiceAction;
    if (has_action) store_be<std::uint16_t>(&out[at + 2], static_cast<std::uint16_t>(entry.service_action));
    out[at + 5] = std::byte((timeouts ? 0x02 : 0) | (has_action ? 0x01 : 0));
    store_be<std::uint16_t>(&out[at + 6], entry.cdb_bytes);
    if (timeouts) append_timeouts(out);
  }
  store_be<std::uint32_t>(&out[0], static_cast<std::uint32_t>(out.size() - 4));
  return out;
}

std::vector<std::byte> one_command(const OpcodeEntry* entry, bool timeouts) {
  std::vector<std::byte> out(4);
  if (!entry) {
    out[1] = std::byte{0x01};  // Not supported.
    return out;
  }
  out[1] = std::byte(0x03 | (timeouts ? 0x80 : 0));  // Supported as a standard has it.
  store_be<std::uint16_t>(&out[2], entry->cdb_bytes);
  for (std::size_t i = 0; i < entry->cdb_bytes; ++i) out.push_back(std::byte{entry->usage[i]});
  if (timeouts) append_timeouts(out);
  return out;
}

}  // namespace

OpcodeReport report_opcodes(const std::byte* cdb, bool explicit_alua) {
  const bool timeouts = (cdb_byte(cdb, 2) & 0x80) != 0;
  const unsigned options = cdb_byte(cdb, 2) & 0x07;
  const std::uint8_t code = cdb_byte(cdb, 3);
  const std::uint16_t action = load_be<std::uint16_t>(cdb + 4);
  const bool has_actions = has_service_actions(code);
  if (options == 0) return {all_commands(timeouts, explicit_alua), go_on()};
  if (options > 3) return {{}, invalid_cdb(2, 2)};
  if (options == 1 && has_actions) return {{}, invalid_cdb(2, 2)};
  const bool known = find_opcode(code, kNoServiceAction) != nullptr;
  if (options == 2 && known) return {{}, invalid_cdb(2, 2)};
  if (options == 3 && !has_actions && action != 0) return {one_command(nullptr, false), go_on()};
  const bool by_action = has_actions && action <= 0x1f;
  const OpcodeEntry* entry = nullptr;
  if (has_actions && by_action) entry = find_opcode(code, static_cast<std::int16_t>(action));
  if (!has_actions) entry = find_opcode(code, kNoServiceAction);
  if (entry && !listed(*entry, explicit_alua)) entry = nullptr;
  return {one_command(entry, timeouts), go_on()};
}

std::vector<std::byte> report_tmfs(const std::byte* cdb) {
  const bool extended = (cdb_byte(cdb, 2) & 0x80) != 0;
  std::vector<std::byte> out(extended ? 16 : 4);
  out[0] = std::byte{0xda};  // ABORT TASK, ABORT TASK SET, CLEAR TASK SET, LOGICAL UNIT RESET, TARGET RESET
  if (extended) out[3] = std::byte{12};
  return out;
}

}  // namespace holdfast::scsi
