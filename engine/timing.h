// Every time of the protocol, and how they must stand to each other (docs/replication.md, defaults).
#pragma once

#include <cstdint>

#include "base/types.h"

namespace holdfast::engine {

struct Timing {
  std::int64_t heartbeat_ms = 50;
  std::int64_t lease_ms = 600;                // What a new register gets; then the register's own counts.
  std::int64_t replica_timeout_ms = 650;      // Silence of a member until it is dropped by CAS.
  std::int64_t takeover_patience_ms = 750;    // Silence of the primary until a member claims.
  std::int64_t hello_wait_ms = 250;           // From its start on a copy waits so long for the other copies' hello before it claims.
  std::int64_t stuck_timeout_ms = 10'000;     // A copy's log that makes no progress at all, though there is work: slow is not dead, stuck is.
  std::int64_t lost_hosts_ms = 30'000;        // Sessions that were lost count as hosts for so long.
  std::int64_t register_poll_ms = 1'000;      // A watch is only a hint.
  std::int64_t register_retry_ms = 20;        // Between reads that a claim waits for, and of an unknown CAS.
  std::int64_t drift_percent = 1;             // Two clocks differ by no more over a lease (rule 6).
};

inline constexpr Timing kDefaultTiming{};
static_assert(kDefaultTiming.heartbeat_ms <= kDefaultTiming.lease_ms / 8);
static_assert(kDefaultTiming.replica_timeout_ms >= kDefaultTiming.lease_ms);
static_assert(kDefaultTiming.takeover_patience_ms > kDefaultTiming.replica_timeout_ms);
static_assert(kDefaultTiming.hello_wait_ms > 4 * kDefaultTiming.heartbeat_ms);

// The lease as its holder counts it, from its own sending; and as the grantor does, from its receiving.
constexpr DurationNs lease_held(std::int64_t lease_ms, const Timing& t) {
  return DurationNs{lease_ms * 1'000'000 * (100 - t.drift_percent) / 100};
}
constexpr DurationNs lease_granted(std::int64_t lease_ms, const Timing& t) {
  return DurationNs{lease_ms * 1'000'000 * (100 + t.drift_percent) / 100};
}

}  // namespace holdfast::engine
