// A volume of a group: admission, reads, writes and what is made of them.
#pragma once

#include <array>
#include <optional>
#include <vector>

#include "base/counters.h"
#include "engine/group_impl.h"

namespace holdfast::engine {

// What becomes of a block that cannot be read here: another copy is asked for it, or the read fails. Who answers another copy
// asks nobody, or two would wait for each other.
enum class Unreadable : std::uint8_t { mended, fails };

// A block that nobody can give any more: what it should hold, by its XXH3.
struct LostBlock {
  std::size_t index;  // In the request.
  std::uint64_t checksum;
};

class VolumeImpl final : public Volume {
 public:
  VolumeImpl(GroupImpl& group, snapshot::StoredVolume& stored);

  Executor& executor() const override { return group_->ports().executor; }
  Clock& clock() const override { return group_->ports().clock; }
  BufferPool& buffers() const override { return group_->ports().buffers; }
  const VolumeIdentity& identity() const override { return identity_; }
  BlockCount capacity() const override { return capacity_; }
  ClusterView cluster_view() const override;
  PortGroupState local_state() const override;
  Task<Result<ClusterView>> confirmed_cluster_view() override;
  void initiator_attached() override { ++initiators_; }
  void initiator_left() override {
    ENSURE(initiators_ > 0);
    --initiators_;
  }
  void initiator_lost() override { group_->initiator_lost(); }
  void initiator_heard(BootNs when) override { group_->initiator_heard(when); }
  Task<Result<void>> read(BlockRange range, Buffer into) override;
  Task<Result<void>> write(BlockRange range, Buffer from) override;
  Task<Result<void>> unmap(BlockRange range) override;
  Task<Result<void>> write_same(BlockRange range, Buffer block) override;
  Task<Result<CompareResult>> compare_and_write(BlockRange range, Buffer expected, Buffer desired) override;
  Task<Result<void>> or_write(BlockRange range, Buffer mask) override;
  Task<Result<void>> flush() override;
  Task<Result<std::vector<ProvisioningRun>>> provisioning(Lba first, std::size_t runs_max) override;
  // Empty once the volume is closed: what stored it may be gone.
  std::vector<std::byte> reservations() const override {
    return closed_ ? std::vector<std::byte>{} : stored_->reservations;
  }
  Task<Result<void>> store_reservations(std::vector<std::byte> state) override;
  Task<Result<void>> confirm_served() override;
  void add_observer(VolumeObserver& observer) override { observers_.push_back(&observer); }
  void remove_observer(VolumeObserver& observer) override { std::erase(observers_, &observer); }

  // Gets a record ready for the log, wherever it came from: places its whole chunks, reserves what applying it will need,
  // brings the map's pages into memory. Errors: no_space, corrupt (a map page), io_error.
  Task<Result<void>> prepare_write(TailRecord* record);
  Task<Result<void>> prepare_unmap(TailRecord* record);
  // What is committed here, whatever the role.
  Task<Result<void>> read_local(BlockRange range, Buffer into, Unreadable unreadable = Unreadable::mended) { return read_blocks(range, into, unreadable, nullptr); }
  // The same for whoever copies what there is: blocks that no copy can give are named in `lost` instead of ending the read, and
  // what is in their place means nothing.
  Task<Result<void>> read_what_is_left(BlockRange range, Buffer into, std::vector<LostBlock>* lost) { return read_blocks(range, into, Unreadable::mended, lost); }
  // Where the store has the block, as long as that is what it should hold. Leaf: of its chunk, or nothing. Never suspends.
  std::optional<std::uint64_t> place_of(snapshot::Frame* leaf, std::uint64_t block, std::uint64_t checksum) const;
  // The two parts of prepare_write().
  Task<Result<void>> admit(TailRecord* record);
  Task<Result<void>> write_chunks(TailRecord* record);
  // Reserved chunks become the record's; the rest of its blocks goes to the log.
  static void place(TailRecord& record, snapshot::Space& space);

