// A group: the unit of replication. One log, one epoch, one store, one thread; one or more volumes.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/coordinator.h"
#include "base/disk.h"
#include "base/link.h"
#include "base/random.h"
#include "base/result.h"
#include "base/task.h"
#include "base/types.h"
#include "engine/log_stream.h"
#include "engine/register.h"
#include "engine/timing.h"
#include "engine/volume.h"

namespace holdfast {

// The world of one group. All of it belongs to the group's thread and outlives the group.
struct GroupPorts {
  Executor& executor;
  Clock& clock;
  Random& random;
  BufferPool& buffers;
  Disk& disk;
  Coordinator* coordinator = nullptr;  // Nothing: this is the only copy, and its register lives in it.
  Connector* connector = nullptr;      // Nothing: there are no other nodes.
};

// Tunables; the simulator shrinks them at random. Bounds and their relations: engine/limits.h.
struct GroupOptions {
  std::uint64_t map_cache_bytes = 64ULL << 20;       // Frames for map pages, at least 64 KiB.
  std::uint64_t apply_backlog_bytes = 32ULL << 20;   // Committed payload held in memory before it must be applied; and a
                                                     // chunk for each 2 KiB of it, with payload or without.
  std::uint32_t log_batches_in_flight = 2;           // Pipelined log writes, 1 … 8.
  std::uint32_t log_batch_bytes_max = 1u << 20;      // Payload of one batch.
  std::int64_t checkpoint_interval_ms = 30'000;
  std::uint32_t checkpoint_log_percent = 50;         // Checkpoint when this much of the log is in use.
  ClusterView cluster_view;                          // One node: the local group only.
  NodeId node{1};                                    // 1 … 65535, of the cluster.
  engine::Timing timing;
  std::uint64_t tail_bytes_max = 16ULL << 20;        // Payload that is logged and not committed: writers then wait.
  std::uint64_t ship_window_bytes = 8ULL << 20;      // Payload sent to one member and not acknowledged by it.
  std::uint64_t rebuild_bytes_per_second = 0;        // That other copies fetch from this one for their rebuilds, all together; zero: no limit.
  std::uint32_t rebuild_keep_chunks = 1024;          // A rebuild that is interrupted fetches at most so many chunks again.
  std::int64_t consumer_log_ms = 1'000;              // Positions of consumers are logged within this time, not each by itself.
  std::int64_t scrub_interval_ms = 0;                // From the end of one scrub to the next; zero: only when it is asked for.
  std::uint64_t scrub_bytes_per_second = 32ULL << 20;
  std::uint64_t consumer_retention_bytes = 0;        // History of the log that consumers can count on, at most 3/4 of the ring:
                                                     // checkpoints come early enough. More is kept when there is room.
};

struct FormatOptions {
  std::uint64_t log_bytes = 256ULL << 20;            // Multiple of 4096, 256 KiB … 64 GiB.
  Uuid group{};                                      // The same for all copies; zeros: a fresh one.
};

// Who a store is, from its superblock.
struct StoreIdentity {
  Uuid group{};
  Uuid incarnation{};  // Fresh for every formatted store.
};

// What the scrub has come to: of the pass under way, or else of the last one.
struct ScrubStatus {
  bool running = false;
  std::uint64_t passes = 0;                    // That came to their end, since the start.
  std::uint64_t leaves_done = 0, leaves_total = 0;  // Map pages, 1.5 MiB of a volume each: the progress.
  std::uint64_t pages_checked = 0, blocks_checked = 0;
  std::uint64_t bad_pages = 0, bad_blocks = 0;
  std::uint64_t unrepaired = 0;                // Of them.
  std::uint64_t leaves_compared = 0;           // With other copies; on the primary.
  std::uint64_t divergent_blocks = 0;          // That differed.
  std::string result;                          // For people; empty while the first pass is under way.
};

struct GroupStatus {
  Epoch epoch;
  Lsn last_lsn;         // Highest LSN handed out.
  Lsn commit_lsn;
  Lsn applied_lsn;
  Lsn checkpoint_lsn;
  std::uint64_t log_bytes = 0;
  std::uint64_t log_used_bytes = 0;
  std::uint64_t free_bytes = 0;
  std::uint64_t store_bytes = 0;
  std::uint64_t recovered_records = 0;
  std::uint64_t recovery_ms = 0;
  std::uint64_t sync_latency_us = 0;
  std::uint64_t checksum_errors = 0;
  std::uint64_t repaired_blocks = 0;  // Unreadable here, and put back from another copy.
  std::uint64_t lost_blocks = 0;      // Unreadable here, and no copy that could be reached had them when they were wanted; since the start, at most 1024.
  ScrubStatus scrub;
  bool failed = false;
  std::string failure;  // Why it stopped serving, and what to do.
};

enum class GroupRole : std::uint8_t {
  follower,  // Follows a primary, or looks for one.
  opening,   // Has claimed an epoch, and does not serve yet.
  primary,   // Serves.
};

// How a copy stands in its group.
struct ReplicaStatus {
  GroupRole role = GroupRole::follower;
  bool serving = false;           // Primary, and holding the lease.
  bool promotable = true;
  std::string unfit_because;      // Why not.
  std::string loss;               // It may lead by what is on its disk; but another copy knows of more. Empty: nothing is known to be missing.
  engine::Register view;          // As last read.
  std::uint64_t view_revision = 0;
  Lsn end, durable, commit;
  struct Member {
    NodeId node;
    bool connected = false, matched = false, in_sync = false;
    Lsn acked;
    // Primary: the newest record that it is known to have; zero: it has said nothing since this copy leads. What it lacks, in bytes that
    // hosts wrote, about, and since when.
    Lsn has;
    std::uint64_t lag_bytes = 0;
    DurationNs lag{};
  };
  std::vector<Member> members;    // The others.
  std::uint64_t shipped_records = 0, shipped_bytes = 0;  // Sent to members, since the start.
  std::uint64_t held_writes = 0;  // That waited for a copy on its way into the set, since the start.
  bool hears_primary = false;     // Follower: whoever leads was heard a moment ago.
  bool rebuilding = false;        // This copy fetches what it lacks.
  DurationNs rebuilding_for{};    // Since when.
  std::uint64_t rebuilt_chunks = 0, rebuilt_bytes = 0;   // Fetched so, since the start.
  // Of the volumes' bytes, holes included, those that are known to be as the image has them: of the rebuild under way, or the last one.
  std::uint64_t rebuild_bytes_done = 0, rebuild_bytes_total = 0;
};

struct VolumeFigures {
  std::uint64_t allocated_bytes = 0;
  std::uint64_t reads = 0, writes = 0, unmaps = 0, read_bytes = 0, write_bytes = 0;
};

class Group {
 public:
  // Writes an empty store: both superblocks, the pre-zeroed log. Refuses a disk that already holds a store (exists) unless
  // it is told to overwrite. Errors: no_space, io_error, sync_failed, invalid_argument.
  enum class Existing : std::uint8_t { refuse, overwrite };
  static Task<Result<void>> format(GroupPorts ports, FormatOptions options, Existing existing);

