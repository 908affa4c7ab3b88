// Addresses of the configuration: an IP literal and a port. Names are not resolved: a daemon that waits for DNS to start,
// or listens elsewhere after a restart, surprises.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "tools/holdfastd/config.h"

namespace holdfast::daemon {

enum class PortRule : std::uint8_t { any, not_zero };
Result<Address> parse_address(std::string_view text, PortRule rule);

}  // namespace holdfast::daemon
