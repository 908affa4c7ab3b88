#include "scsi/target.h"

#include <algorithm>

#include "base/log.h"
#include "scsi/login_io.h"
#include "scsi/login_watch.h"

namespace holdfast::scsi {
namespace {

std::string status_text(std::uint16_t status) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (int shift = 12; shift >= 0; shift -= 4) text += kDigits[status >> shift & 15];
  return text;
}

}  // namespace

Target::Target(TargetOptions options, std::unique_ptr<DeviceServer> server, const TargetDirectory& directory,
               Executor& executor, Clock& clock, BufferPool& buffers, Random& random)
    : options_(std::move(options)), server_(std::move(server)), directory_(&directory), executor_(&executor),
      clock_(&clock), buffers_(&buffers),
      payload_budgets_(options_.payload_budgets ? options_.payload_budgets : std::make_shared<PayloadBudgets>(executor, buffers)),
      data_out_share_(payload_budgets_->data_out), data_in_share_(payload_budgets_->data_in), random_(&random), abort_progress_(executor), session_ended_(executor), scope_(executor) {
  server_->on_abort_tasks([this](Nexus* victim) { abort_nexus(victim); });
  server_->on_service_change([this](ServiceChange change) { service_changes(change); });
}

Target::~Target() {
  server_->on_abort_tasks([](Nexus*) {});
  server_->on_service_change([](ServiceChange) {});
}

std::vector<Target::SessionInfo> Target::sessions() const {
  std::vector<SessionInfo> all;
  for (const Session& session : sessions_) {
    if (!session.connection) continue;
    all.push_back({session.identity.initiator, session.connection->peer_address(),
                   session.connection->tasks_running()});
  }
  return all;
}

void Target::admit(LoginHandoff handoff) { scope_.spawn(log_in(std::move(handoff))); }

Task<void> Target::log_in(LoginHandoff handoff) {
  auto watch = std::make_shared<LoginWatch>(*clock_, handoff.stream.get());
  scope_.spawn(watch_login(watch, options_.login_timeout));
  LoginMachine& machine = handoff.machine;
  Stream* stream = handoff.stream.get();

  const LoginMachine::Step first =
      stopping_ ? machine.refuse(LoginStatus::service_unavailable) : machine.on_target(handoff.facts, *random_);
  auto step = co_await converse(stream, &machine, first, random_);
  // Its word is as old as the last thing that was read of it, however long the end of its old session takes.
  const BootNs heard = first == LoginMachine::Step::reply ? clock_->now() : handoff.heard;
  auto session = sessions_.end();
  if (step && *step == LoginMachine::Step::need_session) {
    server_->initiator_heard(heard);  // It has shown who it is; the end of its old session may wait for this word.
    const LoginStatus verdict = co_await open_session(&machine, &session, &handoff.slot);
    step = machine.on_session(verdict, verdict == LoginStatus::success ? session->identity.tsih : 0);
  }
  bool answered = false;
  if (step) {
    const auto written = co_await write_login_reply(stream, &machine);
    answered = written.has_value();
  }
  watch->let_go();
  handoff.slot.reset();
  if (step && *step == LoginMachine::Step::refused) {
    counters_.logins_refused.add();
    log_warning("iscsi: login of " + machine.identity().initiator + " from " + stream->peer_address() + " to " + name() +
                " refused, status 0x" + status_text(machine.reply_header().u16(36)));
  }
  if (session == sessions_.end()) co_return;
  if (answered && !session->dropped) {
    Connection::Start start{std::move(handoff.stream), session->identity, machine.parameters(),
                            machine.cmd_sn(), machine.stat_sn(), session->nexus};
    session->connection = std::make_unique<Connection>(*this, std::move(start));
    co_await session->connection->run();
  }
  end_session(session);
}

// Before a session begins, an older one of the same initiator port ends, tasks and all (RFC 7143 §6.3.5).
Task<LoginStatus> Target::make_way(LoginIdentity identity, std::shared_ptr<void>* slot) {
  if (identity.tsih != 0) {
    // Joining a session: with one connection a session that can only replace its connection (§6.3.4).
    const Session* old = find(identity);
    if (!old || old->identity.tsih != identity.tsih) co_return LoginStatus::session_does_not_exist;
    if (old->identity.cid != identity.cid) co_return LoginStatus::too_many_connections;
  }
  const std::uint64_t number = ++login_number_;
  for (Session* old = find(identity); old; old = find(identity)) {
    // One waits for the end of a session, the last to come: those before it have been given up by their initiator.
    if (old->successor > number) co_return LoginStatus::service_unavailable;
    if (old->successor < number && old->successor != 0) session_ended_.notify_all();
    old->successor = number;
    old->dropped = true;
    server_->leaves(old->nexus, SessionEnd::logged_out);  // Its initiator is not lost: it has just been heard.
    if (old->connection) old->connection->close();
    slot->reset();  // This may take long, and the bound is that of the sessions: others must not be kept from logging in.
    co_await session_ended_.wait();
  }
  if (stopping_) co_return LoginStatus::service_unavailable;
  if (sessions_.size() >= options_.sessions_max) co_return LoginStatus::out_of_resources;
  co_return LoginStatus::success;
}

