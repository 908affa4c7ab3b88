// Guards of flows. They release synchronously and post wake-ups only, so they may live across a suspension.
#pragma once

#include "base/sync.h"
#include "engine/group_impl.h"

namespace holdfast::engine {

// Counts an operation of the group: stop() waits for it.
class Operation {
 public:
  explicit Operation(GroupImpl& group) : group_(&group) { group.enter(); }
  Operation(const Operation&) = delete;
  Operation& operator=(const Operation&) = delete;
  ~Operation() { group_->leave(); }

 private:
  GroupImpl* group_;
};

// A permit that was acquired.
class Turn {
 public:
  explicit Turn(Semaphore& semaphore) : semaphore_(&semaphore) {}
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
  ~Turn() { semaphore_->release(); }

 private:
  Semaphore* semaphore_;
};

}  // namespace holdfast::engine
