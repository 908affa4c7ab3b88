// One node of a cluster: a machine with a clock and a disk, and the process on it, which lives and dies again and again.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "test/cluster/door.h"
#include "test/crash/process.h"
#include "test/sim/coordinator.h"
#include "test/sim/network.h"

namespace holdfast::cluster {

using crash::Death;

class ClusterNode {
 public:
  struct World {  // What the node stands in; all of it outlives the node.
    sim::SimWorld& world;
    sim::SimNetwork& network;
    sim::SimCoordinator& coordinator;
    DoorOwner& owner;
  };
  ClusterNode(World around, NodeId id);
  ~ClusterNode();
  ClusterNode(const ClusterNode&) = delete;
  ClusterNode& operator=(const ClusterNode&) = delete;

  NodeId id() const { return id_; }
  sim::SimHost& host() { return host_; }
  sim::SimDisk& disk() { return disk_; }
  crash::Process& process() { return *process_; }
  Door& door() { return *door_; }

  // The process starts: a new life. It formats, or opens what is there; what became of it is told by poll().
  void start_format(FormatOptions options, Group::Existing existing);
  void start(GroupOptions options);
  void die(Death how);
  void pause() { host_.pause(); }
  void resume() { host_.resume(); }

  enum class State : std::uint8_t { down, formatting, formatted, opening, open, failed };
  // Looks at what the process has come to. True when the state has changed.
  bool poll();
  State state() const { return state_; }
  bool is_up() const { return process_ != nullptr; }
  bool is_open() const { return state_ == State::open; }
  const std::string& failure() const { return failure_; }
  Errc failure_code() const { return failure_code_; }
  Group* group() const { return process_ ? process_->group() : nullptr; }
  const Uuid& incarnation() const { return incarnation_; }  // Of the store, once it was formatted.
  std::uint64_t lives() const { return lives_; }

  // Since this process opened its store; what of it is no longer true is the invariants' business.
  std::int64_t clock_drift = 0;
  std::optional<BootNs> restart_at;    // By the supervisor.
  bool data_port_cut = false;          // No initiator reaches it.

 private:
  static Task<void> identify(ClusterNode* self);
  void begin_life(std::size_t pool_bytes);
  void set_failed(const Error& error);

  World around_;
  NodeId id_;
  sim::SimHost host_;
  sim::SimDisk disk_;
  Connector* connector_;
  std::unique_ptr<Coordinator> port_;
  std::unique_ptr<crash::Process> process_;
  std::unique_ptr<Door> door_;
  State state_ = State::down;
  std::string failure_;
  Errc failure_code_{};
  Uuid incarnation_{};
  bool identified_ = false;
  std::uint64_t lives_ = 0;
};

}  // namespace holdfast::cluster
