#include "scsi/alua.h"

#include <algorithm>

namespace holdfast::scsi {
namespace {

// Asymmetric access states (SPC-4 table 34). "Transitioning" is never reported: hosts wait seconds for it (alua.md).
std::uint8_t access_state(PortGroupState state) {
  switch (state) {
    case PortGroupState::active_optimized: return 0x0;
    case PortGroupState::standby: return 0x2;
    case PortGroupState::unavailable: return 0x3;
  }
  return 0x3;
}

constexpr std::byte kSupportedStates{0x0d};  // U_SUP, S_SUP, AO_SUP
constexpr std::byte kChangedImplicitly{0x02};

}  // namespace

std::vector<std::byte> report_target_port_groups(const ClusterView& view, ReportFormat format) {
  std::vector<std::byte> out(format == ReportFormat::extended ? 8 : 4);
  if (format == ReportFormat::extended) out[4] = std::byte{0x10};
  for (const PortGroup& group : view.groups) {
    const std::size_t at = out.size();
    out.resize(at + 12);
    out[at] = std::byte{access_state(group.state)};
    out[at + 1] = kSupportedStates;
    store_be<std::uint16_t>(&out[at + 2], group.id);
    out[at + 5] = kChangedImplicitly;
    out[at + 7] = std::byte{1};
    store_be<std::uint16_t>(&out[at + 10], group.id);  // The group's one port has the group's number.
  }
  store_be<std::uint32_t>(&out[0], static_cast<std::uint32_t>(out.size() - 4));
  return out;
}

Verdict set_target_port_groups(const ClusterView& view, Bytes parameters) {
  if (parameters.empty()) return go_on();
  if (parameters.size() < 4 || parameters.size() % 4 != 0) return illegal(Asc::parameter_list_length_error);
  bool as_asked = true;
  for (std::size_t at = 4; at < parameters.size(); at += 4) {
    const auto state = std::to_integer<std::uint8_t>(parameters[at]) & 0x0f;
    if (state > 0x3) return invalid_parameter(static_cast<std::uint16_t>(at), 3);
    const auto id = load_be<std::uint16_t>(&parameters[at + 2]);
    const auto group = std::find_if(view.groups.begin(), view.groups.end(), [&](const PortGroup& g) { return g.id == id; });
    if (group == view.groups.end()) return invalid_parameter(static_cast<std::uint16_t>(at + 2));
    as_asked = as_asked && access_state(group->state) == state;
  }
  return as_asked ? go_on() : check(SenseKey::hardware_error, Asc::set_target_port_groups_failed);
}

}  // namespace holdfast::scsi
