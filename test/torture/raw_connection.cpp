#include "test/torture/raw_connection.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>

#include "io/unique_fd.h"
#include "test/torture/failure.h"

namespace holdfast::torture {

Heard say(const NetNamespace& where, const std::string& address, std::uint16_t port, const std::string& bytes, DurationNs patience) {
  Heard heard;
  where.inside([&] {
    const io::UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const timeval limit{patience.value / 1'000'000'000, patience.value / 1'000 % 1'000'000};
    ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    sockaddr_in there{};
    there.sin_family = AF_INET;
    there.sin_port = htons(port);
    require(::inet_pton(AF_INET, address.c_str(), &there.sin_addr) == 1, address + " is no address");
    if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&there), sizeof there) != 0) return;
    heard.connected = true;
    // Who has heard enough may close before it has heard all.
    for (std::size_t said = 0; said < bytes.size();) {
      const ssize_t n = ::send(fd.get(), bytes.data() + said, bytes.size() - said, MSG_NOSIGNAL);
      if (n <= 0) break;
      said += static_cast<std::size_t>(n);
    }
    char piece[8192];
    for (;;) {
      const ssize_t n = ::recv(fd.get(), piece, sizeof piece, 0);
      heard.closed = n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK);
      if (n <= 0) return;
      heard.bytes.append(piece, static_cast<std::size_t>(n));
    }
  });
  return heard;
}

}  // namespace holdfast::torture
