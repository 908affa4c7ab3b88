// A TCP connection over which whatever one likes is said once: for protocols that are spoken wrongly on purpose.
#pragma once

#include <cstdint>
#include <string>

#include "base/types.h"
#include "test/torture/net_namespace.h"

namespace holdfast::torture {

struct Heard {
  bool connected = false;
  bool closed = false;  // By the other side, within the patience.
  std::string bytes;    // What it said.
};

// Connects, says all of it, and listens until the other side closes, or says nothing for `patience`.
Heard say(const NetNamespace& where, const std::string& address, std::uint16_t port, const std::string& bytes, DurationNs patience);

}  // namespace holdfast::torture
