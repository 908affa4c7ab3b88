// Which volumes a node has and where their stores are: one small JSON file in the data directory, replaced as a whole with
// every change, so that a crash leaves the old state or the new one.
//
// A volume is `creating` before its store exists and `deleting` before its store goes: whatever is found in these states
// at start is a leftover of a crash and is removed. Only `ready` ones are served. A replicated one is `formatted` until the
// cluster knows of its store (keeper_step.h).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/types.h"

namespace holdfast::daemon {

enum class EntryState : std::uint8_t { creating, ready, deleting, formatted };

// A store that is one of a group's copies.
struct ReplicaEntry {
  Uuid group{};
  Uuid incarnation{};  // Zeros while it is `creating`.
};

struct RegistryEntry {
  std::string name;
  Uuid uuid{};
  std::string backing;        // Path of the file or device.
  bool is_device = false;
  std::uint64_t size_bytes = 0;
  EntryState state = EntryState::creating;
  std::optional<ReplicaEntry> replica;  // Nothing: a volume of this node alone.
};

class Registry {
 public:
  static constexpr std::uint64_t kFormatVersion = 2;  // 1: without replicas.

  // Reads data_dir/registry.json; a missing one is an empty registry, but not beside stores that somebody made.
  // Errors: version_too_new, corrupt, io errors; each says what to do.
  static Result<Registry> load(const std::string& data_dir);

  const std::vector<RegistryEntry>& entries() const { return entries_; }
  const RegistryEntry* find(const std::string& name) const;
  // Durable when they return; on error nothing has changed.
  Result<void> put(RegistryEntry entry);
  Result<void> remove(const std::string& name);

 private:
  explicit Registry(std::string path) : path_(std::move(path)) {}
  Result<void> replace(std::vector<RegistryEntry> entries);
  std::string path_;
  std::vector<RegistryEntry> entries_;  // Ordered by name.
};

// The text of the file, and back; for tests and fuzzers.
std::string registry_text(const std::vector<RegistryEntry>& entries);
Result<std::vector<RegistryEntry>> parse_registry(std::string_view text);

}  // namespace holdfast::daemon
