#include "io/endpoint.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>

#include <charconv>
#include <cstring>
#include <memory>

namespace holdfast::io {

std::string Endpoint::text() const {
  const bool bracketed = host.find(':') != std::string::npos;
  return (bracketed ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

bool Endpoint::is_numeric() const {
  in_addr v4{};
  in6_addr v6{};
  // The scope of a link-local address ("fe80::1%eth0") is the kernel's business.
  return inet_pton(AF_INET, host.c_str(), &v4) == 1 || inet_pton(AF_INET6, host.substr(0, host.find('%')).c_str(), &v6) == 1;
}

bool Endpoint::is_loopback() const {
  constexpr std::uint32_t kLoopbackNet = 127;  // 127.0.0.0/8
  in_addr v4{};
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return ntohl(v4.s_addr) >> 24 == kLoopbackNet;
  in6_addr v6{};
  if (inet_pton(AF_INET6, host.c_str(), &v6) != 1) return false;
  return IN6_IS_ADDR_LOOPBACK(&v6) || (IN6_IS_ADDR_V4MAPPED(&v6) && v6.s6_addr[12] == kLoopbackNet);
}

Result<Endpoint> parse_endpoint(std::string_view text) {
  const std::string quoted = "\"" + std::string(text.substr(0, 100)) + "\"";
  constexpr std::size_t kLongestName = 253;
  std::string_view host, port;
  if (text.starts_with('[')) {
    const auto end = text.find(']');
    if (end == std::string_view::npos) return fail(Errc::invalid_argument, quoted + " lacks the closing bracket of its IPv6 address");
    host = text.substr(1, end - 1);
    if (text.size() <= end + 1 || text[end + 1] != ':')
      return fail(Errc::invalid_argument, quoted + " lacks a port: write [address]:port");
    port = text.substr(end + 2);
    in6_addr parsed{};
    if (inet_pton(AF_INET6, std::string(host.substr(0, host.find('%'))).c_str(), &parsed) != 1)
      return fail(Errc::invalid_argument, quoted + " does not hold an IPv6 address in its brackets");
  } else {
    const auto colon = text.rfind(':');
    if (colon == std::string_view::npos) return fail(Errc::invalid_argument, quoted + " lacks a port: write host:port");
    host = text.substr(0, colon);
    port = text.substr(colon + 1);
    if (host.find(':') != std::string_view::npos)
      return fail(Errc::invalid_argument, quoted + " looks like IPv6: write [address]:port");
  }
  if (host.empty())
    return fail(Errc::invalid_argument, quoted + " lacks an address: 0.0.0.0 or [::] mean every address of this machine");
  if (host.size() > kLongestName || host.find('\0') != std::string_view::npos)
    return fail(Errc::invalid_argument, quoted + " is not a host name");
  Endpoint endpoint;
  endpoint.host = host;
  const auto [rest, error] = std::from_chars(port.data(), port.data() + port.size(), endpoint.port);
  if (port.empty() || error != std::errc() || rest != port.data() + port.size())
    return fail(Errc::invalid_argument, quoted + " has a bad port: 0 to 65535 are possible");
  return endpoint;
}

std::string SocketAddress::text() const {
  char host[INET6_ADDRSTRLEN] = "?";
  if (storage.ss_family == AF_INET6) {
    const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&storage);
    inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof host);
  } else if (storage.ss_family == AF_INET) {
    inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(&storage)->sin_addr, host, sizeof host);
  }
  return Endpoint{host, port()}.text();
}

std::uint16_t SocketAddress::port() const {
  if (storage.ss_family == AF_INET6) return ntohs(reinterpret_cast<const sockaddr_in6*>(&storage)->sin6_port);
  if (storage.ss_family == AF_INET) return ntohs(reinterpret_cast<const sockaddr_in*>(&storage)->sin_port);
  return 0;
}

Result<SocketAddress> resolve(const Endpoint& endpoint) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* list = nullptr;
  const int result = getaddrinfo(endpoint.host.c_str(), std::to_string(endpoint.port).c_str(), &hints, &list);
  if (result != 0) return fail(Errc::not_found, "cannot resolve " + endpoint.host + ": " + gai_strerror(result));
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(list, freeaddrinfo);
  SocketAddress address;
  address.length = list->ai_addrlen;
  std::memcpy(&address.storage, list->ai_addr, list->ai_addrlen);
  return address;
}

}  // namespace holdfast::io
