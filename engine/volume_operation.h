// Counts an operation on a volume and its group, so that closing waits for it.
#pragma once

#include "engine/volume_impl.h"

namespace holdfast::engine {

class VolumeOperation {
 public:
  explicit VolumeOperation(VolumeImpl& volume) : volume_(&volume) {
    ++volume.operations_;
    volume.group_->enter();
  }
  VolumeOperation(const VolumeOperation&) = delete;
  VolumeOperation& operator=(const VolumeOperation&) = delete;
  ~VolumeOperation() {
    if (--volume_->operations_ == 0) volume_->idle_.notify_all();
    volume_->group_->leave();
  }

 private:
  VolumeImpl* volume_;
};

}  // namespace holdfast::engine
