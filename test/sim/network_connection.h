// The inside of the simulated network: one connection, its two sides, and what is on the way.
#pragma once

#include "test/sim/network.h"

namespace holdfast::sim {

// A frame on the way, or the word that the other side has ended.
struct Parcel {
  std::vector<std::byte> head, payload;
  BootNs due{};
  bool is_end = false;
  bool counted_as_held = false;
  std::size_t size() const { return head.size() + payload.size(); }
};

struct SimNetwork::Connection {
  struct Side {
    NodeId node;
    BufferPool* pool;
    WaitList readable, writable;
    std::deque<Parcel> flying;     // Towards this side, in order.
    std::deque<Parcel> arrived;
    std::size_t window_used = 0;   // Bytes towards this side that it has not taken.
    std::size_t window_owed = 0;   // Taken, but the way back is cut.
    BootNs last_due{};
    Errc ended{};                  // What this side knows; zero: nothing.
    bool gone = false;             // Its process is dead.
    bool receiving = false;
    bool watched = false;          // Somebody waits whether the cut lasts too long.
    explicit Side(const Machine& machine)
        : node(machine.id), pool(machine.pool), readable(machine.host->executor()), writable(machine.host->executor()) {}
    bool is_over() const { return gone || ended != Errc{}; }
  };
  Side side[2];

  Connection(const Machine& dialler, const Machine& listener) : side{Side(dialler), Side(listener)} {}
};

struct SimNetwork::Attempt {
  NodeId from, to;
  Timer* timer = nullptr;          // Nothing: whoever asked has gone.
  Errc refusal{};
  std::unique_ptr<Link> link;
};

class SimLink final : public Link {
 public:
  SimLink(SimNetwork& network, SimNetwork::Shared connection, int side) : network_(&network), connection_(std::move(connection)), side_(side) {}
  ~SimLink() override { close(); }
  Task<Result<void>> send(Frame frame) override;
  Task<Result<Frame>> receive() override;
  void close() override { network_->close_side(connection_, side_); }

 private:
  SimNetwork* network_;
  SimNetwork::Shared connection_;
  int side_;
};

class SimConnector final : public Connector {
 public:
  SimConnector(SimNetwork& network, NodeId self, SimHost& host) : network_(&network), self_(self), host_(&host) {}
  Task<Result<std::unique_ptr<Link>>> connect(NodeId node, Uuid group) override;

 private:
  SimNetwork* network_;
  NodeId self_;
  SimHost* host_;
};

}  // namespace holdfast::sim
