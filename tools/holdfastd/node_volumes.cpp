// What an operator does with the volumes of a running node. Everything runs on the control thread; slots are looked up again
// after every wait, and `busy` keeps two operations on one volume apart.
#include <sys/stat.h>

#include "admin/names.h"
#include "admin/size_text.h"
#include "base/log.h"
#include "io/store_file.h"
#include "tools/holdfastd/iscsi.h"
#include "tools/holdfastd/node.h"
#include "tools/holdfastd/remote.h"

namespace holdfast::daemon {
namespace {

template <class T>
Task<void> reply_with(Task<Result<T>> task, NodeControl::Done<T> done) {
  Result<T> result = co_await std::move(task);
  done(std::move(result));
}

std::unexpected<Error> no_such_volume(const std::string& name) {
  return fail(Errc::not_found, "name: there is no volume \"" + admin::printable(name) + "\"");
}

// What a failure to make the store means for the request.
std::unexpected<Error> store_error(const Error& error, const RegistryEntry& entry, std::uint64_t log_bytes) {
  if (entry.is_device) return fail(error.code, "device: " + error.text());
  if (error.code == Errc::no_space) {
    return fail(error.code, "log_size: " + entry.backing + " has no room for a log of " + admin::exact_size_text(log_bytes) +
                                "; free some space or choose a smaller log");
  }
  return fail(error.code, "cannot make the store " + entry.backing + ": " + error.text());
}

}  // namespace

void Node::create_volume(CreateVolume request, Done<VolumeStatus> done) {
  control_.post_remote([this, request = std::move(request), done = std::move(done)]() mutable {
    scope_.spawn(reply_with(cluster_ ? define(std::move(request)) : create(std::move(request)), std::move(done)));
  });
}

void Node::delete_volume(std::string name, bool force, Done<void> done) {
  control_.post_remote([this, name = std::move(name), force, done = std::move(done)]() mutable {
    scope_.spawn(reply_with(destroy(std::move(name), force), std::move(done)));
  });
}

void Node::volume_status(std::string name, Done<VolumeStatus> done) {
  control_.post_remote([this, name = std::move(name), done = std::move(done)]() mutable {
    scope_.spawn(reply_with(status_of(std::move(name)), std::move(done)));
  });
}

void Node::status(Done<NodeStatus> done) {
  control_.post_remote([this, done = std::move(done)]() mutable { scope_.spawn(reply_with(status_of_node(), std::move(done))); });
}

Result<RegistryEntry> Node::entry_for(const CreateVolume& request) {
  if (request.replicas > 1 || !request.members.empty() || request.min_in_sync > 1) return by_itself();
  TRY(admin::check_volume_name(request.name));
  TRY(admin::check_volume_size(request.size_bytes));
  if (request.log_bytes != 0) TRY(admin::check_log_size(request.log_bytes));
  if (stopping_) return fail(Errc::closed, "the node is stopping");
  if (slots_.contains(request.name)) return fail(Errc::exists, "name: there is a volume \"" + request.name + "\" already");
  RegistryEntry entry;
  entry.name = request.name;
  entry.uuid = random_.next_uuid();
  entry.size_bytes = request.size_bytes;
  entry.is_device = !request.device.empty();
  entry.backing = entry.is_device ? request.device : directory_.store_path(request.name);
  if (!entry.is_device) return entry;
  TRY(check_device(request.device));
  return entry;
}

Result<void> Node::check_device(const std::string& device) const {
  TRY(admin::check_device_path(device));
  struct stat about{};
  const std::string shown = "device: " + admin::printable(device);
  if (::stat(device.c_str(), &about) != 0) return fail(Errc::invalid_argument, shown + " does not exist");
  if (!S_ISBLK(about.st_mode)) return fail(Errc::invalid_argument, shown + " is not a block device");
  for (const auto& [name, slot] : slots_) {
    if (slot.entry.backing == device) return fail(Errc::exists, shown + " is the store of volume " + name);
  }
  return {};
}

Task<Result<VolumeStatus>> Node::create(CreateVolume request) {
  auto entry = entry_for(request);
  if (!entry) co_return fail(std::move(entry).error());
  const std::string name = entry->name;
  Slot& slot = slots_[name];
  slot.entry = std::move(*entry);
  slot.thread = nullptr;
  slot.thread = least_loaded();
  slot.busy = true;
  const std::uint64_t log_bytes = request.log_bytes == 0 ? config_.store.log_bytes : request.log_bytes;
  auto built = co_await build(name, log_bytes);
  if (!built) {
    log_warning("volume " + name + " was not created: " + built.error().text());
    slots_.erase(name);
    co_return fail(std::move(built).error());
  }
  slots_.at(name).busy = false;
  log_info("volume " + name + " of " + admin::exact_size_text(request.size_bytes) + " is created and served");
  auto status = co_await status_of(name);
  co_return status;
}

// On error nothing is left behind.
Task<Result<void>> Node::build(std::string name, std::uint64_t log_bytes) {
  Slot& slot = slots_.at(name);  // It stays: it is busy.
  CO_TRY(registry_.put(slot.entry));
  Result<void> made = co_await make_store(name, log_bytes);
  if (made) {
    slot.entry.state = EntryState::ready;
    made = registry_.put(slot.entry);
  }
  if (made) {
    co_await open_door(name);
    co_return made;
  }
  co_await close_volume(name, DoorClosing::deleted);
  Result<void> gone;
  if (made.error().code == Errc::exists) {  // The store was there before: it is not ours to remove.
    gone = registry_.remove(name);
  } else {
    gone = co_await discard_backing(name);
  }
  if (!gone) log_error("the remains of volume " + name + " stay until the next start: " + gone.error().text());
  co_return made;
}

Task<Result<void>> Node::make_store(std::string name, std::uint64_t log_bytes) {
  Slot& slot = slots_.at(name);
  if (!slot.entry.is_device) {
    const std::uint64_t first_bytes = round_up(2 * kChunkBytes + log_bytes, kChunkBytes);
    const auto file = io::create_store_file(slot.entry.backing, first_bytes);
    if (!file) co_return store_error(file.error(), slot.entry, log_bytes);
  }
  ReactorThread* thread = slot.thread;
  const VolumeSpec spec = spec_of(slot.entry);
  FormatOptions format;
  format.log_bytes = log_bytes;
  auto making = run_in<HostedVolume::Opened>(
      control_, thread->scope(),
      [thread, spec, format, options = host_options()] { return HostedVolume::create(thread, spec, options, format); });
  HostedVolume::Opened opened = co_await making;
  if (!opened) co_return store_error(opened.error(), slot.entry, log_bytes);
  slot.volume = std::move(*opened);
  co_return Result<void>();
}

// Removes the store and then the entry; a failure leaves the entry, so that the next start tries again.
Task<Result<void>> Node::discard_backing(std::string name) {
  const RegistryEntry entry = slots_.at(name).entry;
  ReactorThread* thread = slots_.at(name).thread;
  auto removing = run_in<Result<void>>(control_, thread->scope(), [thread, entry] {
    return entry.is_device ? HostedVolume::erase(thread, entry.backing) : HostedVolume::remove(thread, entry.backing);
  });
  const Result<void> gone = co_await removing;
  if (!gone) co_return gone;
  co_return registry_.remove(name);
}

Task<Result<void>> Node::destroy(std::string name, bool force) {
  if (stopping_) co_return fail(Errc::closed, "the node is stopping");
  const auto found = slots_.find(name);
  if (cluster_ && (found == slots_.end() || found->second.entry.replica)) {
    auto done = co_await undefine(name, force);
    co_return done;
  }
  if (found == slots_.end()) co_return no_such_volume(name);
  Slot& slot = found->second;
  if (slot.busy) co_return fail(Errc::busy, "name: volume " + name + " is being created or deleted just now");
  slot.busy = true;
  const auto status = co_await status_of(name);
  if (status && status->sessions > 0 && !force) {
    slot.busy = false;
    const std::string count = status->sessions == 1 ? "a session is" : std::to_string(status->sessions) + " sessions are";
    co_return fail(Errc::busy, "name: " + count + " attached to volume " + name + ": log out on the hosts, or force");
  }
  RegistryEntry doomed = slot.entry;
  doomed.state = EntryState::deleting;
  if (auto marked = registry_.put(doomed); !marked) {
    slot.busy = false;
    co_return marked;
  }
  slot.entry = doomed;
  co_await close_volume(name, DoorClosing::deleted);
  const Result<void> gone = co_await discard_backing(name);
  if (!gone) {
    slot.busy = false;
    slot.failure = "deleted, but its store cannot be removed: " + gone.error().text();
    co_return fail(gone.error().code, slot.failure);
  }
  slots_.erase(name);
  log_info("volume " + name + " is deleted");
  co_return Result<void>();
}

VolumeStatus Node::failed_status(const Slot& slot) const {
  VolumeStatus out;
  out.name = slot.entry.name;
  out.uuid = slot.entry.uuid;
  out.size_bytes = slot.entry.size_bytes;
  out.backing = slot.entry.backing;
  out.health = VolumeHealth::failed;
  out.reason = slot.busy ? "it is being created or deleted just now" : slot.failure;
  if (!slot.entry.replica) return out;
  out.replication = ReplicationStatus{};
  add_troubles(out);
  if (out.reason.empty()) out.reason = "this copy is not open yet";
  return out;
}

Task<Result<VolumeStatus>> Node::status_of(std::string name) {
  const auto found = slots_.find(name);
  if (found == slots_.end()) {
    if (!keeper_) co_return no_such_volume(name);
    const auto defined = keeper_->definitions().find(name);
    if (defined == keeper_->definitions().end()) co_return no_such_volume(name);
    co_return status_elsewhere(defined->second);
  }
  const Slot& slot = found->second;
  if (!slot.volume) co_return failed_status(slot);
  // The job runs before anything that ends the volume later: jobs of a thread keep their order.
  Remote<VolumeStatus> look(control_, slot.thread->reactor(), [volume = slot.volume.get()](Remote<VolumeStatus>::Reply reply) {
    reply(volume->status());
  });
  VolumeStatus status = co_await look;
  if (status.replication) add_troubles(status);
  co_return status;
}

Task<Result<NodeStatus>> Node::status_of_node() {
  NodeStatus out;
  out.name = config_.node.name;
  out.version = HOLDFAST_VERSION;
  out.uptime_ms = static_cast<std::uint64_t>((control_.clock().now() - started_).value / 1'000'000);
  out.reactors = static_cast<unsigned>(threads_.size());
  out.data_directory = directory_.path();
  for (const scsi::PortalAddress& portal : board_->addresses) out.portals.push_back(portal.address);
  std::vector<std::string> names;
  for (const auto& [name, slot] : slots_) names.push_back(name);
  if (keeper_) {
    // And what it should have.
    for (const auto& [name, definition] : keeper_->definitions())
      if (definition.state != coord::DefinitionState::deleting && definition.find(cluster_->self()) && !slots_.contains(name)) names.push_back(name);
  }
  for (const std::string& name : names) {
    auto volume = co_await status_of(name);
    if (volume) out.volumes.push_back(std::move(*volume));
  }
  if (cluster_) out.cluster = cluster_status();
  co_await check_alive();
  co_return out;
}

}  // namespace holdfast::daemon
