// Sense data: what went wrong, as a value; encoded in the format that the control mode page asks for.
#pragma once

#include <cstdint>

#include "scsi/command.h"

namespace holdfast::scsi {

// Additional sense code in the high byte, its qualifier in the low one (SPC-4 annex D).
enum class Asc : std::uint16_t {
  none = 0x0000,
  not_ready_standby = 0x040b,
  not_ready_unavailable = 0x040c,
  write_error = 0x0c00,
  unreachable_copy_target = 0x0804,
  copy_target_not_reachable = 0x0d02,
  invalid_field_in_information_unit = 0x0e03,
  unrecovered_read_error = 0x1100,
  parameter_list_length_error = 0x1a00,
  miscompare_during_verify = 0x1d00,
  invalid_operation_code = 0x2000,
  lba_out_of_range = 0x2100,
  invalid_field_in_cdb = 0x2400,
  lun_not_supported = 0x2500,
  invalid_field_in_parameter_list = 0x2600,
  parameter_value_invalid = 0x2602,
  invalid_release_of_reservation = 0x2604,
  too_many_target_descriptors = 0x2606,
  unsupported_target_descriptor = 0x2607,
  too_many_segment_descriptors = 0x2608,
  unsupported_segment_descriptor = 0x2609,
  software_write_protected = 0x2702,
  space_allocation_failed = 0x2707,
  medium_may_have_changed = 0x2800,
  power_on_or_reset = 0x2900,
  scsi_bus_reset = 0x2902,
  bus_device_reset = 0x2903,
  mode_parameters_changed = 0x2a01,
  reservations_preempted = 0x2a03,
  reservations_released = 0x2a04,
  registrations_preempted = 0x2a05,
  asymmetric_access_changed = 0x2a06,
  capacity_changed = 0x2a09,
  commands_cleared = 0x2f00,
  saving_parameters_not_supported = 0x3900,
  internal_target_failure = 0x4400,
  insufficient_resources = 0x5503,
  insufficient_registration_resources = 0x5504,
  set_target_port_groups_failed = 0x670a,
};

enum class SenseFormat : std::uint8_t { fixed, descriptor };

// The field at fault (SPC-4 §4.5.2.4.2).
enum class FieldIn : std::uint8_t { none, cdb, parameter_list };
inline constexpr std::int8_t kWholeByte = -1;

struct SenseData {
  SenseKey key = SenseKey::no_sense;
  Asc asc = Asc::none;
  FieldIn field_in = FieldIn::none;
  std::uint16_t field_byte = 0;
  std::int8_t field_bit = kWholeByte;   // Most significant bit of the field, or kWholeByte.
  bool has_information = false;
  std::uint64_t information = 0;        // LBA, or offset of a miscompare.
};

Sense encode_sense(const SenseData& data, SenseFormat format);

// How a command ends early; `good` when it may go on.
struct Verdict {
  Status status = Status::good;
  SenseData sense;
  bool ok() const { return status == Status::good; }
};

inline Verdict go_on() { return {}; }
inline Verdict check(SenseKey key, Asc asc) {
  Verdict verdict;
  verdict.status = Status::check_condition;
  verdict.sense.key = key;
  verdict.sense.asc = asc;
  return verdict;
}
inline Verdict check_at(SenseKey key, Asc asc, std::uint64_t information) {
  Verdict verdict = check(key, asc);
  verdict.sense.has_information = true;
  verdict.sense.information = information;
  return verdict;
}
inline Verdict illegal(Asc asc) { return check(SenseKey::illegal_request, asc); }
inline Verdict invalid_cdb(std::uint16_t byte, std::int8_t bit = kWholeByte) {
  Verdict verdict = illegal(Asc::invalid_field_in_cdb);
  verdict.sense.field_in = FieldIn::cdb;
  verdict.sense.field_byte = byte;
  verdict.sense.field_bit = bit;
  return verdict;
}
inline Verdict invalid_parameter(std::uint16_t byte, std::int8_t bit = kWholeByte) {
  Verdict verdict = illegal(Asc::invalid_field_in_parameter_list);
  verdict.sense.field_in = FieldIn::parameter_list;
  verdict.sense.field_byte = byte;
  verdict.sense.field_bit = bit;
  return verdict;
}
inline Verdict conflict() { return Verdict{Status::reservation_conflict, {}}; }

}  // namespace holdfast::scsi
