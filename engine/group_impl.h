// The engine's group: log, store and volumes on one thread.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "engine/applier.h"
#include "engine/group.h"
#include "engine/log_service.h"
#include "engine/pending.h"
#include "engine/replica.h"
#include "engine/tail.h"
#include "rebuild/target.h"
#include "snapshot/store.h"
#include "wal/log.h"
#include "wal/log_scan.h"

namespace holdfast::engine {

class Mender;
class Scrubber;
class VolumeImpl;

class GroupImpl final : public Group, private wal::LogListener, private ApplierOwner, private rebuild::TargetOwner {
 public:
  GroupImpl(GroupPorts ports, GroupOptions options, wal::LogGeometry geometry);
  ~GroupImpl() override;

  // Without a coordinator it serves when this returns.
  Task<Result<void>> recover();
  Task<void> abandon();
  Task<void> operations_end();

  Task<Result<Volume*>> create_volume(std::string name, Uuid uuid, BlockCount size) override;
  Task<Result<void>> delete_volume(std::string name) override;
  std::vector<Volume*> volumes() override;
  Volume* find(const std::string& name) override;
  GroupStatus status() const override;
  ReplicaStatus replica_status() const override;
  void accept(NodeId from, std::unique_ptr<Link> link) override;
  Task<Result<void>> switchover(NodeId candidate) override;
  Result<VolumeFigures> figures(const std::string& name) const override;
  std::vector<ConsumerStatus> consumers() const override { return log_service_.consumers(); }
  Task<Result<ConsumerStatus>> create_consumer(std::string name, ConsumerStart start) override { return log_service_.create(std::move(name), start); }
  Task<Result<void>> delete_consumer(std::string name) override { return log_service_.remove(std::move(name)); }
  Task<Result<void>> confirm_consumer(std::string name, Lsn lsn, Confirm when) override { return log_service_.confirm(std::move(name), lsn, when); }
  Task<Result<LogBatch>> read_log(Lsn from, LogReadLimits limits) override { return log_service_.read(from, limits); }
  Task<Result<void>> checkpoint() override;
  Task<Result<void>> stop() override;
  Task<Result<std::uint64_t>> verify_all() override;
  void start_scrub() override;

  // For the volumes, and for the replica.
  const GroupPorts& ports() const { return ports_; }
  // For what another copy lacks and is read for it here. Not the thread's: that may be full of writes which wait for just that copy.
  BufferPool* other_copies_memory();
  const GroupOptions& options() const { return options_; }
  snapshot::Store& store() { return store_; }
  PendingIndex& pending() { return pending_; }
  Applier& applier() { return applier_; }
  wal::Log& log() { return log_; }
  Tail& tail() { return tail_; }
  const LogFacts& facts() const { return facts_; }
  VolumeImpl* volume_of(VolumeId id);
  bool has_failed() const override { return failed_; }
  Lsn commit_lsn() const override { return Lsn(commit_lsn_); }
  wal::LogPoint commit_point() const { return {Lsn(commit_lsn_), commit_chain_, commit_written_}; }

  // Why nothing may be admitted now, or nothing.
  Errc obstacle() const;
  // The same for what began in a reign: each time that this copy begins or ceases to serve, another one begins, and nothing
  // of an earlier one may take effect.
  Errc obstacle(std::uint64_t reign) const { return reign != reign_ && obstacle() == Errc{} ? Errc::fenced : obstacle(); }
  std::uint64_t reign() const { return reign_; }
  // Waits until a write of so many bytes may be admitted: room to apply it, a tail that is not too long, the lease, enough
  // copies.
  Task<Result<void>> await_admission(std::uint64_t reign, std::uint64_t bytes);
  // Appends and returns when the record is committed and may be acknowledged. `room` comes from log().reserve(); nothing
  // suspends between the last check and the append. Errors: fenced and the like; the record may or may not survive.
  Task<Result<void>> commit(Tail::Handle record, std::uint64_t room, std::uint64_t reign);
  // Takes the room first.
  Task<Result<void>> log_and_commit(Tail::Handle record, std::uint64_t reign);
  // Waits until what was read may be answered: this copy leads, and holds the lease.
  Task<Result<void>> await_lease(std::uint64_t reign);
  // How the group stands, as of an instant after the call; waits until that can be told. Errors: timed_out (nothing was confirmed
  // within kViewHoldMs), closed, io_error.
  Task<Result<GroupView>> confirmed_view();
  // The same as far as this copy knows.
  GroupView known_view() const;
  // Copies in sync may lead next; the others are behind, or not members any more.
  bool is_in_sync() const;
  // An initiator speaks, whatever becomes of it.
  void initiator_heard(BootNs when) const { if (replica_) replica_->initiator_heard(when); }
  void initiator_lost() const { if (replica_) replica_->initiator_lost(); }

