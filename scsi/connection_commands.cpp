// SCSI commands and their data-out: from the command PDU to the device server and back into the send queue.
#include <algorithm>
#include <optional>

#include "scsi/connection.h"
#include "scsi/payload.h"
#include "scsi/target.h"

namespace holdfast::scsi {
namespace {

// Fixed-format sense (SPC-4 §4.5.3) for what goes wrong in the transport (RFC 7143 §11.4.7.2): ABORTED COMMAND.
Sense transport_sense(std::uint8_t asc, std::uint8_t ascq) {
  Sense sense;
  sense.bytes[0] = std::byte{0x70};
  sense.bytes[2] = std::byte{static_cast<std::uint8_t>(SenseKey::aborted_command)};
  sense.bytes[7] = std::byte{10};
  sense.bytes[12] = std::byte{asc};
  sense.bytes[13] = std::byte{ascq};
  sense.length = 18;
  return sense;
}

// ASC/ASCQ of RFC 7143 §11.4.7.2.
constexpr std::uint8_t kWriteError = 0x0c;
constexpr std::uint8_t kUnexpectedData = 0x0c;
constexpr std::uint8_t kNotEnoughData = 0x0d;
constexpr std::uint8_t kProtocolServiceCrc = 0x47;
constexpr std::uint8_t kCrcError = 0x05;

// Additional header segments (§11.2.2): the rest of a long CDB, and the read length of a bidirectional command.
struct MoreHeader {
  Bytes cdb;                    // What follows the first 16 bytes.
  std::uint32_t read_bytes = 0;
};
std::optional<MoreHeader> parse_ahs(Bytes ahs) {
  constexpr std::uint8_t kExtendedCdb = 1;
  constexpr std::uint8_t kBidirectionalLength = 2;
  MoreHeader out;
  while (!ahs.empty()) {
    const std::size_t specific_bytes = load_be<std::uint16_t>(ahs.data());
    const std::uint8_t type = std::to_integer<std::uint8_t>(ahs[2]) & 0x3f;
    const std::size_t whole_bytes = padded(3 + specific_bytes);
    if (specific_bytes == 0 || whole_bytes > ahs.size()) return std::nullopt;
    if (type == kExtendedCdb) {
      const std::size_t more = specific_bytes - 1;  // After the reserved byte.
      if (!out.cdb.empty() || more > kCdbBytesMax - 16) return std::nullopt;
      out.cdb = ahs.subspan(4, more);
    } else if (type == kBidirectionalLength) {
      if (specific_bytes != 5) return std::nullopt;
      out.read_bytes = load_be<std::uint32_t>(ahs.data() + 4);
    } else {
      return std::nullopt;
    }
    ahs = ahs.subspan(whole_bytes);
  }
  return out;
}

}  // namespace

Connection::Flow Connection::begin_command(const Header& header, Bytes ahs, DataSink* sink) {
  rx_refused_ = true;  // Until there is a task.
  if (header.immediate() && immediate_count_ >= kImmediateTasksMax) {
    reject(header, RejectReason::immediate_command_reject);
    return Flow::go_on;
  }
  if (header.itt() == kNoTag) {
    reject(header, RejectReason::invalid_pdu_field);
    return Flow::go_on;
  }
  // Ahead of the window's check: a rejected command's number does not count as received (§11.17.1).
  const bool in_window = header.immediate() || !serial_before(header.cmd_sn(), exp_cmd_sn_);
  if (find_task(header.itt())) {
    if (in_window) reject(header, RejectReason::task_in_progress);
    return Flow::go_on;
  }
  const std::optional<MoreHeader> more = parse_ahs(ahs);
  if (!more) {
    if (in_window) reject(header, RejectReason::invalid_pdu_field);
    return Flow::go_on;
  }
  switch (arrive(header)) {
    case Arrival::in_order: break;
    case Arrival::ignore: return Flow::go_on;
    case Arrival::broken: return Flow::close;
  }
  IscsiTask* task = new_task(header);
  std::ranges::copy(more->cdb, task->command.cdb.begin() + 16);
  task->command.cdb_length = static_cast<std::uint16_t>(16 + more->cdb.size());
  task->read_bytes_bidi = more->read_bytes;
  target_->counters_.commands.add();
  rx_refused_ = false;
  rx_task_ = task;
  plan(*task, header);
  *sink = sink_for(*task, 0, header.data_bytes());
  return Flow::go_on;
}

void Connection::plan(IscsiTask& task, const Header& header) {
  Command& command = task.command;
  const std::uint32_t immediate_bytes = header.data_bytes();
  const bool final = header.final();
  task.unsolicited_open = command.wants_write && !final;

  const Plan plan = target_->server_->plan(command);
  task.execute = plan.execute;
  task.changes = plan.changes;
  task.work_bytes = plan.work_bytes;
  if (plan.execute && command.wants_write) {
    ENSURE(plan.data_out_bytes <= kTransferBytesMax);
    task.planned = std::min(plan.data_out_bytes, command.expected_bytes);
  }
  command.data_out_bytes = task.planned;
  // Unasked data only as agreed, and never more than expected.
  const bool allowed = command.wants_write && parameters_.immediate_data &&
                       immediate_bytes <= std::min(command.expected_bytes, parameters_.first_burst_bytes);
  if ((immediate_bytes > 0 && !allowed) || (task.unsolicited_open && parameters_.initial_r2t))
    fail_task(task, kWriteError, kUnexpectedData);

  // Behind an ordered task even a write that has all its data may have to wait for another's.
  const bool waits = immediate_bytes < task.planned || ordered_count_ > 0 || (unproven_ && task.changes);
  using Line = PayloadBudget::Line;
  if (task.planned > 0) reserve_memory(task, waits ? Line::behind : Line::beside, immediate_bytes > 0 || !final);
}

// Memory for the data-out. What comes at once needs a place at once; a write that waits for R2Ts can wait for memory.
void Connection::reserve_memory(IscsiTask& task, PayloadBudget::Line line, bool needed_now) {
  Command& command = task.command;
  if (target_->payload_budgets_->data_out.try_take(data_out_share_, task.data_out_claim, payload_claim(task.planned), line) &&
      try_acquire_payload(target_->buffers_, task.planned, &command.data_out, &command.data_out_more))
    return;
  if (!needed_now) return;  // gather() waits for it.
  release_data_out(task);
  target_->payload_budgets_->data_out.refuse(data_out_share_, payload_claim(task.planned));
  task.execute = false;
  task.planned = command.data_out_bytes = 0;
  command.status = Status::task_set_full;
}

// Where data-out bytes [offset, offset + bytes) belong; what is beyond the plan is dropped.
DataSink Connection::sink_for(IscsiTask& task, std::uint32_t offset, std::uint32_t bytes) {
  DataSink sink;
  Command& command = task.command;
  if (!command.data_out || offset >= task.planned || task.data_failed) return sink;
  bytes = std::min(bytes, task.planned - offset);
  for (std::size_t part = 0; part < 2 && bytes > 0; ++part) {
    const Buffer& piece = payload_piece(command.data_out, command.data_out_more, offset);
    const std::size_t at = offset % kPieceBytes;
    const auto here = static_cast<std::uint32_t>(std::min<std::size_t>(bytes, piece.size() - at));
    rx_hold_[part] = piece;
    sink.parts[part] = piece.bytes().subspan(at, here);
    offset += here;
    bytes -= here;
  }
  return sink;
}

void Connection::fail_task(IscsiTask& task, std::uint8_t asc, std::uint8_t ascq) {
  if (task.data_failed) return;  // The first cause is the one to report.
  task.data_failed = true;
  task.execute = false;
  task.command.status = Status::check_condition;
  task.command.sense = transport_sense(asc, ascq);
}

void Connection::end_command_pdu(IscsiTask& task, std::uint32_t data_bytes, bool data_intact) {
  if (!data_intact) fail_task(task, kProtocolServiceCrc, kCrcError);
  task.received = data_bytes;
  advance(task);
}

// Goes on with a task whose data-out situation has changed. While data is due that was asked for or announced, no answer
// is sent, whatever has gone wrong (§11.4.1 and §7.8).
void Connection::advance(IscsiTask& task) {
  if (task.unsolicited_open || task.r2t_count > 0) {
    if (task.r2t_count > 0 && !task.data_failed && task.solicited < task.planned) transmitter_.queue(task);
    return;
  }
  if (!task.execute) return respond(task);
  if (task.received >= task.planned) return start(task);
  task.solicited = std::max(task.solicited, task.received);
  if (task.command.data_out) return transmitter_.queue(task);
  task.state = State::waiting_memory;
  if (task.data_out_claim.bytes == 0)
    target_->payload_budgets_->data_out.stand_in_line(data_out_share_, task.data_out_claim, payload_claim(task.planned));
  scope_.spawn(gather(&task));
}

Task<void> Connection::gather(IscsiTask* task) {
  Command& command = task->command;
  co_await PayloadBudget::turn_of(task->data_out_claim);
  bool got = false;
  if (!command.aborted)
    got = co_await acquire_payload(target_->clock_, target_->buffers_, task->planned, &command.data_out,
                                   &command.data_out_more, &command.aborted);
  if (command.aborted) co_return end_task(*task);
  task->role_mark = 0;  // It goes on, and is told where it stands.
  task->state = State::receiving;
  if (!got) {
    task->execute = false;
    command.status = Status::task_set_full;
  }
  advance(*task);
}

// The task that a Data-Out belongs to, by its target transfer tag or, unsolicited, by its initiator task tag.
IscsiTask* Connection::data_out_task(const Header& header, bool* tag_is_wrong) {
  *tag_is_wrong = false;
  IscsiTask* task = find_task(header.itt());
  if (!task) return nullptr;
  if (header.ttt() == kNoTag) {
    *tag_is_wrong = !task->unsolicited_open;
  } else {
    *tag_is_wrong = task->r2t_count == 0 || task->r2ts[0].ttt != header.ttt();
  }
  return task;
}

bool Connection::data_out_fits(const IscsiTask& task, const Header& header) const {
  const std::uint32_t data_sn = header.u32(36);
  const std::uint32_t offset = header.u32(40);
  const std::uint32_t bytes = header.data_bytes();
  if (data_sn != task.data_sn) return false;
  if (header.ttt() == kNoTag) {
    const std::uint32_t most = std::min(task.command.expected_bytes, parameters_.first_burst_bytes);
    return offset == task.received && task.received <= most && bytes <= most - task.received;
  }
  const ReadyToTransfer& r2t = task.r2ts[0];
  return offset == r2t.offset + task.burst_received && bytes <= r2t.bytes - task.burst_received;
}

Connection::Flow Connection::begin_data_out(const Header& header, DataSink* sink) {
  rx_refused_ = true;
  bool tag_is_wrong = false;
  IscsiTask* task = data_out_task(header, &tag_is_wrong);
  if (!task) return Flow::go_on;  // Aborted, ignored or refused meanwhile: its data runs out silently.
  if (tag_is_wrong) {
    reject(header, RejectReason::invalid_pdu_field);
    return Flow::go_on;
  }
  rx_refused_ = false;
  rx_task_ = task;
  // Out of sequence is as good as lost (§7.9).
  if (!data_out_fits(*task, header)) fail_task(*task, kProtocolServiceCrc, kCrcError);
  *sink = sink_for(*task, header.u32(40), header.data_bytes());
  return Flow::go_on;
}

void Connection::end_data_out(IscsiTask& task, const Header& header, bool data_intact) {
  if (!data_intact) fail_task(task, kProtocolServiceCrc, kCrcError);
  const bool final = header.final();
  const std::uint32_t bytes = header.data_bytes();
  ++task.data_sn;
  if (header.ttt() == kNoTag) {
    if (!task.data_failed) task.received += bytes;
    if (final) {
      task.unsolicited_open = false;
      task.data_sn = 0;
    }
    return advance(task);
  }
  ReadyToTransfer& r2t = task.r2ts[0];
  if (!task.data_failed) {
    task.burst_received += bytes;
    task.received += bytes;
  }
  if (final && task.burst_received < r2t.bytes) fail_task(task, kWriteError, kNotEnoughData);
  if (final || task.burst_received == r2t.bytes) {
    --task.r2t_count;
    std::copy(task.r2ts.begin() + 1, task.r2ts.begin() + 1 + task.r2t_count, task.r2ts.begin());
    task.burst_received = 0;
    task.data_sn = 0;
  }
  advance(task);
}

// Ordered tasks (SAM-5 §8.6): they wait for all before them, and all after them wait for them; head of queue passes.
bool Connection::may_start(const IscsiTask& task) const {
  if (unproven_ && task.changes) return false;
  if (ordered_count_ == 0 || task.command.attribute == TaskAttribute::head_of_queue) return true;
  const bool ordered = task.command.attribute == TaskAttribute::ordered;
  auto& arrivals = const_cast<IntrusiveList<IscsiTask, ArrivalTag>&>(arrivals_);
  for (const IscsiTask& earlier : arrivals) {
    if (&earlier == &task) return true;
    if (earlier.state == State::responding) continue;
    if (ordered || earlier.command.attribute == TaskAttribute::ordered) return false;
  }
  return true;
}

void Connection::start(IscsiTask& task) {
  if (!may_start(task)) {
    task.state = State::waiting_turn;
    ++waiting_turn_count_;
    return;
  }
  launch(task);
}

// What comes back, and what the command needs for itself, takes memory at the volume. Only a task whose turn has come waits for it, so whoever has some waits for nobody here.
void Connection::launch(IscsiTask& task) {
  const std::uint32_t read_bytes = task.command.wants_read ? std::min(task.command.expected_bytes, kTransferBytesMax) : 0;
  const std::uint32_t bytes = std::min(payload_claim(read_bytes) + payload_claim(task.work_bytes), kTransferBytesMax);
  if (bytes > 0 && task.data_in_claim.bytes == 0) {
    target_->payload_budgets_->data_in.stand_in_line(data_in_share_, task.data_in_claim, bytes);
    if (task.data_in_claim.bytes == 0) {
      task.state = State::waiting_memory;
      scope_.spawn(gather_data_in(&task));
      return;
    }
  }
  task.state = State::executing;
  scope_.spawn(execute(&task));
}

Task<void> Connection::gather_data_in(IscsiTask* task) {
  co_await PayloadBudget::turn_of(task->data_in_claim);
  if (task->command.aborted) co_return end_task(*task);
  task->role_mark = 0;
  start(*task);  // Its initiator may have to prove that it is there by now.
}

void Connection::start_waiting() {
  if (waiting_turn_count_ == 0) return;
  for (IscsiTask& task : arrivals_) {
    if (task.state != State::waiting_turn || !may_start(task)) continue;
    --waiting_turn_count_;
    launch(task);
  }
}

Task<void> Connection::execute(IscsiTask* task) {
  if (!task->command.aborted) co_await target_->server_->execute(task->command);
  if (task->command.aborted || closing_) co_return end_task(*task);
  if (task->command.close_connection) {
    end_task(*task);
    co_return close();
  }
  respond(*task);
}

void Connection::respond(IscsiTask& task) {
  release_data_out(task);
  task.state = State::responding;
  if (task.command.attribute == TaskAttribute::ordered) --ordered_count_;
  transmitter_.queue(task);
  start_waiting();
}

}  // namespace holdfast::scsi
