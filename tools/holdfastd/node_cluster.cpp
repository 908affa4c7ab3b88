// What an operator does with replicated volumes: changes of definitions, which every node's keeper then follows. Everything runs on the
// control thread.
#include <algorithm>

#include "admin/names.h"
#include "admin/size_text.h"
#include "base/log.h"
#include "base/text.h"
#include "tools/holdfastd/iscsi.h"
#include "tools/holdfastd/node.h"
#include "tools/holdfastd/remote.h"

namespace holdfast::daemon {
namespace {

using coord::DefinitionState;
using coord::VolumeDefinition;

constexpr DurationNs kCreationPatience = milliseconds(60'000);
constexpr DurationNs kDoorsPatience = milliseconds(10'000);  // With members that are away; then it is answered without them.
constexpr DurationNs kUndoPatience = milliseconds(10'000);
constexpr DurationNs kDeletionPatience = milliseconds(60'000);
constexpr DurationNs kLookPause = milliseconds(50);
constexpr unsigned kUsualReplicas = 3;

std::string not_offering(const VolumeDefinition& definition) {
  std::string out;
  for (const coord::MemberDefinition& member : definition.members)
    if (!member.offered) out += concat(out.empty() ? "" : ", ", member.node.value);
  return out;
}

}  // namespace

void Node::start_cluster() {
  keeper_ = std::make_unique<Keeper>(control_.clock(), cluster_->self(), cluster_->coordinator(), cluster_->directory(), *this);
  cluster_->serve();
  keeper_->start();
  scope_.spawn(know_each_other());
  if (config_.iscsi.takeover != TakeoverMode::off) start_takeover();
}

Result<VolumeDefinition> Node::definition_for(const CreateVolume& request) {
  TRY(admin::check_volume_name(request.name));
  TRY(admin::check_volume_size(request.size_bytes));
  if (request.log_bytes != 0) TRY(admin::check_log_size(request.log_bytes));
  if (!request.device.empty()) TRY(admin::check_device_path(request.device));
  if (stopping_) return fail(Errc::closed, "the node is stopping");
  VolumeDefinition out;
  out.name = request.name;
  out.group = random_.next_uuid();
  out.volume = random_.next_uuid();
  out.size_bytes = request.size_bytes;
  out.device = request.device;
  out.log_bytes = request.log_bytes == 0 ? config_.store.log_bytes : request.log_bytes;
  out.lease_ms = static_cast<std::uint32_t>(config_.cluster->lease_ms);
  std::vector<NodeId> nodes;
  for (const std::uint64_t node : request.members) nodes.push_back(NodeId(node));
  const bool chosen = !nodes.empty();
  if (!chosen) {
    nodes.push_back(cluster_->self());
    for (const coord::NodeRecord& node : cluster_->nodes())
      if (node.node != cluster_->self()) nodes.push_back(node.node);
    const std::size_t wanted = request.replicas != 0 ? request.replicas : std::min<std::size_t>(kUsualReplicas, nodes.size());
    if (wanted > nodes.size()) return fail(Errc::invalid_argument, concat("replicas: ", wanted, " copies need as many nodes, and the cluster has ", nodes.size(), ": see holdfast node list"));
    if (wanted > coord::kDefinedMembersMax) return fail(Errc::invalid_argument, concat("replicas: at most ", coord::kDefinedMembersMax, " are possible"));
    nodes.resize(wanted);
  } else if (request.replicas != 0 && request.replicas != nodes.size()) {
    return fail(Errc::invalid_argument, concat("replicas: ", request.replicas, " copies, but ", nodes.size(), " members are named"));
  }
  if (nodes.size() > coord::kDefinedMembersMax) return fail(Errc::invalid_argument, concat("members: at most ", coord::kDefinedMembersMax, " are possible"));
  std::ranges::sort(nodes);
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    if (i > 0 && nodes[i] == nodes[i - 1]) return fail(Errc::invalid_argument, concat("members: node ", nodes[i].value, " is there twice"));
    if (!cluster_->find_node(nodes[i])) return fail(Errc::invalid_argument, concat("members: there is no node ", nodes[i].value, ": see holdfast node list"));
    out.members.push_back({nodes[i], {}});
  }
  out.founder = out.find(cluster_->self()) ? cluster_->self() : nodes.front();
  out.min_in_sync = request.min_in_sync != 0 ? request.min_in_sync : nodes.size() >= 3 ? 2 : 1;
  if (out.min_in_sync > nodes.size()) return fail(Errc::invalid_argument, concat("min_in_sync: ", out.min_in_sync, " of ", nodes.size(), " copies are not possible"));
  return out;
}

Task<Result<VolumeStatus>> Node::define(CreateVolume request) {
  auto definition = definition_for(request);
  if (!definition) co_return fail(std::move(definition).error());
  if (slots_.contains(request.name)) co_return fail(Errc::exists, "name: there is a volume \"" + request.name + "\" already");
  CO_TRY(co_await coord::create_definition(&cluster_->coordinator(), *definition));
  keeper_->wake();
  auto created = co_await until_created(request.name);
  co_return created;
}

// A host that hears of the volume logs in at each member at once, and takes "no such target" for the last word: so it is said when
// each has offered it.
Task<Result<VolumeStatus>> Node::until_created(std::string name) {
  BootNs until = control_.clock().now() + kCreationPatience;
  std::optional<BootNs> doors_until;
  Timer pause(control_.clock());
  std::string trouble;  // Why there will be none; then what there is of it goes.
  while (!stopping_ && control_.clock().now() < until) {
    auto definition = co_await coord::read_definition(&cluster_->coordinator(), name);
    const bool gone = !definition && definition.error().code == Errc::not_found;
    if (gone && !trouble.empty()) break;
    if (gone) co_return fail(Errc::not_found, concat("name: volume ", name, " was deleted while it was being created"));
    const bool ready = definition && definition->state == DefinitionState::ready;
    if (ready && !doors_until) {
      doors_until = control_.clock().now() + kDoorsPatience;
      until = *doors_until + kCreationPatience;
    }
    const std::string missing = ready ? not_offering(*definition) : std::string();
    if (ready && (missing.empty() || control_.clock().now() >= *doors_until)) {
      log_info(concat("volume ", name, " of ", admin::exact_size_text(definition->size_bytes), " is created"));
      Result<VolumeStatus> status = status_elsewhere(*definition);
      if (slots_.contains(name)) {
        auto own = co_await status_of(name);
        status = std::move(own);
      }
      if (status && !missing.empty()) status->reason += concat(status->reason.empty() ? "" : "; ", "hosts do not find it on node ", missing, " yet: see whether holdfastd runs there");
      co_return status;
    }
    if (definition && definition->state == DefinitionState::creating && !definition->trouble.empty()) {
      const coord::DefinitionChange undo = [](VolumeDefinition& d) -> Result<void> {
        if (d.state != DefinitionState::ready) d.state = DefinitionState::deleting;
        return {};
      };
      auto undone = co_await coord::change_definition(&cluster_->coordinator(), name, undo);
      if (undone) {
        trouble = definition->trouble;
        until = std::min(until, control_.clock().now() + kUndoPatience);
      }
      keeper_->wake();
    }
    co_await pause.after(kLookPause);
  }
  if (!trouble.empty()) co_return fail(Errc::no_space, "volume " + name + " was not created: " + trouble);
  const std::string why = keeper_->trouble(name);
  co_return fail(Errc::timed_out, concat("volume ", name, " is not there yet, and goes on being created: see holdfast status", why.empty() ? "" : " (", why, why.empty() ? "" : ")"));
}

Task<Result<void>> Node::undefine(std::string name, bool force) {
  if (stopping_) co_return fail(Errc::closed, "the node is stopping");
  auto known = co_await coord::read_definition(&cluster_->coordinator(), name);
  if (!known && known.error().code == Errc::not_found && slots_.contains(name)) {
    auto gone = co_await discard(name);  // What is left of a volume that was deleted while this node was away.
    co_return gone;
  }
  if (!known) co_return fail(std::move(known).error());
  const auto status = co_await status_of(name);
  if (status && status->sessions > 0 && !force) {
    const std::string count = status->sessions == 1 ? "a session is" : std::to_string(status->sessions) + " sessions are";
    co_return fail(Errc::busy, "name: " + count + " attached to volume " + name + ": log out on the hosts, or force");
  }
  const coord::DefinitionChange doom = [group = known->group](VolumeDefinition& d) -> Result<void> {
    if (d.group != group) return fail(Errc::not_found, "name: another volume has this name now");
    d.state = DefinitionState::deleting;
    return {};
  };
  auto doomed = co_await coord::change_definition(&cluster_->coordinator(), name, doom);
  if (!doomed) co_return fail(std::move(doomed).error());
  keeper_->wake();
  const BootNs until = control_.clock().now() + kDeletionPatience;
  Timer pause(control_.clock());
  std::string left;
  while (!stopping_ && control_.clock().now() < until) {
    auto definition = co_await coord::read_definition(&cluster_->coordinator(), name);
    const bool gone = definition ? definition->group != known->group : definition.error().code == Errc::not_found;
    if (gone) {
      log_info("volume " + name + " is deleted");
      co_return Result<void>{};
    }
    left.clear();
    if (definition)
      for (const coord::MemberDefinition& member : definition->members) left += concat(left.empty() ? "" : ", ", member.node.value);
    co_await pause.after(kLookPause);
  }
  co_return fail(Errc::timed_out, concat("volume ", name, " is being deleted, and still has copies on nodes ", left, ": they remove them when they are reached; holdfast member remove gives up on one that is gone for good"));
}

}  // namespace holdfast::daemon
