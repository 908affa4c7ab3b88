// One replica of the abstract world: a role machine, and a log of (epoch, value) with a durable part.
#pragma once

#include <algorithm>

#include "test/protocol/protocol_world.h"

namespace holdfast::protocol {

class World;

struct Record {
  Epoch epoch;
  std::uint64_t value = 0;  // Zero: an epoch's start.
  friend bool operator==(const Record&, const Record&) = default;
};

// Records of one epoch on top of (prev).
struct Append {
  Epoch epoch;
  Lsn after;
  Epoch after_epoch;
  std::vector<Record> records;
  Lsn commit;
};

using Packet = std::variant<engine::Message, Append>;

// What survives a crash.
struct DiskState {
  Uuid incarnation{};
  Bound bound;
  std::vector<Record> log;      // All of it written; what is beyond `synced` may be lost with the power.
  std::size_t synced = 0;
  Lsn applied;
  std::uint64_t seq_seen = 0;
};

enum class Death : std::uint8_t { killed, power_lost };

class Node {
 public:
  Node(World& world, NodeId id, Uuid incarnation);

  NodeId id() const { return id_; }
  bool up() const { return machine_ != nullptr; }
  RoleMachine& machine() { return *machine_; }
  DiskState& disk() { return disk_; }
  const engine::LogFacts& facts() const { return facts_; }
  BootNs clock() const;
  std::uint64_t life() const { return life_; }

  void start();
  void die(Death how);
  void wipe(Uuid incarnation);
  void pause(TrueNs until) { paused_until = std::max(paused_until, until); }

  void tick();
  void tick_unless_paused(std::uint64_t life);
  void connected(NodeId peer, SessionId session);
  void disconnected(NodeId peer, SessionId session, RoleMachine::LinkEnd how);
  void receive(NodeId from, SessionId session, const Packet& packet);
  void run_actions();

  // A client's write: the LSN, when it was admitted.
  std::optional<Lsn> admit(std::uint64_t value);
  Record record_at(Lsn lsn) const { return disk_.log[lsn.value - 1]; }
  bool try_hand_over(NodeId candidate);

  TrueNs paused_until = 0;
  std::vector<std::function<void()>> held;  // What happens to it during a pause, in order.
  double rate = 1.0;            // Of its clock.
  TrueNs offset = 0;
  TrueNs disk_delay = kMs / 4, usual_disk_delay = kMs / 4;

 private:
  friend class World;
  void perform(const engine::Action& action);
  void later(TrueNs delay, std::function<void()> what);
  // Bindings and cuts are done one after the other, in the order of asking.
  void in_turn(TrueNs delay, std::function<void()> what);
  void append(Record record);
  void schedule_sync();
  void rebuild_history();
  void ship();

  World* world_;
  NodeId id_;
  DiskState disk_;
  std::unique_ptr<RoleMachine> machine_;
  engine::LogFacts facts_;
  std::uint64_t life_ = 0;
  TrueNs turn_free_ = 0;
  bool sync_scheduled_ = false;
  std::map<NodeId, std::pair<SessionId, Lsn>> shipped_;  // Per peer: how far the session was sent.
  std::optional<NodeId> handing_over_to_;
};

}  // namespace holdfast::protocol
