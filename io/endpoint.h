// Where to listen or connect: "192.0.2.1:3260", "[2001:db8::1]:3260", "localhost:3260".
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace holdfast::io {

struct Endpoint {
  std::string host;         // Without brackets.
  std::uint16_t port = 0;   // Zero: the kernel chooses (listening only).
  std::string text() const;
  // An IP address, so that no look-up is needed.
  bool is_numeric() const;
  // An address that only this machine reaches.
  bool is_loopback() const;
  friend bool operator==(const Endpoint&, const Endpoint&) = default;
};

// Errors name the text and what is wrong with it.
Result<Endpoint> parse_endpoint(std::string_view text);

// A socket address as the kernel has it.
struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t length = 0;
  std::string text() const;
  std::uint16_t port() const;
};

// Resolves synchronously (numeric addresses without any look-up): for start-up, never on the path of an I/O.
Result<SocketAddress> resolve(const Endpoint& endpoint);

}  // namespace holdfast::io
