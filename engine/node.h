// What the operator's door (admin) and the tools see of a node. Called from the admin thread: implementations post to the
// volumes' threads and call back on the admin's side through `done`, from any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "engine/log_stream.h"

namespace holdfast {

class Volume;

// degraded: it serves, with fewer copies than it should have, or is about to. waiting: nobody serves it just now.
enum class VolumeHealth : std::uint8_t { serving, read_errors, out_of_space, failed, degraded, standby, waiting };

enum class ReplicaRole : std::uint8_t { none, follower, opening, primary };

// How a copy stands to the others; told by the node that has it. Figures of members: the primary's alone.
struct ReplicationStatus {
  ReplicaRole role = ReplicaRole::none;
  bool serving = false;                 // Primary, and holding the lease.
  bool hears_primary = false;           // Not primary, and whoever is was heard a moment ago.
  std::uint64_t primary_node = 0;       // As last read from the register; zero: nobody has led yet.
  std::uint32_t min_in_sync = 1;
  std::uint32_t lease_ms = 0;
  bool promotable = true;
  std::string unfit_because;
  struct Member {
    std::uint64_t node = 0;
    bool is_self = false;
    bool connected = false;
    bool in_sync = false;
    std::uint64_t acked_lsn = 0;
    bool lag_known = false;             // It has said what it has since this copy leads.
    std::uint64_t lag_bytes = 0;        // Written by hosts and not yet on that copy, about; of one that has been away for long: at least.
    std::uint64_t lag_ms = 0;           // For how long the oldest of it has been.
  };
  std::vector<Member> members;          // By node.
  std::uint64_t shipped_records = 0, shipped_bytes = 0, held_writes = 0;
  bool rebuilding = false;
  std::uint64_t rebuild_bytes_done = 0, rebuild_bytes_total = 0, rebuilt_bytes = 0;
  std::uint64_t rebuild_ms = 0;         // Since the rebuild under way began.
  std::uint64_t rebuild_eta_ms = 0;     // If it goes on as it went so far; zero: not known.
  std::string state;                    // Of the definition: creating, ready, deleting; empty: not known.
};

// A snapshot of figures for `status` and `list`; taken on the volume's thread.
struct VolumeStatus {
  std::string name;
  Uuid uuid{};
  std::uint64_t size_bytes = 0;
  std::uint64_t allocated_bytes = 0;    // Chunks mapped by this volume.
  VolumeHealth health = VolumeHealth::serving;
  std::string reason;                   // Why it is not `serving`, and what to do. Empty otherwise.
  std::uint64_t epoch = 0;
  std::uint64_t last_lsn = 0;
  std::uint64_t commit_lsn = 0;
  std::uint64_t applied_lsn = 0;
  std::uint64_t checkpoint_lsn = 0;
  std::uint64_t log_bytes = 0;
  std::uint64_t log_used_bytes = 0;
  std::uint64_t store_free_bytes = 0;   // What new allocations can still have.
  std::uint64_t store_bytes = 0;
  std::uint64_t sync_latency_us = 0;    // Of the backing device, measured at open.
  std::string backing;                  // Path of the file or device.
  std::uint64_t reads = 0, writes = 0, unmaps = 0;
  std::uint64_t read_bytes = 0, write_bytes = 0;
  std::uint64_t checksum_errors = 0;
  std::uint64_t recovered_records = 0;  // Replayed at the last start.
  std::uint64_t recovery_ms = 0;
  std::uint64_t sessions = 0;           // iSCSI sessions now.
  std::optional<ReplicationStatus> replication;  // Of a volume with copies on several nodes.
};

struct CreateVolume {
  std::string name;                     // 1 … 63 of [a-z0-9.-], starting and ending with a letter or digit.
  std::uint64_t size_bytes = 0;         // Multiple of 64 KiB, 1 MiB … 1 PiB.
  std::uint64_t log_bytes = 0;          // 0: the configured default. Multiple of 4096, 4 MiB … 64 GiB.
  std::string device;                   // A block device to use; empty: a file in the data directory.
  // In a cluster:
  unsigned replicas = 0;                // 0: three, or as many as there are nodes.
  std::vector<std::uint64_t> members;   // The nodes; empty: this one and others.
  unsigned min_in_sync = 0;             // 0: two with three copies or more, one otherwise.
};

struct ClusterNode {
  std::uint64_t node = 0;
  std::string name;
  std::vector<std::string> links, portals;
  std::string admin;
  bool is_self = false;
};
struct ClusterStatus {
  std::string name, id;                 // No name: the node is by itself.
  std::uint64_t node = 0;               // This one.
  std::string trouble;                  // Why the coordinator is not read; empty: it is.
  std::vector<ClusterNode> nodes;
};

// What an operator changes about the copies of a volume.
struct MemberChange {
  enum class Kind : std::uint8_t { add, remove, replace, renew } kind = Kind::add;
  std::string volume;
  std::uint64_t node = 0;
  std::uint64_t replacement = 0;        // Of a replacement: who comes.
};
struct Switchover {
  std::string volume;
  std::uint64_t candidate = 0;          // Zero: whoever is in step.
};
struct ForcedFailOver {
  std::string volume;
  std::uint64_t candidate = 0;
  bool accepts_data_loss = false, others_are_fenced = false;
};
struct VolumeSettings {
  std::string volume;
  std::optional<std::uint32_t> min_in_sync, lease_ms;
};

struct NodeStatus {
  std::string name;
  std::string version;
  std::uint64_t uptime_ms = 0;
  unsigned reactors = 0;
  std::string data_directory;
  std::vector<std::string> portals;
  std::vector<VolumeStatus> volumes;
  std::optional<ClusterStatus> cluster; // Nothing: the node is by itself.
};

// A consumer of a volume's log, by name.
struct ConsumerName {
  std::string volume;
  std::string consumer;
};

struct ReadLog {
  std::string volume;
  Lsn from;                             // Zero: from where the consumer stands.
  std::string consumer;
  LogReadLimits limits;
};

class NodeControl {
 public:
  template <class T>
  using Done = std::move_only_function<void(Result<T>)>;

