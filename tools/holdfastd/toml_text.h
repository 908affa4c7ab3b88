// What must be refused before the TOML parser sees it: toml++ 3.3 takes most characters outside ASCII for impossible where it
// looks for white space, and goes on with undefined behaviour.
#pragma once

#include <optional>
#include <string_view>

namespace holdfast::daemon {

// The line (from 1) of the first character outside ASCII that stands neither in a comment nor in a text on one line.
std::optional<unsigned> line_of_stray_character(std::string_view text);

}  // namespace holdfast::daemon