  snapshot::StoredVolume& stored() const { return *stored_; }
  void tell(VolumeEvent event);
  VolumeFigures figures() const;
  // Refuses new operations and waits for those under way: before the volume is deleted.
  Task<void> close();
  void reopen() { closed_ = false; }  // The deletion was not committed.
  void refuse() { closed_ = true; }
  bool is_closed() const { return closed_; }
  std::size_t initiators() const { return initiators_; }

 private:
  static constexpr int kReadTries = 4;

  // Where a run of blocks of a read comes from: one disk request, or zeros or memory that were filled in already.
  struct ReadRun {
    std::uint64_t offset;            // Bytes in the store.
    std::uint32_t first_block;       // In the request.
    std::uint32_t block_count;
  };
  // The plan of one read; lives in its frame.
  struct ReadPlan {
    std::array<ReadRun, kTransferBlocksMax> runs;
    std::size_t run_count = 0;
    std::array<std::uint64_t, kTransferBlocksMax> checksums;
    std::array<bool, kTransferBlocksMax> on_disk;
    std::array<bool, kTransferBlocksMax> unread;   // The disk failed to read it.
  };

  Errc obstacle() const;
  ClusterView port_groups(const GroupView& view) const;
  Result<void> check(BlockRange range, std::size_t bytes) const;
  // A block that another copy gave: what it should be, and its bytes. Zeros, and not what it should be, when none could.
  struct Mended {
    std::size_t index;  // In the request.
    std::uint64_t checksum;
    std::array<std::byte, kBlockBytes> bytes;
  };
  Task<Result<void>> read_blocks(BlockRange range, Buffer into, Unreadable unreadable, std::vector<LostBlock>* lost);
  Task<void> read_plan(ReadPlan* plan, Buffer into);
  Task<Result<void>> plan_read(ReadPlan* plan, BlockRange range, Buffer into);
  void plan_chunk(ReadPlan& plan, BlockRange range, Buffer& into, std::uint64_t chunk, const snapshot::MapEntry& entry,
                  const PendingChunk* pending);
  void add_run(ReadPlan& plan, std::uint64_t offset, std::uint32_t block);
  Task<void> read_run(ReadPlan* plan, ReadRun run, Buffer into);
  static constexpr std::size_t kNoBlock = ~std::size_t{0};
  static constexpr int kReadAttemptsMax = 1000;
  static constexpr std::size_t kMendedMax = 2 * kTransferBlocksMax;
  static std::size_t first_unreadable(const ReadPlan& plan, std::size_t blocks, Buffer& into, const std::vector<Mended>& mended);

  static void name_lost(const ReadPlan& plan, const Buffer& into, const std::vector<Mended>& mended, std::vector<LostBlock>* lost);

  Task<Result<void>> unmap_pieces(BlockRange range, std::uint64_t reign);
  Task<Result<void>> unmap_piece(BlockRange range, std::uint64_t reign);
  // reign: in which the operation came to the door. What it waits for may outlast it.
  Task<Result<void>> write_admitted(BlockRange range, Buffer from, std::uint64_t reign);
  Task<Result<void>> admit_chunk(TailRecord* record, std::uint64_t chunk);
  static bool has_place(const PendingChunk& chunk, const snapshot::MapEntry& entry);
  bool reserve_now(PendingChunk* chunk);
  Task<void> write_run(std::uint64_t offset, Bytes run, Errc* error);

  // Writers share the volume; read-modify-write has it alone.
  Task<void> enter_shared();
  void leave_shared();
  Task<void> enter_alone();
  // Who is alone looks at the range piece by piece: see(bytes from its begin, what is there); goes on while true.
  template <class See>
  Task<Result<void>> look(BlockRange range, See see);
  void leave_alone();

  GroupImpl* group_;
  snapshot::StoredVolume* stored_;
  VolumeIdentity identity_;
  BlockCount capacity_;
  std::vector<VolumeObserver*> observers_;
  std::size_t initiators_ = 0;  // Sessions.
  bool closed_ = false;
  std::uint64_t operations_ = 0;
  std::uint64_t writers_ = 0;
  bool alone_ = false;
  WaitList gate_;
  WaitList idle_;
  Counter reads_, writes_, unmaps_, read_bytes_, write_bytes_;

  friend class VolumeOperation;
};

}  // namespace holdfast::engine
