#include "tools/holdfastd/address.h"

#include <arpa/inet.h>

#include <charconv>

#include "admin/names.h"

namespace holdfast::daemon {
namespace {

bool is_ipv4(const std::string& host) {
  in_addr parsed{};
  return ::inet_pton(AF_INET, host.c_str(), &parsed) == 1;
}
bool is_ipv6(const std::string& host) {
  in6_addr parsed{};
  return ::inet_pton(AF_INET6, host.c_str(), &parsed) == 1;
}

}  // namespace

Result<Address> parse_address(std::string_view text, PortRule rule) {
  const auto wrong = [&](std::string_view why) {
    return fail(Errc::invalid_argument, "\"" + admin::printable(text) + "\" " + std::string(why) +
                                            "; write an address and a port, like \"192.0.2.1:3260\" or \"[2001:db8::1]:3260\"");
  };
  const std::size_t colon = text.rfind(':');
  if (colon == text.npos) return wrong("has no port");
  const bool brackets = text.starts_with('[');
  std::string_view host = text.substr(0, colon);
  if (brackets) {
    if (!host.ends_with(']')) return wrong("has no closing bracket before the port");
    host = host.substr(1, host.size() - 2);
  }
  Address out;
  out.host = host;
  if (brackets ? !is_ipv6(out.host) : !is_ipv4(out.host)) {
    return wrong(!brackets && is_ipv6(out.host) ? "is an IPv6 address without brackets" : "has no valid IP address");
  }
  const std::string_view port = text.substr(colon + 1);
  unsigned number = 0;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
  if (port.empty() || error != std::errc() || end != port.data() + port.size() || number > 65'535) {
    return wrong("has no valid port (0 to 65535)");
  }
  if (number == 0 && rule == PortRule::not_zero) return wrong("has port 0, which no initiator can reach");
  out.port = static_cast<std::uint16_t>(number);
  return out;
}

std::string Address::text() const {
  const bool ipv6 = host.find(':') != std::string::npos;
  return (ipv6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

bool Address::is_loopback() const { return host.starts_with("127.") || host == "::1"; }

bool Address::is_any() const { return host == "0.0.0.0" || host == "::"; }

}  // namespace holdfast::daemon