Task<LoginStatus> Target::open_session(const LoginMachine* machine, std::list<Session>::iterator* session, std::shared_ptr<void>* slot) {
  const LoginStatus verdict = co_await make_way(machine->identity(), slot);
  if (verdict != LoginStatus::success) co_return verdict;
  sessions_.emplace_back();
  *session = std::prev(sessions_.end());
  (*session)->identity = machine->identity();
  if ((*session)->identity.tsih == 0) (*session)->identity.tsih = free_tsih();
  (*session)->nexus =
      server_->attach((*session)->identity.initiator, (*session)->identity.isid, options_.portal_group);
  counters_.logins.add();
  counters_.sessions.set(sessions_.size());
  co_return LoginStatus::success;
}

void Target::end_session(std::list<Session>::iterator session) {
  session->connection.reset();
  server_->detach(session->nexus);
  sessions_.erase(session);
  counters_.sessions.set(sessions_.size());
  session_ended_.notify_all();
}

Target::Session* Target::find(const LoginIdentity& identity) {
  const auto found = std::ranges::find_if(sessions_, [&](const Session& session) {
    return session.identity.initiator == identity.initiator && session.identity.isid == identity.isid;
  });
  return found == sessions_.end() ? nullptr : &*found;
}

std::uint16_t Target::free_tsih() {
  const auto taken = [&](std::uint16_t tsih) {
    return std::ranges::any_of(sessions_, [&](const Session& s) { return s.identity.tsih == tsih; });
  };
  do ++last_tsih_;
  while (last_tsih_ == 0 || taken(last_tsih_));
  return last_tsih_;
}

void Target::drop_all_sessions(DropReason reason) {
  if (reason == DropReason::deleted || reason == DropReason::stopping) stopping_ = true;
  for (Session& session : sessions_) {
    session.dropped = true;
    if (session.connection) session.connection->announce_and_close(AsyncEvent::session_dropped);
  }
}

// Sessions outlive the role: a host that is told by its commands that this node is on standby now goes on over another path within
// milliseconds; one that loses its connection needs a hundred.
void Target::service_changes(ServiceChange change) {
  switch (change) {
    case ServiceChange::begins:
      for (Session& session : sessions_)
        if (session.connection) session.connection->ask_for_proof();
      break;
    case ServiceChange::ceases:
      ++role_marks_;
      for (Session& session : sessions_)
        if (session.connection) session.connection->role_ended(role_marks_);
      if (!sessions_.empty() && !stopping_) scope_.spawn(drop_what_stays_behind(role_marks_));
      break;
    case ServiceChange::ask_initiators:
      for (Session& session : sessions_)
        if (session.connection) session.connection->ask_for_word();
      break;
    case ServiceChange::stopped: drop_all_sessions(DropReason::out_of_service); break;
    case ServiceChange::deleted: drop_all_sessions(DropReason::deleted); break;
  }
}

// What was under way fails at once, unless it waits for a disk that does not answer: then its host must not wait with it.
Task<void> Target::drop_what_stays_behind(std::uint64_t role_mark) {
  Timer timer(*clock_);
  co_await timer.after(options_.role_end_patience);
  for (Session& session : sessions_)
    if (session.connection && session.connection->stays_behind(role_mark)) session.connection->announce_and_close(AsyncEvent::session_dropped);
}

void Target::drop_others(const Connection* but) {
  for (Session& session : sessions_) {
    if (session.connection.get() == but) continue;
    session.dropped = true;
    if (session.connection) session.connection->announce_and_close(AsyncEvent::session_dropped);
  }
}

Task<void> Target::stop(DurationNs patience) {
  co_await end_sessions(patience);
  co_await join();
}

Task<void> Target::join() {
  co_await scope_.join();
  co_await server_->settle();
}

Task<void> Target::end_sessions(DurationNs patience) {
  stopping_ = true;
  const auto seconds = static_cast<std::uint16_t>(std::clamp<std::int64_t>(patience.value / 1'000'000'000, 0, 3600));
  for (Session& session : sessions_)
    if (session.connection) session.connection->request_logout(seconds);
  const BootNs deadline = clock_->now() + patience;
  Timer timer(*clock_);
  constexpr DurationNs kLook = milliseconds(50);
  while (!sessions_.empty() && clock_->now() < deadline) co_await timer.after(kLook);
  drop_all_sessions(DropReason::stopping);
  co_await timer.after(kLook);  // For the farewell to get out.
  for (Session& session : sessions_)
    if (session.connection) session.connection->close();
}

Task<void> Target::aborts_ended(std::uint64_t sequence) {
  const auto under_way = [&] {
    return std::ranges::any_of(
        sessions_, [&](const Session& s) { return s.connection && s.connection->aborting(sequence); });
  };
  while (under_way()) co_await abort_progress_.wait();
}

void Target::abort_everywhere(Connection& by, std::uint64_t sequence, Tell tell) {
  for (Session& session : sessions_) {
    if (!session.connection) continue;
    const std::size_t lost = session.connection->abort_tasks(Connection::Which::all, sequence);
    if (tell == Tell::victims && lost > 0 && session.connection.get() != &by) server_->commands_cleared(session.nexus);
  }
}

void Target::abort_nexus(Nexus* victim) {
  const std::uint64_t sequence = next_abort_sequence();
  for (Session& session : sessions_) {
    if (session.nexus != victim || !session.connection) continue;
    const std::size_t lost = session.connection->abort_tasks(Connection::Which::all_but_preempt, sequence);
    if (lost > 0) server_->commands_cleared(victim);
  }
}

}  // namespace holdfast::scsi
