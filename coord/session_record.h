// Which initiators are connected to a node, as it said last: for those that survive it, to tell the initiators when it is silent. Nothing
// that keeps data safe depends on it. A node writes its own record whenever that changes; it stays when the node ends.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/cluster_directory.h"
#include "base/types.h"

namespace holdfast::coord {

struct SessionRecord {
  struct Portal {
    std::string address;    // "192.0.2.1".
    std::string mac;        // Of the interface that has it: "02:42:0a:4d:00:01".
    friend bool operator==(const Portal&, const Portal&) = default;
  };
  struct Connection {
    std::string portal;     // ADDRESS:PORT, both.
    std::string initiator;
    friend bool operator==(const Connection&, const Connection&) = default;
  };
  NodeId node;
  std::vector<Portal> portals;
  std::vector<Connection> connections;
  friend bool operator==(const SessionRecord&, const SessionRecord&) = default;
};

inline constexpr std::size_t kSessionPortalsMax = 64, kSessionConnectionsMax = 1024;

// "sessions/2".
std::string session_key(NodeId node);

// JSON; the grammar is in docs/formats.md.
std::string encode_session_record(const SessionRecord& record);
// Errors: corrupt, version_too_new; the message names the field.
Result<SessionRecord> decode_session_record(NodeId node, std::string_view text);

// Writes the record of the node that this process is, unless it is there already. Errors: timed_out, and those of the coordinator.
Task<Result<void>> publish_sessions(Coordinator* coordinator, SessionRecord record);

// Ascending. What is no record is left out.
Task<Result<std::vector<SessionRecord>>> list_sessions(ClusterDirectory* directory);

}  // namespace holdfast::coord
