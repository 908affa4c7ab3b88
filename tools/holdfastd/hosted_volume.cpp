#include "tools/holdfastd/hosted_volume.h"

#include <algorithm>

#include "io/uring_disk.h"
#include "tools/holdfastd/power_loss_disk.h"

namespace holdfast::daemon {
namespace {

constexpr std::uint64_t kEraseBytes = 2 * kChunkBytes;  // Both superblocks of a store.

Result<std::unique_ptr<Disk>> open_disk(ReactorThread* thread, const std::string& path, const HostOptions& options) {
  auto disk = io::UringDisk::open(thread->reactor(), path);
  if (!disk) return fail(std::move(disk).error());
  if (!options.power_loss_seed) return std::unique_ptr<Disk>(std::move(*disk));
  return std::unique_ptr<Disk>(std::make_unique<PowerLossDisk>(std::move(*disk), *options.power_loss_seed));
}

}  // namespace

GroupPorts HostedVolume::ports() {
  io::Reactor& reactor = thread_->reactor();
  return GroupPorts{reactor, reactor.clock(), thread_->random(), reactor.buffers(), *disk_};
}

HostedVolume::Opened HostedVolume::with_disk(ReactorThread* thread, VolumeSpec spec, const HostOptions& options) {
  auto disk = open_disk(thread, spec.backing, options);
  if (!disk) return fail(std::move(disk).error());
  std::unique_ptr<HostedVolume> hosted(new HostedVolume(thread, std::move(spec)));
  hosted->disk_ = std::move(*disk);
  return hosted;
}

Task<HostedVolume::Opened> HostedVolume::create(ReactorThread* thread, VolumeSpec spec, HostOptions options,
                                                FormatOptions format) {
  Opened hosted = with_disk(thread, std::move(spec), options);
  if (!hosted) co_return hosted;
  HostedVolume& self = **hosted;
  auto formatted = co_await Group::format(self.ports(), format, Group::Existing::refuse);
  if (!formatted) co_return fail(std::move(formatted).error());
  auto opened = co_await self.open_group(std::move(options));
  if (!opened) co_return fail(std::move(opened).error());
  const BlockCount blocks(self.spec_.size_bytes / kBlockBytes);
  auto made = co_await self.group_->create_volume(self.spec_.name, self.spec_.uuid, blocks);
  if (!made) co_return fail(std::move(made).error());
  CO_TRY(self.find_volume());
  co_return hosted;
}

Task<HostedVolume::Opened> HostedVolume::open(ReactorThread* thread, VolumeSpec spec, HostOptions options) {
  Opened hosted = with_disk(thread, std::move(spec), options);
  if (!hosted) co_return hosted;
  auto opened = co_await (*hosted)->open_group(std::move(options));
  if (!opened) co_return fail(std::move(opened).error());
  CO_TRY((*hosted)->find_volume());
  co_return hosted;
}

Task<Result<void>> HostedVolume::open_group(HostOptions options) {
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

Task<Result<void>> HostedVolume::open_door(DoorOptions options) {
  door_ = std::make_unique<Door>(*thread_, *volume_, std::move(options));
  co_return Result<void>();
}

Task<Result<void>> HostedVolume::erase(ReactorThread* thread, std::string device) {
  auto disk = io::UringDisk::open(thread->reactor(), device);
  if (!disk) co_return fail(std::move(disk).error());
  Buffer zeros = co_await thread->reactor().buffers().acquire(kEraseBytes);
  std::ranges::fill(zeros.bytes(), std::byte{0});
  const Result<void> written = co_await (*disk)->write(0, zeros.bytes(), Durability::durable);
  co_return written;
}

VolumeStatus HostedVolume::status() const {
  VolumeStatus out;
  const GroupStatus group = group_->status();
  out.name = spec_.name;
  out.uuid = spec_.uuid;
  out.backing = spec_.backing;
  out.size_bytes = volume_->capacity().value * kBlockBytes;
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
  return out;
}

Task<Result<void>> HostedVolume::stop(DoorClosing closing, DurationNs patience) {
  if (door_) co_await door_->close(closing, patience);
  door_.reset();
  Result<void> stopped;
  if (group_ && closing == DoorClosing::stopping) stopped = co_await group_->stop();
  volume_ = nullptr;
  group_.reset();
  disk_.reset();
  co_return stopped;
}

}  // namespace holdfast::daemon
