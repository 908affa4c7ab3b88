#include "scsi/negotiation.h"

#include <algorithm>
#include <array>
#include <optional>

namespace holdfast::scsi {
namespace {

using P = OperationalParameters;
using Answer = std::optional<std::string>;  // None: a declaration, nothing to answer.

const Answer kReject = "Reject";
constexpr std::uint64_t kLengthMax = (1 << 24) - 1;

enum class Combine : std::uint8_t { least, most };

// A number within its range; the result is the lesser or greater of both sides' values.
Answer number(std::string_view value, std::uint64_t low, std::uint64_t high, std::uint64_t ours, Combine combine,
              std::uint32_t* result) {
  const auto theirs = parse_number(value, low, high);
  if (!theirs) return kReject;
  const std::uint64_t agreed = combine == Combine::least ? std::min(*theirs, ours) : std::max(*theirs, ours);
  if (result) *result = static_cast<std::uint32_t>(agreed);
  return std::to_string(agreed);
}

enum class Gate : std::uint8_t { either, both };  // OR and AND (§6.2.2).

Answer boolean(std::string_view value, bool ours, Gate gate, bool* result) {
  if (value != "Yes" && value != "No") return kReject;
  const bool theirs = value == "Yes";
  const bool agreed = gate == Gate::either ? theirs || ours : theirs && ours;
  if (result) *result = agreed;
  return agreed ? "Yes" : "No";
}

Answer digest(std::string_view value, bool* result) {
  Answer chosen = kReject;
  any_in_list(value, [&](std::string_view one) {
    if (one != "CRC32C" && one != "None") return false;
    *result = one == "CRC32C";
    chosen = std::string(one);
    return true;
  });
  return chosen;
}

Answer task_reporting(std::string_view value) {
  // Aborts wait for the tasks and answers leave in order: RFC3720's rules and the response fence both hold.
  Answer chosen = kReject;
  any_in_list(value, [&](std::string_view one) {
    if (one != "RFC3720" && one != "ResponseFence") return false;
    chosen = std::string(one);
    return true;
  });
  return chosen;
}

Answer max_recv(std::string_view value, P& p) {
  const auto theirs = parse_number(value, 512, kLengthMax);
  if (!theirs) return kReject;
  p.send_segment_bytes = static_cast<std::uint32_t>(*theirs);
  return std::nullopt;
}

// §13.15 would have the greater value win; hosts take our answer, and any wait prolongs a failover: the answer is 0.
Answer time_to_wait(std::string_view value) { return parse_number(value, 0, 3600) ? Answer("0") : kReject; }

struct Key {
  std::string_view name;
  bool irrelevant_in_discovery;
  Answer (*handle)(std::string_view value, P& parameters);
};

constexpr std::array kKeys = {
    Key{"HeaderDigest", false, [](std::string_view v, P& p) { return digest(v, &p.header_digest); }},
    Key{"DataDigest", false, [](std::string_view v, P& p) { return digest(v, &p.data_digest); }},
    Key{"MaxConnections", true,
        [](std::string_view v, P&) { return number(v, 1, 65535, 1, Combine::least, nullptr); }},
    Key{"InitialR2T", true,
        [](std::string_view v, P& p) { return boolean(v, false, Gate::either, &p.initial_r2t); }},
    Key{"ImmediateData", true,
        [](std::string_view v, P& p) { return boolean(v, true, Gate::both, &p.immediate_data); }},
    Key{"MaxRecvDataSegmentLength", false, [](std::string_view v, P& p) { return max_recv(v, p); }},
    Key{"MaxBurstLength", true,
        [](std::string_view v, P& p) {
          return number(v, 512, kLengthMax, kBurstBytesMax, Combine::least, &p.max_burst_bytes);
        }},
    Key{"FirstBurstLength", true,
        [](std::string_view v, P& p) {
          return number(v, 512, kLengthMax, kFirstBurstBytesMax, Combine::least, &p.first_burst_bytes);
        }},
    Key{"MaxOutstandingR2T", true,
        [](std::string_view v, P& p) {
          return number(v, 1, 65535, kOutstandingR2tMax, Combine::least, &p.max_outstanding_r2t);
        }},
    Key{"DefaultTime2Wait", false, [](std::string_view v, P&) { return time_to_wait(v); }},
    Key{"DefaultTime2Retain", false,
        [](std::string_view v, P&) { return number(v, 0, 3600, 0, Combine::least, nullptr); }},
    Key{"DataPDUInOrder", true, [](std::string_view v, P&) { return boolean(v, true, Gate::either, nullptr); }},
    Key{"DataSequenceInOrder", true, [](std::string_view v, P&) { return boolean(v, true, Gate::either, nullptr); }},
    Key{"ErrorRecoveryLevel", false,
        [](std::string_view v, P&) { return number(v, 0, 2, 0, Combine::least, nullptr); }},
    Key{"iSCSIProtocolLevel", false,
        [](std::string_view v, P&) { return number(v, 0, 31, 1, Combine::least, nullptr); }},
    Key{"TaskReporting", true, [](std::string_view v, P&) { return task_reporting(v); }},
    // Markers are gone since RFC 7143 §13.25; older initiators still ask, and "No" ends the matter.
    Key{"IFMarker", false, [](std::string_view v, P&) { return boolean(v, false, Gate::both, nullptr); }},
    Key{"OFMarker", false, [](std::string_view v, P&) { return boolean(v, false, Gate::both, nullptr); }},
    Key{"IFMarkInt", false, [](std::string_view, P&) { return Answer("Irrelevant"); }},
    Key{"OFMarkInt", false, [](std::string_view, P&) { return Answer("Irrelevant"); }},
    Key{"InitiatorAlias", false, [](std::string_view, P&) { return Answer(); }},
    // Only a target says these.
    Key{"TargetAlias", false, [](std::string_view, P&) { return kReject; }},
    Key{"TargetAddress", false, [](std::string_view, P&) { return kReject; }},
    Key{"TargetPortalGroupTag", false, [](std::string_view, P&) { return kReject; }},
    Key{"SendTargets", false, [](std::string_view, P&) { return kReject; }},  // Full feature phase only.
};
static_assert(kKeys.size() <= 32);

}  // namespace

Result<void> Negotiator::offer(TextPair pair, TextBuilder& answer) {
  const auto key = std::ranges::find(kKeys, pair.key, &Key::name);
  if (key == kKeys.end()) {
    answer.add(pair.key, "NotUnderstood");
    return {};
  }
  const auto index = static_cast<std::size_t>(key - kKeys.begin());
  if (seen_[index]) return fail(Errc::protocol);
  seen_.set(index);
  if (key->irrelevant_in_discovery && type_ == SessionType::discovery) {
    answer.add(pair.key, "Irrelevant");
    return {};
  }
  // A first burst may not exceed a burst: known when MaxBurstLength came first, as it does from every initiator.
  OperationalParameters next = parameters_;
  auto reply = key->handle(pair.value, next);
  if (type_ == SessionType::discovery && (next.header_digest || next.data_digest)) {
    // A discovery session is a few PDUs of text: no digests there.
    const bool none = any_in_list(pair.value, [](std::string_view one) { return one == "None"; });
    next.header_digest = next.data_digest = false;
    reply = none ? Answer("None") : kReject;
  }
  if (key->name == "FirstBurstLength" && reply && *reply != *kReject && next.first_burst_bytes > next.max_burst_bytes) {
    next.first_burst_bytes = next.max_burst_bytes;
    reply = std::to_string(next.first_burst_bytes);
  }
  parameters_ = next;
  if (reply) answer.add(pair.key, *reply);
  return {};
}

void Negotiator::settle() {
  parameters_.first_burst_bytes = std::min(parameters_.first_burst_bytes, parameters_.max_burst_bytes);
}

}  // namespace holdfast::scsi
