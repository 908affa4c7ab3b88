// A linearizable register in a directory that several processes of one machine share: the coordinator of a single machine, with
// no process of its own. Each entry is a file; a change is a new file, synced, renamed over the old one under a lock, and the
// directory synced. A read makes durable what it has seen: the process that wrote it may have died before its last sync.
// Everything here blocks: call it on a Worker.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/cluster_directory.h"
#include "io/unique_fd.h"

namespace holdfast::io {

class RegisterDirectory {
 public:
  // Makes the directory and the cluster's id when there is none. Errors: permission, io_error, foreign.
  static Result<RegisterDirectory> open(std::string path);

  // Errors: io_error, corrupt (the message names the file), foreign (emptied, or of before what was seen), invalid_argument (key).
  Result<CoordinatorEntry> get(const std::string& key);
  CasOutcome compare_and_swap(const std::string& key, std::uint64_t base_revision, const std::string& value);
  // As base/cluster_directory.h has them. Of an erased key a file without a value stays, with the revision that it was erased at.
  CasOutcome erase(const std::string& key, std::uint64_t base_revision);
  Result<std::vector<DirectoryEntry>> list(const std::string& folder);
  const std::string& cluster_id() const { return cluster_id_; }

 private:
  // What a key's file holds.
  struct Stored {
    std::uint64_t revision = 0;  // Zero: there is no file.
    bool erased = false;
    std::string value;
    CoordinatorEntry entry() const;
  };
  RegisterDirectory() = default;
  static std::string encode(const Stored& stored);
  static Result<Stored> decode(std::string_view text, const std::string& name);
  Result<Stored> read_stored(const std::string& key);
  Result<void> write_stored(const std::string& key, const Stored& stored, bool* may_be_there);
  CasOutcome change(const std::string& key, std::uint64_t base_revision, Stored next);
  Result<void> check_cluster();

  std::string path_;
  std::string cluster_id_;
  UniqueFd directory_;
  UniqueFd lock_;
  std::map<std::string, std::uint64_t> seen_;  // Highest revision, by key.
};

}  // namespace holdfast::io
