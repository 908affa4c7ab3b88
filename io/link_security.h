// How the nodes of a cluster know each other: what is configured, and the names that certificates carry.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "io/endpoint.h"

namespace holdfast::io {

enum class LinkProof : std::uint8_t {
  none,         // Between two ends on loopback addresses only.
  secret,       // Both ends know a secret: whoever does is a node of the cluster, and is believed which one.
  certificate,  // Each end shows a certificate that names the node.
};

// What the daemon's configuration fills in. The files are read again for each new connection.
struct LinkSecurity {
  LinkProof proof = LinkProof::none;
  // proof = secret. One line, or two: the first is used where this node dials, both are accepted where it listens.
  std::string secret_file;
  // proof = certificate. PEM: the authorities that sign the cluster's certificates; this node's own, with what lies between it and
  // the authority behind it; its key, not encrypted.
  std::string ca_file;
  std::string certificate_file;
  std::string key_file;
};

// Who this node is.
struct LinkIdentity {
  std::string cluster;
  NodeId node;
  friend bool operator==(const LinkIdentity&, const LinkIdentity&) = default;
};

// 1 to 63 characters of A-Z a-z 0-9 . _ -, the first a letter or digit. Errors: invalid_argument, with what is wrong.
Result<void> check_cluster_name(std::string_view name);

// "holdfast://<cluster>/node/<number>": the URI in a certificate's subjectAltName that names a node (docs/decisions/0012).
std::string node_uri(const LinkIdentity& identity);
// Nothing but exactly such a name.
std::optional<LinkIdentity> parse_node_uri(std::string_view uri);
// The URIs of what a certificate names, or "no node".
std::string node_uris(const std::vector<LinkIdentity>& nodes);

// What is configured fits together, and listening there with it is allowed. Errors: invalid_argument; the message says what to
// configure. Opens no file.
Result<void> check_link_security(const LinkSecurity& security, const LinkIdentity& identity, const Endpoint& listen);

// What is missing on a connection that is not secured. The addresses are those of a stream.
Result<void> check_both_loopback(const std::string& local_address, const std::string& peer_address);

}  // namespace holdfast::io
