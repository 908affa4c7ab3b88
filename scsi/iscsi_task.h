// What a connection keeps for each command, and what it queues for sending. Both come from pools of the connection.
#pragma once

#include <array>
#include <cstdint>

#include "base/intrusive_list.h"
#include "base/types.h"
#include "scsi/command.h"
#include "scsi/payload_budget.h"
#include "scsi/pdu.h"

namespace holdfast::scsi {

// Something that has PDUs to send: a task (R2Ts, Data-In, status) or a single PDU.
struct SendItem : ListNode<SendItem> {
  enum class Kind : std::uint8_t { task, single };
  explicit SendItem(Kind k) : kind(k) {}
  const Kind kind;
};

struct ReadyToTransfer {
  std::uint32_t ttt = 0;
  std::uint32_t offset = 0;
  std::uint32_t bytes = 0;
};

struct ArrivalTag;

struct IscsiTask : SendItem, ListNode<IscsiTask, ArrivalTag> {
  static constexpr std::size_t kR2tMax = 8;
  enum class State : std::uint8_t {
    unused,
    receiving,       // Data-out is still to come.
    waiting_memory,  // Before the first R2T, or before it reads; gather() or gather_data_in() runs.
    waiting_turn,    // An ordered task is before it, or it is ordered itself, or its initiator has to prove that it is there.
    executing,       // At the device server.
    responding,      // In the send queue with data and status.
  };

  IscsiTask() : SendItem(Kind::task) {}

  State state = State::unused;
  bool immediate = false;
  bool execute = false;            // The plan says so.
  bool changes = false;            // The same: it waits while its initiator has to prove that it is there.
  bool unsolicited_open = false;   // The final unsolicited data-out has not come yet.
  bool data_failed = false;        // Sense is set; answered once nothing more can come.
  std::uint16_t slot = 0;          // Index in the pool: fixed.
  std::uint32_t itt = 0;
  std::uint32_t cmd_sn = 0;
  std::uint64_t role_mark = 0;       // Executing, or in a line for memory, when the role went for the so-many-th time; zero: never.
  std::uint64_t abort_sequence = 0;  // Valid when command.aborted; see Target.
  PayloadBudget::Claim data_out_claim;  // Its parts of the thread's payload memory.
  PayloadBudget::Claim data_in_claim;
  std::uint32_t work_bytes = 0;         // The plan's; counts with what comes back.
  DurationNs data_due_for{};         // How long its data could have come and has not: counted by keep_alive().

  // Data-out: strictly in order (DataPDUInOrder and DataSequenceInOrder are Yes).
  std::uint32_t planned = 0;         // Bytes that go into command.data_out.
  std::uint32_t received = 0;        // Bytes come so far; what is beyond `planned` was discarded.
  std::uint32_t burst_received = 0;  // Of the first outstanding R2T.
  std::uint32_t solicited = 0;       // End of the last R2T sent.
  std::uint32_t data_sn = 0;         // Next expected in the present sequence.
  std::uint32_t r2t_sn = 0;
  std::uint16_t ttt_count = 0;       // Never reset, so that an old tag does not fit a new task soon.
  std::array<ReadyToTransfer, kR2tMax> r2ts;  // Outstanding ones, oldest first.
  std::uint32_t r2t_count = 0;
  std::uint32_t read_bytes_bidi = 0; // Expected read length of a bidirectional command.

  // Data-in.
  std::uint32_t sent = 0;
  std::uint32_t data_in_sn = 0;

  Command command;
};

// A PDU that is ready but for its sequence numbers.
struct SinglePdu : SendItem {
  static constexpr std::size_t kInlineBytes = 64;
  SinglePdu() : SendItem(Kind::single) {}

  bool in_use = false;
  bool takes_stat_sn = true;   // Responses do, an unsolicited NOP-In does not.
  bool close_after = false;    // The connection ends when this has been sent.
  Header header;
  std::array<std::byte, kInlineBytes> inline_data;
  Buffer payload;              // Instead of inline data.
  std::uint32_t data_bytes = 0;
};

}  // namespace holdfast::scsi
