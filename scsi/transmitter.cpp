#include "scsi/transmitter.h"

#include <algorithm>
#include <cstring>

#include "base/checksum.h"
#include "scsi/payload.h"

namespace holdfast::scsi {
namespace {

constexpr std::uint8_t kFinal = 0x80;
constexpr std::uint8_t kOverflow = 0x04;
constexpr std::uint8_t kUnderflow = 0x02;
constexpr std::uint8_t kStatusFlag = 0x01;

// Flags and count (§11.4.5). For a read: what the device server had to send against what was expected.
struct Residual {
  std::uint8_t flag = 0;
  std::uint32_t count = 0;
};
Residual residual_of(const Command& command) {
  const std::uint64_t wanted = command.wants_write ? command.transfer_bytes
                                                   : std::max<std::uint64_t>(command.data_in_bytes,
                                                                             command.wants_read ? 0 : command.transfer_bytes);
  const std::uint64_t expected = command.expected_bytes;
  constexpr std::uint64_t kCountMax = 0xffffffff;
  if (wanted > expected) return {kOverflow, static_cast<std::uint32_t>(std::min(wanted - expected, kCountMax))};
  if (wanted < expected) return {kUnderflow, static_cast<std::uint32_t>(expected - wanted)};
  return {};
}

// Data goes with a status other than an error too (CONDITION MET, recovered); never more than was expected.
std::uint32_t data_in_to_send(const Command& command, std::uint32_t bidi_bytes) {
  if (!command.wants_read) return 0;
  const std::uint32_t expected = command.wants_write ? bidi_bytes : command.expected_bytes;
  auto held = static_cast<std::uint32_t>(command.data_in.size());
  for (const Buffer& piece : command.data_in_more) held += static_cast<std::uint32_t>(piece.size());
  return std::min({expected, command.data_in_bytes, held});
}

}  // namespace

Task<void> Transmitter::run() {
  for (;;) {
    while (queue_.empty() && !stopped_) co_await ready_.wait();
    if (stopped_) co_return;
    co_await Yield{*executor_};  // What becomes ready in this turn goes along.
    if (stopped_) co_return;
    lay_out_batch();
    if (segment_count_ == 0) continue;
    writing_ = true;
    const auto written = co_await stream_->write_all(std::span<const iovec>(segments_.data(), segment_count_));
    writing_ = false;
    ++batches_;
    for (std::size_t i = 0; i < slot_count_; ++i) slots_[i].hold = {};
    if (stopped_) co_return;
    if (!written || close_after_batch_) {
      owner_->sending_ended();
      co_return;
    }
    owner_->batch_sent();
  }
}

void Transmitter::lay_out_batch() {
  slot_count_ = segment_count_ = batch_bytes_ = 0;
  while (!queue_.empty() && !full() && !close_after_batch_) {
    SendItem& item = queue_.front();
    if (item.kind == SendItem::Kind::single) lay_out_single(static_cast<SinglePdu&>(item));
    else lay_out_task(static_cast<IscsiTask&>(item));
  }
}

void Transmitter::lay_out_single(SinglePdu& pdu) {
  pdu.SendItem::unlink();
  Header header = pdu.header;
  header.set_stat_sn(pdu.takes_stat_sn ? stat_sn_++ : stat_sn_);
  const bool pooled = static_cast<bool>(pdu.payload);
  put(header, Payload{pooled ? pdu.payload.data() : pdu.inline_data.data(), pdu.data_bytes,
                      pooled ? &pdu.payload : nullptr});
  close_after_batch_ = pdu.close_after;
  owner_->single_laid_out(pdu);
}

void Transmitter::lay_out_task(IscsiTask& task) {
  if (task.state == IscsiTask::State::receiving) return lay_out_r2ts(task);
  ENSURE(task.state == IscsiTask::State::responding);
  const std::uint32_t data_in_bytes = data_in_to_send(task.command, task.read_bytes_bidi);
  if (task.sent < data_in_bytes) return lay_out_data_in(task, data_in_bytes);
  lay_out_response(task);
}

void Transmitter::lay_out_r2ts(IscsiTask& task) {
  const std::uint32_t outstanding_max =
      std::min<std::uint32_t>(parameters_.max_outstanding_r2t, IscsiTask::kR2tMax);
  if (!task.execute || task.solicited == task.planned || task.r2t_count == outstanding_max) {
    task.SendItem::unlink();
    return;
  }
  const std::uint32_t bytes = std::min(task.planned - task.solicited, parameters_.max_burst_bytes);
  const std::uint32_t ttt = (task.slot + 1U) << 16 | task.ttt_count++;
  Header header = response_header(Opcode::r2t, kFinal, task.itt);
  header.set64(8, task.command.lun).set32(20, ttt).set_stat_sn(stat_sn_);
  header.set32(36, task.r2t_sn++).set32(40, task.solicited).set32(44, bytes);
  task.r2ts[task.r2t_count++] = ReadyToTransfer{ttt, task.solicited, bytes};
  task.solicited += bytes;
  // Out of the queue with the last R2T that can go now, and not at the next look: a batch may be full here, and then the
  // data could come, and the task be at the volume, while it still stood in the queue.
  if (task.solicited == task.planned || task.r2t_count == outstanding_max) task.SendItem::unlink();
  put(header, {});
}

void Transmitter::lay_out_data_in(IscsiTask& task, std::uint32_t data_in_bytes) {
  Command& command = task.command;
  const std::uint32_t burst_left = parameters_.max_burst_bytes - task.sent % parameters_.max_burst_bytes;
  const auto piece_left = static_cast<std::uint32_t>(kPieceBytes - task.sent % kPieceBytes);
  const std::uint32_t bytes =
      std::min({data_in_bytes - task.sent, parameters_.send_segment_bytes, burst_left, piece_left});
  const bool last = task.sent + bytes == data_in_bytes;
  // Status travels with the last data unless there is sense to send.
  const bool with_status = last && command.sense.length == 0 && command.status != Status::check_condition;
  std::uint8_t flags = last || bytes == burst_left ? kFinal : 0;
  Header header = response_header(Opcode::data_in, flags, task.itt);
  header.set64(8, 0).set32(20, kNoTag).set32(36, task.data_in_sn++).set32(40, task.sent);
  if (with_status) {
    const Residual residual = residual_of(command);
    flags = static_cast<std::uint8_t>(flags | kStatusFlag | residual.flag);
    header.set8(1, flags).set8(3, static_cast<std::uint8_t>(command.status)).set32(44, residual.count);
    header.set_stat_sn(stat_sn_++);
  }
  Buffer hold = payload_piece(command.data_in, command.data_in_more, task.sent);
  const std::byte* data = hold.data() + task.sent % kPieceBytes;
  task.sent += bytes;
  if (with_status) {
    task.SendItem::unlink();
    owner_->task_answered(task);  // First: the window in the header then counts the free place.
  }
  put(header, Payload{data, bytes, &hold});
}

void Transmitter::lay_out_response(IscsiTask& task) {
  const Command& command = task.command;
  const Residual residual = residual_of(command);
  Header header = response_header(Opcode::scsi_response, static_cast<std::uint8_t>(kFinal | residual.flag), task.itt);
  header.set8(3, static_cast<std::uint8_t>(command.status)).set_stat_sn(stat_sn_++);
  header.set32(36, task.data_in_sn + task.r2t_sn).set32(44, residual.count);  // ExpDataSN.
  std::array<std::byte, 2 + sizeof(Sense::bytes)> sense;
  std::size_t sense_bytes = 0;
  if (command.sense.length > 0) {
    store_be<std::uint16_t>(sense.data(), command.sense.length);
    std::memcpy(sense.data() + 2, command.sense.bytes.data(), command.sense.length);
    sense_bytes = 2U + command.sense.length;
  }
  task.SendItem::unlink();
  owner_->task_answered(task);
  put(header, Payload{sense.data(), sense_bytes, nullptr});
}

void Transmitter::put(Header header, Payload payload) {
  Slot& slot = slots_[slot_count_++];
  const SendOwner::Window window = owner_->command_window();
  header.set_window(window.exp_cmd_sn, window.max_cmd_sn);
  header.set_data_bytes(static_cast<std::uint32_t>(payload.bytes));
  std::byte* out = slot.bytes.data();
  std::memcpy(out, header.raw.data(), kHeaderBytes);
  std::size_t at = kHeaderBytes;
  if (parameters_.header_digest) {
    store_le(out + at, crc32c(header.raw));
    at += kDigestBytes;
  }
  const std::size_t head_bytes = at;
  const std::size_t padding = padded(payload.bytes) - payload.bytes;
  if (payload.buffer) {
    slot.hold = *payload.buffer;
  } else if (payload.bytes > 0) {
    std::memcpy(out + at, payload.data, payload.bytes);
    at += payload.bytes;
  }
  std::memset(out + at, 0, padding);
  at += padding;
  if (parameters_.data_digest && payload.bytes > 0) {
    const std::array<std::byte, 4> zeros{};
    std::uint32_t crc = crc32c({payload.data, payload.bytes});
    if (padding > 0) crc = crc32c(Bytes(zeros).first(padding), crc);
    store_le(out + at, crc);
    at += kDigestBytes;
  }
  if (!payload.buffer) return add_segment(out, at);
  add_segment(out, head_bytes);
  add_segment(payload.data, payload.bytes);
  if (at > head_bytes) add_segment(out + head_bytes, at - head_bytes);
}

}  // namespace holdfast::scsi