  virtual ~NodeControl() = default;
  // Errors name the field: "name: …", "size: …". exists, invalid_argument, no_space, busy, not_found.
  virtual void create_volume(CreateVolume request, Done<VolumeStatus> done) = 0;
  // Refused with busy while sessions are attached, unless forced.
  virtual void delete_volume(std::string name, bool force, Done<void> done) = 0;
  virtual void volume_status(std::string name, Done<VolumeStatus> done) = 0;
  virtual void status(Done<NodeStatus> done) = 0;
  // The volume's log and its consumers (engine/log_stream.h).
  virtual void consumers(std::string volume, Done<std::vector<ConsumerStatus>> done) = 0;
  virtual void create_consumer(ConsumerName which, ConsumerStart start, Done<ConsumerStatus> done) = 0;
  virtual void drop_consumer(ConsumerName which, Done<void> done) = 0;
  virtual void confirm_consumer(ConsumerName which, Lsn lsn, Confirm when, Done<void> done) = 0;
  virtual void read_log(ReadLog request, Done<LogBatch> done) = 0;

  // In a cluster; a node by itself refuses as unsupported. Errors name the field, and what must be asked of another node says of which.
  virtual void cluster(Done<ClusterStatus> done) { done(by_itself()); }
  // Begins a cluster on an etcd that has none yet. Returns its id. Errors: exists, …
  virtual void set_up_cluster(Done<std::string> done) { done(by_itself()); }
  // The etcd was restored from a snapshot, and the one before it is gone.
  virtual void take_over_etcd(Done<std::string> done) { done(by_itself()); }
  // Returns when the cluster wants it so; a copy that comes is filled afterwards.
  virtual void change_member(MemberChange change, Done<void> done) {
    (void)change;
    done(by_itself());
  }
  // Returns when the candidate leads. Errors: invalid_argument, of the field candidate: it is not fit, and why; busy: another node leads.
  virtual void switch_over(Switchover order, Done<void> done) {
    (void)order;
    done(by_itself());
  }
  // The copy of the node that is asked leads next, with what it has.
  virtual void fail_over(ForcedFailOver order, Done<void> done) {
    (void)order;
    done(by_itself());
  }
  // Hands over every volume that this node leads. Returns their names.
  virtual void drain(Done<std::vector<std::string>> done) { done(by_itself()); }
  virtual void set_volume(VolumeSettings settings, Done<void> done) {
    (void)settings;
    done(by_itself());
  }

 protected:
  static std::unexpected<Error> by_itself() { return fail(Errc::unsupported, "this node is by itself: its configuration has no [cluster]"); }
};

}  // namespace holdfast
