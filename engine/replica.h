// One copy of a group among the others: carries out what the role machine decides, and tells it what happened.
//   role machine <-> links to the other copies (session.h), the coordinator, the store (through the group)
// Bindings, cuts and epoch starts are carried out one after the other, in the order in which they were asked for.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "base/coordinator.h"
#include "base/scope.h"
#include "engine/hold_back.h"
#include "engine/lag_meter.h"
#include "engine/pacer.h"
#include "engine/receiver.h"
#include "engine/role.h"
#include "engine/session.h"
#include "engine/tail.h"

namespace holdfast::engine {

class GroupImpl;

class Replica {
 public:
  struct Start {
    Copy self;
    Uuid group{};
    Timing timing;
    Bound bound;
    std::uint64_t seq_seen = 0;
    std::uint64_t ship_window_bytes = 0;
    std::uint64_t rebuild_bytes_per_second = 0;
  };
  Replica(GroupImpl& group, Start start, const LogFacts& facts);
  ~Replica();

  // Begins to follow, to claim, to connect.
  void start();
  // Ends all connections and flows.
  Task<void> stop();
  void accept(NodeId from, std::unique_ptr<Link> link);

  const RoleMachine& machine() const { return machine_; }
  bool is_open() const { return machine_.is_open(); }
  bool has_jobs() const { return !jobs_.empty(); }
  bool may_admit() const;
  bool may_acknowledge() const;
  bool may_serve() const;

  // The group tells.
  void appended();
  void log_changed();
  void committed() { receiver_.wake(); }
  void store_failed();
  void initiator_heard(BootNs when);
  void initiator_lost();
  // See RoleMachine::ask_view().
  std::uint64_t ask_view();
  bool knows_view() const;
  // What this copy says of itself in a hello has changed.
  void say_hello_again();

  // Switchover in two steps: everything that was admitted is committed between them.
  bool prepare_hand_over(NodeId candidate) { return machine_.prepare_hand_over(candidate); }
  void cancel_hand_over();
  bool hand_over(NodeId candidate);
  void leave(RoleMachine::Leaves why);
  void cannot_take(SessionId session);

  std::vector<NodeId> connected() const;
  LagMeter::Lag lag_of(Lsn has) const;
  // Of the members whose acks are needed: what the one with the least can still reserve; all bits set: enough.
  std::uint64_t least_free_chunks() const;
  // See GroupImpl::ask_others().
  Task<Result<rebuild::Answer>> ask_others(rebuild::Question question);
  Task<Result<rebuild::Answer>> ask_node(NodeId node, rebuild::Question question);
  void distrust(NodeId node);
  // What writers owe to copies on their way into the set: each waits so long, and nothing is admitted while doors are closed.
  DurationNs held_for_each_write() const { return hold_back_.for_each_write(); }
  bool is_closed_for_joining() const { return hold_back_.is_closed(now()); }
  // Why this copy must not lead, when it knows that it lost something: for people. Empty: it knows of nothing.
  std::string loss() const;
  std::uint64_t shipped_records() const { return shipped_records_; }
  std::uint64_t shipped_bytes() const { return shipped_bytes_; }

 private:
  friend class Receiver;
  BootNs now() const;
  // Tells the machine, then does what it asks for.
  template <class F>
  void event(F tell) {
    if (stopping_) return;
    tell(machine_);
    perform();
  }
  void perform();
  void carry_out(Action& action);
  void ask_coordinator(Task<void> flow) {
    if (!stopping_) outside_.spawn(std::move(flow));
  }
  void send(const SendTo& action);

  Task<void> tick_loop();
  void tell_losses();
  Task<void> watch_register();
  Task<void> read_register();
  Task<void> swap_register(SwapRegister swap);
  Task<void> work_off();
  Task<Result<void>> do_job(Action* job);

  // replica_links.cpp
  void dial_members();
  Task<void> dial(NodeId node);
  Task<void> run_session(NodeId node, std::unique_ptr<Link> link);
  Task<RoleMachine::LinkEnd> receive_all(Session* session);
  bool take_frame(Session& session, Frame frame);
  Task<void> send_all(Session* session);
  Session* find_session(NodeId node) const;
  void close_session(SessionId id);
  void close_silent_sessions();
  void next_frame(Session& session, Frame& frame);
  static bool refuse_frame(const Session& session, const std::string& why);

  // replica_rebuild.cpp
  class SessionPeer;
  Task<Result<rebuild::Answer>> ask(SessionId id, rebuild::Question question);
  bool take_answer(Session& session, rebuild::Answer answer);
  void forget_asked(Session& session);
  void give_up_questions();
  bool take_question(Session& session, rebuild::Question question);
  Task<void> answer(SessionId id, NodeId asker, rebuild::Question question);
  Task<Result<rebuild::Answer>> find_answer(rebuild::Question question);
  Task<Result<void>> rebuild_from(RebuildFrom what);
  void note_wanted(NodeId node, const rebuild::Question& question, const Result<rebuild::Answer>& answer);
  void look_at_learners();

  // shipper.cpp
  Task<void> ship_all(Session* session);
  bool may_ship(Session& session);
  Task<Result<void>> ship_from_memory(Session* session);
  Task<Result<void>> ship_from_log(Session* session);
  Frame next_append(Session& session, Buffer head, wal::RecordOnWire record, std::span<const std::uint64_t> checksums, Buffer payload);
  Task<Result<void>> read_current(const wal::RecordHeader* header, std::size_t chunk, Buffer into);
  Task<Result<bool>> read_chunks(Session* session, const wal::RecordHeader* header, const std::uint64_t* numbers, Buffer logged, Buffer into, Lsn commit);
  Task<Result<void>> read_patiently(Session* session, const wal::RecordHeader* header, std::size_t chunk, Buffer into);
  bool may_mend(const Session& session) const;
  bool is_one_missing(const Session& session) const;

  GroupImpl* group_;
  Start start_;
  RoleMachine machine_;
  Coordinator* coordinator_;
  Connector* connector_;
  std::unique_ptr<Coordinator> solo_;
  std::string key_;

  std::vector<Action> actions_;
  bool performing_ = false;
  std::deque<Action> jobs_;      // BindTo, CutTo, BeginEpoch, RebuildFrom.
  WaitList jobs_ready_;
  bool stopping_ = false;
  bool failed_ = false;
  std::optional<RoleMachine::Lacks> told_loss_;

  std::vector<Session*> sessions_;
  WaitList session_gone_;
  std::vector<NodeId> dialed_;
  std::uint64_t next_session_ = 1;
  BufferPool frames_;            // Heads of what is sent, so that a full pool never silences a beat.
  std::vector<std::byte> encoded_;
  std::uint64_t shipped_records_ = 0, shipped_bytes_ = 0;

  // Members that are being rebuilt from here: what they will need of the log. Known from the image that they were given, and
  // believed for as long as they go on asking.
  struct Wanted {
    NodeId node;
    Lsn lsn;
    BootNs asked;
  };
  std::vector<Wanted> wanted_;
  std::size_t answering_ = 0;    // Questions of all connections, also of those that have ended.
  std::vector<HoldBack::Learner> learners_;  // As of the last look.
  HoldBack hold_back_;
  Pacer rebuild_pacer_;
  LagMeter lag_meter_;

  Timer tick_timer_;
  Timer watch_timer_;
  Receiver receiver_;
  Scope outside_;                // Flows that wait for the coordinator or for a connection: perhaps for ever.
  Scope scope_;                  // The others: they end once they are asked to.
};

}  // namespace holdfast::engine
