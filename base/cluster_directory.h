// The ClusterDirectory port: what a cluster keeps beside its registers, in the same coordinator: who its nodes are, which groups
// there are. For discovery and for operators; nothing that keeps data safe may depend on it.
#pragma once

#include <string>
#include <vector>

#include "base/coordinator.h"

namespace holdfast {

struct DirectoryEntry {
  std::string key;
  CoordinatorEntry entry;
};

inline constexpr std::size_t kDirectoryEntriesMax = 4096;

class ClusterDirectory {
 public:
  virtual ~ClusterDirectory() = default;
  // All keys `folder`/…, by key, as of one instant. Errors: those of Coordinator::get, and overloaded beyond kDirectoryEntriesMax.
  virtual Task<Result<std::vector<DirectoryEntry>>> list(std::string folder) = 0;
  // Removes the key if it is still at `base_revision`. Applied: the entry is that of a key that does not exist. The key's next
  // revision is greater than any that it ever had.
  virtual Task<CasOutcome> erase(std::string key, std::uint64_t base_revision) = 0;
};

}  // namespace holdfast
