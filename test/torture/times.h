// What a host may feel, with the default times of a cluster (lease 600 ms, replica_timeout 650 ms, takeover_patience 750 ms).
#pragma once

#include "base/types.h"

namespace holdfast::torture {

inline constexpr DurationNs kReplicaTimeout = milliseconds(650);
inline constexpr DurationNs kPlannedPause = milliseconds(60);
inline constexpr DurationNs kKilledPause = milliseconds(800);
inline constexpr DurationNs kResetPause = milliseconds(1'000);
// A path that failed is looked at a second later, however soon the node is back.
inline constexpr DurationNs kCheckedPause = milliseconds(1'200);
// A member that leaves: replica_timeout, one CAS, and what a busy machine adds.
inline constexpr DurationNs kMemberPause = milliseconds(950);
// A host notices a silent portal after two NOPs of a second.
inline constexpr DurationNs kSilentPause = milliseconds(2'500);
// A host that was cut off tries again once a second, and looks at a path that came back within another one.
inline constexpr DurationNs kPathBackPause = milliseconds(2'500);
// A host that is told that a portal is silent (iscsi.takeover): the lease, and what a busy machine adds.
inline constexpr DurationNs kToldPause = milliseconds(1'200);
// No pause at all, on a machine that does other things as well.
inline constexpr DurationNs kUnfeltPause = milliseconds(300);

}  // namespace holdfast::torture
