// What a replicated volume is to be like, as its operators said: one entry of the coordinator a volume, "volumes/<name>". Each node
// makes its own part so. Who leads, and who has what was acknowledged, is the register's business (engine/register.h), not this one's.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/cluster_directory.h"
#include "base/types.h"

namespace holdfast::coord {

enum class DefinitionState : std::uint8_t {
  creating,  // Until the volume is there and served.
  ready,
  deleting,  // Members take their copies away, and then themselves out of the list; the last one takes this entry away.
};

std::string_view state_name(DefinitionState state);

struct MemberDefinition {
  NodeId node;
  Uuid incarnation{};  // Of the store that this node has made for it; zeros: it is to make one.
  bool offered = false;  // Initiators have found this store's copy at this node once; who makes a volume waits for that.
  friend bool operator==(const MemberDefinition&, const MemberDefinition&) = default;
};

// `to` is a member already; `from` goes once `to` is in sync.
struct Replacement {
  NodeId from, to;
  friend bool operator==(const Replacement&, const Replacement&) = default;
};

struct VolumeDefinition {
  std::string name;
  Uuid group{}, volume{};
  std::uint64_t size_bytes = 0;
  std::uint64_t log_bytes = 0;
  std::string device;             // The block device that is the store, by the same path on each member; empty: files.
  DefinitionState state = DefinitionState::creating;
  NodeId founder;                 // Has the first copy, and writes the register.
  std::uint32_t min_in_sync = 1;  // This and the lease: of the first register; then the register's own count.
  std::uint32_t lease_ms = 600;
  std::vector<MemberDefinition> members;  // By node.
  std::optional<Replacement> replacement;
  std::string trouble;            // Why it cannot be created, in the founder's words; while it is being created.
  friend bool operator==(const VolumeDefinition&, const VolumeDefinition&) = default;

  const MemberDefinition* find(NodeId node) const;
  MemberDefinition* find(NodeId node);
};

inline constexpr std::size_t kDefinedMembersMax = 5;

// "volumes/pg".
std::string volume_key(std::string_view name);

// JSON; the grammar is in docs/formats.md.
std::string encode_definition(const VolumeDefinition& definition);
// Errors: corrupt, version_too_new; the message names the field.
Result<VolumeDefinition> decode_definition(std::string_view name, std::string_view text);

// Errors: exists, timed_out (it may be there all the same), invalid_argument, and those of the coordinator.
Task<Result<void>> create_definition(Coordinator* coordinator, VolumeDefinition definition);

// Reads, changes, swaps; again when somebody else was faster. Errors: not_found, those of the change, timed_out, and those of the coordinator.
using DefinitionChange = std::function<Result<void>(VolumeDefinition&)>;
Task<Result<VolumeDefinition>> change_definition(Coordinator* coordinator, std::string name, DefinitionChange change);

// Errors: not_found, those of the coordinator.
Task<Result<VolumeDefinition>> read_definition(Coordinator* coordinator, std::string name);

struct DefinitionList {
  std::vector<VolumeDefinition> definitions;  // By name.
  std::vector<std::string> unreadable;        // Names; nothing may be concluded about these.
};
Task<Result<DefinitionList>> list_definitions(ClusterDirectory* directory);

// Erases a definition of this group that is `deleting` and has no members any more. One that has gone, or is another's, is fine.
Task<Result<void>> erase_definition(Coordinator* coordinator, ClusterDirectory* directory, std::string name, Uuid group);

// A key that changes with every definition and node record, so that one wait sees all of it.
inline constexpr std::string_view kChangesKey = "changes";
Task<void> note_change(Coordinator* coordinator);

}  // namespace holdfast::coord