  // For the replica.
  void append(Tail::Handle record, std::uint64_t room);
  void commit_to(Lsn lsn);
  void begin_serving();
  void end_serving();
  // Does any initiator still reach this node?
  void ask_initiators();
  void role_changed() { if (!progress_.empty()) progress_.notify_all(); }
  Task<Result<void>> bind(Bound bound, std::uint64_t seq);
  // Durably drops what follows the LSN. Nothing is on its way into the log.
  Task<Result<void>> cut_log(Lsn end);
  // Appends the start of the epoch; its LSN, or zero when this copy does not lead it any more.
  Task<Result<Lsn>> begin_epoch(Epoch epoch);
  // Not promotable, durably, before the log reaches the LSN: what it has until then lacks data that follows.
  Task<Result<void>> become_unfit(Lsn until);
  // The primary's log ends there now: whoever reaches that lacks nothing of before.
  void heard_end(Lsn end);
  bool knows_coordinator(const std::string& cluster_id);
  std::size_t initiators() const;

  // Rebuild (group_rebuild.cpp): what another copy asks, and the fetching of what this one lacks.
  Task<Result<rebuild::Answer>> answer(rebuild::Question question);
  Task<Result<void>> rebuild(rebuild::Peer* peer, bool whole);
  // Blocks that were overwritten in place by what is not known to be committed match nothing, and are not rotten.
  // Never more than half of the ring, each record's header counted: the start of the next epoch must find room.
  // Half of the smallest log that has to take it: whoever leads next has room for the start of its epoch.
  std::uint64_t tail_bytes_max() const { return std::min(options_.tail_bytes_max, replica_->machine().least_ring_blocks() * kBlockBytes / 2); }
  std::string title() const;  // For lines of the log: whose group it is.
  bool is_behind_its_maps() const { return unfit_ || commit_lsn_ < std::max(replayed_lsn_, fit_from_lsn_); }
  bool is_rebuilding() const { return rebuilding_; }
  // A rebuild dropped the volume, and was interrupted before its image counted: the log goes on before the volume's deletion.
  bool was_dropped(VolumeId id) const { return unfit_ && id.value < store_.superblock().next_volume_id; }
  // Pages of the maps that cannot be read (group_damage.cpp). What an operation that met one is to answer: it waits until this copy
  // has handed over, if it can.
  Task<Result<void>> after_damage(Error error, std::uint64_t reign);
  // Asks the other copies that are connected, one after the other, until one has it. Errors: not_found (none has), closed
  // (there is none).
  Task<Result<rebuild::Answer>> ask_others(rebuild::Question question);
  Mender& mender() { return *mender_; }
  // For the scrub (group_verify.cpp). What the blocks of a map page hold, as of the LSN that is returned.
  Task<Result<Lsn>> contents_of(VolumeImpl* volume, std::uint64_t leaf, std::span<std::uint64_t> contents);
  Task<Result<rebuild::Answer>> ask_member(NodeId node, rebuild::Question question);
  std::vector<NodeId> members_in_step() const;
  bool awaits_rebuild() const { return maps_lost_ || log_lost_; }
  void distrust(NodeId node);
  void distrust_own_copy();
  std::uint64_t checksum_errors() const { return checksum_errors_; }
  Semaphore& checkpoint_turn() { return checkpoint_turn_; }
  // What this copy has committed, whatever its role: for whoever compares copies.
  Task<Result<void>> read_local(std::string name, BlockRange range, Buffer into);

  // A write failed: the store goes out of service.
  void report_failure(Error error) { store_failed(std::move(error)); }
  // Room for a write (see Space::reserve). When there is none but chunks wait for a checkpoint to be free, takes one first.
  Task<Result<void>> reserve_space(std::uint64_t chunks, std::uint64_t new_pages);
  // A copy among others keeps some chunks backed ahead of need, so that it knows before a record comes whether it has room; the
  // primary refuses what needs new space when a member is short. What cannot be had is asked for again and again.
  void look_after_space();
  std::uint64_t reservable_chunks() const;
  bool members_are_short() const;
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
    std::uint64_t written_blocks;    // By it and all before it.
  };

