// What the keeper has done on this node: stores are made and removed, groups opened and closed. On the control thread; each volume's own
// work happens on its thread. Nobody else changes the slots of copies.
#include <algorithm>

#include "admin/names.h"
#include "base/log.h"
#include "base/text.h"
#include "io/store_file.h"
#include "tools/holdfastd/iscsi.h"
#include "tools/holdfastd/node.h"
#include "tools/holdfastd/remote.h"

namespace holdfast::daemon {

std::vector<std::string> Node::kept() const {
  std::vector<std::string> out;
  for (const RegistryEntry& entry : registry_.entries())
    if (entry.replica) out.push_back(entry.name);
  return out;
}

Task<KeeperHost::Look> Node::look(std::string name) {
  Look out;
  const auto found = slots_.find(name);
  if (found == slots_.end() || !found->second.entry.replica) co_return out;
  const Slot& slot = found->second;
  out.replica.store = slot.entry.state;
  out.replica.group = slot.entry.replica->group;
  out.replica.incarnation = slot.entry.replica->incarnation;
  if (!slot.volume) co_return out;
  Remote<Look> asking(control_, slot.thread->reactor(), [volume = slot.volume.get(), out](Remote<Look>::Reply reply) mutable {
    const ReplicaStatus status = volume->group().replica_status();
    out.replica.open = true;
    out.replica.primary = status.serving;
    out.replica.has_volume = volume->has_volume();
    out.replica.door = volume->has_door();
    if (status.view_revision > 0) out.view = status.view;
    reply(std::move(out));
  });
  Look answer = co_await asking;
  co_return answer;
}

Task<Result<void>> Node::format(coord::VolumeDefinition definition) {
  const std::string name = definition.name;
  const auto on_this_node = [this](const Error& error) { return fail(error.code, concat("node ", cluster_->self().value, ": ", error.text())); };
  if (slots_.contains(name)) co_return fail(Errc::exists, concat("node ", cluster_->self().value, " has a volume ", name, " of its own"));
  const bool is_device = !definition.device.empty();
  if (is_device) {
    // Before the registry knows of it: what it says is half made is erased.
    if (auto fine = check_device(definition.device); !fine) co_return on_this_node(fine.error());
    ReactorThread* thread = least_loaded();
    auto looking = run_in<Result<void>>(control_, thread->scope(), [thread, device = definition.device] { return HostedVolume::check_unused(thread, device); });
    const Result<void> unused = co_await looking;
    if (!unused) co_return on_this_node(unused.error());
  }
  Slot& slot = slots_[name];
  slot.entry.name = name;
  slot.entry.uuid = definition.volume;
  slot.entry.size_bytes = definition.size_bytes;
  slot.entry.is_device = is_device;
  slot.entry.backing = is_device ? definition.device : directory_.store_path(name);
  slot.entry.replica = ReplicaEntry{definition.group, {}};
  slot.thread = least_loaded();
  slot.busy = true;
  auto formatted = co_await format_store(name, definition.log_bytes);
  slot.busy = false;
  if (formatted) co_return formatted;
  // Whatever is left goes; should that fail, the registry says `creating`, and the next step is to discard it.
  auto gone = co_await discard(name);
  if (!gone) log_error(concat("the remains of volume ", name, " stay for now: ", gone.error().text()));
  co_return on_this_node(formatted.error());
}

Task<Result<void>> Node::format_store(std::string name, std::uint64_t log_bytes) {
  Slot& slot = slots_.at(name);
  slot.entry.state = EntryState::creating;
  CO_TRY(registry_.put(slot.entry));
  if (!slot.entry.is_device) CO_TRY(io::create_store_file(slot.entry.backing, round_up(2 * kChunkBytes + log_bytes, kChunkBytes)));
  FormatOptions format;
  format.log_bytes = log_bytes;
  ReactorThread* thread = slot.thread;
  auto formatting = run_in<Result<Uuid>>(control_, thread->scope(), [thread, spec = spec_of(slot.entry), format, options = host_options()] {
    return HostedVolume::format_replica(thread, spec, options, format);
  });
  Result<Uuid> incarnation = co_await formatting;
  if (!incarnation) co_return fail(incarnation.error());
  RegistryEntry made = slot.entry;
  made.state = EntryState::formatted;
  made.replica->incarnation = *incarnation;
  CO_TRY(registry_.put(made));
  slot.entry = made;
  log_info("an empty copy of volume " + name + " is made at " + made.backing);
  co_return Result<void>{};
}

Result<void> Node::mark_ready(const std::string& name) {
  Slot& slot = slots_.at(name);
  RegistryEntry ready = slot.entry;
  ready.state = EntryState::ready;
  TRY(registry_.put(ready));
  slot.entry = ready;
  return {};
}

Task<Result<void>> Node::open(std::string name) {
  Slot& slot = slots_.at(name);
  ReactorThread* thread = slot.thread;
  auto opening = run_in<HostedVolume::Opened>(control_, thread->scope(), [thread, spec = spec_of(slot.entry), options = host_options()] {
    return HostedVolume::open_replica(thread, spec, options);
  });
  HostedVolume::Opened opened = co_await opening;
  if (!opened && opened.error().code == Errc::not_found) opened = fail(Errc::not_found, concat(missing_copy(name, cluster_->self()), " (", opened.error().message, ")"));
  slot.failure = opened ? "" : opened.error().text();
  if (!opened) co_return fail(opened.error());
  slot.volume = std::move(*opened);
  cluster_->put_group(slot.entry.replica->group, *thread);
  log_info(concat("this node's copy of volume ", name, " is open"));
  co_return Result<void>{};
}

Task<Result<void>> Node::create_volume(coord::VolumeDefinition definition) {
  Slot& slot = slots_.at(definition.name);
  auto making = run_in<Result<void>>(control_, slot.thread->scope(), [volume = slot.volume.get()] { return volume->create_volume(); });
  Result<void> made = co_await making;
  if (!made && made.error().code == Errc::exists) made = {};
  co_return made;
}

Task<Result<void>> Node::open_door(coord::VolumeDefinition definition) {
  Slot& slot = slots_.at(definition.name);
  DoorOptions options = door_options(definition.name);
  options.portals = portals_of(definition);
  auto opening = run_in<Result<void>>(control_, slot.thread->scope(), [volume = slot.volume.get(), options] { return volume->open_door(options); });
  Result<void> opened = co_await opening;
  show_access(definition.name);
  if (opened) log_info(concat("volume ", definition.name, " is offered to initiators"));
  co_return opened;
}

// Every member's portals, this node's first.
std::vector<scsi::PortalAddress> Node::portals_of(const coord::VolumeDefinition& definition) const {
  std::vector<scsi::PortalAddress> out = board_->addresses;
  for (const coord::MemberDefinition& member : definition.members) {
    const coord::NodeRecord* node = member.node == cluster_->self() ? nullptr : cluster_->find_node(member.node);
    if (!node) continue;
    for (const std::string& portal : node->portals) out.push_back({portal, static_cast<std::uint16_t>(member.node.value)});
  }
  return out;
}

Task<Result<void>> Node::hand_over(std::string name) {
  Slot& slot = slots_.at(name);
  auto handing = run_in<Result<void>>(control_, slot.thread->scope(), [volume = slot.volume.get()] { return volume->hand_over(NodeId()); });
  Result<void> done = co_await handing;
  co_return done;
}

Task<Result<void>> Node::close(std::string name) {
  Slot& slot = slots_.at(name);
  // New connections of other nodes would come to a group that goes.
  if (slot.entry.replica) cluster_->remove_group(slot.entry.replica->group);
  slot.busy = true;
  co_await close_volume(name, DoorClosing::stopping);
  slot.busy = false;
  co_return Result<void>{};
}

Task<Result<void>> Node::discard(std::string name) {
  Slot& slot = slots_.at(name);
  RegistryEntry doomed = slot.entry;
  doomed.state = EntryState::deleting;
  CO_TRY(registry_.put(doomed));
  slot.entry = doomed;
  slot.busy = true;
  cluster_->remove_group(slot.entry.replica->group);
  co_await close_volume(name, DoorClosing::deleted);
  const Result<void> gone = co_await discard_backing(name);
  if (gone) {
    slots_.erase(name);
    log_info(concat("this node's copy of volume ", name, " is removed"));
    co_return gone;
  }
  slots_.at(name).busy = false;
  slots_.at(name).failure = "its store cannot be removed: " + gone.error().text();
  co_return gone;
}

// The node's own record, and what the others' say, now and again.
Task<void> Node::know_each_other() {
  std::string told;
  while (!stopping_) {
    Result<void> done = co_await cluster_->announce(own_record());
    if (done) {
      auto learned = co_await cluster_->learn_nodes();
      done = std::move(learned);
    }
    if (done) show_portals();
    cluster_trouble_ = done ? "" : done.error().text();
    if (cluster_trouble_ != told && !cluster_trouble_.empty()) log_warning("cluster: " + cluster_trouble_);
    told = cluster_trouble_;
    // Somebody may have started just now; later changes are rare.
    const bool alone = cluster_->nodes().size() < 2;
    if (!stopping_) co_await cluster_pause_.after(milliseconds(alone || !done ? 500 : 2'000));
  }
}

// Who has come, or listens elsewhere now, is announced by every target.
void Node::show_portals() {
  for (const auto& [name, definition] : keeper_->definitions()) {
    if (definition.find(cluster_->self())) board_->table().set_portals(std::string(scsi::kTargetNamePrefix) + name, portals_of(definition));
  }
}

coord::NodeRecord Node::own_record() const {
  coord::NodeRecord out;
  out.node = cluster_->self();
  out.name = config_.node.name;
  out.links = cluster_->link_addresses();
  for (const scsi::PortalAddress& portal : board_->addresses) out.portals.push_back(portal.address);
  Address admin = config_.cluster->admin;
  if (admin.host.empty()) admin = config_.admin.listen;
  if (admin.port == 0) admin.port = admin_port_;
  if (admin.port != 0 && !admin.is_any()) out.admin = admin.text();
  return out;
}

}  // namespace holdfast::daemon
