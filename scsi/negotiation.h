// Operational keys (RFC 7143 §13): one offer in, at most one answer out, and the value both sides then hold.
#pragma once

#include <bitset>
#include <cstdint>
#include <string_view>

#include "base/result.h"
#include "scsi/text_keys.h"

namespace holdfast::scsi {

enum class SessionType : std::uint8_t { normal, discovery };

// What we offer at most.
inline constexpr std::uint32_t kReceiveSegmentBytes = 256 * 1024;   // Our MaxRecvDataSegmentLength.
inline constexpr std::uint32_t kFirstBurstBytesMax = 256 * 1024;
inline constexpr std::uint32_t kBurstBytesMax = 1024 * 1024;
inline constexpr std::uint32_t kOutstandingR2tMax = 8;
inline constexpr std::uint32_t kSegmentBytesDefault = 8192;         // Until the peer declares another.

struct OperationalParameters {  // Initially what RFC 7143 says holds without negotiation.
  bool header_digest = false;
  bool data_digest = false;
  bool initial_r2t = true;
  bool immediate_data = true;
  std::uint32_t send_segment_bytes = kSegmentBytesDefault;  // The initiator's MaxRecvDataSegmentLength.
  std::uint32_t first_burst_bytes = 64 * 1024;
  std::uint32_t max_burst_bytes = 256 * 1024;
  std::uint32_t max_outstanding_r2t = 1;
};

class Negotiator {
 public:
  explicit Negotiator(SessionType type = SessionType::normal) : type_(type) {}
  void set_session_type(SessionType type) { type_ = type; }

  // Handles one key that is not about identity or security; adds the answer, if there is one. Errc::protocol when the
  // key was negotiated before (§6.2: once a login).
  Result<void> offer(TextPair pair, TextBuilder& answer);
  const OperationalParameters& parameters() const { return parameters_; }
  // After the last key: FirstBurstLength ≤ MaxBurstLength.
  void settle();

 private:
  SessionType type_;
  OperationalParameters parameters_;
  std::bitset<32> seen_;  // By position in the key table.
};

}  // namespace holdfast::scsi
