#include "tools/holdfastd/node.h"

#include <cstdlib>
#include <thread>
#include <type_traits>

#include "base/log.h"
#include "base/text.h"
#include "io/store_file.h"
#include "tools/holdfastd/iscsi.h"
#include "tools/holdfastd/remote.h"

namespace holdfast::daemon {
namespace {

constexpr DurationNs kStopPatience = milliseconds(1'000);
constexpr std::uint16_t kLonelyGroup = 1;

std::optional<std::uint64_t> power_loss_seed() {
  const char* seed = std::getenv("HOLDFAST_POWER_LOSS");
  if (!seed || !*seed) return std::nullopt;
  return std::strtoull(seed, nullptr, 10);
}

std::string disk_faults() {
  const char* file = std::getenv("HOLDFAST_DISK_FAULTS");
  return file ? file : "";
}

void add_cluster_options(const ClusterConfig& config, GroupOptions& out) {
  out.node = NodeId(config.node);
  out.timing.lease_ms = config.lease_ms;
  out.timing.heartbeat_ms = config.heartbeat_ms;
  out.timing.replica_timeout_ms = config.replica_timeout_ms;
  out.timing.takeover_patience_ms = config.takeover_patience_ms;
  out.timing.stuck_timeout_ms = config.stuck_timeout_ms;
  out.timing.hello_wait_ms = std::max(out.timing.hello_wait_ms, 5 * config.heartbeat_ms);
}

// After kill -9 the kernel keeps what the dead process's rings had until all that it had submitted is done, and a supervisor is quick.
constexpr DurationNs kPortPatience = milliseconds(10'000);
constexpr DurationNs kPortRetry = milliseconds(20);
constexpr DurationNs kLockedPause = milliseconds(500);

template <class Attempt>
Task<std::invoke_result_t<Attempt>> when_port_is_free(Clock* clock, Attempt attempt) {
  const BootNs deadline = clock->now() + kPortPatience;
  Timer pause(*clock);
  auto done = attempt();
  if (!done && done.error().code == Errc::busy) log_warning(done.error().message + "; waiting for it");
  while (!done && done.error().code == Errc::busy && clock->now() < deadline) {
    co_await pause.after(kPortRetry);
    done = attempt();
  }
  co_return done;
}

// What the thread's groups have begun to connect to.
Task<bool> end_connections(ReactorThread* thread) {
  co_await thread->cluster()->stop();
  co_return true;
}

}  // namespace

Node::Node(io::Reactor& control, Config config, DataDirectory directory, Registry registry)
    : control_(control), config_(std::move(config)), directory_(std::move(directory)), registry_(std::move(registry)),
      started_(control.clock().now()), cluster_pause_(control.clock()), board_(std::make_unique<TargetBoard>()), scope_(control) {
  board_->options.portal_group = local_group();
  board_->options.sessions_max = config_.iscsi.sessions_max;
  board_->options.connection.nop_interval = milliseconds(config_.iscsi.nop_interval_ms);
  board_->options.connection.nop_timeout = milliseconds(config_.iscsi.nop_timeout_ms);
  board_->table().set_discovery_auth(target_auth(config_.iscsi.discovery));
}

// One target port group a node.
std::uint16_t Node::local_group() const { return config_.cluster ? static_cast<std::uint16_t>(config_.cluster->node) : kLonelyGroup; }

Node::~Node() {
  // The volumes belong to the threads: end those first, then nothing of theirs runs any more.
  for (const auto& thread : threads_) thread->stop();
  slots_.clear();
}

Result<void> Node::start_threads() {
  const unsigned cores = std::max(1u, std::thread::hardware_concurrency());
  const unsigned count = config_.node.reactors == 0 ? cores : config_.node.reactors;
  for (unsigned i = 0; i < count; ++i) {
    io::ReactorOptions options;
    options.buffer_bytes = config_.node.memory_bytes;
    auto thread = ReactorThread::create("volumes-" + std::to_string(i), options);
    if (!thread) return fail(std::move(thread).error());
    if (cluster_) {
      auto lines = cluster_->make_thread((*thread)->reactor());
      if (!lines) return fail(std::move(lines).error());
      (*thread)->set_cluster(std::move(*lines));
    }
    threads_.push_back(std::move(*thread));
  }
  return {};
}

Task<Result<void>> Node::start() {
  if (config_.iscsi.takeover != TakeoverMode::off) {
    const Result<void> may = check_may_write_frames();
    if (!may) co_return fail(may.error().code, "iscsi.takeover: " + may.error().message);
  }
  if (power_loss_seed()) log_warning("HOLDFAST_POWER_LOSS is set: unsynced data dies with this process. For tests only.");
  if (!disk_faults().empty()) log_warning("HOLDFAST_DISK_FAULTS is set: disks fail by the rules in " + disk_faults() + ". For tests only.");
  if (config_.cluster) {
    auto cluster = Cluster::create(control_, config_, directory_.path());
    if (!cluster) co_return fail(std::move(cluster).error());
    cluster_ = std::move(*cluster);
    const auto listen = [cluster = cluster_.get()] { return cluster->listen(); };
    CO_TRY(co_await when_port_is_free(&control_.clock(), listen));
  }
  auto threads = start_threads();
  if (!threads) co_return threads;
  const auto open_portals = [this] { return Portals::open(control_, random_, config_.iscsi, *board_); };
  auto portals = co_await when_port_is_free(&control_.clock(), open_portals);
  if (!portals) co_return fail(std::move(portals).error());
  portals_ = std::move(*portals);
  for (const auto& thread : threads_) thread->start();
  Scope opening(control_);
  for (const RegistryEntry& entry : registry_.entries()) {
    Slot& slot = slots_[entry.name];
    slot.entry = entry;
    slot.thread = least_loaded();
    if (entry.replica) {
      if (entry.state == EntryState::ready && cluster_) opening.spawn(open_copy(entry.name));
      if (!cluster_) slot.failure = "it is a copy of a replicated volume, and the configuration has no [cluster]";
    } else if (entry.state == EntryState::ready) {
      opening.spawn(open_slot(entry.name));
    } else {
      opening.spawn(remove_leftover(entry.name));
    }
  }
  co_await opening.join();
  for (const auto& [name, slot] : slots_)
    if (slot.locked) scope_.spawn(open_when_unlocked(name));
  portals_->serve();
  if (cluster_) start_cluster();
  co_return Result<void>();
}

Task<void> Node::open_slot(std::string name) {
  Slot& slot = slots_.at(name);  // Nothing else changes slots before start() returns, and none that is busy afterwards.
  ReactorThread* thread = slot.thread;
  const VolumeSpec spec = spec_of(slot.entry);
  auto opening = run_in<HostedVolume::Opened>(
      control_, thread->scope(), [thread, spec, options = host_options()] { return HostedVolume::open(thread, spec, options); });
  HostedVolume::Opened opened = co_await opening;
  if (!opened) {
    slot.failure = opened.error().text();
    slot.locked = opened.error().code == Errc::locked;
    log_error("volume " + name + " cannot be served: " + slot.failure);
    co_return;
  }
  slot.locked = false;
  slot.failure.clear();
  slot.volume = std::move(*opened);
  co_await open_door(name);
  log_info("volume " + name + " is served from " + slot.entry.backing);
}

// On a busy disk the kernel may take longer over what a killed process left than anybody waits at a start. (Copies of replicated volumes are
// opened again by the keeper.)
Task<void> Node::open_when_unlocked(std::string name) {
  Timer pause(control_.clock());
  for (;;) {
    co_await pause.after(kLockedPause);
    const auto found = slots_.find(name);
    if (stopping_ || found == slots_.end() || !found->second.locked) co_return;
    if (found->second.busy) continue;
    found->second.busy = true;
    co_await open_slot(name);
    slots_.at(name).busy = false;
  }
}

// Without asking anybody: the group finds out for itself who leads. Its door is there before the portals are: an initiator that comes
// back and finds no such target gives its path up.
Task<void> Node::open_copy(std::string name) {
  auto opened = co_await open(name);
  if (!opened) {
    log_error("this node's copy of volume " + name + " cannot be opened: " + opened.error().text());
    co_return;
  }
  Slot& slot = slots_.at(name);
  DoorOptions options = door_options(name);
  options.portals = board_->addresses;  // The other nodes' follow once the cluster is known.
  auto offering = run_in<bool>(control_, slot.thread->scope(), [volume = slot.volume.get(), options] { return volume->offer_what_is_there(options); });
  const bool offered = co_await offering;
  show_access(name);
  if (offered) log_info(concat("volume ", name, " is offered to initiators"));
}

Task<void> Node::remove_leftover(std::string name) {
  const Result<void> gone = co_await discard_backing(name);
  if (gone) {
    log_warning("volume " + name + " was half created or half deleted when the node ended: its remains are removed");
    slots_.erase(name);
    co_return;
  }
  slots_.at(name).failure = "half created or half deleted, and its remains cannot be removed: " + gone.error().text();
  log_error("volume " + name + ": " + slots_.at(name).failure);
}

Task<void> Node::open_door(std::string name) {
  Slot& slot = slots_.at(name);
  HostedVolume* volume = slot.volume.get();
  auto opening = run_in<Result<void>>(control_, slot.thread->scope(),
                                      [volume, options = door_options(name)] { return volume->open_door(options); });
  const Result<void> opened = co_await opening;
  ENSURE(opened.has_value());
  show_access(name);
}

Task<void> Node::close_volume(std::string name, DoorClosing closing) {
  Slot& slot = slots_.at(name);
  if (!slot.volume) co_return;
  HostedVolume* volume = slot.volume.get();
  auto stopping = run_in<Result<void>>(control_, slot.thread->scope(),
                                       [volume, closing] { return volume->stop(closing, kStopPatience); });
  const Result<void> stopped = co_await stopping;
  if (!stopped) log_error("volume " + name + " did not stop in order: " + stopped.error().text());
  // Its memory belongs to its thread.
  Remote<bool> destruction(control_, slot.thread->reactor(),
                           [owned = std::move(slot.volume)](Remote<bool>::Reply reply) mutable {
                             owned.reset();
                             reply(true);
                           });
  const bool gone = co_await destruction;
  ENSURE(gone);
}

Task<void> Node::stop() {
  stopping_ = true;
  cluster_pause_.cancel();
  if (portals_) co_await portals_->close();
  if (takeover_) co_await takeover_->stop();
  if (keeper_) co_await keeper_->stop();
  co_await scope_.join();
  Scope closing(control_);
  for (const auto& [name, slot] : slots_) closing.spawn(close_volume(name, DoorClosing::stopping));
  co_await closing.join();
  if (!cluster_) co_return;
  co_await cluster_->stop();
  for (const auto& thread : threads_) {
    ReactorThread* there = thread.get();
    auto ending = run_in<bool>(control_, there->scope(), [there] { return end_connections(there); });
    const bool ended = co_await ending;
    ENSURE(ended);
  }
}

std::size_t Node::volumes_failed() const {
  std::size_t out = 0;
  for (const auto& [name, slot] : slots_) out += slot.failure.empty() ? 0 : 1;
  return out;
}

Task<void> Node::check_alive() {
  for (const auto& thread : threads_) {
    Remote<bool> look(control_, thread->reactor(), [](Remote<bool>::Reply reply) { reply(true); });
    const bool alive = co_await look;
    ENSURE(alive);
  }
}

ReactorThread* Node::least_loaded() {
  std::map<ReactorThread*, std::size_t> volumes;
  for (const auto& [name, slot] : slots_) ++volumes[slot.thread];
  ReactorThread* best = threads_.front().get();
  for (const auto& thread : threads_) {
    if (volumes[thread.get()] < volumes[best]) best = thread.get();
  }
  return best;
}

HostOptions Node::host_options() const {
  HostOptions out;
  const StoreConfig& store = config_.store;
  out.group.map_cache_bytes = store.map_cache_bytes;
  out.group.apply_backlog_bytes = store.apply_backlog_bytes;
  out.group.log_batches_in_flight = store.log_batches_in_flight;
  out.group.log_batch_bytes_max = store.log_batch_bytes_max;
  out.group.checkpoint_interval_ms = store.checkpoint_interval_ms;
  out.group.checkpoint_log_percent = store.checkpoint_log_percent;
  out.group.rebuild_bytes_per_second = store.rebuild_bytes_per_second;
  out.group.consumer_retention_bytes = store.consumer_retention_bytes;
  PortGroup local{local_group(), PortGroupState::active_optimized, {}};
  for (const scsi::PortalAddress& portal : board_->addresses) local.portals.push_back(portal.address);
  out.group.cluster_view = ClusterView{local_group(), {std::move(local)}};
  if (config_.cluster) add_cluster_options(*config_.cluster, out.group);
  out.power_loss_seed = power_loss_seed();
  out.disk_faults = disk_faults();
  if (config_.iscsi.takeover == TakeoverMode::off) return out;
  out.begins_to_serve = [this](const std::string& volume) {
    control_.post_remote([this, volume] {
      if (takeover_ && !stopping_) takeover_->begins_to_serve(volume);
    });
  };
  return out;
}

const AccessConfig& Node::access_of(const std::string& volume) const {
  const auto own = config_.iscsi.volumes.find(volume);
  return own == config_.iscsi.volumes.end() ? config_.iscsi.auth : own->second;
}

// Also after a door has opened: what it was told may have changed meanwhile.
void Node::show_access(const std::string& volume) {
  board_->table().set_auth(std::string(scsi::kTargetNamePrefix) + volume, target_auth(access_of(volume)));
}

void Node::set_access(const IscsiConfig& config) {
  config_.iscsi.auth = config.auth;
  config_.iscsi.volumes = config.volumes;
  config_.iscsi.discovery = config.discovery;
  board_->table().set_discovery_auth(target_auth(config_.iscsi.discovery));
  for (const auto& [name, slot] : slots_) show_access(name);
}

DoorOptions Node::door_options(const std::string& volume) const { return DoorOptions{board_.get(), access_of(volume), board_->addresses}; }

VolumeSpec Node::spec_of(const RegistryEntry& entry) {
  return VolumeSpec{entry.name, entry.uuid, entry.backing, entry.is_device, entry.size_bytes, entry.replica};
}

}  // namespace holdfast::daemon
