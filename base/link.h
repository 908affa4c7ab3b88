// The Link port: frames between two nodes. Ordered within a connection, and it may break at any time; nothing is repeated by
// itself. And the Connector port, which makes links: who listens hands them to Group::accept.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <utility>

#include "base/buffer.h"
#include "base/result.h"
#include "base/task.h"
#include "base/types.h"

namespace holdfast {

// head: the frame's fixed part and its body (wal/frame_format.h), 1 byte to kLinkHeadBytesMax. payload: the blocks that follow it
// (whole ones, at most kLinkPayloadBytesMax), or empty.
struct Frame {
  Buffer head;
  Buffer payload;
};
inline constexpr std::size_t kLinkHeadBytesMax = std::size_t{64} << 10;
inline constexpr std::size_t kLinkPayloadBytesMax = BufferPool::kLargestBytes;
static_assert(kLinkPayloadBytesMax % kBlockBytes == 0);

class Link {
 public:
  // Ends both directions. Flows that wait on the link must be gone.
  virtual ~Link() = default;
  // Returns when the frame is handed over, not when it has arrived; its memory is the link's until then. Frames of several
  // senders do not mix. Errors: closed (either side ended it in order), io_error (it broke), timed_out (nothing got through for long).
  virtual Task<Result<void>> send(Frame frame) = 0;
  // As if each had been sent by itself, in their order; what is sent together costs fewer system calls. The span and its frames outlive the
  // call, which may empty them. After an error nobody knows how many are on their way.
  virtual Task<Result<void>> send_all(std::span<Frame> frames) {
    for (Frame& frame : frames) CO_TRY(co_await send(std::move(frame)));
    co_return Result<void>{};
  }
  // The next frame: its payload in memory of the receiver's pool, its head perhaps in the link's own, which goes with the link.
  // One receiver at a time. Errors: closed; io_error: a hint that the other process is gone; timed_out: silence, which says nothing
  // of the process; protocol: what came is no frame.
  virtual Task<Result<Frame>> receive() = 0;
  // Wakes who sends and who receives; the other side learns of it.
  virtual void close() = 0;
};

class Connector {
 public:
  virtual ~Connector() = default;
  // A new connection to the node's copy of the group. The caller may be destroyed while it waits. Errors: timed_out, closed, io_error,
  // permission, and what the other side refuses (not_found: no such group there; overloaded; version_too_new).
  virtual Task<Result<std::unique_ptr<Link>>> connect(NodeId node, Uuid group) = 0;
};

}  // namespace holdfast
