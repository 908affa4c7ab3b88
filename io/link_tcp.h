// The Link port over a stream: frames in envelopes (io/link_format.h). Whether the stream is secured is its own affair.
//
// - An end in order is said: a connection that ends without that word is broken, whether by a reset or by a plain end. The kernel
//   closes the connections of a killed process as orderly as a living one does, and the other copies want to know which it was.
// - Both lengths are bounded before any memory is taken.
// - Heads are received into memory of the link's own, so that a full pool does not keep a heartbeat from being heard.
// - What comes with the same read as its head is copied once, at most 16 KiB; the rest of a payload is read into its place.
#pragma once

#include <memory>

#include "base/link.h"
#include "base/stream.h"
#include "io/link_memory.h"
#include "io/tcp.h"

namespace holdfast::io {

// Of every connection between nodes. A lease lasts 600 ms and a silent copy is dropped after 650 ms: what could not be delivered for
// so long is worth nothing, and a copy gives a silent connection up after 2 s itself (engine/timing.h).
inline constexpr TcpOptions kLinkTcpOptions{
    .keepalive_idle_s = 1, .keepalive_interval_s = 1, .keepalive_count = 2, .user_timeout_ms = 1'500, .connect_timeout_ms = 500, .backlog = 64};

// On the thread of the memory's reactor, with an idle stream of that thread. The memory outlives the link and its payloads.
std::unique_ptr<Link> make_tcp_link(LinkMemory& memory, std::unique_ptr<Stream> stream);

}  // namespace holdfast::io
