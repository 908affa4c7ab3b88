// What operators and consumers do while a cluster lives: volumes that come and go, and the log that is read. At the end:
//   - A volume that was made, and that nobody asked to delete, is there; one that is known to be deleted is not; all copies agree.
//   - A record of the log is always told alike, by whichever node.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "test/cluster/cluster_node.h"

namespace holdfast::cluster {

class Cluster;

class Operators {
 public:
  explicit Operators(Cluster& cluster) : cluster_(&cluster) {}

  // At whoever serves, if anybody does. What becomes of it is seen later.
  void make_volume();
  void delete_volume();
  // A part of the log, from where the last one ended, or from the oldest record that is kept: there it is being overwritten.
  void read_log();
  // At rest: false: see the cluster's violation. The clients' guests are those that there are from then on.
  bool volumes_are_right();
  std::uint64_t records_told() const { return told_.size(); }

 private:
  struct Guest {
    std::uint32_t volume;
    bool made = false, delete_asked = false, deleted = false;
  };
  using GuestPtr = std::shared_ptr<Guest>;  // Also of a call whose frame goes down with its process.

  static Task<void> make(Operators* self, ClusterNode* node, GuestPtr guest);
  static Task<void> remove(Operators* self, ClusterNode* node, GuestPtr guest);
  static Task<void> read(Operators* self, ClusterNode* node, Lsn from);
  void look_at(const LogEntry& entry);
  std::optional<std::uint32_t> volume_of(const std::string& name) const;
  ClusterNode* serving() const;

  Cluster* cluster_;
  std::vector<GuestPtr> guests_;
  std::map<Lsn, std::uint64_t> told_;     // What each record is.
  Lsn next_{1};
  bool reading_ = false;
  std::uint64_t reader_life_ = 0;         // Of the process that reads: when that is gone, so is the call.
  NodeId reader_;
};

}  // namespace holdfast::cluster
