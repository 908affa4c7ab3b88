#include "io/link_security.h"

#include <algorithm>
#include <charconv>

#include "base/text.h"
#include "io/link_format.h"

namespace holdfast::io {
namespace {

constexpr std::string_view kUriScheme = "holdfast://";
constexpr std::string_view kUriNode = "/node/";
constexpr std::string_view kRemedy =
    "configure the links' security: a secret_file that all nodes share, or ca_file, certificate_file and key_file";

bool is_alphanumeric(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }

bool is_loopback_text(const std::string& address) {
  const auto endpoint = parse_endpoint(address);
  return endpoint && endpoint->is_loopback();
}

std::string host_of(const std::string& address) {
  const auto endpoint = parse_endpoint(address);
  return endpoint ? endpoint->host : address;
}

}  // namespace

Result<void> check_cluster_name(std::string_view name) {
  if (name.empty()) return fail(Errc::invalid_argument, "the cluster has no name");
  if (name.size() > kClusterNameBytesMax)
    return fail(Errc::invalid_argument, concat("the cluster's name has ", name.size(), " characters; ", kClusterNameBytesMax, " are allowed"));
  const auto allowed = [](char c) { return is_alphanumeric(c) || c == '.' || c == '_' || c == '-'; };
  if (!is_alphanumeric(name[0]) || !std::ranges::all_of(name, allowed))
    return fail(Errc::invalid_argument, "the cluster's name may have letters, digits, '.', '_' and '-', and begins with a letter or digit");
  return {};
}

std::string node_uri(const LinkIdentity& identity) { return concat(kUriScheme, identity.cluster, kUriNode, identity.node.value); }

std::string node_uris(const std::vector<LinkIdentity>& nodes) {
  std::string out;
  for (const LinkIdentity& node : nodes) out += (out.empty() ? "" : ", ") + node_uri(node);
  return out.empty() ? "no node" : out;
}

std::optional<LinkIdentity> parse_node_uri(std::string_view uri) {
  if (!uri.starts_with(kUriScheme)) return std::nullopt;
  const std::string_view rest = uri.substr(kUriScheme.size());
  const std::size_t slash = rest.find('/');
  if (slash == rest.npos || !rest.substr(slash).starts_with(kUriNode)) return std::nullopt;
  LinkIdentity identity;
  identity.cluster = rest.substr(0, slash);
  if (!check_cluster_name(identity.cluster)) return std::nullopt;
  const std::string_view number = rest.substr(slash + kUriNode.size());
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
  if (error != std::errc() || value > kNodeNumberMax) return std::nullopt;
  identity.node = NodeId(value);
  // One name, one spelling: no zeros in front, nothing behind, not zero.
  if (value == 0 || uri != node_uri(identity)) return std::nullopt;
  return identity;
}

Result<void> check_link_security(const LinkSecurity& security, const LinkIdentity& identity, const Endpoint& listen) {
  TRY(check_cluster_name(identity.cluster));
  if (identity.node == NodeId() || identity.node.value > kNodeNumberMax)
    return fail(Errc::invalid_argument, concat("node ", identity.node.value, " is no node's number: 1 to ", kNodeNumberMax, " are possible"));
  const bool has_secret = !security.secret_file.empty();
  const bool has_certificate = !security.ca_file.empty() || !security.certificate_file.empty() || !security.key_file.empty();
  if (has_secret && has_certificate)
    return fail(Errc::invalid_argument, "the links have a secret_file and certificates: only one of the two is possible");
  switch (security.proof) {
    case LinkProof::none:
      if (has_secret || has_certificate)
        return fail(Errc::invalid_argument, "the links have a secret_file or certificates, but their security is switched off: take one of the two back");
      if (listen.is_loopback()) return {};
      return fail(Errc::invalid_argument, concat("links would be accepted on ", listen.text(), " from anybody: ", kRemedy,
                                                 ", or listen on 127.0.0.1"));
    case LinkProof::secret:
      if (has_secret) return {};
      return fail(Errc::invalid_argument, "the links' secret_file is missing");
    case LinkProof::certificate:
      if (security.ca_file.empty()) return fail(Errc::invalid_argument, "the links' ca_file is missing");
      if (security.certificate_file.empty()) return fail(Errc::invalid_argument, "the links' certificate_file is missing");
      if (security.key_file.empty()) return fail(Errc::invalid_argument, "the links' key_file is missing");
      return {};
  }
  return fail(Errc::invalid_argument, "the links' kind of security is unknown");
}

Result<void> check_both_loopback(const std::string& local_address, const std::string& peer_address) {
  if (is_loopback_text(local_address) && is_loopback_text(peer_address)) return {};
  // Without the ports: one of them is another one each time, and a message that is the same again is told once.
  return fail(Errc::permission, concat("a link between ", host_of(local_address), " and ", host_of(peer_address), " would not be secured: ", kRemedy));
}

}  // namespace holdfast::io
