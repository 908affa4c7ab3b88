// The engine's group: log, store and volumes on one thread.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/applier.h"
#include "engine/group.h"
#include "engine/pending.h"
#include "snapshot/store.h"
#include "wal/log.h"
#include "wal/log_scan.h"

namespace holdfast::engine {

class VolumeImpl;

struct CommitTag;

// A record between its append and its commit. Lives in the writer's frame.
struct EngineRecord : wal::LogRecord, ListNode<EngineRecord, CommitTag> {
  snapshot::StoredVolume* target = nullptr;
  std::uint64_t map_moves = 0;   // unmaps only: PageTree::moves() before the map's pages were loaded.
  std::vector<std::byte> state;  // reservations only.
};

class GroupImpl final : public Group, private wal::LogListener, private ApplierOwner {
 public:
  GroupImpl(GroupPorts ports, GroupOptions options, wal::LogGeometry geometry);
  ~GroupImpl() override;

  Task<Result<void>> recover();

  Task<Result<Volume*>> create_volume(std::string name, Uuid uuid, BlockCount size) override;
  Task<Result<void>> delete_volume(std::string name) override;
  std::vector<Volume*> volumes() override;
  Volume* find(const std::string& name) override;
  GroupStatus status() const override;
  ReplicaStatus replica_status() const override;
  void accept(NodeId from, std::unique_ptr<Link> link) override;
  Task<Result<void>> switchover(NodeId candidate) override;
  Result<VolumeFigures> figures(const std::string& name) const override;
  Task<Result<void>> checkpoint() override;
  Task<Result<void>> stop() override;
  Task<Result<std::uint64_t>> verify_all() override;

  // For the volumes.
  const GroupPorts& ports() const { return ports_; }
  const GroupOptions& options() const { return options_; }
  snapshot::Store& store() { return store_; }
  PendingIndex& pending() { return pending_; }
  Applier& applier() { return applier_; }
  wal::Log& log() { return log_; }
  // Why nothing may be admitted now, or nothing.
  Errc obstacle() const { return failed_ ? Errc::io_error : stopping_ ? Errc::closed : Errc{}; }
  // Appends and returns when the record is committed. `reserved` comes from log().reserve(); nothing suspends in between.
  Task<Result<void>> commit(EngineRecord* record, std::uint64_t reserved);
  // A write failed: the store goes out of service.
  void report_failure(Error error) { store_failed(std::move(error)); }
  // Room for a write (see Space::reserve). When there is none but chunks wait for a checkpoint to be free, takes one first.
  Task<Result<void>> reserve_space(std::uint64_t chunks, std::uint64_t new_pages);
  // What read-modify-write reads into: held for good, for one at a time.
  Semaphore& scratch_turn() { return scratch_turn_; }
  const Buffer& scratch() const { return scratch_; }
  void count_checksum_error() { ++checksum_errors_; }
  // Operations under way; stop() waits for them.
  void enter() { ++operations_; }
  void leave() {
    if (--operations_ == 0) idle_.notify_all();
  }

 private:
  struct Replayed {
    wal::RecordHeader header;
    std::size_t numbers;             // Begin in replay_numbers_.
    std::uint64_t payload_position;
  };

  // LogListener, ApplierOwner
  void log_durable(Lsn lsn) override;
  void log_failed(Error error) override { store_failed(std::move(error)); }
  void log_full() override { checkpoint_timer_.cancel(); }
  Lsn commit_lsn() const override { return Lsn(commit_lsn_); }
  void store_failed(Error error) override;
  std::uint64_t log_offset_of(std::uint64_t position) const override { return log_.offset_of(position); }
  bool has_failed() const override { return failed_; }
  void space_changed() override { check_log_use(); }

  // Recovery.
  Result<void> note_recovered(const wal::RecoveredRecord& record);
  Task<Result<void>> replay_all();
  Task<Result<void>> replay(const Replayed* record);
  void replay_write(const Replayed& record, snapshot::StoredVolume* volume);
  Task<void> replay_unmap(snapshot::StoredVolume* volume, Lsn lsn, BlockRange range);
  Task<Result<std::vector<std::byte>>> read_payload(const Replayed* record);
  Task<Result<void>> begin_epoch(Lsn recovered_end);

  // Commit.
  void apply_to_memory(EngineRecord& record);
  void commit_write(EngineRecord& record);
  void commit_unmap(snapshot::StoredVolume* volume, Lsn lsn, BlockRange range, PendingIndex::Absent absent);
  void commit_create(EngineRecord& record);
  void settle(EngineRecord& record, Errc outcome);

  Task<void> checkpoint_loop();
  static constexpr std::uint64_t kQuarantinedChunksMax = 2048;  // 128 MiB.
  bool checkpoint_is_due();
  void check_log_use();
  Task<Result<void>> checkpoint_locked(bool clean);
  Task<void> purge(VolumeId id);
  Task<Result<std::uint64_t>> purge_leaves(snapshot::StoredVolume* volume);
  Task<Result<void>> empty_leaf(snapshot::StoredVolume* volume, std::uint64_t index);
  Task<Result<std::uint64_t>> verify_volume(snapshot::StoredVolume* volume);
  Task<Result<std::uint64_t>> verify_chunk(snapshot::StoredVolume* volume, std::uint64_t chunk);
  void add_volume_object(snapshot::StoredVolume* stored);

  GroupPorts ports_;
  GroupOptions options_;
  snapshot::Store store_;
  PendingIndex pending_;
  wal::Log log_;
  Applier applier_;
  std::vector<std::unique_ptr<VolumeImpl>> volumes_;
  std::vector<std::unique_ptr<VolumeImpl>> deleted_;   // Kept until the group goes: doors may still hold them.
  IntrusiveList<EngineRecord, CommitTag> uncommitted_;

  std::uint64_t epoch_ = 0;
  std::uint64_t commit_lsn_ = 0;
  std::uint64_t checkpoint_lsn_ = 0;
  std::uint64_t checksum_errors_ = 0;
  std::uint64_t recovered_records_ = 0;
  std::uint64_t recovery_ms_ = 0;
  std::uint64_t sync_latency_us_ = 0;
  bool failed_ = false;
  std::string failure_;
  bool stopping_ = false;
  std::uint64_t operations_ = 0;
  WaitList idle_;
  Semaphore checkpoint_turn_;
  Buffer scratch_;               // 64 KiB, since the start: whoever compares may hold all the rest of the pool.
  Semaphore scratch_turn_;
  Semaphore catalogue_turn_;     // One create or delete at a time.
  Timer checkpoint_timer_;

  std::vector<Replayed> replay_;
  std::vector<std::uint64_t> replay_numbers_;
  Scope scope_;
};

}  // namespace holdfast::engine