  // LogListener, ApplierOwner
  void log_durable(Lsn lsn) override;
  void log_failed(Error error) override { store_failed(std::move(error)); }
  void log_full() override { checkpoint_timer_.cancel(); }
  void store_failed(Error error) override;
  std::uint64_t log_offset_of(std::uint64_t position) const override { return log_.offset_of(position); }
  void space_changed() override { check_log_use(); }
  Task<bool> pages_are_given_up() override;

  // TargetOwner
  Task<Result<void>> keep() override { return checkpoint(); }
  // Also when something else waits to be done: a binding to a newer epoch, whose primary is the one to ask.
  bool gives_up() const override { return failed_ || stopping_ || replica_->has_jobs(); }
  void volume_added(snapshot::StoredVolume* volume) override;
  Task<Result<void>> drop_volume(snapshot::StoredVolume* volume) override;
  void block_lost(snapshot::StoredVolume* volume, std::uint64_t block) override;
  Lsn applied() const override { return Lsn(checkpoint_lsn_); }

  Task<Result<rebuild::Answer>> answer_image();
  Task<Result<rebuild::Answer>> answer_leaf(snapshot::StoredVolume* volume, std::uint64_t from, Lsn since);
  Task<Result<rebuild::Answer>> answer_chunk(VolumeImpl* volume, std::uint64_t chunk);
  Task<Result<rebuild::Answer>> answer_reservations(VolumeImpl* volume);
  Task<Result<rebuild::Answer>> answer_next_leaf(snapshot::StoredVolume* volume, std::uint64_t from, std::uint64_t end);
  Task<Result<rebuild::Answer>> answer_contents(VolumeImpl* volume, std::uint64_t leaf, Lsn at_least);
  Task<Result<rebuild::Answer>> answer_block(VolumeImpl* volume, std::uint64_t block, std::uint64_t checksum);
  Task<Result<rebuild::Target::Done>> compare_with(rebuild::Peer* peer, Lsn base);
  Task<Result<void>> adopt_image(const rebuild::Target::Done* done);

  void page_unreadable();
  Task<void> look_after_pages();
  Task<void> tell_of_new_primary();
  Task<bool> hand_over_to_anybody();
  Task<void> leave_and_give_up_maps();
  Task<void> give_up_maps();
  Task<Result<void>> note_maps_lost();
  Task<Result<void>> free_unnamed();

  // Recovery.
  Result<void> note_recovered(const wal::RecoveredRecord& record);
  Result<void> claim_recovered_chunks(Lsn end);
  void start_log_anew(wal::ScanOutput* scanned);
  Task<Result<void>> replay_all(Lsn committed);
  Task<Result<Tail::Handle>> recovered_record(const Replayed* replayed);
  Task<Result<void>> recovered_payload(TailRecord* record);
  void start_replica();
  Task<void> leave_in_order();
  Task<Result<void>> await_open();

  // Commit.
  void apply_to_memory(TailRecord& record);
  void commit_write(TailRecord& record);
  void commit_unmap(snapshot::StoredVolume* volume, Lsn lsn, BlockRange range, PendingIndex::Absent absent);
  void commit_create(TailRecord& record);
  void commit_delete(TailRecord& record);
  void settle(TailRecord& record, Errc outcome);
  void update_facts();
  void committed_at(const wal::LogPoint& point);
  void consider_fitness();
  Task<void> become_fit();
  Task<void> back_spare_chunks();

  Task<void> checkpoint_loop();
  Task<void> note_durable_end();
  // A failure is final, whoever asked.
  Task<Result<void>> update_superblock(std::function<void(snapshot::Superblock&)> change);
  static constexpr std::uint64_t kQuarantinedChunksMax = 2048;  // 128 MiB.
  bool checkpoint_is_due();
  bool nothing_to_checkpoint() const;
  void check_log_use();
  Task<Result<void>> checkpoint_locked(bool clean);
  void start_purge(VolumeId id);  // Unless it is under way.
  Task<void> purge(VolumeId id);
  Task<void> purge_alone(VolumeId id);
  Task<Result<void>> await_purge(VolumeId id);
  Task<Result<std::uint64_t>> purge_leaves(snapshot::StoredVolume* volume);
  Task<Result<void>> empty_leaf(snapshot::StoredVolume* volume, std::uint64_t index);
  Task<Result<std::uint64_t>> verify_volume(snapshot::StoredVolume* volume);
  Task<Result<std::uint64_t>> verify_chunk(snapshot::StoredVolume* volume, std::uint64_t chunk);
  void add_volume_object(snapshot::StoredVolume* stored);

