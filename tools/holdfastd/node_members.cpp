// The cluster as operators see it and change it: nodes, members, who leads. Everything runs on the control thread.
#include <algorithm>

#include "admin/names.h"
#include "base/log.h"
#include "base/text.h"
#include "engine/operator_changes.h"
#include "tools/holdfastd/iscsi.h"
#include "tools/holdfastd/node.h"
#include "tools/holdfastd/remote.h"

namespace holdfast::daemon {
namespace {

using coord::DefinitionState;
using coord::MemberDefinition;
using coord::VolumeDefinition;

constexpr DurationNs kSwitchPatience = milliseconds(5'000);
constexpr DurationNs kForcedPatience = milliseconds(20'000);
constexpr DurationNs kSwitchPause = milliseconds(5);

template <class T>
Task<void> answer_when_done(Task<Result<T>> task, NodeControl::Done<T> done) {
  Result<T> result = co_await std::move(task);
  done(std::move(result));
}

std::unexpected<Error> no_node(NodeId node, std::string_view field) {
  return fail(Errc::invalid_argument, concat(field, ": there is no node ", node.value, ": see holdfast node list"));
}

Result<void> not_a_member(const VolumeDefinition& definition, NodeId node) {
  if (definition.find(node)) return {};
  return fail(Errc::not_found, concat("node: node ", node.value, " has no copy of volume ", definition.name));
}

void insert_member(VolumeDefinition& definition, NodeId node) {
  const auto at = std::ranges::upper_bound(definition.members, node, {}, &MemberDefinition::node);
  definition.members.insert(at, MemberDefinition{node, {}});
}

// The change itself; everything that can be said against it from the definition alone.
Result<void> apply_change(VolumeDefinition& definition, const MemberChange& change) {
  const NodeId node(change.node), to(change.replacement);
  if (definition.state == DefinitionState::deleting && change.kind != MemberChange::Kind::remove)
    return fail(Errc::busy, concat("name: volume ", definition.name, " is being deleted"));
  switch (change.kind) {
    case MemberChange::Kind::add:
      if (definition.find(node)) return fail(Errc::exists, concat("node: node ", node.value, " has a copy already"));
      if (definition.members.size() >= coord::kDefinedMembersMax) return fail(Errc::invalid_argument, concat("node: at most ", coord::kDefinedMembersMax, " copies are possible"));
      insert_member(definition, node);
      return {};
    case MemberChange::Kind::remove:
      TRY(not_a_member(definition, node));
      std::erase_if(definition.members, [&](const MemberDefinition& m) { return m.node == node; });
      if (definition.replacement && (definition.replacement->from == node || definition.replacement->to == node)) definition.replacement.reset();
      return {};
    case MemberChange::Kind::replace:
      TRY(not_a_member(definition, node));
      if (definition.replacement) return fail(Errc::busy, concat("node: node ", definition.replacement->from.value, " is being replaced just now"));
      if (definition.find(to)) return fail(Errc::exists, concat("replacement: node ", to.value, " has a copy already"));
      if (definition.members.size() >= coord::kDefinedMembersMax) return fail(Errc::invalid_argument, "replacement: there is no room for one more copy meanwhile: remove one first");
      insert_member(definition, to);
      definition.replacement = coord::Replacement{node, to};
      return {};
    case MemberChange::Kind::renew:
      TRY(not_a_member(definition, node));
      *definition.find(node) = {node, Uuid{}};
      return {};
  }
  return {};
}

}  // namespace

template <class T>
void Node::in_cluster(std::move_only_function<Task<Result<T>>()> flow, Done<T> done) {
  control_.post_remote([this, flow = std::move(flow), done = std::move(done)]() mutable {
    if (!cluster_) return done(by_itself());
    if (stopping_) return done(fail(Errc::closed, "the node is stopping"));
    scope_.spawn(answer_when_done<T>(flow(), std::move(done)));
  });
}

void Node::cluster(Done<ClusterStatus> done) {
  in_cluster<ClusterStatus>([this] { return show_cluster(); }, std::move(done));
}
void Node::set_up_cluster(Done<std::string> done) {
  in_cluster<std::string>([this] { return begin_cluster(); }, std::move(done));
}
void Node::take_over_etcd(Done<std::string> done) {
  in_cluster<std::string>([this] { return adopt_etcd(); }, std::move(done));
}
void Node::change_member(MemberChange change, Done<void> done) {
  in_cluster<void>([this, change = std::move(change)] { return carry_out(change); }, std::move(done));
}
void Node::switch_over(Switchover order, Done<void> done) {
  in_cluster<void>([this, order = std::move(order)] { return lead_elsewhere(order); }, std::move(done));
}
void Node::fail_over(ForcedFailOver order, Done<void> done) {
  in_cluster<void>([this, order = std::move(order)] { return lead_here(order); }, std::move(done));
}
void Node::drain(Done<std::vector<std::string>> done) {
  in_cluster<std::vector<std::string>>([this] { return hand_over_all(); }, std::move(done));
}
void Node::set_volume(VolumeSettings settings, Done<void> done) {
  in_cluster<void>([this, settings = std::move(settings)] { return change_settings(settings); }, std::move(done));
}

ClusterStatus Node::cluster_status() const {
  ClusterStatus out;
  out.name = cluster_->config().name;
  out.id = cluster_->id();
  out.node = cluster_->self().value;
  out.trouble = keeper_ && !keeper_->coordinator_trouble().empty() ? keeper_->coordinator_trouble() : cluster_trouble_;
  for (const coord::NodeRecord& node : cluster_->nodes())
    out.nodes.push_back({node.node.value, node.name, node.links, node.portals, node.admin, node.node == cluster_->self()});
  return out;
}

Task<Result<ClusterStatus>> Node::show_cluster() { co_return cluster_status(); }

Task<Result<std::string>> Node::begin_cluster() {
  auto done = co_await cluster_->set_up(random_.next_uuid());
  if (done) log_info("the cluster is set up: " + *done);
  cluster_pause_.cancel();
  keeper_->wake();
  co_return done;
}

Task<Result<std::string>> Node::adopt_etcd() {
  auto done = co_await cluster_->take_over();
  keeper_->wake();
  co_return done;
}

Task<Result<void>> Node::carry_out(MemberChange change) {
  const NodeId node(change.node), to(change.replacement);
  if (change.kind == MemberChange::Kind::add && !cluster_->find_node(node)) co_return no_node(node, "node");
  if (change.kind == MemberChange::Kind::replace && !cluster_->find_node(to)) co_return no_node(to, "replacement");
  auto known = co_await coord::read_definition(&cluster_->coordinator(), change.volume);
  if (!known) co_return fail(std::move(known).error());
  const bool destroys = change.kind == MemberChange::Kind::remove || change.kind == MemberChange::Kind::renew;
  const coord::MemberDefinition* decided = known->find(node);
  const Uuid copy = decided ? decided->incarnation : Uuid{};
  CO_TRY(apply_change(*known, change));
  if (destroys) CO_TRY(co_await may_remove(*known, node));
  const coord::DefinitionChange how = [&change, destroys, node, copy, group = known->group](VolumeDefinition& d) -> Result<void> {
    if (d.group != group) return fail(Errc::not_found, "name: another volume has this name now");
    // Tried again when its outcome is unknown: by then the node may have another copy, which nobody asked to go.
    const coord::MemberDefinition* there = d.find(node);
    if (destroys && there && copy != Uuid{} && there->incarnation != copy) return fail(Errc::busy, concat("node: the copy of node ", node.value, " was changed meanwhile: look at it, and ask again"));
    return apply_change(d, change);
  };
  auto done = co_await coord::change_definition(&cluster_->coordinator(), change.volume, how);
  if (!done) co_return fail(std::move(done).error());
  keeper_->wake();
  co_return Result<void>{};
}

// The register knows what the others would be left with.
Task<Result<void>> Node::may_remove(VolumeDefinition definition, NodeId node) {
  if (definition.state == DefinitionState::deleting) co_return Result<void>{};
  auto entry = co_await cluster_->coordinator().get(engine::register_key(definition.group));
  if (!entry) co_return fail(std::move(entry).error());
  if (entry->revision == 0) co_return Result<void>{};
  auto value = engine::decode_register(entry->value);
  if (!value) co_return fail(std::move(value).error());
  if (!value->is_member(node)) co_return Result<void>{};
  if (value->primary == node) value->primary = NodeId();  // Its keeper hands over first.
  Result<void> possible = engine::remove_member(*value, node);
  co_return possible;
}

// What the copy itself cannot know: the definition, and what is in the keeper's way.
void Node::add_troubles(VolumeStatus& status) const {
  if (!keeper_) return;
  const auto known = keeper_->definitions().find(status.name);
  if (known != keeper_->definitions().end()) status.replication->state = coord::state_name(known->second.state);
  std::string trouble = keeper_->trouble(status.name);
  if (trouble.empty() && !keeper_->coordinator_trouble().empty())
    trouble = "the coordinator is not read (" + keeper_->coordinator_trouble() + "): whatever is well goes on, and nobody can take over";
  if (trouble.empty() || status.reason.find(trouble) != std::string::npos) return;
  status.reason.append(status.reason.empty() ? "" : "; ").append(trouble);
  if (status.health == VolumeHealth::serving || status.health == VolumeHealth::standby) status.health = VolumeHealth::degraded;
}

// Of a volume of which this node has no copy, be it that it should have one.
VolumeStatus Node::status_elsewhere(const VolumeDefinition& definition) const {
  VolumeStatus out;
  out.name = definition.name;
  out.uuid = definition.volume;
  out.size_bytes = definition.size_bytes;
  out.log_bytes = definition.log_bytes;
  const bool is_member = definition.find(cluster_->self()) != nullptr;
  out.health = is_member ? VolumeHealth::failed : VolumeHealth::standby;
  if (!is_member) out.reason = "this node has no copy of it";
  out.replication = ReplicationStatus{};
  out.replication->min_in_sync = definition.min_in_sync;
  out.replication->lease_ms = definition.lease_ms;
  for (const coord::MemberDefinition& member : definition.members) {
    ReplicationStatus::Member one;
    one.node = member.node.value;
    out.replication->members.push_back(one);
  }
  out.replication->state = coord::state_name(definition.state);
  if (is_member) add_troubles(out);
  if (out.reason.empty()) out.reason = "this node's copy is not made yet";
  return out;
}

std::string Node::where_is(NodeId node) const {
  const coord::NodeRecord* record = cluster_->find_node(node);
  return record && !record->admin.empty() ? concat(", at http://", record->admin) : std::string();
}

Task<Result<void>> Node::lead_elsewhere(Switchover order) {
  const auto found = slots_.find(order.volume);
  if (found == slots_.end() || !found->second.volume || !found->second.entry.replica)
    co_return fail(Errc::not_found, concat("name: this node has no open copy of a volume \"", admin::printable(order.volume), "\""));
  const NodeId candidate(order.candidate);
  auto look = co_await this->look(order.volume);
  if (!look.replica.primary) {
    const NodeId leads = look.view ? look.view->primary : NodeId();
    if (leads == cluster_->self() || leads == NodeId()) co_return fail(Errc::fenced, "name: nobody serves this volume just now");
    co_return fail(Errc::busy, concat("name: node ", leads.value, " leads this volume: ask it", where_is(leads)));
  }
  if (candidate == cluster_->self()) co_return Result<void>{};
  const auto again = slots_.find(order.volume);
  if (again == slots_.end() || !again->second.volume) co_return fail(Errc::closed, "name: the volume is being closed");
  auto handing = run_in<Result<void>>(control_, again->second.thread->scope(),
                                      [volume = again->second.volume.get(), candidate] { return volume->hand_over(candidate); });
  Result<void> done = co_await handing;
  if (!done) co_return done;
  const BootNs until = control_.clock().now() + kSwitchPatience;
  Timer pause(control_.clock());
  while (!stopping_ && control_.clock().now() < until) {
    auto now = co_await this->look(order.volume);
    if (now.view && now.view->primary != cluster_->self()) co_return Result<void>{};
    co_await pause.after(kSwitchPause);
  }
  co_return fail(Errc::timed_out, "candidate: it was let lead, and has not claimed yet: see holdfast status");
}

Task<Result<void>> Node::lead_here(ForcedFailOver order) {
  const auto found = slots_.find(order.volume);
  if (found == slots_.end() || !found->second.entry.replica || found->second.entry.state != EntryState::ready)
    co_return fail(Errc::not_found, concat("name: this node has no copy of a volume \"", admin::printable(order.volume), "\""));
  if (order.candidate != 0 && NodeId(order.candidate) != cluster_->self())
    co_return fail(Errc::invalid_argument, concat("candidate: ask the node that is to lead", where_is(NodeId(order.candidate))));
  const engine::ForcedFailOver forced{{cluster_->self(), found->second.entry.replica->incarnation}, order.others_are_fenced, order.accepts_data_loss, random_.next_u64()};
  const engine::RegisterChange how = [&forced](engine::Register& value) { return engine::force_fail_over(value, forced); };
  auto done = co_await engine::change_register(&cluster_->coordinator(), found->second.entry.replica->group, how);
  if (!done) co_return fail(std::move(done).error());
  log_warning(concat("volume ", order.volume, ": an operator has this copy lead with what it has"));
  const BootNs until = control_.clock().now() + kForcedPatience;
  Timer pause(control_.clock());
  while (!stopping_ && control_.clock().now() < until) {
    auto now = co_await this->look(order.volume);
    // It may have led before: then it serves for a moment longer, in an epoch that is over.
    if (now.replica.primary && now.view && now.view->epoch > done->epoch) co_return Result<void>{};
    co_await pause.after(kSwitchPause);
  }
  co_return fail(Errc::timed_out, "this copy is to lead, and does not serve yet: see holdfast status");
}

Task<Result<std::vector<std::string>>> Node::hand_over_all() {
  std::vector<std::string> handed;
  std::string troubles;
  for (const std::string& name : kept()) {
    auto look = co_await this->look(name);
    if (!look.replica.primary) continue;
    Switchover order{name, 0};  // Named: GCC 12 destroys such a temporary twice.
    auto done = co_await lead_elsewhere(std::move(order));
    if (done) handed.push_back(name);
    else troubles += concat(troubles.empty() ? "" : "; ", name, ": ", done.error().text());
  }
  if (!troubles.empty()) co_return fail(Errc::busy, "these volumes stay here: " + troubles);
  co_return handed;
}

Task<Result<void>> Node::change_settings(VolumeSettings settings) {
  auto known = co_await coord::read_definition(&cluster_->coordinator(), settings.volume);
  if (!known) co_return fail(std::move(known).error());
  const engine::RegisterChange how = [&settings](engine::Register& value) -> Result<void> {
    if (settings.min_in_sync) TRY(engine::set_min_in_sync(value, *settings.min_in_sync));
    if (settings.lease_ms) TRY(engine::set_lease(value, *settings.lease_ms));
    return {};
  };
  auto done = co_await engine::change_register(&cluster_->coordinator(), known->group, how);
  if (!done) co_return fail(std::move(done).error());
  co_return Result<void>{};
}

}  // namespace holdfast::daemon
