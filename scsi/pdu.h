// iSCSI PDU headers (RFC 7143 §11). A header is 48 big-endian bytes; the accessors name what an opcode keeps where.
#pragma once

#include <array>
#include <cstdint>

#include "base/bytes.h"

namespace holdfast::scsi {

enum class Opcode : std::uint8_t {
  nop_out = 0x00,
  scsi_command = 0x01,
  task_management = 0x02,
  login = 0x03,
  text = 0x04,
  data_out = 0x05,
  logout = 0x06,
  snack = 0x10,
  nop_in = 0x20,
  scsi_response = 0x21,
  task_management_response = 0x22,
  login_response = 0x23,
  text_response = 0x24,
  data_in = 0x25,
  logout_response = 0x26,
  r2t = 0x31,
  async_message = 0x32,
  reject = 0x3f,
};

enum class RejectReason : std::uint8_t {  // §11.17.1
  data_digest_error = 0x02,
  snack_reject = 0x03,
  protocol_error = 0x04,
  command_not_supported = 0x05,
  immediate_command_reject = 0x06,
  task_in_progress = 0x07,
  invalid_data_ack = 0x08,
  invalid_pdu_field = 0x09,
  waiting_for_logout = 0x0c,
};

enum class TaskFunction : std::uint8_t {  // §11.5.1
  abort_task = 1,
  abort_task_set = 2,
  clear_aca = 3,
  clear_task_set = 4,
  logical_unit_reset = 5,
  target_warm_reset = 6,
  target_cold_reset = 7,
  task_reassign = 8,
};

enum class TaskFunctionResponse : std::uint8_t {  // §11.6.1
  complete = 0,
  no_such_task = 1,
  no_such_lun = 2,
  reassignment_not_supported = 4,
  not_supported = 5,
  rejected = 255,
};

enum class AsyncEvent : std::uint8_t {  // §11.9.1
  logout_requested = 1,
  connection_dropped = 2,
  session_dropped = 3,
};

inline constexpr std::size_t kHeaderBytes = 48;
inline constexpr std::size_t kAhsBytesMax = 255 * 4;
inline constexpr std::size_t kDigestBytes = 4;
inline constexpr std::uint32_t kNoTag = 0xffffffff;  // The reserved ITT and TTT.

constexpr std::size_t padded(std::size_t bytes) { return (bytes + 3) & ~std::size_t{3}; }

// Serial number arithmetic (RFC 1982, 32 bits): a comes before b.
constexpr bool serial_before(std::uint32_t a, std::uint32_t b) { return static_cast<std::int32_t>(a - b) < 0; }

struct Header {
  std::array<std::byte, kHeaderBytes> raw{};

  std::uint8_t u8(std::size_t at) const { return std::to_integer<std::uint8_t>(raw[at]); }
  std::uint16_t u16(std::size_t at) const { return load_be<std::uint16_t>(&raw[at]); }
  std::uint32_t u32(std::size_t at) const { return load_be<std::uint32_t>(&raw[at]); }
  std::uint64_t u64(std::size_t at) const { return load_be<std::uint64_t>(&raw[at]); }
  Header& set8(std::size_t at, std::uint8_t v) { raw[at] = std::byte(v); return *this; }
  Header& set16(std::size_t at, std::uint16_t v) { store_be(&raw[at], v); return *this; }
  Header& set32(std::size_t at, std::uint32_t v) { store_be(&raw[at], v); return *this; }
  Header& set64(std::size_t at, std::uint64_t v) { store_be(&raw[at], v); return *this; }

  // Common to all PDUs.
  Opcode opcode() const { return static_cast<Opcode>(u8(0) & 0x3f); }
  bool immediate() const { return (u8(0) & 0x40) != 0; }
  std::uint8_t flags() const { return u8(1); }
  bool final() const { return (flags() & 0x80) != 0; }
  std::size_t ahs_bytes() const { return std::size_t{u8(4)} * 4; }
  std::uint32_t data_bytes() const { return load_be24(&raw[5]); }
  std::uint64_t lun() const { return u64(8); }
  std::uint32_t itt() const { return u32(16); }
  Header& set_opcode(Opcode op) { return set8(0, static_cast<std::uint8_t>(op)); }
  Header& set_data_bytes(std::uint32_t n) { store_be24(&raw[5], n); return *this; }

  // Requests.
  std::uint32_t cmd_sn() const { return u32(24); }
  std::uint32_t exp_stat_sn() const { return u32(28); }
  std::uint32_t ttt() const { return u32(20); }

  // Responses.
  Header& set_stat_sn(std::uint32_t v) { return set32(24, v); }
  Header& set_window(std::uint32_t exp_cmd_sn, std::uint32_t max_cmd_sn) {
    return set32(28, exp_cmd_sn).set32(32, max_cmd_sn);
  }
};
static_assert(sizeof(Header) == kHeaderBytes);

inline Header response_header(Opcode op, std::uint8_t flags, std::uint32_t itt) {
  Header h;
  h.set_opcode(op).set8(1, flags).set32(16, itt);
  return h;
}

}  // namespace holdfast::scsi
