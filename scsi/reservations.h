// Persistent reservations (SPC-4 §5.13) as a value: a command in, a new state and its consequences out. No I/O in here; the
// device server stores the new state before anybody can see it.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "scsi/nexus.h"
#include "scsi/opcodes.h"

namespace holdfast::scsi {

enum class ReservationType : std::uint8_t {  // SPC-4 table 68
  none = 0,
  write_exclusive = 1,
  exclusive_access = 3,
  write_exclusive_registrants_only = 5,
  exclusive_access_registrants_only = 6,
  write_exclusive_all_registrants = 7,
  exclusive_access_all_registrants = 8,
};
bool is_reservation_type(std::uint8_t value);
bool all_registrants(ReservationType type);
bool registrants_only(ReservationType type);  // Of either kind: a registration is enough for access.
bool excludes_reads(ReservationType type);

struct Registration {
  PortPair ports;
  std::uint64_t key = 0;  // Never zero.
  bool operator==(const Registration&) const = default;
};

inline constexpr std::size_t kRegistrationsMax = 64;
inline constexpr std::size_t kInitiatorNameBytesMax = 223;

struct ReservationState {
  std::uint32_t generation = 0;
  bool aptpl = false;                                  // As last asked for; the state is always kept.
  ReservationType type = ReservationType::none;
  std::optional<PortPair> holder;                      // Empty for none and for all-registrants types.
  std::vector<Registration> registrations;             // In the order of registering; no port pair twice.

  const Registration* find(const PortPair& ports) const;
  bool holds(const PortPair& ports) const;
  bool operator==(const ReservationState&) const = default;
};

// What a nexus may do under the state, reduced to two bits that the nexus caches.
bool access_conflicts(ReservationType type, Access access, bool registered, bool holds);

enum class PrOutAction : std::uint8_t {
  register_key = 0, reserve = 1, release = 2, clear = 3, preempt = 4, preempt_and_abort = 5,
  register_and_ignore = 6, register_and_move = 7,
};
struct PrOutRequest {
  PrOutAction action{};
  std::uint8_t scope_and_type = 0;
  std::uint64_t key = 0;
  std::uint64_t service_action_key = 0;
  bool spec_i_pt = false;
  bool all_tg_pt = false;
  bool aptpl = false;
  bool unregister = false;                             // REGISTER AND MOVE
  std::uint16_t target_port = 0;                       // REGISTER AND MOVE
  std::vector<PortPair> initiators;                    // SPEC_I_PT's list (without target port), or the one to move to.
};
// The parameter list as sent, decoded: 5/1A/00 and 5/26/00 for what is malformed.
struct DecodedPrOut {
  PrOutRequest request;
  Verdict verdict;
};
DecodedPrOut decode_pr_out(const std::byte* cdb, Bytes parameters);

struct PrOutcome {
  Verdict verdict;
  bool changed = false;                                // Store `state` before anything else.
  ReservationState state;
  struct Notice {
    PortPair ports;
    Asc attention;
  };
  std::vector<Notice> notices;                         // Unit attentions for other nexus.
  std::vector<PortPair> preempted;                     // PREEMPT AND ABORT: whose tasks are aborted.
};
// target_ports: all of the cluster's, for ALL_TG_PT.
PrOutcome apply_pr_out(const ReservationState& state, const PortPair& who, const PrOutRequest& request,
                       const std::vector<std::uint16_t>& target_ports);

// PERSISTENT RESERVE IN parameter data, whole; the caller cuts it to the allocation length.
std::vector<std::byte> pr_in_read_keys(const ReservationState& state);
std::vector<std::byte> pr_in_read_reservation(const ReservationState& state);
std::vector<std::byte> pr_in_report_capabilities(const ReservationState& state);
std::vector<std::byte> pr_in_read_full_status(const ReservationState& state);

}  // namespace holdfast::scsi
