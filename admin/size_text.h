// Sizes and durations as people write them, in the configuration, on the command line and in requests: "256MiB", "5s".
// One spelling each: a unit is always there, and only powers of 1024, because "MB" means two things.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace holdfast::admin {

// "4096B", "256MiB", "10 GiB". The error's message says what is wrong and what is allowed, without naming a key.
Result<std::uint64_t> parse_size(std::string_view text);

// "500ms", "5s", "2min", "1h": milliseconds.
Result<std::int64_t> parse_duration_ms(std::string_view text);

// For people: at most one decimal, "1.5 GiB". Never rounds up to the next unit.
std::string size_text(std::uint64_t bytes);

// Exact: the largest unit that divides it, in the spelling parse_size reads. "1536MiB".
std::string exact_size_text(std::uint64_t bytes);

std::string duration_text(std::uint64_t ms);

}  // namespace holdfast::admin
