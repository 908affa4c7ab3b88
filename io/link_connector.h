// The Connector port: finds a node's addresses, tries them in turn, and does TLS and preamble, each within its time. What fails is
// logged once, with node and address, and again when it fails in another way or had worked meanwhile.
//
// The attempt is a flow of the connector's own: who asked may be destroyed while it waits, and a link that comes too late is closed.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/intrusive_list.h"
#include "base/link.h"
#include "base/scope.h"
#include "io/link_credentials.h"
#include "io/link_memory.h"
#include "io/link_tcp.h"

namespace holdfast::io {

struct NodeAddresses {
  std::vector<Endpoint> endpoints;  // Numeric, in the order in which to try them.
  DurationNs age{};                 // Since the book last knew this to be so.
};

// Where the cluster's nodes listen for links, as far as this node knows.
class AddressBook {
 public:
  virtual ~AddressBook() = default;
  // At once, from memory; from the thread of any connector. Errors: not_found (no such node, or none is known of it yet).
  virtual Result<NodeAddresses> find(NodeId node) const = 0;
};

struct LinkConnectorOptions {
  TcpOptions tcp = kLinkTcpOptions;
  DurationNs handshake_limit = milliseconds(1'000);  // TLS and preamble, at one address.
  DurationNs limit = milliseconds(4'000);            // No further address is tried after it.
  std::size_t under_way_max = 256;
};

class TcpConnector final : public Connector {
 public:
  static constexpr std::size_t kAddressesMax = 8;  // Of one node; more are ignored.

  // Everything on the thread of the memory's reactor; memory and book outlive it.
  TcpConnector(LinkMemory& memory, std::shared_ptr<LinkCredentials> credentials, const AddressBook& book, LinkConnectorOptions options = {});
  ~TcpConnector() override;

  Task<Result<std::unique_ptr<Link>>> connect(NodeId node, Uuid group) override;
  // Ends what is under way, and returns when nothing is left. Who waits is told `closed`.
  Task<void> stop();

 private:
  struct Attempt;
  class Answer;
  struct Known {
    std::string trouble;     // What was logged last; empty: it worked.
    Endpoint last_good;      // Tried first. Without a host: none yet.
  };
  static constexpr std::size_t kKnownMax = 1024;

  Task<void> run(std::shared_ptr<Attempt> attempt);
  Task<Result<std::unique_ptr<Link>>> try_all(Attempt* attempt);
  Task<Result<std::unique_ptr<Link>>> try_one(Attempt* attempt, const Endpoint* endpoint);
  std::vector<Endpoint> in_order(NodeId node, const NodeAddresses& addresses);
  Known* known(NodeId node);
  void note(NodeId node, const Error* trouble);
  void finish(const std::shared_ptr<Attempt>& attempt);

  LinkMemory* memory_;
  std::shared_ptr<LinkCredentials> credentials_;
  const AddressBook* book_;
  LinkConnectorOptions options_;
  std::map<NodeId, Known> known_;
  IntrusiveList<Attempt> under_way_;
  bool stopping_ = false;
  Scope scope_;  // Last: its flows use everything above.
};

}  // namespace holdfast::io
