// The Stream port over TCP. Reads and writes try the socket at once and wait only when it would block.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/stream.h"
#include "io/endpoint.h"

namespace holdfast::io {

class Reactor;

struct TcpOptions {
  // A dead peer is noticed after idle + interval × count; unacknowledged data after user_timeout_ms.
  int keepalive_idle_s = 10;
  int keepalive_interval_s = 5;
  int keepalive_count = 3;
  int user_timeout_ms = 30'000;  // Zero: the kernel's default.
  int connect_timeout_ms = 0;    // Zero: the kernel's default, which is minutes.
  int backlog = 128;
};

// A listener whose port can be asked for (it is chosen by the kernel when the endpoint's port is zero).
class TcpListener : public Listener {
 public:
  virtual Endpoint local_endpoint() const = 0;
};

// On the reactor's thread, or before its first turn. Errors name the address: busy (port in use), permission,
// invalid_argument (not an address of this machine), not_found (unknown host).
Result<std::unique_ptr<TcpListener>> listen_tcp(Reactor& reactor, Endpoint endpoint, TcpOptions options = {});

// Takes over a listening socket, e.g. from systemd.
Result<std::unique_ptr<TcpListener>> adopt_tcp_listener(Reactor& reactor, int fd, TcpOptions options = {});

// The listening sockets systemd passed to this process (LISTEN_PID, LISTEN_FDS); empty when there are none. The
// variables are unset, so that children do not take them for theirs.
std::vector<int> inherited_listening_sockets();

// Errors name the address: timed_out, closed and io_error (refused, unreachable), not_found (unknown host).
Task<Result<std::unique_ptr<Stream>>> connect_tcp(Reactor& reactor, Endpoint endpoint, TcpOptions options = {});

}  // namespace holdfast::io
