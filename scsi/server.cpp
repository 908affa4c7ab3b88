#include "scsi/server.h"

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "scsi/device_server.h"

namespace holdfast::scsi {
namespace {

constexpr std::uint64_t kReportLunsUnit = 0xc101000000000000;  // SAM-5 §4.7.

// SPC-4 §6.2 names these three; alua.md adds the port group report, whose delay by an attention costs a host two seconds.
bool exempt_from_attentions(Op op) {
  return op == Op::inquiry || op == Op::report_luns || op == Op::request_sense || op == Op::report_target_port_groups;
}

bool writes_medium(Op op);

// What must not happen long after it was sent.
bool lasts(Op op) {
  return writes_medium(op) || op == Op::pr_out || op == Op::reserve || op == Op::release || op == Op::mode_select;
}

bool writes_medium(Op op) {
  switch (op) {
    case Op::write:
    case Op::write_verify:
    case Op::write_same:
    case Op::write_atomic:
    case Op::unmap:
    case Op::compare_and_write:
    case Op::or_write:
    case Op::extended_copy: return true;
    default: return false;
  }
}

}  // namespace

std::unique_ptr<DeviceServer> make_device_server(Volume& volume, DeviceOptions options) {
  return std::make_unique<Server>(volume, std::move(options));
}

Server::Server(Volume& volume, DeviceOptions options)
    : volume_(volume), options_(std::move(options)), reservation_turn_(volume.executor(), 1),
      execution_ended_(volume.executor()), background_(volume.executor()) {
  load_reservations();
  volume_.add_observer(*this);
}

Server::~Server() {
  volume_.remove_observer(*this);
  for (const auto& nexus : nexuses_) leaves(nexus.get(), SessionEnd::logged_out);
}

Nexus* Server::attach(std::string initiator_name, std::array<std::byte, 6> isid, std::uint16_t target_port) {
  ENSURE(!initiator_name.empty() && initiator_name.size() <= kInitiatorNameBytesMax);
  PortPair ports{std::move(initiator_name), isid, target_port};
  nexuses_.push_back(std::make_unique<Nexus>(std::move(ports)));
  Nexus& nexus = *nexuses_.back();
  nexus.attentions.establish(Asc::power_on_or_reset);
  refresh(nexus);
  volume_.initiator_attached();
  return &nexus;
}

void Server::detach(Nexus* nexus) {
  ENSURE(nexus->executions.empty());
  leaves(nexus, SessionEnd::lost);
  if (legacy_holder_ == nexus) legacy_holder_ = nullptr;
  const auto erased = std::erase_if(nexuses_, [&](const auto& n) { return n.get() == nexus; });
  ENSURE(erased == 1);
}

void Server::leaves(Nexus* nexus, SessionEnd how) {
  if (std::exchange(nexus->leaves, true)) return;
  if (how == SessionEnd::lost) volume_.initiator_lost();
  volume_.initiator_left();
}

void Server::establish_for_all(Asc attention, const Nexus* except) {
  for (auto& nexus : nexuses_)
    if (nexus.get() != except) nexus->attentions.establish(attention);
}

// What a reset ends: RESERVE (6), mode parameters. Persistent reservations stay.
void Server::reset(Asc attention) {
  legacy_holder_ = nullptr;
  mode_ = ModeSettings{};
  establish_for_all(attention);
}

void Server::logical_unit_reset(Nexus*) { reset(Asc::bus_device_reset); }
void Server::target_reset(Nexus*, bool cold) { reset(cold ? Asc::power_on_or_reset : Asc::scsi_bus_reset); }
void Server::commands_cleared(Nexus* victim) { victim->attentions.establish(Asc::commands_cleared); }

void Server::volume_event(VolumeEvent event) {
  switch (event) {
    case VolumeEvent::capacity_changed: establish_for_all(Asc::capacity_changed); break;
    case VolumeEvent::alua_changed:
      if (reservation_turn_.available() > 0) load_reservations();  // What other nodes stored meanwhile.
      establish_for_all(Asc::asymmetric_access_changed);
      break;
    case VolumeEvent::begins_to_serve:
      tell_transport(ServiceChange::begins);
      load_reservations();  // Also while one is being changed: that is of an earlier reign, and ends without an effect.
      establish_for_all(Asc::asymmetric_access_changed);
      break;
    case VolumeEvent::ceases_to_serve:
      ++reign_;
      legacy_holder_ = nullptr;  // Its RELEASE may go to another node.
      if (mode_ != ModeSettings{}) establish_for_all(Asc::mode_parameters_changed);
      mode_ = ModeSettings{};    // As at a power cycle: the other node knows nothing of them, and they may be set anew there.
      tell_transport(ServiceChange::ceases);
      break;
    case VolumeEvent::data_replaced: establish_for_all(Asc::medium_may_have_changed); break;
    case VolumeEvent::stopped_serving: tell_transport(ServiceChange::stopped); break;
    case VolumeEvent::ask_initiators: tell_transport(ServiceChange::ask_initiators); break;
    case VolumeEvent::deleted: tell_transport(ServiceChange::deleted); break;
  }
}

LogicalUnit Server::unit_of(const Command& command) const {
  if (is_lun_zero(command.lun)) return LogicalUnit::volume;
  return command.lun == kReportLunsUnit ? LogicalUnit::report_luns : LogicalUnit::absent;
}

SenseFormat Server::sense_format() const {
  return mode_.descriptor_sense ? SenseFormat::descriptor : SenseFormat::fixed;
}

void Server::finish(Command& command, const Verdict& verdict) const {
  command.status = verdict.status;
  if (verdict.status == Status::check_condition) command.sense = encode_sense(verdict.sense, sense_format());
}

// Nothing is transferred, so that the residual is all of what the initiator expected.
Plan Server::refuse(Command& command, const Verdict& verdict) const {
  finish(command, verdict);
  command.data_in_bytes = 0;
  return Plan{.execute = false};
}

bool Server::supported(const OpcodeEntry& entry) const {
  return entry.op != Op::set_target_port_groups || options_.alua == AluaMode::implicit_and_explicit;
}

Lookup Server::look_up(const Command& command) const {
  Lookup found = find_opcode(command.cdb.data());
  if (found.entry && !supported(*found.entry)) return {nullptr, illegal(Asc::invalid_operation_code)};
  return found;
}

Verdict Server::check_state(Needs needs) const {
  if (needs == Needs::nothing) return go_on();
  switch (volume_.local_state()) {
    case PortGroupState::active_optimized: return go_on();
    case PortGroupState::standby:
      return needs == Needs::standby ? go_on() : check(SenseKey::not_ready, Asc::not_ready_standby);
    // A host that attaches while this copy is being rebuilt needs the unit's size here, too, for a path that it can use later.
    case PortGroupState::unavailable:
      return needs == Needs::standby ? go_on() : check(SenseKey::not_ready, Asc::not_ready_unavailable);
  }
  return go_on();
}

Verdict Server::check_reservations(const Nexus& nexus, Access access) const {
  if (access == Access::always) return go_on();
  if (legacy_holder_ && legacy_holder_ != &nexus && access != Access::reservation) return conflict();
  if (access_conflicts(reservations_.type, access, nexus.registered, nexus.holds_reservation)) return conflict();
  const bool medium = access == Access::read || access == Access::write;
  if (reservations_unreadable_ && medium) return check(SenseKey::hardware_error, Asc::internal_target_failure);
  return go_on();
}

// What a command passes before it is planned, and again before it has an effect: its data took time to arrive.
Verdict Server::gate(const Command& command, const OpcodeEntry& entry) const {
  if (Verdict v = check_state(entry.needs); !v.ok()) return v;
  if (Verdict v = check_reservations(*command.nexus, entry.access); !v.ok()) return v;
  if (mode_.write_protected && writes_medium(entry.op))
    return check(SenseKey::data_protect, Asc::software_write_protected);
  return go_on();
}

Verdict Server::recheck(const Command& command) const {
  const Lookup found = find_opcode(command.cdb.data());
  ENSURE(found.entry != nullptr);
  return gate(command, *found.entry);
}

bool Server::report_attention(Command& command, const OpcodeEntry* entry) {
  UnitAttentions& attentions = command.nexus->attentions;
  if (attentions.empty() || (entry && exempt_from_attentions(entry->op))) return false;
  finish(command, check(SenseKey::unit_attention, attentions.take()));
  return true;
}

Plan Server::plan(Command& command) {
  ENSURE(command.nexus != nullptr);
  const LogicalUnit unit = unit_of(command);
  if (unit != LogicalUnit::volume) return plan_other_unit(command, unit);
  const Lookup found = look_up(command);
  if (report_attention(command, found.entry)) return Plan{.execute = false};
  if (!found.entry) return refuse(command, found.verdict);
  if (Verdict v = gate(command, *found.entry); !v.ok()) {
    if (v.status != Status::reservation_conflict) return refuse(command, v);
    command.conflicts = true;
    command.data_in_bytes = 0;
    return Plan{};
  }
  if (Verdict v = check_usage(*found.entry, command.cdb.data()); !v.ok()) return refuse(command, v);
  Plan plan = plan_command(command, *found.entry);
  plan.changes = lasts(found.entry->op);
  return plan;
}

Task<void> Server::execute(Command& command) {
  command.reign = reign_;
  if (command.conflicts) return run_conflict(&command);
  const Lookup found = look_up(command);
  ENSURE(found.entry != nullptr);
  switch (found.entry->op) {
    case Op::read: return run_read(&command);
    case Op::write:
    case Op::write_atomic: return run_write(&command);
    case Op::verify: return run_verify(&command);
    case Op::write_verify: return run_write_verify(&command);
    case Op::compare_and_write: return run_compare_and_write(&command);
    case Op::or_write: return run_or_write(&command);
    case Op::write_same: return run_write_same(&command);
    case Op::unmap: return run_unmap(&command);
    case Op::synchronize_cache: return run_synchronize(&command);
    case Op::get_lba_status: return run_get_lba_status(&command);
    case Op::pr_in: return run_pr_in(&command);
    case Op::pr_out: return run_pr_out(&command);
    case Op::extended_copy: return run_extended_copy(&command);
    default: return run_control(&command, found.entry->op);
  }
}

}  // namespace holdfast::scsi
