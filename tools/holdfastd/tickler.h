// Ends TCP connections between initiators and a node that is silent, so that the initiators' kernels know now what they would find out in
// seconds. A machine without I/O: frames in, frames out.
//
// A connection ends by a reset with exactly the sequence number that the initiator expects next, which only the initiator can tell. So, for
// as long as it takes: the initiator is told that the portal's address is at this machine (ARP, to the initiator alone); it gets an ACK that
// fits nothing, which every TCP answers by repeating what it expects (RFC 9293 §3.10.7.4); that answer comes here, and the reset goes out.
// Then the initiator is told where the address really is. The address is given to no interface: nothing of it can stay behind.
#pragma once

#include <cstddef>
#include <map>
#include <vector>

#include "tools/holdfastd/frames.h"

namespace holdfast::daemon {

struct Connection {
  Ipv4Endpoint portal, initiator;
  friend auto operator<=>(const Connection&, const Connection&) = default;
};

// An Ethernet that this machine is on.
struct Wire {
  int interface = 0;  // The kernel's index.
  Mac mac{};
  Ipv4 address;       // Of this machine.
  Ipv4 netmask;
  bool has(Ipv4 other) const { return (other.value & netmask.value) == (address.value & netmask.value); }
};

class Tickler {
 public:
  static constexpr unsigned kRoundsMax = 20;
  static constexpr unsigned kRepliesMax = 4;  // To what comes of one connection in one round: nobody is to be kept talking.

  struct Outgoing {
    int interface;
    Frame frame;
  };

  // Connections whose both ends are not on one of the wires are left alone, and so are those of this machine's own addresses.
  // homes: where each portal's address really is. Portals without one are left alone.
  Tickler(const std::vector<Wire>& wires, const std::map<Ipv4, Mac>& homes, const std::vector<Connection>& connections);

  // Every so many milliseconds, kRoundsMax times at most.
  void next_round(std::vector<Outgoing>& out);
  // A frame came.
  void receive(Bytes frame, std::vector<Outgoing>& out);
  // Once, when it is over: what is still said of addresses is put right.
  void finish(std::vector<Outgoing>& out);
  bool is_done() const { return open_ == 0 || rounds_ >= kRoundsMax; }

  std::size_t reached() const { return total_; }   // Connections that it deals with.
  std::size_t ended() const { return total_ - open_; }

 private:
  struct State {
    bool is_open = true;
    unsigned replies = 0;  // In this round.
  };
  struct Initiator {
    const Wire* wire = nullptr;
    std::optional<Mac> mac;                                   // Nothing: it has not answered yet.
    std::map<Ipv4, std::map<Connection, State>> connections;  // By portal's address; what is put right is taken out.
  };
  void tickle(const Initiator& initiator, const Connection& connection, std::vector<Outgoing>& out) const;
  void claim(const Initiator& initiator, Ipv4 portal, std::vector<Outgoing>& out) const;
  void put_right(const Initiator& initiator, Ipv4 portal, std::vector<Outgoing>& out) const;
  void begin(Initiator& initiator, std::vector<Outgoing>& out) const;

  std::vector<Wire> wires_;
  std::map<Ipv4, Mac> homes_;
  std::map<Ipv4, Initiator> initiators_;
  std::size_t total_ = 0, open_ = 0;
  unsigned rounds_ = 0;
};

}  // namespace holdfast::daemon
