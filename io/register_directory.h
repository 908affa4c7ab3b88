// A linearizable register in a directory that several processes of one machine share: the coordinator of a single machine, with
// no process of its own. Each entry is a file; a change is a new file, synced, renamed over the old one under a lock, and the
// directory synced. A read makes durable what it has seen: the process that wrote it may have died before its last sync.
// Everything here blocks: call it on a Worker.
#pragma once

#include <map>
#include <string>

#include "base/coordinator.h"
#include "io/unique_fd.h"

namespace holdfast::io {

class RegisterDirectory {
 public:
  // Makes the directory and the cluster's id when there is none. Errors: permission, io_error, foreign.
  static Result<RegisterDirectory> open(std::string path);

  // Errors: io_error, corrupt (the message names the file), foreign (emptied, or of before what was seen), invalid_argument (key).
  Result<CoordinatorEntry> get(const std::string& key);
  CasOutcome compare_and_swap(const std::string& key, std::uint64_t base_revision, const std::string& value);
  const std::string& cluster_id() const { return cluster_id_; }

 private:
  RegisterDirectory() = default;
  Result<CoordinatorEntry> read_entry(const std::string& key);
  Result<void> write_entry(const std::string& key, const CoordinatorEntry& entry, bool* may_be_there);
  Result<void> check_cluster();

  std::string path_;
  std::string cluster_id_;
  UniqueFd directory_;
  UniqueFd lock_;
  std::map<std::string, std::uint64_t> seen_;  // Highest revision, by key.
};

}  // namespace holdfast::io
