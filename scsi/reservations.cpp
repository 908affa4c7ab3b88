#include "scsi/reservations.h"

#include <algorithm>

namespace holdfast::scsi {

bool is_reservation_type(std::uint8_t value) { return value == 1 || value == 3 || (value >= 5 && value <= 8); }

bool all_registrants(ReservationType type) {
  return type == ReservationType::write_exclusive_all_registrants ||
         type == ReservationType::exclusive_access_all_registrants;
}

bool registrants_only(ReservationType type) {
  return all_registrants(type) || type == ReservationType::write_exclusive_registrants_only ||
         type == ReservationType::exclusive_access_registrants_only;
}

bool excludes_reads(ReservationType type) {
  return type == ReservationType::exclusive_access || type == ReservationType::exclusive_access_registrants_only ||
         type == ReservationType::exclusive_access_all_registrants;
}

const Registration* ReservationState::find(const PortPair& ports) const {
  for (const Registration& r : registrations)
    if (r.ports == ports) return &r;
  return nullptr;
}

bool ReservationState::holds(const PortPair& ports) const {
  if (type == ReservationType::none) return false;
  return all_registrants(type) ? find(ports) != nullptr : holder == ports;
}

bool access_conflicts(ReservationType type, Access access, bool registered, bool holds) {
  if (type == ReservationType::none || holds) return false;
  if (access != Access::read && access != Access::write) return false;
  if (registered && registrants_only(type)) return false;
  return access == Access::write || excludes_reads(type);
}

namespace {

// One command's work on a copy of the state.
class Change {
 public:
  Change(const ReservationState& state, const PortPair& who, const PrOutRequest& request,
         const std::vector<std::uint16_t>& target_ports)
      : who_(who), request_(request), target_ports_(target_ports) {
    outcome_.state = state;
  }

  PrOutcome run() {
    outcome_.verdict = dispatch();
    return std::move(outcome_);
  }

 private:
  ReservationState& state() { return outcome_.state; }

  Verdict dispatch() {
    const Registration* own = state().find(who_);
    switch (request_.action) {
      case PrOutAction::register_key:
        if (own ? own->key != request_.key : request_.key != 0) return conflict();
        if (own && request_.spec_i_pt) return invalid_parameter(20, 3);
        return do_register();
      case PrOutAction::register_and_ignore:
        if (request_.spec_i_pt) return invalid_parameter(20, 3);
        return do_register();
      default:
        break;
    }
    if (!own || own->key != request_.key) return conflict();
    switch (request_.action) {
      case PrOutAction::reserve: return do_reserve();
      case PrOutAction::release: return do_release();
      case PrOutAction::clear: return do_clear();
      case PrOutAction::preempt:
      case PrOutAction::preempt_and_abort: return do_preempt();
      case PrOutAction::register_and_move: return do_move();
      default: return invalid_cdb(1, 4);
    }
  }

  Verdict check_scope_and_type() const {
    if (request_.scope_and_type >> 4 != 0) return invalid_cdb(2, 7);
    if (!is_reservation_type(request_.scope_and_type & 0x0f)) return invalid_cdb(2, 3);
    return go_on();
  }
  ReservationType asked_type() const { return ReservationType(request_.scope_and_type & 0x0f); }

  void changed() { outcome_.changed = true; }
  void changed_registrations() {
    ++state().generation;
    outcome_.changed = true;
  }
  void notify(const PortPair& ports, Asc attention) {
    if (ports != who_) outcome_.notices.push_back({ports, attention});
  }
  void notify_registrants(Asc attention) {
    for (const Registration& r : state().registrations) notify(r.ports, attention);
  }

  void end_reservation() {
    state().type = ReservationType::none;
    state().holder.reset();
  }

  // Takes a registration away, and with it the reservation that rested on it (SPC-4 §5.13.11.1).
  void unregister(PortPair ports) {
    const bool held = state().holds(ports);
    const ReservationType type = state().type;
    std::erase_if(state().registrations, [&](const Registration& r) { return r.ports == ports; });
    if (!held) return;
    if (all_registrants(type)) {
      if (state().registrations.empty()) end_reservation();
      return;
    }
    end_reservation();
    if (registrants_only(type)) notify_registrants(Asc::reservations_released);
  }

  Verdict put(PortPair ports, std::uint64_t key) {
    for (Registration& r : state().registrations) {
      if (r.ports != ports) continue;
      r.key = key;
      return go_on();
    }
    if (state().registrations.size() == kRegistrationsMax) return illegal(Asc::insufficient_registration_resources);
    state().registrations.push_back({std::move(ports), key});
    return go_on();
  }

