// Catch-up and rebuild as a finite machine: one source, one copy that comes back, two chunks. Every state within the bounds is
// visited: a copy that says it is fit has, at the end of its log, exactly what the history says.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <array>

namespace holdfast::model {

enum class BrokenRebuild : std::uint8_t {
  none,
  base_is_log_end,      // The delta's base is the end of the copy's log, with a tail that was never committed.
  holes_not_mentioned,  // What was emptied since the base is not in the delta.
  fit_at_once,          // Fit when the last chunk is there, though the chunks are of different times.
  superseded_and_fit,   // Fit although superseded blocks were shipped as they are.
  unfit_not_durable,    // A crash forgets that the copy is unfit.
  image_without_log,    // The image's point is newer than what the copy is told to follow from.
};
inline constexpr std::array<std::string_view, 7> kBrokenRebuilds{
    "none", "base_is_log_end", "holes_not_mentioned", "fit_at_once", "superseded_and_fit", "unfit_not_durable", "image_without_log"};

struct RebuildFound {
  std::string violation;  // Empty: none.
  std::uint64_t states = 0;
  std::uint64_t moves = 0;
};
// records: 1 … 6, all that the source ever writes.
RebuildFound search_rebuild(int records, BrokenRebuild broken);

}  // namespace holdfast::model
