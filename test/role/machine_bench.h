// One role machine on a bench: events go in by hand, what it asks for comes out and is looked at.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>

#include "engine/role.h"
#include "test/sim/random.h"

namespace holdfast::role_test {

using namespace engine;

inline constexpr NodeId kMe{1}, kOther{2}, kThird{3};
inline constexpr SessionId kSession{10}, kThirdSession{11};

inline Copy copy_of(NodeId node, std::uint8_t life = 0) {
  Copy copy{node, {}};
  copy.incarnation[0] = static_cast<std::uint8_t>(node.value);
  copy.incarnation[1] = life;
  return copy;
}

class MachineBench {
 public:
  explicit MachineBench(Bound bound = {}) { boot(bound); }

  // A process starts with this bound epoch; the log stays.
  void boot(Bound bound) {
    RoleMachine::Start start;
    start.self = copy_of(kMe);
    start.bound = bound;
    start.now = now;
    machine = std::make_unique<RoleMachine>(start, log, random_);
  }

  // A register in which `primary` leads `epoch` and all of `nodes` are members and in sync.
  static Register register_of(std::uint64_t epoch, NodeId primary, std::uint64_t claim, std::vector<NodeId> nodes = {kMe, kOther}) {
    Register r;
    r.seq = 100 + epoch;
    r.epoch = Epoch(epoch);
    r.primary = primary;
    r.claim = claim;
    r.members = nodes;
    for (const NodeId node : nodes) r.add_in_sync(copy_of(node));
    return r;
  }

  void pass_ms(std::int64_t ms) {
    const BootNs end = now + milliseconds(ms);
    while (now < end) {
      now = std::min(end, now + milliseconds(10));
      machine->tick(now);
      collect();
    }
  }
  void collect() {
    for (Action& action : machine->take_actions()) actions.push_back(std::move(action));
  }
  // The newest action of the kind since the last forget(), if any.
  template <class T>
  const T* asked() {
    collect();
    for (auto it = actions.rbegin(); it != actions.rend(); ++it)
      if (const T* found = std::get_if<T>(&*it)) return found;
    return nullptr;
  }
  template <class M>
  const M* sent(NodeId to = kOther) {
    collect();
    for (auto it = actions.rbegin(); it != actions.rend(); ++it)
      if (const SendTo* send = std::get_if<SendTo>(&*it); send && send->node == to)
        if (const M* found = std::get_if<M>(&send->message)) return found;
    return nullptr;
  }
  void forget() {
    collect();
    actions.clear();
  }

  void read(std::uint64_t revision, const Register& value) { machine->register_read(now, revision, value); }
  void receive(Message message, NodeId from = kOther, SessionId session = kSession) { machine->received(now, from, session, message); }
  void connect(NodeId node = kOther, SessionId session = kSession) { machine->connected(now, node, session); }

  // A log of `count` records of the epoch on top of what is there.
  void append(std::uint64_t epoch, std::uint64_t count = 1) {
    for (std::uint64_t i = 0; i < count; ++i) {
      log.end = log.end.next();
      log.history.note(Epoch(epoch), log.end);
    }
    log.durable = log.end;
    machine->log_changed(now);
  }
  static Hello hello_of(Copy copy, Bound bound, std::uint64_t end, std::vector<wal::EpochBegin> history) {
    Hello hello;
    hello.copy = copy;
    hello.bound = bound;
    hello.end = Lsn(end);
    hello.history = wal::EpochHistory(std::move(history));
    return hello;
  }
  Beat beat_of(std::uint64_t epoch, std::uint64_t claim) const {
    Beat beat;
    beat.epoch = Epoch(epoch);
    beat.claim = claim;
    beat.sent = BootNs{now.value + 5};  // Its own clock.
    beat.leads = true;
    beat.lease_ms = 600;
    return beat;
  }

  // Leads epoch `epoch` over `nodes`, with its epoch's start as the only record of it; the others are not connected yet.
  void lead(std::uint64_t epoch, std::vector<NodeId> nodes = {kMe, kOther}) {
    ASSERT_NO_FATAL_FAILURE(win(epoch, nodes));
    log.end = log.end.next();
    log.history.note(Epoch(epoch), log.end);
    log.durable = log.end;
    machine->epoch_begun(now, log.end);
    forget();
  }
  // The same without the start of the epoch: it is asked for, and not there.
  void win(std::uint64_t epoch, std::vector<NodeId> nodes = {kMe, kOther}) {
    Register before = register_of(epoch - 1, kMe, 7, nodes);
    boot(Bound{Epoch(epoch - 1), 7, true});
    now = now + milliseconds(Timing().hello_wait_ms);  // Whom it would hear first is not there.
    read(1, before);
    const SwapRegister* swap = asked<SwapRegister>();
    ASSERT_NE(swap, nullptr);
    view = swap->value;
    machine->swap_done(now, RoleMachine::SwapResult::applied, 2, view);
    const BindTo* bind = asked<BindTo>();
    ASSERT_NE(bind, nullptr);
    machine->bound_done(now, bind->bound);
    ASSERT_EQ(machine->role(), Role::primary);
    ASSERT_NE(asked<BeginEpoch>(), nullptr);
  }
  // The primary has decided that somebody leaves in_sync; the register takes it.
  void removal_applied(std::uint64_t revision) {
    pass_ms(10);
    const SwapRegister* swap = asked<SwapRegister>();
    ASSERT_NE(swap, nullptr);
    view = swap->value;
    machine->swap_done(now, RoleMachine::SwapResult::applied, revision, view);
  }
  // The other node connects as a follower whose log is like mine, and acknowledges it; it promises.
  void bring_up(NodeId node = kOther, SessionId session = kSession, std::uint8_t life = 0) {
    connect(node, session);
    const Bound bound = machine->bound();
    std::vector<wal::EpochBegin> epochs(log.history.epochs().begin(), log.history.epochs().end());
    receive(hello_of(copy_of(node, life), Bound{bound.epoch, bound.claim, false}, log.end.value, epochs), node, session);
    receive(Ack{bound.epoch, log.end}, node, session);
    promise(node, session);
  }
  void promise(NodeId node = kOther, SessionId session = kSession, bool reaches_coordinator = true) {
    Beat answer;
    answer.epoch = machine->bound().epoch;
    answer.claim = machine->bound().claim;
    answer.sent = now;
    answer.echo = now;
    answer.grants = true;
    answer.coordinator_reached = reaches_coordinator;
    answer.lease_ms = 600;
    receive(answer, node, session);
  }

  BootNs now{1'000'000'000'000};
  LogFacts log;
  Register view;
  std::unique_ptr<RoleMachine> machine;
  std::vector<Action> actions;

 private:
  sim::SimRandom random_{1};
};

}  // namespace holdfast::role_test
