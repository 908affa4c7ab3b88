// Remnants: a power loss takes batch k of the log and leaves k + 1, which was under way at the same time. The restart cuts at
// k and writes in its place; what is left of k + 1 now stands right behind the new end, and fits there by its position and LSN.
//   - The chain refuses it: it names the batch k that is gone. So the generation is the second lock on the same door.
//   - `fits` takes the first lock away: the remnant's chain is made to go on from the new batch, as it would if the very same
//     records were cut and sent again. Then the generation alone says that it was never part of this history.
#pragma once

#include <string>

#include "test/crash/process.h"

namespace holdfast::crash {

enum class RemnantChain : std::uint8_t { as_written, fits };

// Empty, or what went wrong: the remnant was taken up, the store refused to open, or the story did not come about.
std::string run_remnant(const StoreMaker& maker, RemnantChain chain);

}  // namespace holdfast::crash
