// The Link port: framed messages between nodes. Ordered within a connection, and it may break at any time.
// The replication of the next floor speaks through it.
#pragma once

#include <sys/uio.h>

#include <span>

#include "base/buffer.h"
#include "base/result.h"
#include "base/task.h"

namespace holdfast {

class Link {
 public:
  virtual ~Link() = default;
  // Sends one frame; returns when the frame is handed over, not when it has arrived.
  virtual Task<Result<void>> send(std::span<const iovec> frame) = 0;
  // The next frame, or Errc::closed.
  virtual Task<Result<Buffer>> receive() = 0;
  virtual void close() = 0;
};

}  // namespace holdfast
