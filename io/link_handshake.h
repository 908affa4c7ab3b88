// The beginning of a connection between two nodes, from either side: TLS if links are secured, then the preamble
// (io/link_preamble.h). Without a time limit of its own: close() of the stream ends it. Internal to this room.
#pragma once

#include <memory>

#include "base/stream.h"
#include "io/link_credentials.h"
#include "io/link_listener.h"
#include "io/link_preamble.h"

namespace holdfast::io {

// A new connection that this node has dialled: *stream is wrapped where it lies, and ready for frames when this returns well. Errors:
// what the other side refuses (errc_of(Verdict)), permission, protocol, io_error, closed; the message says why and what to do, but
// not with whom.
Task<Result<void>> greet(std::unique_ptr<Stream>* stream, LinkCredentials* credentials, NodeId node, Uuid group);

struct Guest {
  NodeId from;
  Uuid group{};
};

// A new connection that came in. Who is not welcome has been told why when this returns, if it could understand it.
Task<Result<Guest>> receive_guest(std::unique_ptr<Stream>* stream, LinkCredentials* credentials, const LinkDoor* door);

}  // namespace holdfast::io
