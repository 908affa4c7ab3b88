// One volume on its thread: the store, the group that keeps it, and the door that serves it. Everything here is called on
// the volume's thread, also the destructor.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/disk.h"
#include "engine/group.h"
#include "engine/node.h"
#include "tools/holdfastd/door.h"
#include "tools/holdfastd/reactor_thread.h"
#include "tools/holdfastd/registry.h"

namespace holdfast::daemon {

struct VolumeSpec {
  std::string name;
  Uuid uuid{};
  std::string backing;
  bool is_device = false;
  std::uint64_t size_bytes = 0;
  std::optional<ReplicaEntry> replica;  // Nothing: the only copy.
};

struct HostOptions {
  GroupOptions group;
  std::optional<std::uint64_t> power_loss_seed;  // Unsynced data dies with the process, as at a power loss (tests).
  std::string disk_faults;                       // A file of rules by which the disk fails (tests); empty: none.
  std::function<void(const std::string& volume)> begins_to_serve;  // Called on the volume's thread, with a door; may be empty.
};

class HostedVolume final : private VolumeObserver {
 public:
  using Opened = Result<std::unique_ptr<HostedVolume>>;
  // Formats an empty store and puts the volume into it. The file exists; a device must not hold a store already.
  static Task<Opened> create(ReactorThread* thread, VolumeSpec spec, HostOptions options, FormatOptions format);
  // Recovers what create() once made.
  static Task<Opened> open(ReactorThread* thread, VolumeSpec spec, HostOptions options);
  // Formats an empty store for a copy of the spec's group. Returns the store's incarnation.
  static Task<Result<Uuid>> format_replica(ReactorThread* thread, VolumeSpec spec, HostOptions options, FormatOptions format);
  // Opens a copy: it follows, or leads. The volume comes with the log. Errors: foreign (another store), and those of Group::open.
  static Task<Opened> open_replica(ReactorThread* thread, VolumeSpec spec, HostOptions options);
  // Errors: exists (the device holds a store), and those of opening it.
  static Task<Result<void>> check_unused(ReactorThread* thread, std::string device);
  // Makes a device's store unrecognisable, so that the device can be used again.
  static Task<Result<void>> erase(ReactorThread* thread, std::string device);
  // Removes a store's file; one that is gone already is fine.
  static Task<Result<void>> remove(ReactorThread* thread, std::string file);

  // Of a new group, as its primary.
  Task<Result<void>> create_volume();
  // Lets another copy lead; no candidate: whichever is in step. Errors: those of Group::switchover.
  Task<Result<void>> hand_over(NodeId candidate);
  bool has_volume() const;
  // Of a copy that has just been opened: its door, when the volume is in its catalogue.
  Task<bool> offer_what_is_there(DoorOptions options);
  bool has_door() const { return door_ != nullptr; }
  // From now on initiators find it. Errors of a copy: not_found (the volume has not come yet). Separate, so that nobody writes to a volume that a crash would remove as a leftover.
  Task<Result<void>> open_door(DoorOptions options);
  VolumeStatus status() const;
  Group& group() { return *group_; }
  std::size_t sessions() const { return door_ ? door_->sessions() : 0; }
  // Ends the sessions, then the group after a last checkpoint. Destroy it afterwards, and never without.
  Task<Result<void>> stop(DoorClosing closing, DurationNs patience);
  ~HostedVolume();

 private:
  HostedVolume(ReactorThread* thread, VolumeSpec spec) : thread_(thread), spec_(std::move(spec)) {}
  static Task<Opened> with_disk(ReactorThread* thread, VolumeSpec spec, HostOptions options);
  GroupPorts ports();
  Task<Result<void>> open_group(HostOptions options);
  Result<void> find_volume();
  void volume_event(VolumeEvent event) override;
  void close_door();

  ReactorThread* thread_;
  VolumeSpec spec_;
  NodeId node_;
  std::function<void(const std::string& volume)> begins_to_serve_;
  std::unique_ptr<Disk> disk_;
  std::unique_ptr<Group> group_;
  Volume* volume_ = nullptr;  // The group's.
  std::unique_ptr<Door> door_;
};

}  // namespace holdfast::daemon
