// Requests that are not SCSI commands: ping, text, logout, and how a PDU is rejected.
#include <algorithm>
#include <cstring>

#include "scsi/connection.h"
#include "scsi/target.h"

namespace holdfast::scsi {

// The rejected header goes back as data (RFC 7143 §11.17).
void Connection::reject(const Header& header, RejectReason reason) {
  target_->counters_.rejects.add();
  SinglePdu* pdu = take_single(0);
  if (!pdu) return close();
  pdu->header = response_header(Opcode::reject, 0x80, kNoTag);
  pdu->header.set8(2, static_cast<std::uint8_t>(reason));
  std::memcpy(pdu->inline_data.data(), header.raw.data(), kHeaderBytes);
  pdu->data_bytes = kHeaderBytes;
  send(pdu);
}

Connection::Flow Connection::on_nop_out(const Header& header, bool data_intact) {
  Buffer echo = std::exchange(rx_echo_, {});
  if (!data_intact) {
    reject(header, RejectReason::data_digest_error);
    return Flow::go_on;
  }
  if (header.itt() == kNoTag) {  // The answer to a ping of ours.
    const std::uint32_t ttt = header.ttt();
    const std::uint32_t later = next_ping_ttt_ - 1 - ttt;
    pings_out_ = std::min(pings_out_, later);  // They are answered in their order.
    if (ttt != 0 && ttt < next_ping_ttt_ && later < kPingsKnown) target_->server_->initiator_heard(pings_sent_[ttt % kPingsKnown]);
    if (unproven_ && ttt == proof_ttt_ && proof_ttt_ != kNoTag) {
      unproven_ = false;
      start_waiting();
    }
    return Flow::go_on;
  }
  SinglePdu* pdu = take_single(0);
  if (!pdu) return Flow::close;
  pdu->header = response_header(Opcode::nop_in, 0x80, header.itt());
  pdu->header.set64(8, header.lun()).set32(20, kNoTag);
  if (echo) {
    pdu->data_bytes = static_cast<std::uint32_t>(echo.size());
    pdu->payload = std::move(echo);
  }
  send(pdu);
  return Flow::go_on;
}

Connection::Flow Connection::on_text(const Header& header, bool data_intact) {
  if (!data_intact) {
    reject(header, RejectReason::data_digest_error);
    return Flow::go_on;
  }
  const auto reply = text_exchange_.on_request(header, rx_text_, &transmitter_.send_segment_bytes());
  if (!reply) {
    reject(header, RejectReason::protocol_error);
    return Flow::go_on;
  }
  SinglePdu* pdu = take_single(0);
  if (!pdu) return Flow::close;
  const auto flags = static_cast<std::uint8_t>((reply->final ? 0x80 : 0) | (reply->more_of_text ? 0x40 : 0));
  pdu->header = response_header(Opcode::text_response, flags, header.itt());
  pdu->header.set64(8, header.lun()).set32(20, reply->ttt);
  pdu->data_bytes = static_cast<std::uint32_t>(reply->text.size());
  if (!reply->text.empty()) {
    pdu->payload = target_->buffers_->try_acquire(reply->text.size());
    if (!pdu->payload) return Flow::close;
    std::memcpy(pdu->payload.data(), reply->text.data(), reply->text.size());
  }
  send(pdu);
  return Flow::go_on;
}

Connection::Flow Connection::on_logout(const Header& header) {
  const auto reason = static_cast<std::uint8_t>(header.flags() & 0x7f);
  constexpr std::uint8_t kCloseSession = 0;
  constexpr std::uint8_t kCloseConnection = 1;
  const bool ours = reason == kCloseSession || (reason == kCloseConnection && header.u16(20) == identity_.cid);
  if (ours) {
    logging_out_ = true;
    target_->server_->leaves(nexus_, SessionEnd::logged_out);  // What it has under way may wait for just that.
    scope_.spawn(log_out(header));
    return Flow::go_on;
  }
  SinglePdu* pdu = take_single(0);
  if (!pdu) return Flow::close;
  constexpr std::uint8_t kNoSuchConnection = 1;
  constexpr std::uint8_t kRecoveryNotSupported = 2;
  pdu->header = response_header(Opcode::logout_response, 0x80, header.itt());
  pdu->header.set8(2, reason == kCloseConnection ? kNoSuchConnection : kRecoveryNotSupported);
  send(pdu);
  return Flow::go_on;
}

// The commands that are still running end first: after the answer nothing of this session takes effect.
Task<void> Connection::log_out(Header header) {
  const std::uint64_t sequence = target_->next_abort_sequence();
  abort_tasks(Which::all, sequence);
  while (aborting(sequence) && !closing_) co_await target_->abort_progress_.wait();
  if (closing_) co_return;
  SinglePdu* pdu = take_single(0);
  if (!pdu) co_return close();
  pdu->header = response_header(Opcode::logout_response, 0x80, header.itt());
  pdu->close_after = true;  // Time2Wait and Time2Retain are 0, as negotiated.
  send(pdu);
}

}  // namespace holdfast::scsi
