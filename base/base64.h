// Bytes in JSON (RFC 4648 §4).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace holdfast {

std::string to_base64(Bytes bytes);
// Errors: invalid_argument.
Result<std::vector<std::byte>> from_base64(std::string_view text);

}  // namespace holdfast
