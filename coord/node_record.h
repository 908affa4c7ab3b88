// Who a cluster's nodes are and where they are reached: for discovery, never for safety. A node writes its own record when it
// starts; it stays when the node ends.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/cluster_directory.h"
#include "base/types.h"

namespace holdfast::coord {

struct NodeRecord {
  NodeId node;
  std::string name;                  // 1 to 63 printable characters without spaces.
  std::vector<std::string> links;    // HOST:PORT, for other nodes; the preferred one first.
  std::vector<std::string> portals;  // HOST:PORT, for initiators.
  std::string admin;                 // HOST:PORT, for operators; may be empty.
  friend bool operator==(const NodeRecord&, const NodeRecord&) = default;
};

// "nodes/2".
std::string node_key(NodeId node);

// JSON; the grammar is in docs/formats.md.
std::string encode_node_record(const NodeRecord& record);
// Errors: corrupt, version_too_new; the message names the field.
Result<NodeRecord> decode_node_record(NodeId node, std::string_view text);

// Writes the record of the node that this process is, unless it is there already. Errors: exists (another node, by its name, has this
// number), version_too_new (what is there was written by a newer Holdfast), invalid_argument, and those of the coordinator.
Task<Result<void>> announce_node(Coordinator* coordinator, NodeRecord record);

// Ascending. What is no record is left out, with a line in the log.
Task<Result<std::vector<NodeRecord>>> list_nodes(ClusterDirectory* directory);

}  // namespace holdfast::coord
