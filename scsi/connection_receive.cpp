// PDUs in: headers, digests, sequence numbers, and who handles what.
#include <cstring>

#include "base/checksum.h"
#include "scsi/connection.h"
#include "scsi/target.h"

namespace holdfast::scsi {

// What waits for anything but the initiator is no reason: its answer to a ping must be heard, and its aborts and its logout. The volume may be
// waiting for just that.
bool Connection::must_pause() const { return singles_free_ <= kSinglePdusReserved; }

Task<void> Connection::receive() {
  while (!closing_) {
    if (must_pause() || logging_out_) {
      co_await room_.wait();
      continue;
    }
    if (receiver_.available() < kHeaderBytes) {
      const auto filled = co_await receiver_.fill(kHeaderBytes);
      if (!filled) co_return;
      if (closing_ || logging_out_) continue;
    }
    Header header;
    std::memcpy(header.raw.data(), receiver_.staged(), kHeaderBytes);
    const std::size_t ahs_bytes = header.ahs_bytes();
    const std::size_t head_bytes = kHeaderBytes + ahs_bytes + (parameters_.header_digest ? kDigestBytes : 0);
    if (receiver_.available() < head_bytes) {
      const auto filled = co_await receiver_.fill(head_bytes);
      if (!filled) co_return;
    }
    if (parameters_.header_digest) {
      const Bytes head(receiver_.staged(), kHeaderBytes + ahs_bytes);
      if (crc32c(head) != load_le<std::uint32_t>(head.data() + head.size())) {
        target_->counters_.digest_errors.add();
        co_return;  // Where the next PDU begins cannot be known: error recovery level 0 ends the session.
      }
    }
    if (ahs_bytes > 0) std::memcpy(rx_ahs_.data(), receiver_.staged() + kHeaderBytes, ahs_bytes);
    receiver_.consume(head_bytes);
    if (header.data_bytes() > kReceiveSegmentBytes) co_return;  // More than we declared to take.
    heard_ = true;

    DataSink sink;
    rx_task_ = nullptr;
    rx_refused_ = false;
    if (begin_pdu(header, Bytes(rx_ahs_.data(), ahs_bytes), &sink) == Flow::close) co_return;
    bool intact = true;
    if (header.data_bytes() > 0) {
      const bool digest = parameters_.data_digest;
      if (receiver_.available() >= padded(header.data_bytes()) + (digest ? kDigestBytes : 0)) {
        intact = receiver_.take_staged_data(sink, header.data_bytes(), digest);
      } else {
        const auto taken = co_await receiver_.take_data(sink, header.data_bytes(), digest);
        if (!taken || closing_) co_return;
        intact = *taken;
      }
    }
    rx_hold_[0] = rx_hold_[1] = {};
    if (!intact) target_->counters_.digest_errors.add();
    if (end_pdu(header, intact) == Flow::close) co_return;
  }
}

// Non-immediate PDUs come in the order of their numbers: on one connection TCP sees to that.
Connection::Arrival Connection::arrive(const Header& header) {
  if (header.immediate()) return Arrival::in_order;
  const std::uint32_t cmd_sn = header.cmd_sn();
  const std::uint32_t max_cmd_sn = command_window().max_cmd_sn;
  if (serial_before(cmd_sn, exp_cmd_sn_) || serial_before(max_cmd_sn, cmd_sn)) return Arrival::ignore;
  // A gap means that an earlier command is missing, after a reject for instance. At error recovery level 0 nobody sends
  // it again, and what follows it may not run: the session has to be recovered.
  if (cmd_sn != exp_cmd_sn_) return Arrival::broken;
  ++exp_cmd_sn_;
  return Arrival::in_order;
}

SendOwner::Window Connection::command_window() {
  // When payload memory is short, the window closes to a few commands: fewer are refused then.
  const BufferPool& pool = *target_->buffers_;
  const bool memory_short = pool.free_bytes() < pool.memory().size() / 8;
  const std::uint32_t window = memory_short ? 8 : kCommandWindow;
  const std::uint32_t free = window > task_count_ ? window - task_count_ : 0;
  const std::uint32_t max_cmd_sn = exp_cmd_sn_ + free - 1;
  if (serial_before(max_cmd_sn_, max_cmd_sn)) max_cmd_sn_ = max_cmd_sn;  // A promise is never taken back.
  return {exp_cmd_sn_, max_cmd_sn_};
}

Connection::Flow Connection::begin_pdu(const Header& header, Bytes ahs, DataSink* sink) {
  switch (header.opcode()) {
    case Opcode::scsi_command: return begin_command(header, ahs, sink);
    case Opcode::data_out: return begin_data_out(header, sink);
    case Opcode::nop_out:
      if (header.itt() == kNoTag && !header.immediate()) break;  // §11.18: it has no answer and no number.
      [[fallthrough]];
    case Opcode::text:
    case Opcode::task_management:
    case Opcode::logout:
      switch (arrive(header)) {
        case Arrival::in_order: break;
        case Arrival::ignore: rx_refused_ = true; return Flow::go_on;
        case Arrival::broken: return Flow::close;
      }
      return begin_text(header, sink);
    case Opcode::login: return Flow::close;
    case Opcode::snack:
      reject(header, RejectReason::snack_reject);
      rx_refused_ = true;
      return Flow::go_on;
    default: break;
  }
  const auto opcode = static_cast<std::uint8_t>(header.opcode());
  const bool from_target = opcode >= 0x20 && opcode <= 0x3f;
  reject(header, from_target || header.opcode() == Opcode::nop_out ? RejectReason::protocol_error
                                                                    : RejectReason::command_not_supported);
  rx_refused_ = true;
  return Flow::go_on;
}

// The data of a text request or a ping is kept until the PDU is whole.
Connection::Flow Connection::begin_text(const Header& header, DataSink* sink) {
  rx_text_.clear();
  rx_echo_ = {};
  const bool keeps_text = header.opcode() == Opcode::text || header.opcode() == Opcode::nop_out;
  if (!keeps_text || header.data_bytes() == 0) return Flow::go_on;
  if (header.opcode() == Opcode::text) {
    if (header.data_bytes() > kTextBytesMax) return Flow::close;
    rx_text_.resize(header.data_bytes());
    sink->parts[0] = std::as_writable_bytes(std::span(rx_text_));
    return Flow::go_on;
  }
  // An echo returns no more than the initiator takes (§11.19.2).
  const std::uint32_t echo_bytes = std::min(header.data_bytes(), transmitter_.send_segment_bytes());
  rx_echo_ = target_->buffers_->try_acquire(echo_bytes);
  if (rx_echo_) sink->parts[0] = rx_echo_.bytes();
  return Flow::go_on;
}

Connection::Flow Connection::end_pdu(const Header& header, bool data_intact) {
  if (rx_refused_) return Flow::go_on;
  switch (header.opcode()) {
    case Opcode::scsi_command:
      if (rx_task_) end_command_pdu(*rx_task_, header.data_bytes(), data_intact);
      if (!data_intact) reject(header, RejectReason::data_digest_error);
      rx_task_ = nullptr;
      return Flow::go_on;
    case Opcode::data_out:
      if (rx_task_) end_data_out(*rx_task_, header, data_intact);
      if (!data_intact) reject(header, RejectReason::data_digest_error);
      rx_task_ = nullptr;
      return Flow::go_on;
    case Opcode::nop_out: return on_nop_out(header, data_intact);
    case Opcode::text: return on_text(header, data_intact);
    case Opcode::task_management: return on_task_management(header);
    case Opcode::logout: return on_logout(header);
    default: return Flow::go_on;
  }
}

}  // namespace holdfast::scsi
