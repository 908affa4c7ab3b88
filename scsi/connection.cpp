#include "scsi/connection.h"

#include <algorithm>

#include "scsi/target.h"

namespace holdfast::scsi {

Connection::Connection(Target& target, Start start)
    : target_(&target), stream_(std::move(start.stream)), identity_(std::move(start.identity)),
      parameters_(start.parameters), nexus_(start.nexus), receiver_(stream_.get()),
      transmitter_(*target.executor_, stream_.get(), this, parameters_, start.stat_sn),
      text_exchange_(TextContext{target.directory_, identity_.initiator, identity_.target, stream_->local_address()}),
      exp_cmd_sn_(start.cmd_sn), max_cmd_sn_(start.cmd_sn + kCommandWindow - 1),
      data_out_share_(target.data_out_share_), data_in_share_(target.data_in_share_), room_(*target.executor_),
      keep_alive_timer_(*target.clock_), scope_(*target.executor_) {}

Connection::~Connection() = default;

Task<void> Connection::run() {
  scope_.spawn(transmitter_.run());
  scope_.spawn(keep_alive());
  co_await receive();
  close();
  // What has not reached the volume ends here; what has, ends there, and says nothing.
  abort_tasks(Which::all, target_->next_abort_sequence());
  co_await scope_.join();
  ENSURE(arrivals_.empty());
}

void Connection::close() {
  if (closing_) return;
  closing_ = true;
  target_->server_->leaves(nexus_, SessionEnd::lost);  // Unless it has logged out before.
  stream_->close();
  transmitter_.stop();
  keep_alive_timer_.cancel();
  room_.notify_all();
}

void Connection::announce_and_close(AsyncEvent event) {
  SinglePdu* pdu = closing_ || logging_out_ ? nullptr : take_single(0);
  if (!pdu) return close();
  logging_out_ = true;  // Nothing more is taken; keep_alive() closes when the message does not get out.
  pdu->header = response_header(Opcode::async_message, 0x80, kNoTag);
  pdu->header.set8(36, static_cast<std::uint8_t>(event)).set16(38, identity_.cid);
  pdu->close_after = true;
  send(pdu);
  room_.notify_all();
}

void Connection::request_logout(std::uint16_t within_seconds) {
  SinglePdu* pdu = closing_ || logging_out_ ? nullptr : take_single(0);
  if (!pdu) return;
  pdu->header = response_header(Opcode::async_message, 0x80, kNoTag);
  pdu->header.set8(36, static_cast<std::uint8_t>(AsyncEvent::logout_requested)).set16(42, within_seconds);
  send(pdu);
}

Task<void> Connection::keep_alive() {
  const ConnectionOptions& options = target_->options().connection;
  const bool asks = options.nop_interval > DurationNs{};
  const DurationNs look = asks ? options.nop_interval : milliseconds(5'000);
  DurationNs quiet{};       // Without a sign of life since the last look that had one.
  DurationNs stalled{};     // A write or a pause that does not end.
  std::uint64_t batches = 0;
  while (!closing_) {
    const Wake wake = co_await keep_alive_timer_.after(look);
    if (closing_ || wake == Wake::cancelled) co_return;
    const bool paused = must_pause();
    const bool moved = (!transmitter_.writing() && !paused) || transmitter_.batches() != batches;
    batches = transmitter_.batches();
    if (!paused && data_out_overdue(look)) co_return close();
    unproven_for_ = unproven_ ? DurationNs{unproven_for_.value + look.value} : DurationNs{};
    if (unproven_for_.value - look.value >= options.nop_timeout.value) co_return close();
    stalled = moved ? DurationNs{} : DurationNs{stalled.value + look.value};
    if (stalled >= options.send_timeout) co_return close();
    // While we do not read we hear nothing, which is no fault of the initiator.
    const bool alive = heard_ || paused || !asks;
    heard_ = false;
    if (alive) {
      quiet = {};
      continue;
    }
    quiet = DurationNs{quiet.value + look.value};
    if (quiet == look) ping();
    if (quiet.value - look.value >= options.nop_timeout.value) co_return close();
  }
}

// A command waits for its data with memory that is everybody's. Its time does not begin anew with each PDU: data that
// trickles in would hold it for ever.
bool Connection::data_out_overdue(DurationNs since) {
  const ConnectionOptions& options = target_->options().connection;
  bool overdue = false;
  for (const auto& task : tasks_) {
    if (task->state != State::receiving) continue;
    task->data_due_for.value += since.value;
    overdue = overdue || task->data_due_for >= options.data_out_timeout;
  }
  return overdue;
}

// Its transfer tag, or kNoTag.
std::uint32_t Connection::ping() {
  SinglePdu* pdu = take_single(0);
  if (!pdu) return kNoTag;  // There are answers waiting to be sent: the write's own time-out judges.
  const std::uint32_t ttt = next_ping_ttt_;
  pdu->header = response_header(Opcode::nop_in, 0x80, kNoTag);
  pdu->header.set32(20, ttt);
  pings_sent_[ttt % kPingsKnown] = target_->clock_->now();
  next_ping_ttt_ = next_ping_ttt_ == kNoTag - 1 ? 1 : next_ping_ttt_ + 1;
  pdu->takes_stat_sn = false;
  ++pings_out_;
  send(pdu);
  return ttt;
}

void Connection::ask_for_proof() {
  unproven_ = true;  // Also of a session that is being ended: what it has taken may still wait, or be on its way in.
  unproven_for_ = {};
  proof_ttt_ = closing_ || logging_out_ ? kNoTag : ping();
}

void Connection::ask_for_word() {
  if (!closing_ && !logging_out_ && pings_out_ < kPingsOutMax) ping();
}

void Connection::role_ended(std::uint64_t role_mark) {
  constexpr std::byte kMaintenanceIn{0xa3}, kMaintenanceOut{0xa4};  // The target port groups: they wait for the next primary.
  unproven_ = false;
  for (const auto& task : tasks_) {
    const bool stands = task->state == State::executing || task->state == State::waiting_memory;
    if (stands && task->command.cdb[0] != kMaintenanceIn && task->command.cdb[0] != kMaintenanceOut) task->role_mark = role_mark;
  }
  start_waiting();  // What waited is told where it stands.
}

bool Connection::stays_behind(std::uint64_t role_mark) const {
  return std::ranges::any_of(tasks_, [&](const auto& task) {
    const bool stands = task->state == State::executing || task->state == State::waiting_memory;
    return stands && task->role_mark == role_mark;
  });
}

SinglePdu* Connection::take_single(std::size_t keep_free) {
  if (singles_free_ <= keep_free) return nullptr;
  for (SinglePdu& pdu : singles_) {
    if (pdu.in_use) continue;
    pdu.in_use = true;
    pdu.takes_stat_sn = true;
    pdu.close_after = false;
    pdu.header = {};
    pdu.data_bytes = 0;
    --singles_free_;
    return &pdu;
  }
  return nullptr;
}

void Connection::single_laid_out(SinglePdu& pdu) {
  pdu.payload = {};
  pdu.in_use = false;
  ++singles_free_;
  if (unproven_ && proof_ttt_ == kNoTag && !closing_ && !logging_out_) proof_ttt_ = ping();
}

}  // namespace holdfast::scsi
