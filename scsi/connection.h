// One connection in its full feature phase, which at MaxConnections = 1 is the session. It lives on the volume's executor.
//
// - Commands run in parallel; answers leave in any order, with StatSN in the order of the wire.
// - A task ends exactly once: answered, or aborted without a word. Nothing is sent for an aborted task.
// - Memory is bounded: tasks by the command window, payload by PayloadBudgets, answers by the pool of single PDUs. Only for want of the last the connection stops reading, which pushes back through TCP: whatever stands still at the volume
//   or in a line, what the initiator says is heard.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/counters.h"
#include "base/scope.h"
#include "scsi/iscsi_task.h"
#include "scsi/login.h"
#include "scsi/receiver.h"
#include "scsi/text_exchange.h"
#include "scsi/transmitter.h"

namespace holdfast::scsi {

class Target;

struct ConnectionOptions {
  DurationNs nop_interval = milliseconds(5'000);   // Quiet for so long: ask. Zero: never.
  DurationNs nop_timeout = milliseconds(10'000);   // No sign of life for so long after asking: close.
  DurationNs send_timeout = milliseconds(30'000);  // A write that gets nowhere: close.
  DurationNs data_out_timeout = milliseconds(60'000);  // For all data of a command that has its memory: close.
};

class Connection final : private SendOwner {
 public:
  // Bounds of one connection.
  static constexpr std::uint32_t kImmediateTasksMax = 8;
  static constexpr std::size_t kTasksMax = kCommandWindow + kImmediateTasksMax;
  static constexpr std::size_t kTaskFunctionsMax = 2 * kTasksMax;  // That wait for what they abort. More are rejected.
  static constexpr std::size_t kSinglePdusMax = 40;
  static constexpr std::size_t kSinglePdusReserved = 4;         // For what we say unasked.

  struct Start {
    std::unique_ptr<Stream> stream;
    LoginIdentity identity;
    OperationalParameters parameters;
    std::uint32_t cmd_sn;
    std::uint32_t stat_sn;
    Nexus* nexus;
  };
  Connection(Target& target, Start start);
  ~Connection();

  // Serves until the initiator logs out, the stream ends or close() is called. On return every task has ended.
  Task<void> run();
  void close();
  // Tells the initiator why, then closes.
  void announce_and_close(AsyncEvent event);
  // Asks the initiator to log out within the time.
  void request_logout(std::uint16_t within_seconds);

  // Marks tasks as aborted; those that have no effect under way end at once. sequence: see Target::next_abort_sequence().
  enum class Which : std::uint8_t { all, all_but_preempt };
  std::size_t abort_tasks(Which which, std::uint64_t sequence);
  // A task aborted with this or an earlier sequence is still at the volume.
  bool aborting(std::uint64_t sequence) const;

  // The volume begins to serve here. What this initiator sent before, and what has been lying in buffers since, may be old: it may have
  // been sent and answered elsewhere meanwhile. Writes wait until the answer to a ping shows that the initiator is still there, and
  // so that it has not given up what came before the answer.
  void ask_for_proof();
  // The role has gone: nothing needs proof, and what executes or waits for memory now is marked, reports of port groups excepted.
  void role_ended(std::uint64_t role_mark);
  bool stays_behind(std::uint64_t role_mark) const;
  // The volume wants a word of an initiator. It is as old as the ping that it answers: when it is read says nothing, for it may have been
  // lying in buffers. No ping is sent while several are unanswered.
  void ask_for_word();

  Nexus* nexus() const { return nexus_; }
  const LoginIdentity& identity() const { return identity_; }
  std::string peer_address() const { return stream_->peer_address(); }
  std::size_t tasks_running() const { return task_count_ + immediate_count_; }

 private:
  using State = IscsiTask::State;
  enum class Flow : std::uint8_t { go_on, close };

  // connection_receive.cpp: PDUs in.
  Task<void> receive();
  bool must_pause() const;
  Task<Result<bool>> take_data(DataSink sink, std::size_t data_bytes);
  Flow begin_pdu(const Header& header, Bytes ahs, DataSink* sink);
  Flow end_pdu(const Header& header, bool data_intact);
  Flow begin_text(const Header& header, DataSink* sink);
  // connection_requests.cpp: everything but SCSI.
  Flow on_nop_out(const Header& header, bool data_intact);
  Flow on_text(const Header& header, bool data_intact);
  Flow on_logout(const Header& header);
  Flow on_task_management(const Header& header);
  Task<void> log_out(Header header);
  void reject(const Header& header, RejectReason reason);
  SinglePdu* take_single(std::size_t keep_free = kSinglePdusReserved);
  void send(SinglePdu* pdu) { transmitter_.queue(*pdu); }
  std::uint32_t ping();
  bool data_out_overdue(DurationNs since);
  Task<void> keep_alive();

  // Sequence numbers (RFC 7143 §4.2.2.1).
  enum class Arrival : std::uint8_t { in_order, ignore, broken };
  Arrival arrive(const Header& header);
  Window command_window() override;

  // connection_commands.cpp: SCSI commands and their data-out.
  Flow begin_command(const Header& header, Bytes ahs, DataSink* sink);
  void plan(IscsiTask& task, const Header& header);
  void reserve_memory(IscsiTask& task, PayloadBudget::Line line, bool needed_now);
  void end_command_pdu(IscsiTask& task, std::uint32_t data_bytes, bool data_intact);
  Flow begin_data_out(const Header& header, DataSink* sink);
  IscsiTask* data_out_task(const Header& header, bool* tag_is_wrong);
  bool data_out_fits(const IscsiTask& task, const Header& header) const;
  void end_data_out(IscsiTask& task, const Header& header, bool data_intact);
  DataSink sink_for(IscsiTask& task, std::uint32_t offset, std::uint32_t bytes);
  void fail_task(IscsiTask& task, std::uint8_t asc, std::uint8_t ascq);
  void advance(IscsiTask& task);
  Task<void> gather(IscsiTask* task);
  void start(IscsiTask& task);
  Task<void> gather_data_in(IscsiTask* task);
  void launch(IscsiTask& task);
  bool may_start(const IscsiTask& task) const;
  void start_waiting();
  Task<void> execute(IscsiTask* task);
  void respond(IscsiTask& task);

  // connection_tasks.cpp: the pool, aborts and task management.
  IscsiTask* find_task(std::uint32_t itt);
  IscsiTask* new_task(const Header& header);
  void end_task(IscsiTask& task);
  void abort_task(IscsiTask& task, std::uint64_t sequence);
  TaskFunctionResponse abort_one(const Header& header, std::uint64_t sequence);
  Task<void> answer_task_management(std::uint32_t itt, std::uint64_t sequence, TaskFunction function);
  void release_data_out(IscsiTask& task);

  // SendOwner.
  void task_answered(IscsiTask& task) override { end_task(task); }
  void single_laid_out(SinglePdu& pdu) override;
  void batch_sent() override { room_.notify_all(); }
  void sending_ended() override { close(); }

  Target* target_;
  std::unique_ptr<Stream> stream_;
  LoginIdentity identity_;
  OperationalParameters parameters_;
  Nexus* nexus_;
  Receiver receiver_;
  Transmitter transmitter_;
  TextExchange text_exchange_;

  std::uint32_t exp_cmd_sn_;
  std::uint32_t max_cmd_sn_;
  static constexpr std::uint32_t kPingsOutMax = 3;
  std::uint32_t next_ping_ttt_ = 1;
  std::uint32_t pings_out_ = 0;      // Not answered yet, nor a later one.
  static constexpr std::uint32_t kPingsKnown = 8;
  std::array<BootNs, kPingsKnown> pings_sent_{};  // When the newest were sent; by TTT.
  bool unproven_ = false;            // See ask_for_proof().
  std::uint32_t proof_ttt_ = kNoTag; // The ping that asks for it; kNoTag: there was no room for it yet.
  DurationNs unproven_for_{};        // Counted by keep_alive().

  // The PDU that is being received.
  IscsiTask* rx_task_ = nullptr;     // Its task; null when it has none, or the task ended meanwhile.
  bool rx_refused_ = false;          // It is answered or ignored already: its data is dropped.
  std::array<Buffer, 2> rx_hold_;    // Keeps the memory while the stream writes into it, whatever becomes of the task.
  std::string rx_text_;              // Of a text request.
  Buffer rx_echo_;                   // Of a ping; empty when there is no memory for it.
  std::array<std::byte, kAhsBytesMax> rx_ahs_;

  std::vector<std::unique_ptr<IscsiTask>> tasks_;       // Grows to the deepest queue seen; slots are positions here.
  std::vector<IscsiTask*> free_tasks_;
  std::vector<std::uint32_t> itts_;                     // By slot; kNoTag where unused. Searched for each command.
  IntrusiveList<IscsiTask, ArrivalTag> arrivals_;       // Tasks alive, oldest first.
  std::uint32_t task_count_ = 0;                        // Alive, without immediate ones.
  std::uint32_t immediate_count_ = 0;
  std::uint32_t ordered_count_ = 0;                     // Ordered tasks that have not answered yet.
  std::uint32_t waiting_turn_count_ = 0;
  PayloadBudget::ConnectionShare data_out_share_;
  PayloadBudget::ConnectionShare data_in_share_;
  std::array<SinglePdu, kSinglePdusMax> singles_;
  std::size_t singles_free_ = kSinglePdusMax;
  std::size_t functions_waiting_ = 0;                   // Task management that is not answered yet.

  WaitList room_;                                       // must_pause() may have become false.
  Timer keep_alive_timer_;
  bool heard_ = false;                                  // A PDU came since the last look.
  bool closing_ = false;
  bool logging_out_ = false;
  Scope scope_;                                         // Last: its frames refer to everything above.
};

}  // namespace holdfast::scsi
