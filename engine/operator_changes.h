// What an operator may change in a group's register. Neither touches the epoch nor in_sync (rule 1), but for one: the forced
// fail-over, which gives up what only the others have, and says so in the register.
#pragma once

#include <functional>

#include "base/coordinator.h"
#include "base/random.h"
#include "engine/register.h"

namespace holdfast::engine {

// Errors name the field: exists, not_found, invalid_argument.
Result<void> add_member(Register& value, NodeId node);
// The primary then drops it from in_sync. Refused for the primary itself, and when too few would be left.
Result<void> remove_member(Register& value, NodeId node);
Result<void> set_min_in_sync(Register& value, std::uint32_t count);
// 100 ms … one hour. Whoever starts meanwhile waits for the longer of the old and the new one (rule 11).
Result<void> set_lease(Register& value, std::uint32_t lease_ms);

// The candidate leads next with what it has, in sync or not; writes that only the others acknowledged are lost, and they are
// rebuilt when they return. A primary that is cut off but alive needs no coordinator to go on: the operator vouches that it
// is fenced. min_in_sync becomes 1, until the operator raises it again. nonce: fresh.
struct ForcedFailOver {
  Copy candidate;
  bool others_are_fenced = false;
  bool accepts_data_loss = false;
  std::uint64_t nonce = 0;
};
Result<void> force_fail_over(Register& value, const ForcedFailOver& order);

// Reads, changes, swaps; again when somebody else was faster. What the swap became is unknown at worst: then the register is
// read until it tells. Errors: those of the change, timed_out, io_error.
using RegisterChange = std::function<Result<void>(Register&)>;
Task<Result<Register>> change_register(Coordinator* coordinator, Uuid group, RegisterChange change);

}  // namespace holdfast::engine
