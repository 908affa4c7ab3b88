// The initiators' door of one volume: its device server and its iSCSI target, entered into the node's table of targets.
// Called on the volume's thread.
#pragma once

#include <memory>
#include <vector>

#include "base/task.h"
#include "engine/volume.h"
#include "scsi/target_directory.h"
#include "tools/holdfastd/config.h"
#include "tools/holdfastd/reactor_thread.h"

namespace holdfast::daemon {

class TargetBoard;  // iscsi.h

struct DoorOptions {
  TargetBoard* board = nullptr;  // Outlives the door.
  AccessConfig access;
  std::vector<scsi::PortalAddress> portals;  // What SendTargets announces, this node's first.
};

enum class DoorClosing : std::uint8_t { stopping, deleted };

class Door {
 public:
  Door(ReactorThread& thread, Volume& volume, DoorOptions options);
  // Without close(): a crash.
  ~Door();
  std::size_t sessions() const;
  // Takes the target off the board, asks the initiators to leave, and drops those who do not within `patience`. Commands of theirs may
  // still wait in the volume, for the next copy to come, say: they end when its group stops.
  Task<void> close(DoorClosing closing, DurationNs patience);
  // After close(), and when the volume's group has stopped: returns when nothing of the door waits in the volume. Then it may go.
  Task<void> settle();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace holdfast::daemon
