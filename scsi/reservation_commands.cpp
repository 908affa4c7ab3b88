// Reservations at work: what PERSISTENT RESERVE OUT decides is stored in the volume before anybody sees it, so that it
// holds after a crash and on the node that takes over.
#include <algorithm>

#include "base/log.h"
#include "scsi/reservation_format.h"
#include "scsi/server.h"

namespace holdfast::scsi {
namespace {

// Gives its turn back however the command ends.
class Turn {
 public:
  explicit Turn(Semaphore* turn) : turn_(turn) {}
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
  ~Turn() { end(); }
  void end() {
    if (turn_) turn_->release();
    turn_ = nullptr;
  }

 private:
  Semaphore* turn_;  // Null after end().
};

Verdict store_error(const Error& error) {
  switch (error.code) {
    case Errc::no_space: return illegal(Asc::insufficient_registration_resources);
    case Errc::fenced: return check(SenseKey::not_ready, Asc::not_ready_standby);
    case Errc::closed: return check(SenseKey::not_ready, Asc::not_ready_unavailable);
    default: return check(SenseKey::hardware_error, Asc::internal_target_failure);
  }
}

}  // namespace

void Server::refresh(Nexus& nexus) const {
  nexus.registered = reservations_.find(nexus.ports) != nullptr;
  nexus.holds_reservation = reservations_.holds(nexus.ports);
}

void Server::adopt_reservations(ReservationState state) {
  reservations_ = std::move(state);
  for (auto& nexus : nexuses_) refresh(*nexus);
}

void Server::load_reservations() {
  const std::vector<std::byte> stored = volume_.reservations();
  Result<ReservationState> state = decode_reservations(stored);
  reservations_unreadable_ = !state.has_value();
  if (!state) {
    log_error("volume " + volume_.identity().name + ": " + state.error().text() +
              "; access is refused until PERSISTENT RESERVE OUT with CLEAR after a registration");
    state = ReservationState{};
  }
  adopt_reservations(std::move(*state));
}

Nexus* Server::find_nexus(const PortPair& ports) const {
  for (const auto& nexus : nexuses_)
    if (nexus->ports == ports) return nexus.get();
  return nullptr;
}

Task<void> Server::run_pr_in(Command* command) {
  const Executing executing(this, command->nexus);
  if (command->aborted) co_return;
  if (Verdict v = recheck(*command); !v.ok()) {
    co_await refuse_late(command, v);
    co_return;
  }
  std::vector<std::byte> data;
  switch (cdb_byte(command->cdb.data(), 1) & 0x1f) {
    case 0x00: data = pr_in_read_keys(reservations_); break;
    case 0x01: data = pr_in_read_reservation(reservations_); break;
    case 0x02: data = pr_in_report_capabilities(reservations_); break;
    default: data = pr_in_read_full_status(reservations_); break;
  }
  // Another node may serve by now, and know more: as with a read, that is looked at after the fetching.
  auto served = co_await volume_.confirm_served();
  if (command->aborted) co_return;
  if (!served) co_return finish(*command, store_error(served.error()));
  co_await reply(command, std::move(data), load_be<std::uint16_t>(&command->cdb[7]));
}

// That a reservation is in the way is something this node knows; another one may serve by now, and know better.
Task<void> Server::refuse_late(Command* command, Verdict verdict) {
  if (verdict.status == Status::reservation_conflict) {
    auto served = co_await volume_.confirm_served();
    if (command->aborted) co_return;
    if (!served) verdict = store_error(served.error());
  }
  finish(*command, verdict);
}

Task<void> Server::run_conflict(Command* command) {
  const Executing executing(this, command->nexus);
  co_await refuse_late(command, conflict());
}

Task<void> Server::run_pr_out(Command* command) {
  Executing executing(this, command->nexus);
  const DecodedPrOut decoded =
      decode_pr_out(command->cdb.data(), command->data_out.bytes().first(command->data_out_bytes));
  if (!decoded.verdict.ok()) co_return finish(*command, decoded.verdict);
  co_await reservation_turn_.acquire();
  Turn turn(&reservation_turn_);
  if (command->aborted) co_return;
  if (outdated(*command)) co_return finish(*command, check(SenseKey::not_ready, Asc::not_ready_standby));
  if (Verdict v = recheck(*command); !v.ok()) {
    co_await refuse_late(command, v);
    co_return;
  }
  if (legacy_holder_) co_return finish(*command, conflict());
  std::vector<std::uint16_t> target_ports;
  for (const PortGroup& group : volume_.cluster_view().groups) target_ports.push_back(group.id);
  PrOutcome outcome = apply_pr_out(reservations_, command->nexus->ports, decoded.request, target_ports);
  if (!outcome.verdict.ok() || !outcome.changed) {
    auto served = co_await volume_.confirm_served();  // This, too, tells what the reservations are.
    if (command->aborted) co_return;
    co_return finish(*command, served ? outcome.verdict : store_error(served.error()));
  }

  const Result<void> stored = co_await volume_.store_reservations(encode_reservations(outcome.state));
  if (!stored) {
    load_reservations();  // Whatever the volume has now is the truth.
    co_return finish(*command, store_error(stored.error()));
  }
  if (decoded.request.action == PrOutAction::clear) reservations_unreadable_ = false;
  adopt_reservations(std::move(outcome.state));
  for (const PrOutcome::Notice& notice : outcome.notices)
    if (Nexus* nexus = find_nexus(notice.ports)) nexus->attentions.establish(notice.attention);
  if (outcome.preempted.empty()) co_return;
  // Whoever waits here is waited for by nobody: two nexus that preempt each other must not block each other.
  turn.end();
  executing.end();
  co_await abort_and_wait(std::move(outcome.preempted));
}

// When PREEMPT AND ABORT ends well, no write of a victim can still reach the medium: that is what fencing rests on.
Task<void> Server::abort_and_wait(std::vector<PortPair> victims) {
  for (const PortPair& ports : victims) {
    Nexus* nexus = find_nexus(ports);
    if (nexus && abort_tasks_) abort_tasks_(nexus);
  }
  // What starts from here on passes the gate under the new state.
  const std::uint64_t last = executions_;
  for (const PortPair& ports : victims) {
    for (;;) {
      Nexus* nexus = find_nexus(ports);
      if (!nexus || nexus->executions.empty() || nexus->executions.front().number > last) break;
      co_await execution_ended_.wait();
    }
  }
}

// RESERVE and RELEASE of SPC-2. With registrations about, they do nothing for those who are registered (CRH = 1) and
// conflict for others (SPC-4 §5.13.3).
void Server::run_legacy_reservation(Command* command, Op op) {
  Nexus* nexus = command->nexus;
  if (!reservations_.registrations.empty())
    return finish(*command, nexus->registered || nexus->holds_reservation ? go_on() : conflict());
  if (op == Op::reserve) {
    if (legacy_holder_ && legacy_holder_ != nexus) return finish(*command, conflict());
    legacy_holder_ = nexus;
    return;
  }
  if (legacy_holder_ == nexus) legacy_holder_ = nullptr;  // RELEASE by another is GOOD and does nothing.
}

}  // namespace holdfast::scsi
