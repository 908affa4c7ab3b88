// Refusals of what a user gave.
#pragma once

#include <string>
#include <utility>

#include "base/result.h"

namespace holdfast::admin {

// `message` names the field first: "name: is missing".
inline std::unexpected<Error> invalid(std::string message) { return fail(Errc::invalid_argument, std::move(message)); }

}  // namespace holdfast::admin