  // The nexus itself, those of SPEC_I_PT, and with ALL_TG_PT the same initiator ports on every target port.
  Verdict do_register() {
    std::vector<PortPair> everyone{who_};
    for (PortPair extra : request_.initiators) {
      extra.target_port = who_.target_port;
      everyone.push_back(std::move(extra));
    }
    if (request_.all_tg_pt) {
      const std::size_t named = everyone.size();
      for (std::size_t i = 0; i < named; ++i) {
        for (std::uint16_t port : target_ports_) {
          if (port == who_.target_port) continue;
          PortPair other = everyone[i];
          other.target_port = port;
          everyone.push_back(std::move(other));
        }
      }
    }
    const bool was_registered = state().find(who_) != nullptr;
    if (request_.service_action_key == 0) {
      if (!was_registered) return go_on();
      for (const PortPair& ports : everyone) unregister(ports);
    } else {
      for (PortPair& ports : everyone)
        if (Verdict v = put(std::move(ports), request_.service_action_key); !v.ok()) return v;
    }
    state().aptpl = request_.aptpl;
    changed_registrations();
    return go_on();
  }

  Verdict do_reserve() {
    if (Verdict v = check_scope_and_type(); !v.ok()) return v;
    if (state().type != ReservationType::none) {
      const bool same = state().holds(who_) && state().type == asked_type();
      return same ? go_on() : conflict();
    }
    establish(asked_type());
    return go_on();
  }

  void establish(ReservationType type) {
    state().type = type;
    state().holder.reset();
    if (!all_registrants(type)) state().holder = who_;
    changed();
  }

  Verdict do_release() {
    if (state().type == ReservationType::none || !state().holds(who_)) return go_on();
    if (request_.scope_and_type != static_cast<std::uint8_t>(state().type))
      return illegal(Asc::invalid_release_of_reservation);
    const bool shared = registrants_only(state().type);
    end_reservation();
    if (shared) notify_registrants(Asc::reservations_released);
    changed();
    return go_on();
  }

  Verdict do_clear() {
    notify_registrants(Asc::reservations_preempted);
    state().registrations.clear();
    end_reservation();
    changed_registrations();
    return go_on();
  }

  Verdict do_preempt() {
    const ReservationState& now = outcome_.state;
    const std::uint64_t victim_key = request_.service_action_key;
    const bool reserved = now.type != ReservationType::none;
    const bool shared = all_registrants(now.type);
    bool takes_over = reserved && shared && victim_key == 0;
    if (reserved && !shared) {
      const Registration* holder = now.find(*now.holder);
      takes_over = holder && holder->key == victim_key;
    }
    if (!takes_over && victim_key == 0) return invalid_parameter(8);
    if (takes_over) {
      if (Verdict v = check_scope_and_type(); !v.ok()) return v;
      return preempt_reservation(shared);
    }
    return preempt_registrations(victim_key);
  }

  void remove_preempted(const PortPair& ports) {
    if (request_.action == PrOutAction::preempt_and_abort && ports != who_) outcome_.preempted.push_back(ports);
    notify(ports, Asc::registrations_preempted);
    std::erase_if(state().registrations, [&](const Registration& r) { return r.ports == ports; });
  }

  // The reservation changes hands: its holder's registrations go, the preempting nexus keeps its own.
  Verdict preempt_reservation(bool everybody) {
    const ReservationType before = state().type;
    const std::vector<Registration> registrations = state().registrations;
    for (const Registration& r : registrations)
      if (r.ports != who_ && (everybody || r.key == request_.service_action_key)) remove_preempted(r.ports);
    if (before != asked_type() && registrants_only(before)) notify_registrants(Asc::reservations_released);
    establish(asked_type());
    changed_registrations();
    return go_on();
  }

  // Registrations alone: the reservation stays, unless it rested on the last of them.
  Verdict preempt_registrations(std::uint64_t victim_key) {
    const std::vector<Registration> registrations = state().registrations;
    bool found = false;
    for (const Registration& r : registrations) {
      if (r.key != victim_key) continue;
      found = true;
      remove_preempted(r.ports);
    }
    if (!found) return conflict();
    if (all_registrants(state().type) && state().registrations.empty()) end_reservation();
    if (state().holder && !state().find(*state().holder)) end_reservation();
    changed_registrations();
    return go_on();
  }

  Verdict do_move() {
    if (!state().holds(who_) || all_registrants(state().type)) return conflict();
    if (request_.service_action_key == 0) return invalid_parameter(8);
    if (request_.initiators.size() != 1) return invalid_parameter(24);
    if (std::find(target_ports_.begin(), target_ports_.end(), request_.target_port) == target_ports_.end())
      return invalid_parameter(18);
    PortPair to = request_.initiators.front();
    to.target_port = request_.target_port;
    if (to == who_) return invalid_parameter(24);
    if (Verdict v = put(to, request_.service_action_key); !v.ok()) return v;
    state().holder = to;
    if (request_.unregister) unregister(who_);
    state().aptpl = request_.aptpl;
    changed_registrations();
    return go_on();
  }

  const PortPair& who_;
  const PrOutRequest& request_;
  const std::vector<std::uint16_t>& target_ports_;
  PrOutcome outcome_;
};

}  // namespace

PrOutcome apply_pr_out(const ReservationState& state, const PortPair& who, const PrOutRequest& request,
                       const std::vector<std::uint16_t>& target_ports) {
  return Change(state, who, request, target_ports).run();
}

}  // namespace holdfast::scsi
