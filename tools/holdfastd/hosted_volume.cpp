#include "tools/holdfastd/hosted_volume.h"

#include <algorithm>
#include <tuple>

#include "base/log.h"
#include "io/store_file.h"
#include "io/uring_disk.h"
#include "tools/holdfastd/faulty_disk.h"
#include "tools/holdfastd/power_loss_disk.h"
#include "tools/holdfastd/replication_view.h"

namespace holdfast::daemon {
namespace {

constexpr std::uint64_t kEraseBytes = 2 * kChunkBytes;  // Both superblocks of a store.

constexpr DurationNs kStepPatience = milliseconds(2'000);
constexpr DurationNs kLookPause = milliseconds(20);
constexpr DurationNs kLockPatience = milliseconds(10'000);
constexpr DurationNs kLockUntold = milliseconds(1'000);
constexpr DurationNs kLockRetry = milliseconds(10);

using OpenedDisk = Result<std::unique_ptr<Disk>>;

// After kill -9 the kernel finishes what the dead process had submitted before it lets go of its files. Until then the lock
// is held, rightly: those writes may still land. No other node can hold it, because the data directory is ours.
Task<OpenedDisk> open_disk(ReactorThread* thread, std::string path, std::optional<std::uint64_t> power_loss_seed, std::string faults) {
  Clock& clock = thread->reactor().clock();
  const BootNs deadline = clock.now() + kLockPatience;
  Timer timer(clock);
  const BootNs told = clock.now() + kLockUntold;
  bool is_told = false;
  auto disk = io::UringDisk::open(thread->reactor(), path);
  while (!disk && disk.error().code == Errc::locked && clock.now() < deadline) {
    if (!is_told && clock.now() >= told) log_warning(disk.error().message + "; waiting for it: what a killed process had under way may take its time");
    is_told = is_told || clock.now() >= told;
    co_await timer.after(kLockRetry);
    disk = io::UringDisk::open(thread->reactor(), path);
  }
  if (!disk) co_return fail(std::move(disk).error());
  std::unique_ptr<Disk> opened = std::move(*disk);
  if (power_loss_seed) opened = std::make_unique<PowerLossDisk>(std::move(opened), *power_loss_seed);
  if (!faults.empty()) opened = std::make_unique<FaultyDisk>(clock, std::move(opened), std::move(faults));
  co_return OpenedDisk(std::move(opened));
}

}  // namespace

GroupPorts HostedVolume::ports() {
  io::Reactor& reactor = thread_->reactor();
  GroupPorts out{reactor, reactor.clock(), thread_->random(), reactor.buffers(), *disk_};
  if (!spec_.replica) return out;
  out.coordinator = &thread_->cluster()->coordinator();
  out.connector = &thread_->cluster()->connector();
  return out;
}

Task<HostedVolume::Opened> HostedVolume::with_disk(ReactorThread* thread, VolumeSpec spec, HostOptions options) {
  OpenedDisk disk = co_await open_disk(thread, spec.backing, options.power_loss_seed, options.disk_faults);
  if (!disk) co_return fail(std::move(disk).error());
  std::unique_ptr<HostedVolume> hosted(new HostedVolume(thread, std::move(spec)));
  hosted->disk_ = std::move(*disk);
  co_return Opened(std::move(hosted));
}

Task<HostedVolume::Opened> HostedVolume::create(ReactorThread* thread, VolumeSpec spec, HostOptions options,
                                                FormatOptions format) {
  Opened hosted = co_await with_disk(thread, std::move(spec), options);
  if (!hosted) co_return hosted;
  HostedVolume& self = **hosted;
  auto formatted = co_await Group::format(self.ports(), format, Group::Existing::refuse);
  if (!formatted) co_return fail(std::move(formatted).error());
  auto opened = co_await self.open_group(std::move(options));
  if (!opened) co_return fail(std::move(opened).error());
  const BlockCount blocks(self.spec_.size_bytes / kBlockBytes);
  auto made = co_await self.group_->create_volume(self.spec_.name, self.spec_.uuid, blocks);
  Result<void> found;
  if (made) found = self.find_volume();
  if (made && found) co_return hosted;
  std::ignore = co_await self.stop(DoorClosing::deleted, {});
  co_return fail(made ? found.error() : made.error());
}

Task<HostedVolume::Opened> HostedVolume::open(ReactorThread* thread, VolumeSpec spec, HostOptions options) {
  Opened hosted = co_await with_disk(thread, std::move(spec), options);
  if (!hosted) co_return hosted;
  auto opened = co_await (*hosted)->open_group(std::move(options));
  if (!opened) co_return fail(std::move(opened).error());
  const Result<void> found = (*hosted)->find_volume();
  if (found) co_return hosted;
  std::ignore = co_await (*hosted)->stop(DoorClosing::stopping, {});
  co_return fail(found.error());
}

Task<Result<Uuid>> HostedVolume::format_replica(ReactorThread* thread, VolumeSpec spec, HostOptions options, FormatOptions format) {
  Opened hosted = co_await with_disk(thread, std::move(spec), std::move(options));
  if (!hosted) co_return fail(std::move(hosted).error());
  HostedVolume& self = **hosted;
  format.group = self.spec_.replica->group;
  auto formatted = co_await Group::format(self.ports(), format, Group::Existing::refuse);
  if (!formatted) co_return fail(std::move(formatted).error());
  auto identity = co_await Group::identify(self.ports());
  if (!identity) co_return fail(std::move(identity).error());
  co_return identity->incarnation;
}

Task<HostedVolume::Opened> HostedVolume::open_replica(ReactorThread* thread, VolumeSpec spec, HostOptions options) {
  Opened hosted = co_await with_disk(thread, std::move(spec), options);
  if (!hosted) co_return hosted;
  HostedVolume& self = **hosted;
  const ReplicaEntry known = *self.spec_.replica;
  auto identity = co_await Group::identify(self.ports());
  if (!identity) co_return fail(std::move(identity).error());
  if (identity->group != known.group || identity->incarnation != known.incarnation)
    co_return fail(Errc::foreign, self.spec_.backing + " is another store than the one of volume " + self.spec_.name);
  auto opened = co_await self.open_group(std::move(options));
  if (!opened) co_return fail(std::move(opened).error());
  thread->cluster()->put(known.group, *self.group_);
  co_return hosted;
}

Task<Result<void>> HostedVolume::create_volume() {
  auto made = co_await group_->create_volume(spec_.name, spec_.uuid, BlockCount(spec_.size_bytes / kBlockBytes));
  if (!made) co_return fail(std::move(made).error());
  co_return Result<void>();
}

// A copy that has just come back is in sync a moment before it is in step.
Task<Result<void>> HostedVolume::hand_over(NodeId wanted) {
  Clock& clock = thread_->reactor().clock();
  const BootNs until = clock.now() + kStepPatience;
  Timer pause(clock);
  Result<void> done;
  for (;;) {
    const ReplicationStatus status = replication_status(group_->replica_status(), node_);
    NodeId candidate = wanted;
    for (const ReplicationStatus::Member& member : status.members)
      if (candidate == NodeId() && !member.is_self && member.in_sync && member.connected) candidate = NodeId(member.node);
    std::string unfit = candidate == NodeId() ? "no other copy is in sync and connected" : unfit_to_lead(status, candidate);
    if (!unfit.empty()) {
      done = fail(Errc::invalid_argument, "candidate: " + std::move(unfit));
      break;
    }
    auto handed = co_await group_->switchover(candidate);
    done = std::move(handed);
    if (done || done.error().code != Errc::invalid_argument || clock.now() >= until) break;
    co_await pause.after(kLookPause);
  }
  co_return done;
}

bool HostedVolume::has_volume() const {
  const Volume* found = group_->find(spec_.name);
  return found && found->identity().uuid == spec_.uuid;
}

Task<Result<void>> HostedVolume::open_group(HostOptions options) {
  node_ = options.group.node;
  begins_to_serve_ = options.begins_to_serve;
  auto group = co_await Group::open(ports(), std::move(options.group));
  if (!group) co_return fail(std::move(group).error());
  group_ = std::move(*group);
  co_return Result<void>();
}

Result<void> HostedVolume::find_volume() {
  Volume* found = group_->find(spec_.name);
  if (!found) return fail(Errc::foreign, spec_.backing + " holds no volume " + spec_.name + ": is it another volume's store?");
  if (found->identity().uuid != spec_.uuid) {
    return fail(Errc::foreign, spec_.backing + " holds another volume of the name " + spec_.name);
  }
  volume_ = found;
  return {};
}

Task<bool> HostedVolume::offer_what_is_there(DoorOptions options) {
  if (!has_volume()) co_return false;
  auto opened = co_await open_door(std::move(options));
  co_return opened.has_value();
}

Task<Result<void>> HostedVolume::open_door(DoorOptions options) {
  if (spec_.replica && !has_volume()) co_return fail(Errc::not_found, "the volume has not come yet");
  CO_TRY(find_volume());
  door_ = std::make_unique<Door>(*thread_, *volume_, std::move(options));
  volume_->add_observer(*this);
  co_return Result<void>();
}

void HostedVolume::volume_event(VolumeEvent event) {
  if (event == VolumeEvent::begins_to_serve && begins_to_serve_) begins_to_serve_(spec_.name);
}

void HostedVolume::close_door() {
  if (!door_) return;
  volume_->remove_observer(*this);
  door_.reset();
}

HostedVolume::~HostedVolume() { close_door(); }

Task<Result<void>> HostedVolume::check_unused(ReactorThread* thread, std::string device) {
  VolumeSpec spec;
  spec.backing = device;
  const HostOptions plain{};  // Named: GCC 12 destroys such a temporary twice.
  Opened hosted = co_await with_disk(thread, std::move(spec), plain);
  if (!hosted) co_return fail(std::move(hosted).error());
  auto identity = co_await Group::identify((*hosted)->ports());
  if (!identity && identity.error().code == Errc::foreign) co_return Result<void>();
  co_return fail(Errc::exists, device + " holds a store already");
}

Task<Result<void>> HostedVolume::erase(ReactorThread* thread, std::string device) {
  const std::string no_faults;  // Named, as above.
  OpenedDisk disk = co_await open_disk(thread, device, std::nullopt, no_faults);
  if (!disk) co_return fail(std::move(disk).error());
  Buffer zeros = co_await thread->reactor().buffers().acquire(kEraseBytes);
  std::ranges::fill(zeros.bytes(), std::byte{0});
  const Result<void> written = co_await (*disk)->write(0, zeros.bytes(), Durability::durable);
  co_return written;
}

Task<Result<void>> HostedVolume::remove(ReactorThread* thread, std::string file) {
  {
    const std::string no_faults;
    const OpenedDisk disk = co_await open_disk(thread, file, std::nullopt, no_faults);  // Waits for the lock.
    if (!disk && disk.error().code == Errc::locked) co_return fail(disk.error());
  }
  Result<void> gone = io::remove_store_file(file);
  if (!gone && gone.error().code == Errc::not_found) gone = {};
  co_return gone;
}

VolumeStatus HostedVolume::status() const {
  VolumeStatus out;
  const GroupStatus group = group_->status();
  out.name = spec_.name;
  out.uuid = spec_.uuid;
  out.backing = spec_.backing;
  out.size_bytes = volume_ ? volume_->capacity().value * kBlockBytes : spec_.size_bytes;
  out.epoch = group.epoch.value;
  out.last_lsn = group.last_lsn.value;
  out.commit_lsn = group.commit_lsn.value;
  out.applied_lsn = group.applied_lsn.value;
  out.checkpoint_lsn = group.checkpoint_lsn.value;
  out.log_bytes = group.log_bytes;
  out.log_used_bytes = group.log_used_bytes;
  out.store_free_bytes = group.free_bytes;
  out.store_bytes = group.store_bytes;
  out.sync_latency_us = group.sync_latency_us;
  out.checksum_errors = group.checksum_errors;
  out.recovered_records = group.recovered_records;
  out.recovery_ms = group.recovery_ms;
  out.sessions = sessions();
  if (const auto figures = group_->figures(spec_.name)) {
    out.allocated_bytes = figures->allocated_bytes;
    out.reads = figures->reads;
    out.writes = figures->writes;
    out.unmaps = figures->unmaps;
    out.read_bytes = figures->read_bytes;
    out.write_bytes = figures->write_bytes;
  }
  if (group.failed) {
    out.health = VolumeHealth::failed;
    out.reason = group.failure;
  } else if (group.free_bytes < kChunkBytes) {
    out.health = VolumeHealth::out_of_space;
    out.reason = "no space for new data in " + spec_.backing + ": free some, writes go on by themselves then";
  } else if (group.checksum_errors > 0) {
    out.health = VolumeHealth::read_errors;
    out.reason = std::to_string(group.checksum_errors) + " blocks did not match their checksum: check the device, restore from a backup";
  }
  if (!spec_.replica) return out;
  out.replication = replication_status(group_->replica_status(), node_);
  if (out.health != VolumeHealth::serving) return out;
  Judgement judgement = judge(*out.replication);
  out.health = judgement.health;
  out.reason = std::move(judgement.reason);
  return out;
}

Task<Result<void>> HostedVolume::stop(DoorClosing closing, DurationNs patience) {
  if (spec_.replica && group_ && closing == DoorClosing::stopping && group_->replica_status().serving) {
    // Somebody else serves before initiators are asked to leave: they ask the other nodes who does.
    auto handed = co_await hand_over(NodeId());
    (void)handed;  // There may be nobody.
  }
  if (door_) co_await door_->close(closing, patience);
  Result<void> stopped;
  if (spec_.replica) thread_->cluster()->remove(spec_.replica->group);
  // Also when the data is to go: flows of a group that just vanished would still be in the thread's queue.
  if (group_) stopped = co_await group_->stop();
  // Only now: what its hosts asked for may have waited in the group.
  if (door_) co_await door_->settle();
  close_door();
  volume_ = nullptr;
  group_.reset();
  disk_.reset();
  co_return stopped;
}

}  // namespace holdfast::daemon
