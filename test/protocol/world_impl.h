// The inside of the abstract world: events, links, the register, clients, and what is checked after every event.
#pragma once

#include <algorithm>

#include "test/protocol/protocol_node.h"

namespace holdfast::protocol {

class World {
 public:
  explicit World(const Shape& shape);
  Verdict run();

  TrueNs now() const { return now_; }
  sim::SimRandom& random() { return random_; }
  Tally& tally() { return tally_; }
  void at(TrueNs due, std::function<void()> what);
  // In the node's own time: after its pause, and not when it died meanwhile.
  void with_node(Node& node, std::uint64_t life, std::function<void()> what);
  void fail(std::string what) { if (!failure_) failure_ = std::move(what); }
  void narrate(const std::string& line);
  const Uuid& group() const { return group_; }
  const engine::Timing& timing() const { return timing_; }

  void send(NodeId from, NodeId to, SessionId session, Packet packet);
  void read_register(Node& node);
  void swap_register(Node& node, std::uint64_t base, engine::Register value);
  // The node says: everything up to the LSN is committed.
  void committed(Node& node, Lsn upto);
  void ceased(Node& node);
  void turning_point(Node& node);

 private:
  struct Event {
    TrueNs due;
    std::uint64_t tie, order;
    std::function<void()> what;
  };
  static bool later(const Event& a, const Event& b) {
    return std::tie(a.due, a.tie, a.order) > std::tie(b.due, b.tie, b.order);
  }
  // One connection of two nodes; packets of a direction keep their order, and wait while the direction is cut.
  struct Link {
    NodeId a, b;
    SessionId session;            // Zero: none.
    bool cut[2] = {false, false};  // a→b, b→a.
    std::deque<Packet> waiting[2];
    TrueNs last_due[2] = {0, 0};
    TrueNs next_try = 0;
    bool ended_at[2] = {true, true};  // The side knows that there is no connection.
  };
  enum class OpKind : std::uint8_t { write, read };
  struct Op {
    OpKind kind;
    std::uint64_t value = 0;
    TrueNs invoked = 0;
    std::uint64_t floor = 0;      // The newest position that was seen complete when it began.
    NodeId node;
    std::uint64_t life = 0;
    Lsn lsn;
    bool waiting = false;
  };

  void release_held(Node& node, std::uint64_t life);
  Node& node(NodeId id) { return *nodes_[id.value - 1]; }
  Link& link(NodeId x, NodeId y);
  void deliver(Link& link, int direction);
  void break_link(Link& link, RoleMachine::LinkEnd how);
  void notify_end(Link& link, int side, SessionId session, RoleMachine::LinkEnd how);
  void maintain_links();

  void register_changes(std::uint64_t base, const engine::Register& value);
  TrueNs hop() { return static_cast<TrueNs>(random_.between(50, 2'000)) * 1'000; }

  void client_turn(std::size_t client);
  void complete(Op& op, std::uint64_t position);
  void settle_writes(Node& node);

  void inject();
  void strike_down(Node& node, Death how);
  void heal();
  bool is_well();
  void check();

  Shape shape_;
  sim::SimRandom random_;
  engine::Timing timing_;
  Tally tally_;
  TrueNs now_ = 0;
  std::uint64_t order_ = 0, trace_ = 0;
  std::vector<Event> queue_;
  Uuid group_{};
  std::vector<std::unique_ptr<Node>> nodes_;
  std::vector<Link> links_;
  std::uint64_t next_session_ = 1;
  std::optional<std::string> failure_;

  // The register.
  std::uint64_t revision_ = 1;
  engine::Register register_;
  std::map<std::uint64_t, engine::Register> value_at_;  // By revision.
  bool outage_ = false;
  std::map<NodeId, bool> cut_off_;      // From the register.
  std::map<std::uint64_t, NodeId> claims_in_flight_;
  std::map<Epoch, std::uint64_t> claims_;

  // What is known of the truth.
  std::vector<Record> committed_;
  std::uint64_t acked_ = 0;             // Highest position that a client has seen complete.
  std::vector<Op> ops_;
  std::uint64_t next_value_ = 1;
  bool calm_ = false;

  // Chances of this seed, each once in so many turns of 10 ms; zero: never.
  struct Swarm {
    std::uint64_t kill = 0, power = 0, pause = 0, link_break = 0, partition = 0, one_way = 0, isolate = 0, outage = 0, cut_off = 0, deposed = 0,
                  hand_over = 0, wipe = 0, slow_disk = 0, turning = 0;
    std::uint32_t unknown_ppm = 0;
    TrueNs slow_hop_max = 0;
  } swarm_;
};

}  // namespace holdfast::protocol
