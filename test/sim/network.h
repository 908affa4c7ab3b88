// The network of the simulated world: the Link and Connector ports between hosts.
//   - Frames of one direction keep their order; each takes a drawn time. So much is on the way at most: then send() waits.
//   - A cut direction delivers nothing; what was sent waits, as TCP would send it again, and comes after the cut is mended,
//     unless the connection breaks before.
//   - A killed process resets its connections at once. A machine without power says nothing until it is back.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "base/link.h"
#include "base/scope.h"
#include "test/sim/world.h"

namespace holdfast::sim {

struct NetworkOptions {
  DurationNs latency_min = microseconds(20);
  DurationNs latency_max = microseconds(150);
  std::size_t window_bytes = 2 << 20;             // On the way in one direction; a larger frame goes alone.
  DurationNs connect_timeout = milliseconds(500);
  DurationNs keepalive = milliseconds(10'000);    // An idle connection asks after its peer so often; zero: never.
  DurationNs unacknowledged_max{};                // After so long behind a cut a connection breaks at its sender; zero: never.
};

struct NetworkCounters {
  std::uint64_t connections = 0, refused = 0, connects_timed_out = 0, frames = 0, bytes = 0;
  std::uint64_t held = 0;        // Frames and requests that met a cut.
  std::uint64_t delayed = 0;     // Frames that a slow path carried.
  std::uint64_t resets = 0, broken = 0, waits = 0;
};

// The way from one node to another.
struct NetworkPath {
  bool cut = false;
  DurationNs delay{};            // On top of the usual latency …
  DurationNs jitter{};           // … and up to so much more, drawn for each frame.
  friend bool operator==(const NetworkPath&, const NetworkPath&) = default;
};

class SimNetwork {
 public:
  using Accept = std::function<void(NodeId from, std::unique_ptr<Link> link)>;

  SimNetwork(SimWorld& world, NetworkOptions options) : world_(&world), host_(world), options_(options) {}
  SimNetwork(const SimNetwork&) = delete;
  SimNetwork& operator=(const SimNetwork&) = delete;

  // A machine of the network. Its connector lives as long as the network.
  Connector& add(NodeId node, SimHost& host);
  // A process starts on the machine, and takes connections once it listens.
  void process_started(NodeId node, BufferPool& pool);
  void listen(NodeId node, Accept accept);
  // After the host's crash(), before the frames that use links are destroyed.
  enum class Death : std::uint8_t { killed, power_loss };
  void process_died(NodeId node, Death how);

  // Faults.
  void set_path(NodeId from, NodeId to, NetworkPath path);
  const NetworkPath& path(NodeId from, NodeId to) { return paths_[{from, to}]; }
  void cut(NodeId from, NodeId to);
  void mend(NodeId from, NodeId to);
  void cut_both(NodeId a, NodeId b) { cut(a, b), cut(b, a); }
  // Breaks the connections of the two; each side learns of it in its own time. How many there were.
  std::size_t reset(NodeId a, NodeId b);

  const NetworkCounters& counters() const { return counters_; }
  NetworkOptions& options() { return options_; }

 private:
  friend class SimLink;
  friend class SimConnector;
  struct Connection;
  struct Attempt;
  struct Machine {
    NodeId id;
    SimHost* host = nullptr;
    std::unique_ptr<Connector> connector;
    BufferPool* pool = nullptr;  // Of the process; nothing: none runs.
    Accept accept;               // Empty: nobody listens.
    bool powered = true;
  };
  using Shared = std::shared_ptr<Connection>;

  DurationNs draw_latency(NodeId from, NodeId to);
  void later(DurationNs delay, std::move_only_function<void()> action) { world_->after(delay, host_, std::move(action)); }
  void request_arrives(const std::shared_ptr<Attempt>& attempt);
  void answer(const std::shared_ptr<Attempt>& attempt, NodeId from, Errc refusal, std::unique_ptr<Link> link, DurationNs delay);
  void transmit(const Shared& connection, int to);
  void pump(const Shared& connection, int to);
  void meet_cut(const Shared& connection, int to);
  void resume_after_cut(const Shared& connection, int to);
  void give_window_back(Connection& connection, int to, std::size_t bytes);
  void close_side(const Shared& connection, int side);
  void break_side(const Shared& connection, int side, DurationNs delay);
  void reset_half_open(NodeId node);
  void ask_after_peer(const Shared& connection, int at);
  void forget_ended();

  SimWorld* world_;
  SimHost host_;                 // The wires: never crashes.
  NetworkOptions options_;
  NetworkCounters counters_;
  std::map<NodeId, Machine> machines_;
  std::map<std::pair<NodeId, NodeId>, NetworkPath> paths_;
  std::vector<Shared> connections_;
};

}  // namespace holdfast::sim
