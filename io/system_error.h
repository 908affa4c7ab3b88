// What the kernel's error numbers mean to us, with a message that names the object.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace holdfast::io {

Errc errc_of(int error_number);

// "<what>: <the kernel's text>", e.g. system_error(ENOENT, "cannot open /x").
Error system_error(int error_number, std::string_view what);

}  // namespace holdfast::io
