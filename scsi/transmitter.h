// The sending side of a connection: whatever became ready in a turn of the loop goes out in one vectored write. Sequence
// numbers are given when a PDU is laid out, so StatSN follows the order on the wire and the window is the latest.
#pragma once

#include <array>
#include <vector>

#include "base/stream.h"
#include "base/sync.h"
#include "scsi/iscsi_task.h"
#include "scsi/negotiation.h"

namespace holdfast::scsi {

class SendOwner {
 public:
  struct Window {
    std::uint32_t exp_cmd_sn;
    std::uint32_t max_cmd_sn;
  };
  virtual Window command_window() = 0;
  virtual void task_answered(IscsiTask& task) = 0;    // Its last PDU is laid out: the task is over.
  virtual void single_laid_out(SinglePdu& pdu) = 0;   // May be used again.
  virtual void batch_sent() = 0;
  virtual void sending_ended() = 0;                   // The stream failed, or a close_after PDU is out.

 protected:
  ~SendOwner() = default;
};

class Transmitter {
 public:
  Transmitter(Executor& executor, Stream* stream, SendOwner* owner, OperationalParameters parameters,
              std::uint32_t stat_sn)
      : executor_(&executor), stream_(stream), owner_(owner), parameters_(parameters), stat_sn_(stat_sn),
        ready_(executor), slots_(kSlots) {}

  void queue(SendItem& item) {
    if (item.linked()) return;
    queue_.push_back(item);
    ready_.notify_all();
  }
  Task<void> run();
  void stop() {
    stopped_ = true;
    ready_.notify_all();
  }
  std::uint32_t& send_segment_bytes() { return parameters_.send_segment_bytes; }
  // For stall detection: a write under way, and how many have ended.
  bool writing() const { return writing_; }
  std::uint64_t batches() const { return batches_; }

 private:
  static constexpr std::size_t kSlots = 64;            // PDUs in one write.
  static constexpr std::size_t kBatchBytesMax = 1 << 20;

  // A header with its digest, inline data, padding and data digest; what a write in flight refers to.
  struct Slot {
    std::array<std::byte, kHeaderBytes + kDigestBytes + SinglePdu::kInlineBytes + 2 * kDigestBytes> bytes;
    Buffer hold;
  };
  struct Payload {
    const std::byte* data = nullptr;
    std::size_t bytes = 0;
    const Buffer* buffer = nullptr;  // Null: copied into the slot.
  };

  void lay_out_batch();
  void lay_out_task(IscsiTask& task);
  void lay_out_r2ts(IscsiTask& task);
  void lay_out_data_in(IscsiTask& task, std::uint32_t data_in_bytes);
  void lay_out_response(IscsiTask& task);
  void lay_out_single(SinglePdu& pdu);
  void put(Header header, Payload payload);
  void add_segment(const std::byte* data, std::size_t bytes) {
    segments_[segment_count_++] = iovec{const_cast<std::byte*>(data), bytes};
    batch_bytes_ += bytes;
  }
  bool full() const { return slot_count_ == kSlots || batch_bytes_ >= kBatchBytesMax; }

  Executor* executor_;
  Stream* stream_;
  SendOwner* owner_;
  OperationalParameters parameters_;
  std::uint32_t stat_sn_;
  WaitList ready_;
  IntrusiveList<SendItem> queue_;
  std::vector<Slot> slots_;
  std::array<iovec, kSlots * 3> segments_;
  std::size_t slot_count_ = 0;
  std::size_t segment_count_ = 0;
  std::size_t batch_bytes_ = 0;
  bool close_after_batch_ = false;
  bool stopped_ = false;
  bool writing_ = false;
  std::uint64_t batches_ = 0;
};

}  // namespace holdfast::scsi
