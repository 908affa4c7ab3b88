// The wires that this machine is on, the initiators that are connected to it, and frames in and out of it. Needs CAP_NET_RAW for the frames.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "tools/holdfastd/config.h"
#include "tools/holdfastd/tickler.h"

namespace holdfast::daemon {

// Ethernets that are up and have an IPv4 address; one entry an address. Errors: permission (the service may not ask the kernel), …
Result<std::vector<Wire>> find_wires();

// Of /proc/net/tcp: established connections whose end here is one of the listeners (0.0.0.0: any address). In order, without those between
// two addresses of one machine.
std::vector<Connection> connections_in(std::string_view table, const std::vector<Ipv4Endpoint>& listeners);
Result<std::vector<Connection>> find_connections(const std::vector<Ipv4Endpoint>& listeners);

// Whether this process may write frames. The error says what to do.
Result<void> check_may_write_frames();

// Carries a Tickler out: for a second at most, on the thread that calls it. Errors: those of the socket.
struct Tickled {
  std::size_t reached = 0, ended = 0;
  std::int64_t elapsed_ms = 0;
};
Result<Tickled> tickle(std::vector<Wire> wires, std::map<Ipv4, Mac> homes, std::vector<Connection> connections);

}  // namespace holdfast::daemon
