// What a node does about the one that led a volume before it: whether its initiators' connections are to be ended. A pure function of what
// is known; takeover.h finds that out and carries it out. What is safe does not rest on it: who serves is decided before, by the register.
#pragma once

#include <cstdint>

#include "base/types.h"

namespace holdfast::daemon {

struct TakeoverFacts {
  // Is counted on for the volume: whoever serves has heard from it.
  enum class Standing : std::uint8_t { in_step, dropped } standing = Standing::dropped;
  // answered: its process did, or its kernel for it, which has then reset the connections of a process that is gone.
  enum class Knock : std::uint8_t { unknown, answered, silent } knock = Knock::unknown;
  // By the registers of all volumes that it has a copy of. something: it may serve that one all the same; its initiators need it.
  enum class Leads : std::uint8_t { unknown, unreadable, something, nothing } leads = Leads::unknown;
  enum class Sessions : std::uint8_t { none, some } sessions = Sessions::some;  // That it is known to have.
  DurationNs waited{};  // Since this node began to serve.
};

enum class TakeoverMove : std::uint8_t { leave, knock, look, wait, tickle };

// For so long others may still be about to take its other volumes over.
inline constexpr DurationNs kTakeoverPatience = milliseconds(5'000);

TakeoverMove next_move(const TakeoverFacts& facts);

}  // namespace holdfast::daemon
