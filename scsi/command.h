// The border between the transport (iSCSI) and the command set (SAM-5): one command, its data and its outcome.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/result.h"
#include "base/task.h"

namespace holdfast::scsi {

enum class Status : std::uint8_t {  // SAM-5 §5.3.1
  good = 0x00,
  check_condition = 0x02,
  condition_met = 0x04,
  busy = 0x08,
  reservation_conflict = 0x18,
  task_set_full = 0x28,
  aca_active = 0x30,
  task_aborted = 0x40,
};

enum class SenseKey : std::uint8_t {
  no_sense = 0x0,
  recovered_error = 0x1,
  not_ready = 0x2,
  medium_error = 0x3,
  hardware_error = 0x4,
  illegal_request = 0x5,
  unit_attention = 0x6,
  data_protect = 0x7,
  blank_check = 0x8,
  aborted_command = 0xb,
  miscompare = 0xe,
};

// Fixed-format sense (SPC-4 §4.5.3) as data; the transport puts the 2-byte SenseLength in front (RFC 7143 §11.4.7.2).
struct Sense {
  std::array<std::byte, 32> bytes{};
  std::uint8_t length = 0;
};

enum class TaskAttribute : std::uint8_t { untagged = 0, simple = 1, ordered = 2, head_of_queue = 3, aca = 4 };  // RFC 7143 §11.3.1

// Payload beyond the largest pool buffer comes in pieces: each is 1 MiB but the last. Acquired by acquire_payload()
// (payload.h), so that large commands never wait for each other's pieces.
inline constexpr std::size_t kPieceBytes = BufferPool::kLargestBytes;
inline constexpr std::size_t kPiecesMax = 8;
inline constexpr std::uint32_t kTransferBytesMax = kPieceBytes * kPiecesMax;  // 2048 blocks: MAXIMUM TRANSFER LENGTH (VPD B0).
using MorePieces = std::array<Buffer, kPiecesMax - 1>;

// LUN 0 as peripheral devices and as flat space are addressed (SAM-5 §4.7): the same unit.
constexpr bool is_lun_zero(std::uint64_t lun) { return lun == 0 || lun == 0x4000000000000000; }

// One initiator port on one target port: what unit attentions, reservations and sessions belong to.
class Nexus;

inline constexpr std::size_t kCdbBytesMax = 260;  // Operation code 7Fh with its longest tail.

struct Command {
  Nexus* nexus = nullptr;                 // Outlives the command.
  std::uint64_t lun = 0;                  // As sent, 8 bytes big-endian.
  std::array<std::byte, kCdbBytesMax> cdb{};  // Zero beyond cdb_length.
  std::uint16_t cdb_length = 16;
  TaskAttribute attribute = TaskAttribute::simple;
  std::uint32_t expected_bytes = 0;       // EDTL (RFC 7143 §11.3.4); for bidirectional: the write part.
  bool wants_read = false;                // R bit
  bool wants_write = false;               // W bit
  // Set by the transport when the task is aborted (TMF, reinstatement, lost connection): the command set gives up where it
  // can still do so without an effect. No status is sent then.
  bool aborted = false;
  // The command set's: which of the times for which this node serves execute() began in.
  std::uint64_t reign = 0;

  // Data-out: planned bytes, all received before execute(). The first 1 MiB in data_out, what follows in data_out_more.
  Buffer data_out;
  MorePieces data_out_more;               // Empty unless data_out_bytes exceeds kPieceBytes.
  std::uint32_t data_out_bytes = 0;

  // plan() found that a reservation is in the way; execute() tells it, once nobody else can have served meanwhile.
  bool conflicts = false;

  // The outcome, written by the command set.
  Status status = Status::good;
  Sense sense;
  Buffer data_in;                         // Valid for data_in_bytes; empty when there is none.
  MorePieces data_in_more;                // What follows the first 1 MiB of data_in. May be absent beyond expected_bytes.
  std::uint32_t data_in_bytes = 0;        // What the device server had to send: may exceed expected_bytes (residual overflow).
  std::uint64_t transfer_bytes = 0;       // What the CDB asks to transfer in its direction: for the residual count.
  bool close_connection = false;          // No status: drop the connection (a held RTPG that was not confirmed in time).
};

// What the command set wants before it executes.
struct Plan {
  bool execute = true;                    // False: command.status/sense are set already, send them and no data.
  std::uint32_t data_out_bytes = 0;       // Solicit exactly this much (≤ expected_bytes, ≤ kTransferBytesMax); more is discarded.
  std::uint32_t work_bytes = 0;           // Of the pool, for itself, beside what is transferred (≤ kPieceBytes).
  bool changes = false;                   // It has an effect that lasts: a copy of it that comes late does harm.
};

// What becomes of the volume's service on this node, as far as the transport has to do something about it.
// lost: without a logout, so its initiator may still be there, and cut off.
enum class SessionEnd : std::uint8_t { logged_out, lost };

enum class ServiceChange : std::uint8_t {
  begins,          // What initiators sent before may be old: writes wait until each session has proved that its initiator is there.
  ceases,          // The role has gone. Sessions stay; what does not end by itself at once is cut off with its session.
  stopped,         // The store is out of service. Whoever logs in again is told so, command by command.
  deleted,
  ask_initiators,  // Ping them all; each answer goes to initiator_heard().
};

// The device server of one target: LUN 0 and the well-known REPORT LUNS behaviour for the other LUNs.
class DeviceServer {
 public:
  virtual ~DeviceServer() = default;
  // Synchronous: checks LUN, unit attentions, reservation conflicts, opcode, ranges; nothing is changed.
  virtual Plan plan(Command& command) = 0;
  // Runs it; commands of one connection run in parallel. On return the outcome is set.
  virtual Task<void> execute(Command& command) = 0;

  // A nexus comes (login) and goes (logout, loss). initiator: "iqn…,i,0x<isid>" (SPC-4 TransportID); port: relative target port id.
  virtual Nexus* attach(std::string initiator_name, std::array<std::byte, 6> isid, std::uint16_t target_port) = 0;
  virtual void detach(Nexus* nexus) = 0;
  // Its session ends, but commands of it are still under way: it no longer counts among those whom this node serves.
  virtual void leaves(Nexus* nexus, SessionEnd how) = 0;
  // After the transport has aborted the tasks: LOGICAL UNIT RESET / TARGET RESET (SAM-5 §7): clears what a reset clears and
  // establishes unit attentions (29/03 bus device reset function occurred / 29/02) for every nexus, `by` included.
  virtual void logical_unit_reset(Nexus* by) = 0;
  virtual void target_reset(Nexus* by, bool cold) = 0;
  // 2F/00 COMMANDS CLEARED BY ANOTHER INITIATOR, for each nexus that lost tasks to another's CLEAR TASK SET or PREEMPT AND
  // ABORT: with TAS = 0 it is all that the victim hears (SAM-5 §5.6).
  virtual void commands_cleared(Nexus* victim) = 0;
  // Told by the command set when a PREEMPT AND ABORT must abort a nexus's tasks; the transport registers it.
  virtual void on_abort_tasks(std::function<void(Nexus* victim)> hook) = 0;
  virtual void on_service_change(std::function<void(ServiceChange change)> hook) = 0;
  // An initiator was there at that instant or later: it has logged in, or answered a ping that was sent then.
  virtual void initiator_heard(BootNs when) = 0;
  // Returns when nothing of it waits in the volume any more. To be called when all sessions have ended and the volume's group has
  // stopped, before the server goes.
  virtual Task<void> settle() = 0;
};

}  // namespace holdfast::scsi
