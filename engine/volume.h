// What an initiator's door sees of a volume. All calls run on the volume's own thread (executor()).
// The implementation is engine's; scsi's tests bring their own.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/result.h"
#include "base/task.h"
#include "base/types.h"

namespace holdfast {

// ALUA as the cluster stands (SPC-4 §5.15): one target port group per node. Standby: in sync, and may lead next. Unavailable: behind,
// or out of service.
enum class PortGroupState : std::uint8_t { active_optimized, standby, unavailable };
struct PortGroup {
  std::uint16_t id;                      // 1 … 65535; the node's number.
  PortGroupState state;
  std::vector<std::string> portals;      // "192.0.2.1:3260", for SendTargets. The port's relative id is the group's id.
};
struct ClusterView {
  std::uint16_t local_group;             // The group of the node that answers.
  std::vector<PortGroup> groups;         // Ordered by id, the local one included.
};

struct VolumeIdentity {
  std::string name;                      // 1 … 63 of [a-z0-9.-]; the target is iqn.2026-11.io.holdfast:<name>.
  Uuid uuid;                             // Same on every node: VPD 0x83 and 0x80 derive from it.
};

// What changed, for unit attentions.
enum class VolumeEvent : std::uint8_t {
  capacity_changed,    // 2A/09
  alua_changed,        // Another node serves now, and this one knows it for certain: 2A/06.
  begins_to_serve,     // This node serves from now on: 2A/06, and what initiators sent before may be old (scsi/target.h).
  ceases_to_serve,     // The role has gone. What is under way fails as fenced; sessions stay.
  data_replaced,       // A rollback: 3F/0E … the door decides.
  stopped_serving,     // The store is out of service, or the group stops: drop all sessions.
  ask_initiators,      // The other nodes are silent: does any initiator still reach this one? See Volume::initiator_heard().
  deleted,
};
class VolumeObserver {
 public:
  virtual void volume_event(VolumeEvent event) = 0;

 protected:
  ~VolumeObserver() = default;
};

// One run of blocks with the same provisioning (GET LBA STATUS).
struct ProvisioningRun {
  BlockRange range;
  bool mapped;
};

class Volume {
 public:
  static constexpr std::uint64_t kTransferBlocksMax = 256;        // 1 MiB: one pool buffer; also the atomic unit.
  static constexpr std::uint64_t kUnmapBlocksMax = 1ULL << 22;    // 16 GiB a call; it is logged in pieces.

  virtual ~Volume() = default;
  virtual Executor& executor() const = 0;
  virtual Clock& clock() const = 0;
  virtual BufferPool& buffers() const = 0;
  virtual const VolumeIdentity& identity() const = 0;
  virtual BlockCount capacity() const = 0;
  // As far as this node knows: good for naming the groups, not for saying who is active.
  virtual ClusterView cluster_view() const = 0;
  // False on a standby or a stopped store: answer 02/04/0B (standby) or 02/04/0C (unavailable) at once.
  virtual PortGroupState local_state() const = 0;
  // How the cluster stands at an instant after the call, for REPORT TARGET PORT GROUPS: waits while there is no primary, or while it
  // hands over. Errors: timed_out (nothing was confirmed for 20 s), closed, io_error.
  virtual Task<Result<ClusterView>> confirmed_cluster_view() = 0;

  // An initiator's session with this volume begins, and ends: who has none serves nobody here that could be cut off.
  virtual void initiator_attached() {}
  virtual void initiator_left() {}
  // Before it ends without a logout: its initiator may be there still, and cut off from this node.
  virtual void initiator_lost() {}
  // An initiator was there at that instant or later: it has logged in, or answered a question that was put to it then. When the answer was
  // read says nothing: it may have been lying in buffers.
  virtual void initiator_heard(BootNs) {}

  // Fills `into` (exactly range.count × 4096 bytes). Unmapped blocks read as zeros.
  // Errors: out_of_range, corrupt (MEDIUM ERROR 03/11/00), fenced, closed, io_error.
  virtual Task<Result<void>> read(BlockRange range, Buffer into) = 0;
  // Durable and atomic when it returns (WCE = 0). from: exactly range.count × 4096 bytes, 1 … kTransferBlocksMax blocks,
  // unchanged until it returns and possibly a while after: the volume keeps a reference, never write into it again.
  // Errors: out_of_range, no_space (07/27/07), fenced, closed, io_error, sync_failed.
  virtual Task<Result<void>> write(BlockRange range, Buffer from) = 0;
  // The blocks read as zeros and their whole chunks give their space back. Up to kUnmapBlocksMax. Not atomic beyond 64 MiB.
  virtual Task<Result<void>> unmap(BlockRange range) = 0;
  // Writes one block's content to a whole range of any length within the capacity, at least one. Zeros are an unmap.
  virtual Task<Result<void>> write_same(BlockRange range, Buffer block) = 0;
  // Atomic against every other write: compares `expected`, then writes `desired`. miscompare carries the offset of the
  // first difference in `mismatch_offset` (bytes).
  struct CompareResult {
    bool matched;
    std::uint64_t mismatch_offset;
  };
  virtual Task<Result<CompareResult>> compare_and_write(BlockRange range, Buffer expected, Buffer desired) = 0;
  // Atomic against every other write: reads, ORs, writes (SBC-3 ORWRITE (16)). The mask's memory becomes the result.
  virtual Task<Result<void>> or_write(BlockRange range, Buffer mask) = 0;
  // Everything acknowledged is durable already: waits for the writes that are under way.
  virtual Task<Result<void>> flush() = 0;
  // At most `runs_max` runs from `first` on.
  virtual Task<Result<std::vector<ProvisioningRun>>> provisioning(Lba first, std::size_t runs_max) = 0;

  // Persistent reservations: an opaque state of at most kReservationBytesMax, logged, replicated and kept across restarts.
  static constexpr std::size_t kReservationBytesMax = 16128;  // 4 pages of 4032 bytes.
  virtual std::vector<std::byte> reservations() const = 0;
  virtual Task<Result<void>> store_reservations(std::vector<std::byte> state) = 0;
  // Returns when it is certain that nobody else served this volume before the call: what was looked at before it (the
  // reservations, say) may then be told. Errors: fenced, closed, io_error.
  virtual Task<Result<void>> confirm_served() { co_return Result<void>{}; }

  virtual void add_observer(VolumeObserver& observer) = 0;
  virtual void remove_observer(VolumeObserver& observer) = 0;
};

}  // namespace holdfast
