// One volume as an iSCSI target: its sessions and its device server. Lives, and is called, on the volume's executor; is
// held by a shared_ptr whose last reference goes there too: after stop(), or, in a simulated crash, with the executor's
// ready flows dropped.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "base/buffer.h"
#include "base/counters.h"
#include "base/scope.h"
#include "scsi/command.h"
#include "scsi/connection.h"
#include "scsi/payload_budget.h"
#include "scsi/target_directory.h"

namespace holdfast::scsi {

struct TargetOptions {
  std::string volume;                     // The name is kTargetNamePrefix + volume.
  std::uint16_t portal_group = 1;         // This node's; also the relative target port id.
  std::size_t sessions_max = 64;
  DurationNs login_timeout = milliseconds(15'000);
  DurationNs role_end_patience = milliseconds(50);  // For what is under way when the role goes.
  ConnectionOptions connection;
  // Of the payload memory, shared by all targets that use it; null: this one has it for itself.
  std::shared_ptr<PayloadBudgets> payload_budgets;
};

enum class DropReason : std::uint8_t { out_of_service, deleted, stopping, reset };

// A login on its way from the accepting thread.
struct LoginHandoff {
  std::unique_ptr<Stream> stream;         // Moved to the volume's executor already.
  LoginMachine machine;                   // Waits for on_target().
  TargetFacts facts;
  BootNs heard;                           // When its request was read.
  std::shared_ptr<void> slot;             // Kept until the login has ended, or waits for the end of a session.
};

class Target {
 public:
  struct Counters {
    Counter sessions;            // Now.
    Counter logins;              // Ever.
    Counter logins_refused;
    Counter commands;
    Counter aborted;             // Tasks.
    Counter rejects;             // PDUs.
    Counter digest_errors;
  };

  Target(TargetOptions options, std::unique_ptr<DeviceServer> server, const TargetDirectory& directory,
         Executor& executor, Clock& clock, BufferPool& buffers, Random& random);
  ~Target();

  std::string name() const { return std::string(kTargetNamePrefix) + options_.volume; }
  const TargetOptions& options() const { return options_; }
  DeviceServer& server() { return *server_; }
  const Counters& counters() const { return counters_; }
  std::size_t session_count() const { return sessions_.size(); }
  struct SessionInfo {
    std::string initiator;
    std::string peer_address;
    std::size_t commands;        // Running.
  };
  std::vector<SessionInfo> sessions() const;

  // Goes on with a login. After stop() it is refused.
  void admit(LoginHandoff handoff);
  // Tells each initiator and closes. New logins are welcome again at once, unless the target is stopping.
  void drop_all_sessions(DropReason reason);
  // Asks the initiators to log out, waits a while, drops the rest, and returns when no session is left.
  Task<void> stop(DurationNs patience);
  // The same in two steps, for commands may wait for what only the end of the volume's service tells them: end_sessions() returns when all
  // connections are closed, join() when nothing waits in the volume any more.
  Task<void> end_sessions(DurationNs patience);
  Task<void> join();

 private:
  friend class Connection;
  struct Session {
    LoginIdentity identity;      // With the TSIH that the target gave.
    Nexus* nexus = nullptr;
    std::uint64_t successor = 0; // The login that waits for its end.
    bool dropped = false;        // Told to end while its login was still being answered.
    std::unique_ptr<Connection> connection;  // Null until then.
  };

  Task<void> log_in(LoginHandoff handoff);
  Task<LoginStatus> make_way(LoginIdentity identity, std::shared_ptr<void>* slot);
  Task<LoginStatus> open_session(const LoginMachine* machine, std::list<Session>::iterator* session, std::shared_ptr<void>* slot);
  Session* find(const LoginIdentity& identity);
  void end_session(std::list<Session>::iterator session);
  std::uint16_t free_tsih();

  // For connections. Aborts are numbered, so that whoever waits for one does not wait for later ones.
  std::uint64_t next_abort_sequence() { return ++abort_sequence_; }
  Task<void> aborts_ended(std::uint64_t sequence);
  void aborted_task_ended() { abort_progress_.notify_all(); }
  // Aborts the tasks of all sessions; tells the device server about other sessions' losses when asked to.
  enum class Tell : std::uint8_t { nobody, victims };
  void abort_everywhere(Connection& by, std::uint64_t sequence, Tell tell);
  void abort_nexus(Nexus* victim);
  void drop_others(const Connection* but);
  void service_changes(ServiceChange change);
  Task<void> drop_what_stays_behind(std::uint64_t role_mark);

  TargetOptions options_;
  std::unique_ptr<DeviceServer> server_;
  const TargetDirectory* directory_;
  Executor* executor_;
  Clock* clock_;
  BufferPool* buffers_;
  std::shared_ptr<PayloadBudgets> payload_budgets_;
  PayloadBudget::VolumeShare data_out_share_;
  PayloadBudget::VolumeShare data_in_share_;
  Random* random_;
  Counters counters_;
  std::uint64_t abort_sequence_ = 0;
  std::uint64_t role_marks_ = 0;  // How often the role went.
  std::uint64_t login_number_ = 0;
  std::uint16_t last_tsih_ = 0;
  bool stopping_ = false;
  WaitList abort_progress_;
  WaitList session_ended_;
  std::list<Session> sessions_;
  Scope scope_;                  // Last: its frames refer to everything above.
};

}  // namespace holdfast::scsi
