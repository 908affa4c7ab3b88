// What a node does next so that its part of a replicated volume becomes what the definition says: a pure function of what is wanted
// and what is there. Each step is one durable change, so that a node that was killed between two of them goes on where it was:
//
//   nothing -> format -> publish -> mark_ready -> [found] -> open -> [create_volume] -> [finish_creation] -> open_door -> offer
//   any of these -> discard (the door, the group, the store, the registry) -> leave -> [erase]
//
// A store of which the cluster knows is discarded only when the register needs it no more.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "coord/volume_definition.h"
#include "engine/register.h"
#include "tools/holdfastd/registry.h"

namespace holdfast::daemon {

// What this node has of the volume.
struct LocalReplica {
  std::optional<EntryState> store;  // As the registry has it; nothing: none.
  Uuid group{}, incarnation{};      // Of the store; the incarnation from `formatted` on.
  bool open = false;                // Its group runs.
  bool primary = false;             // And serves.
  bool has_volume = false;          // The volume is in its catalogue.
  bool door = false;                // Initiators find it.
};

enum class StepKind : std::uint8_t {
  rest,               // All is as it should be, or somebody else's turn.
  look,               // What is there could not be seen.
  blocked,            // An operator has to do something; `reason` says what.
  format,             // Make an empty store; the registry says `formatted` then.
  publish,            // Enter the store's incarnation into the definition.
  mark_ready,         // The registry says that the cluster knows of the store.
  found,              // Write the first register: this copy is the one in sync.
  open,               // Open the group: it follows, or leads.
  create_volume,      // As primary.
  finish_creation,    // The definition is `ready`.
  open_door,
  offer,              // The definition says that the door has been open.
  add_to_register,    // `node`.
  remove_from_register,
  end_replacement,    // `to` is in sync: `from` is no member any more.
  hand_over,          // This copy leads and is to go.
  close,              // The door and the group; the store stays.
  discard,            // Everything that is here.
  leave,              // Take this node out of the definition.
  erase,              // Nobody has a copy any more: register and definition go.
};

struct Step {
  StepKind kind = StepKind::rest;
  NodeId node;         // Whom it is about.
  std::string reason;  // For people; of `blocked`.
};

// definition: null: there is none. value: the group's register as last read; null: there is none. What could not be read is no reason to
// ask: then nothing is done.
Step next_step(NodeId self, const coord::VolumeDefinition* definition, const LocalReplica& local, const engine::Register* value);

// What operators are told when the store is not where it should be.
std::string missing_copy(std::string_view volume, NodeId self);

// Does this failure of a step of the founder's mean that there will be no volume? What passes by itself does not.
bool ends_creation(StepKind kind, Errc code);

}  // namespace holdfast::daemon
