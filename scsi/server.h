// The device server itself. plan() decides everything that can be decided without I/O; execute() looks again at what may
// have changed since, and does it. One thread: nothing here is shared.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "base/scope.h"
#include "base/sync.h"
#include "engine/volume.h"
#include "scsi/block_cdb.h"
#include "scsi/command.h"
#include "scsi/device_options.h"
#include "scsi/inquiry.h"
#include "scsi/log_pages.h"
#include "scsi/mode_pages.h"
#include "scsi/nexus.h"
#include "scsi/opcodes.h"
#include "scsi/reservations.h"

namespace holdfast::scsi {

class Server final : public DeviceServer, private VolumeObserver {
 public:
  Server(Volume& volume, DeviceOptions options);
  ~Server() override;

  Plan plan(Command& command) override;
  Task<void> execute(Command& command) override;
  Nexus* attach(std::string initiator_name, std::array<std::byte, 6> isid, std::uint16_t target_port) override;
  void detach(Nexus* nexus) override;
  void leaves(Nexus* nexus, SessionEnd how) override;
  void logical_unit_reset(Nexus* by) override;
  void target_reset(Nexus* by, bool cold) override;
  void commands_cleared(Nexus* victim) override;
  void on_abort_tasks(std::function<void(Nexus* victim)> hook) override { abort_tasks_ = std::move(hook); }
  void on_service_change(std::function<void(ServiceChange change)> hook) override { service_change_ = std::move(hook); }
  void initiator_heard(BootNs when) override { volume_.initiator_heard(when); }
  Task<void> settle() override { return background_.join(); }

 private:
  // Lists a command with its nexus while it executes: PREEMPT AND ABORT waits for those of its victims.
  class Executing;

  void volume_event(VolumeEvent event) override;

  // server.cpp: what every command passes.
  LogicalUnit unit_of(const Command& command) const;
  bool supported(const OpcodeEntry& entry) const;
  Lookup look_up(const Command& command) const;
  Verdict gate(const Command& command, const OpcodeEntry& entry) const;
  Verdict recheck(const Command& command) const;
  Task<void> refuse_late(Command* command, Verdict verdict);
  Task<void> run_conflict(Command* command);
  Verdict check_state(Needs needs) const;
  Verdict check_reservations(const Nexus& nexus, Access access) const;
  bool report_attention(Command& command, const OpcodeEntry* entry);
  SenseFormat sense_format() const;
  void finish(Command& command, const Verdict& verdict) const;
  void tell_transport(ServiceChange change) const {
    if (service_change_) service_change_(change);
  }
  // The role has gone since the command began, or its initiator does not want it any more: it has no effect from here on.
  bool outdated(const Command& command) const { return command.aborted || command.reign != reign_; }
  void establish_for_all(Asc attention, const Nexus* except = nullptr);
  void reset(Asc attention);
  Plan refuse(Command& command, const Verdict& verdict) const;

  // plan.cpp: command by command, what it transfers.
  Plan plan_other_unit(Command& command, LogicalUnit unit) const;
  Plan plan_command(Command& command, const OpcodeEntry& entry) const;
  Plan plan_transfer(Command& command, const OpcodeEntry& entry) const;
  Verdict check_blocks(const Command& command, const BlockCdb& cdb, const OpcodeEntry& entry) const;
  Plan plan_blocks_out(Command& command, std::uint64_t wanted_bytes) const;
  Plan plan_parameters(Command& command, std::uint32_t list_bytes) const;

  // block_commands.cpp
  Task<Buffer> acquire_work(Command* command, std::size_t bytes);
  Verdict without_memory(const Command& command) const;
  Task<void> run_read(Command* command);
  Task<void> run_write(Command* command);
  Task<void> run_verify(Command* command);
  Task<void> run_write_verify(Command* command);
  Task<Verdict> write_blocks(Command* command, BlockRange range);
  Task<Verdict> write_part_of_block(Command* command, Lba at, Bytes part);
  Task<Verdict> write_received(Command* command);
  Task<Verdict> verify_blocks(Command* command, BlockRange range, ByteCheck check);
  Task<void> run_compare_and_write(Command* command);
  Task<void> run_or_write(Command* command);
  Task<void> run_write_same(Command* command);
  Task<void> run_unmap(Command* command);
  Task<void> run_synchronize(Command* command);
  Task<void> run_get_lba_status(Command* command);

  // control_commands.cpp
  Task<void> run_control(Command* command, Op op);
  Task<void> reply(Command* command, std::vector<std::byte> bytes, std::uint64_t allocation_bytes);
  Task<void> run_inquiry(Command* command);
  Task<void> run_request_sense(Command* command);
  Task<void> run_report_luns(Command* command);
  Task<void> run_read_capacity(Command* command, Op op);
  Task<void> run_mode_sense(Command* command);
  void run_mode_select(Command* command);
  Task<void> run_log_sense(Command* command);
  Task<void> run_report_opcodes(Command* command);
  Task<std::optional<ClusterView>> confirmed_view(Command* command);
  Task<void> run_report_target_port_groups(Command* command);
  Task<void> run_set_target_port_groups(Command* command);
  Task<void> run_receive_copy_results(Command* command);
  Task<void> run_extended_copy(Command* command);
  Task<Verdict> copy_segment(Command* command, BlockRange from, Lba to);

  // reservation_commands.cpp
  Task<void> run_pr_in(Command* command);
  Task<void> run_pr_out(Command* command);
  void run_legacy_reservation(Command* command, Op op);
  void adopt_reservations(ReservationState state);
  void load_reservations();
  void refresh(Nexus& nexus) const;
  Nexus* find_nexus(const PortPair& ports) const;
  Task<void> abort_and_wait(std::vector<PortPair> victims);

  Volume& volume_;
  DeviceOptions options_;
  std::uint64_t reign_ = 0;                // Which of the times for which this node serves; grows when the role goes.
  ModeSettings mode_;
  ErrorCounters counters_;
  std::vector<std::unique_ptr<Nexus>> nexuses_;

  ReservationState reservations_;
  bool reservations_unreadable_ = false;   // Damaged or newer: nobody gets at the medium, for nobody knows who may.
  Nexus* legacy_holder_ = nullptr;         // RESERVE (6)/(10) of SPC-2.
  Semaphore reservation_turn_;             // One PERSISTENT RESERVE OUT at a time: each stores before the next looks.
  WaitList execution_ended_;               // Notified when a command ends.
  std::uint64_t executions_ = 0;           // Started so far.
  std::function<void(Nexus*)> abort_tasks_;
  std::function<void(ServiceChange)> service_change_;

  Scope background_;                       // Confirmations that outlast the command that asked for them.
};

class Server::Executing : private Execution {
 public:
  Executing(Server* server, Nexus* nexus) : server_(server) {
    number = ++server->executions_;
    nexus->executions.push_back(*this);
  }
  Executing(const Executing&) = delete;
  Executing& operator=(const Executing&) = delete;
  ~Executing() { end(); }
  void end() {
    if (!linked()) return;
    unlink();
    server_->execution_ended_.notify_all();
  }

 private:
  Server* server_;
};

}  // namespace holdfast::scsi