  // Whose store this is. Errors: as of open().
  static Task<Result<StoreIdentity>> identify(GroupPorts ports);

  // Recovers. Without a coordinator it serves when it returns; with one it follows, and serves once it is primary.
  // Errors: foreign (no superblock), version_too_new, truncated, damaged (a durable log record is unreadable), corrupt (a map
  // page), io_error.
  static Task<Result<std::unique_ptr<Group>>> open(GroupPorts ports, GroupOptions options);

  virtual ~Group() = default;
  // size: multiple of 64 KiB. Durable when it returns.
  virtual Task<Result<Volume*>> create_volume(std::string name, Uuid uuid, BlockCount size) = 0;
  // Frees its space. The caller has ended its sessions.
  virtual Task<Result<void>> delete_volume(std::string name) = 0;
  virtual std::vector<Volume*> volumes() = 0;
  virtual Volume* find(const std::string& name) = 0;
  virtual GroupStatus status() const = 0;
  virtual ReplicaStatus replica_status() const = 0;
  // Another node's copy has connected.
  virtual void accept(NodeId from, std::unique_ptr<Link> link) = 0;
  // Planned: admits nothing more, waits for what is under way, and lets the candidate claim. Returns when this copy has
  // released its epoch. Errors: invalid_argument (the candidate is not fit; the message says why), timed_out (goes on as
  // primary), fenced.
  virtual Task<Result<void>> switchover(NodeId candidate) = 0;
  virtual Result<VolumeFigures> figures(const std::string& name) const = 0;

  // Named consumers of the log, at most 16; only where the group is served. Errors: fenced and the like, and
  //   create: exists, overloaded, invalid_argument. drop, confirm: not_found. confirm: out_of_range (not committed yet).
  virtual std::vector<ConsumerStatus> consumers() const = 0;
  virtual Task<Result<ConsumerStatus>> create_consumer(std::string name, ConsumerStart start) = 0;
  virtual Task<Result<void>> delete_consumer(std::string name) = 0;
  // It has everything up to the LSN. Never goes back.
  virtual Task<Result<void>> confirm_consumer(std::string name, Lsn lsn, Confirm when) = 0;
  // Committed records from the LSN on, in order. Errors: out_of_range (from lies in the future), corrupt (the data of a
  // record is gone, and nothing came after it), io_error, busy.
  virtual Task<Result<LogBatch>> read_log(Lsn from, LogReadLimits limits) = 0;

  // Moves what is applied into the map and frees the log.
  virtual Task<Result<void>> checkpoint() = 0;
  // Ends background work after a last checkpoint; calls to volumes fail as closed. Destroy the group afterwards.
  // Destroying it without stop() is a crash: no I/O happens.
  virtual Task<Result<void>> stop() = 0;
  // Begins to look at everything this copy has, in the background, unless that is under way; the primary also compares with the
  // other copies. How it goes: GroupStatus::scrub.
  virtual void start_scrub() = 0;
  // Reads every mapped block and map page and checks it against its checksum: blocks checked, or corrupt.
  virtual Task<Result<std::uint64_t>> verify_all() = 0;
};

}  // namespace holdfast
