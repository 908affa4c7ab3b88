#include "tools/holdfastd/keeper_step.h"

#include <algorithm>

#include "base/text.h"

namespace holdfast::daemon {
namespace {

using coord::DefinitionState;
using coord::VolumeDefinition;

Step blocked(std::string reason) { return {StepKind::blocked, {}, std::move(reason)}; }
Step step(StepKind kind, NodeId node = {}) { return {kind, node, {}}; }

bool is_leftover(const LocalReplica& local) { return local.store && *local.store != EntryState::ready; }

bool needs_this_copy(NodeId self, const engine::Register* value) {
  return value && (value->is_member(self) || value->find_in_sync(self) || value->primary == self);
}

// A group that runs may become the only one in sync between the look at the register and the end of its store; one that is closed gets
// nothing more, and the register is looked at again before anything goes.
Step close_then_discard(const LocalReplica& local) { return step(local.open ? StepKind::close : StepKind::discard); }

// There is no such volume, or another one has its name by now.
Step without_definition(const LocalReplica& local, std::string_view what) {
  if (!local.store) return step(StepKind::rest);
  if (is_leftover(local)) return step(StepKind::discard);
  if (local.open) return step(StepKind::close);
  return blocked(concat("this node keeps a copy of a volume that ", what,
                        ": it was deleted while this node was away. If nobody needs it, remove it with: holdfast volume delete, asked of this node"));
}

Step when_deleting(NodeId self, const VolumeDefinition& definition, const LocalReplica& local) {
  if (local.store) return step(StepKind::discard);
  if (definition.find(self)) return step(StepKind::leave);
  return step(definition.members.empty() ? StepKind::erase : StepKind::rest);
}

// Who was in sync is known to the register alone. Without it this copy may be the one that has everything.
std::optional<Step> without_register(const VolumeDefinition& definition, const engine::Register* value) {
  if (value || definition.state == DefinitionState::creating) return std::nullopt;
  return blocked(concat("the coordinator has lost the register of volume ", definition.name, ": bring its data back (operators' manual: etcd lost or restored)"));
}

// The operator has taken this node out, or wants its copy made anew.
Step when_unwanted(NodeId self, const VolumeDefinition& definition, const LocalReplica& local, const engine::Register* value) {
  if (is_leftover(local)) return step(StepKind::discard);
  if (auto lost = without_register(definition, value)) return *lost;
  if (!needs_this_copy(self, value)) return close_then_discard(local);
  if (local.primary) return step(StepKind::hand_over);
  if (value->primary == self || (value->in_sync.size() == 1 && value->find_in_sync(self))) return step(local.open ? StepKind::rest : StepKind::open);
  return value->is_member(self) ? step(StepKind::remove_from_register, self) : step(StepKind::rest);
}

// A copy that is to be made anew stays a member; only the store goes, when others have everything.
Step when_renewed(NodeId self, const VolumeDefinition& definition, const LocalReplica& local, const engine::Register* value) {
  if (auto lost = without_register(definition, value)) return *lost;
  if (!value) return close_then_discard(local);
  if (local.primary) return step(StepKind::hand_over);
  const bool alone = value->in_sync.size() == 1 && value->find_in_sync(self);
  if (alone && !local.open) return step(StepKind::open);  // For the others to get what it has.
  if (alone) return blocked("its copy is to be made anew, but it is the only one that is in sync: wait for another one");
  if (value->primary == self) return step(local.open ? StepKind::rest : StepKind::open);
  return close_then_discard(local);
}

Step before_store(const VolumeDefinition& definition, const coord::MemberDefinition& mine) {
  if (mine.incarnation == Uuid{}) return step(StepKind::format);
  return blocked(missing_copy(definition.name, mine.node));
}

// As primary it also sees to the others.
std::optional<Step> lead(const VolumeDefinition& definition, const LocalReplica& local, const engine::Register& value) {
  for (const coord::MemberDefinition& member : definition.members)
    if (member.incarnation != Uuid{} && !value.is_member(member.node)) return step(StepKind::add_to_register, member.node);
  const auto gone = std::ranges::find_if(value.members, [&](NodeId node) { return !definition.find(node); });
  if (gone != value.members.end()) return step(StepKind::remove_from_register, *gone);
  if (!local.has_volume && definition.state == DefinitionState::creating) return step(StepKind::create_volume);
  const std::size_t enough = std::min<std::size_t>(value.min_in_sync, definition.members.size());
  if (local.has_volume && definition.state == DefinitionState::creating && value.in_sync.size() >= enough) return step(StepKind::finish_creation);
  if (definition.replacement && value.find_in_sync(definition.replacement->to)) return step(StepKind::end_replacement);
  return std::nullopt;
}

Step with_store(NodeId self, const VolumeDefinition& definition, const LocalReplica& local, const engine::Register* value) {
  const bool ready = definition.state == DefinitionState::ready;
  if (auto lost = without_register(definition, value)) return *lost;
  if (!value) return step(definition.founder == self ? StepKind::found : StepKind::rest);
  if (!local.open) return step(StepKind::open);
  if (local.primary) {
    if (auto next = lead(definition, local, *value)) return *next;
  }
  if (!local.door && local.has_volume && ready) return step(StepKind::open_door);
  if (local.door && ready && !definition.find(self)->offered) return step(StepKind::offer);
  return step(StepKind::rest);
}

}  // namespace

Step next_step(NodeId self, const VolumeDefinition* definition, const LocalReplica& local, const engine::Register* value) {
  if (!definition) return without_definition(local, "the cluster does not know");
  if (local.store && local.group != definition->group) return without_definition(local, "is not the one that has this name now");
  if (definition->state == DefinitionState::deleting) return when_deleting(self, *definition, local);
  const coord::MemberDefinition* mine = definition->find(self);
  if (!mine) return local.store ? when_unwanted(self, *definition, local, value) : step(StepKind::rest);
  if (!local.store) return before_store(*definition, *mine);
  switch (*local.store) {
    case EntryState::creating:
    case EntryState::deleting: return step(StepKind::discard);
    case EntryState::formatted:
      if (mine->incarnation == Uuid{}) return step(StepKind::publish);
      return step(mine->incarnation == local.incarnation ? StepKind::mark_ready : StepKind::discard);
    case EntryState::ready: break;
  }
  if (mine->incarnation == Uuid{}) return when_renewed(self, *definition, local, value);
  if (mine->incarnation != local.incarnation) {
    return blocked(concat("this node's store of volume ", definition->name, " is another one than the cluster knows: restore the right one, or let it be made anew with: holdfast member renew ",
                          definition->name, " ", self.value));
  }
  return with_store(self, *definition, local, value);
}

std::string missing_copy(std::string_view volume, NodeId self) {
  return concat("this node's copy of volume ", volume, " is missing: is its disk mounted? If the copy is lost, let it be made anew with: holdfast member renew ", volume, " ", self.value);
}

bool ends_creation(StepKind kind, Errc code) {
  if (kind != StepKind::format && kind != StepKind::create_volume) return false;
  switch (code) {
    case Errc::fenced:
    case Errc::closed:
    case Errc::cancelled:
    case Errc::busy:
    case Errc::timed_out:
    case Errc::overloaded: return false;
    default: return true;
  }
}

}  // namespace holdfast::daemon
