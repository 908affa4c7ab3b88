// The parameter lists of PERSISTENT RESERVE OUT and IN, and iSCSI TransportIDs (SPC-4 §6.15, §6.16, §7.6.4.6).
#include <cstdio>
#include <cstring>
#include <string_view>

#include "scsi/reservations.h"
#include "scsi/text_keys.h"

namespace holdfast::scsi {
namespace {

constexpr std::size_t kBasicListBytes = 24;
constexpr std::byte kIscsiPortFormat{0x45};  // Format 01b (name and ISID), protocol identifier 5.
constexpr std::string_view kIsidSeparator = ",i,0x";

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// "iqn…,i,0x0123456789ab". The name in the lower case of a login's, or the registration would fit no nexus.
bool parse_port_name(std::string_view text, PortPair& out) {
  const std::size_t separator = text.find(kIsidSeparator);
  if (separator == std::string_view::npos || separator > kInitiatorNameBytesMax) return false;
  const std::string_view isid = text.substr(separator + kIsidSeparator.size());
  if (isid.size() != 12) return false;
  for (std::size_t i = 0; i < 6; ++i) {
    const int high = hex_digit(isid[2 * i]);
    const int low = hex_digit(isid[2 * i + 1]);
    if (high < 0 || low < 0) return false;
    out.isid[i] = std::byte(high << 4 | low);
  }
  auto name = normal_name(text.substr(0, separator));
  if (!name) return false;
  out.initiator = std::move(*name);
  return true;
}

// Bytes taken, or 0 when it is not an iSCSI initiator port that we can register.
std::size_t parse_transport_id(Bytes bytes, PortPair& out) {
  if (bytes.size() < 4 || bytes[0] != kIscsiPortFormat) return 0;
  const std::size_t length = load_be<std::uint16_t>(&bytes[2]);
  if (length < 20 || length % 4 != 0 || length > bytes.size() - 4) return 0;
  std::string_view text = as_text(bytes.subspan(4, length));
  text = text.substr(0, text.find('\0'));
  return parse_port_name(text, out) ? 4 + length : 0;
}

void put_transport_id(std::vector<std::byte>& out, const PortPair& ports) {
  std::string text = ports.initiator;
  text += kIsidSeparator;
  for (std::byte b : ports.isid) {
    char digits[3];
    std::snprintf(digits, sizeof digits, "%02x", std::to_integer<unsigned>(b));
    text += digits;
  }
  const std::size_t padded = (text.size() + 1 + 3) / 4 * 4;  // Null-terminated and null-padded.
  const std::size_t at = out.size();
  out.resize(at + 4 + padded);
  out[at] = kIscsiPortFormat;
  store_be<std::uint16_t>(&out[at + 2], static_cast<std::uint16_t>(padded));
  std::memcpy(&out[at + 4], text.data(), text.size());
}

Verdict decode_spec_i_pt(Bytes parameters, PrOutRequest& request) {
  if (parameters.size() < kBasicListBytes + 4) return illegal(Asc::parameter_list_length_error);
  std::size_t left = load_be<std::uint32_t>(&parameters[24]);
  if (left != parameters.size() - 28) return illegal(Asc::parameter_list_length_error);
  std::size_t at = 28;
  while (left > 0) {
    PortPair ports;
    const std::size_t taken = parse_transport_id(parameters.subspan(at, left), ports);
    if (taken == 0 || request.initiators.size() == kRegistrationsMax)
      return invalid_parameter(static_cast<std::uint16_t>(at));
    request.initiators.push_back(std::move(ports));
    at += taken;
    left -= taken;
  }
  return go_on();
}

Verdict decode_move(Bytes parameters, PrOutRequest& request) {
  request.unregister = (parameters[17] & std::byte{0x02}) != std::byte{};
  request.aptpl = (parameters[17] & std::byte{0x01}) != std::byte{};
  request.target_port = load_be<std::uint16_t>(&parameters[18]);
  const std::size_t length = load_be<std::uint32_t>(&parameters[20]);
  if (length != parameters.size() - kBasicListBytes) return illegal(Asc::parameter_list_length_error);
  PortPair ports;
  if (parse_transport_id(parameters.subspan(kBasicListBytes), ports) != length || length == 0)
    return invalid_parameter(24);
  request.initiators.push_back(std::move(ports));
  return go_on();
}

std::vector<std::byte> with_generation(const ReservationState& state, std::size_t bytes) {
  std::vector<std::byte> out(bytes);
  store_be<std::uint32_t>(&out[0], state.generation);
  store_be<std::uint32_t>(&out[4], static_cast<std::uint32_t>(bytes - 8));
  return out;
}

}  // namespace

DecodedPrOut decode_pr_out(const std::byte* cdb, Bytes parameters) {
  DecodedPrOut out;
  PrOutRequest& request = out.request;
  request.action = PrOutAction(std::to_integer<std::uint8_t>(cdb[1]) & 0x1f);
  request.scope_and_type = std::to_integer<std::uint8_t>(cdb[2]);
  if (parameters.size() < kBasicListBytes) {
    out.verdict = illegal(Asc::parameter_list_length_error);
    return out;
  }
  request.key = load_be<std::uint64_t>(&parameters[0]);
  request.service_action_key = load_be<std::uint64_t>(&parameters[8]);
  if (request.action == PrOutAction::register_and_move) {
    out.verdict = decode_move(parameters, request);
    return out;
  }
  const bool registers =
      request.action == PrOutAction::register_key || request.action == PrOutAction::register_and_ignore;
  const auto flags = std::to_integer<unsigned>(parameters[20]);
  request.spec_i_pt = registers && (flags & 0x08) != 0;
  request.all_tg_pt = registers && (flags & 0x04) != 0;
  request.aptpl = registers && (flags & 0x01) != 0;
  if (request.spec_i_pt)
    out.verdict = decode_spec_i_pt(parameters, request);
  else if (parameters.size() != kBasicListBytes)
    out.verdict = illegal(Asc::parameter_list_length_error);
  return out;
}

std::vector<std::byte> pr_in_read_keys(const ReservationState& state) {
  std::vector<std::byte> out = with_generation(state, 8 + 8 * state.registrations.size());
  std::size_t at = 8;
  for (const Registration& r : state.registrations) {
    store_be<std::uint64_t>(&out[at], r.key);
    at += 8;
  }
  return out;
}

std::vector<std::byte> pr_in_read_reservation(const ReservationState& state) {
  if (state.type == ReservationType::none) return with_generation(state, 8);
  std::vector<std::byte> out = with_generation(state, 24);
  if (state.holder) {
    if (const Registration* holder = state.find(*state.holder)) store_be<std::uint64_t>(&out[8], holder->key);
  }
  out[21] = std::byte(state.type);  // Scope 0: the logical unit.
  return out;
}

std::vector<std::byte> pr_in_report_capabilities(const ReservationState& state) {
  std::vector<std::byte> out(8);
  store_be<std::uint16_t>(&out[0], 8);
  out[2] = std::byte{0x1d};                                   // CRH, SIP_C, ATP_C, PTPL_C.
  out[3] = std::byte(0x80 | 1 << 4 | (state.aptpl ? 1 : 0));  // TMV, ALLOW COMMANDS 001b: TEST UNIT READY passes.
  out[4] = std::byte{0xea};                                   // All six types.
  out[5] = std::byte{0x01};
  return out;
}

std::vector<std::byte> pr_in_read_full_status(const ReservationState& state) {
  std::vector<std::byte> out(8);
  store_be<std::uint32_t>(&out[0], state.generation);
  for (const Registration& r : state.registrations) {
    const std::size_t at = out.size();
    out.resize(at + 24);
    store_be<std::uint64_t>(&out[at], r.key);
    if (state.holds(r.ports)) {
      out[at + 12] = std::byte{0x01};  // R_HOLDER
      out[at + 13] = std::byte(state.type);
    }
    store_be<std::uint16_t>(&out[at + 18], r.ports.target_port);
    put_transport_id(out, r.ports);
    store_be<std::uint32_t>(&out[at + 20], static_cast<std::uint32_t>(out.size() - at - 24));
  }
  store_be<std::uint32_t>(&out[4], static_cast<std::uint32_t>(out.size() - 8));
  return out;
}

}  // namespace holdfast::scsi
