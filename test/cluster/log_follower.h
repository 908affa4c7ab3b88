// A named consumer of the log in a cluster: it follows whoever serves, and asks the next one when its node dies.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "test/cluster/cluster.h"

namespace holdfast::cluster {

class LogFollower {
 public:
  struct Told {
    Lsn lsn;
    Epoch epoch;
    LogEntryKind kind;
    Lba first;
    std::uint64_t count;
    friend bool operator==(const Told&, const Told&) = default;
  };

  LogFollower(Cluster& cluster, std::string name) : cluster_(&cluster), name_(std::move(name)) {}

  // Becomes a consumer of the group.
  bool create(ConsumerStart start);
  // What there is now. True: it came from whoever serves.
  bool follow();
  // Follows for so long. False: something is wrong with the cluster.
  bool run(DurationNs time);
  // Until it has all that is committed. False: not within so many calls.
  bool catch_up();
  // As whoever serves has it; nothing: nobody does, or the consumer is not known there.
  std::optional<ConsumerStatus> status() const;
  // Nothing that it was told and confirmed durably counts as unread there. Positions of consumers are records, too, but nobody is
  // told of them, and a position that has passed only such records need not be kept.
  bool kept(const ConsumerStatus& found) const;

  Lsn next, last_confirmed;
  std::vector<Told> told;
  std::size_t gaps = 0;
  std::string wrong;             // What it should not have been told; empty: nothing.

 private:
  Cluster* cluster_;
  std::string name_;
};

}  // namespace holdfast::cluster
