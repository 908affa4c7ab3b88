// The node's iSCSI side: which targets there are, and the listening sockets that lead to them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/scope.h"
#include "io/tcp.h"
#include "scsi/portal.h"
#include "scsi/target.h"
#include "scsi/target_directory.h"
#include "tools/holdfastd/config.h"
#include "tools/holdfastd/kernel_random.h"

namespace holdfast::daemon {

// Null when everybody may come in without a proof.
std::shared_ptr<const scsi::TargetAuth> target_auth(const AccessConfig& access);

// Shared by all threads of the node. Its options and addresses are written before the first target is put up.
class TargetBoard {
 public:
  scsi::TargetTable& table() { return table_; }
  scsi::TargetOptions options;                  // Of every target; the volume's name is still to be filled in.
  std::vector<scsi::PortalAddress> addresses;   // What SendTargets announces.

 private:
  scsi::TargetTable table_;
};

// Accepts initiators on the control thread, and hands each over to its volume's thread.
class Portals {
 public:
  // Binds all addresses, or takes the sockets that systemd passed. Errors name the address: busy, permission, …
  static Result<std::unique_ptr<Portals>> open(io::Reactor& reactor, Random& random, const IscsiConfig& config,
                                               TargetBoard& board);
  // From now on initiators are let in.
  void serve();
  // No new connections; logins under way end.
  Task<void> close();
  std::vector<std::string> addresses() const;

 private:
  Portals(io::Reactor& reactor, Random& random, TargetBoard& board);
  Result<void> bind(const IscsiConfig& config);

  io::Reactor& reactor_;
  scsi::Portal portal_;
  std::vector<std::unique_ptr<io::TcpListener>> listeners_;
  Scope scope_;
};

}  // namespace holdfast::daemon