  GroupPorts ports_;
  std::unique_ptr<BufferPool> other_copies_memory_;  // Made when first needed.
  GroupOptions options_;
  // What flows wait for and give back outlives all that owns flows.
  WaitList progress_;            // Commits, changes of role and lease, admitted records that did not come.
  WaitList idle_;
  Semaphore checkpoint_turn_;
  Semaphore scratch_turn_;
  Semaphore catalogue_turn_;     // One create or delete at a time.
  snapshot::Store store_;
  PendingIndex pending_;
  wal::Log log_;
  Applier applier_;
  std::vector<std::unique_ptr<VolumeImpl>> volumes_;
  std::vector<std::unique_ptr<VolumeImpl>> deleted_;   // Kept until the group goes: doors may still hold them.
  Tail tail_;
  LogFacts facts_;
  std::unique_ptr<Replica> replica_;
  std::unique_ptr<Mender> mender_;
  std::unique_ptr<Scrubber> scrubber_;
  std::uint64_t reign_ = 0;

  std::uint64_t commit_lsn_ = 0;
  std::uint64_t commit_chain_ = 0;       // Of the record at it …
  std::uint64_t commit_written_ = 0;     // … and up to it: LogCursor::written_blocks.
  Uuid coordinator_{};                   // Of the cluster's id; zeros: none was seen yet.
  bool unfit_ = false;                   // As the superblock has it, or is about to.
  bool backing_spare_ = false;
  bool short_of_space_ = false;          // The last attempt found less than it wanted.
  std::set<std::uint64_t> purging_;      // Volumes.
  BootNs next_spare_look_{};
  bool log_lost_ = false;                // As the superblock has it: only a rebuild goes on from here.
  std::string unfit_because_;            // For people; as far as this process knows.
  Lsn reach_;                            // What the map has, or lacks: the log must reach it for this copy to be fit again …
  Lsn primary_end_;                      // … and what the newest primary had when its log met mine; zero: none has said.
  bool maps_lost_ = false;               // As the superblock has it: unreadable pages are empty, and all is to be compared.
  bool looking_after_pages_ = false;
  std::uint64_t emptied_before_ = 0;     // Pages, when the comparison under way began …
  bool compared_as_lost_ = false;        // … and maps_lost_ then.
  bool rebuilding_ = false;
  BootNs rebuild_began_{};               // Valid while it is rebuilding.
  rebuild::Progress rebuild_progress_;
  bool telling_of_primary_ = false;
  bool fitting_ = false;                 // It has, and that is being written.
  std::uint64_t checkpoint_lsn_ = 0;
  std::uint64_t checksum_errors_ = 0;
  std::uint64_t recovered_records_ = 0;
  std::uint64_t logged_deletions_ = 0;    // Of volumes, by this process as primary: one at a time.
  std::uint64_t replayed_lsn_ = 0;        // Up to here records were found at the last start.
  std::uint64_t fit_from_lsn_ = 0;        // Once this is committed here, too, the maps have nothing that is newer.
  std::uint64_t recovery_ms_ = 0;
  std::uint64_t sync_latency_us_ = 0;
  std::uint64_t held_writes_ = 0;
  bool failed_ = false;
  std::string failure_;
  Errc failure_code_{};
  bool stopping_ = false;
  bool running_ = false;                 // Recovered.
  std::uint64_t operations_ = 0;
  Buffer scratch_;               // 64 KiB, since the start: whoever compares may hold all the rest of the pool.
  Timer checkpoint_timer_, quiet_timer_;
  bool end_is_noted_ = false;  // The superblock tells where the log ends: there is nothing to do until it goes on.

  std::vector<Replayed> replay_;
  std::optional<wal::LogPoint> recovered_point_;  // Of the record at the applied LSN, when the log still has it.
  std::vector<std::uint64_t> replay_numbers_;
  LogService log_service_;
  Scope scope_;
};

}  // namespace holdfast::engine
