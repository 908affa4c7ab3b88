#include "tools/holdfastd/iscsi.h"

#include "base/log.h"
#include "io/reactor.h"

namespace holdfast::daemon {
namespace {

scsi::ChapAlgorithm algorithm_of(ChapAlgorithm algorithm) {
  switch (algorithm) {
    case ChapAlgorithm::sha3_256: return scsi::ChapAlgorithm::sha3_256;
    case ChapAlgorithm::sha256: return scsi::ChapAlgorithm::sha256;
    case ChapAlgorithm::sha1: return scsi::ChapAlgorithm::sha1;
    case ChapAlgorithm::md5: return scsi::ChapAlgorithm::md5;
  }
  return scsi::ChapAlgorithm::sha3_256;
}

}  // namespace

std::shared_ptr<const scsi::TargetAuth> target_auth(const AccessConfig& access) {
  if (!access.wants_chap() && access.initiators.empty()) return nullptr;
  auto auth = std::make_shared<scsi::TargetAuth>();
  if (access.wants_chap()) auth->chap = scsi::ChapCredentials{access.user, access.secret};
  if (!access.mutual_user.empty()) auth->mutual = scsi::ChapCredentials{access.mutual_user, access.mutual_secret};
  auth->algorithms.clear();
  for (const ChapAlgorithm algorithm : access.algorithms) auth->algorithms.push_back(algorithm_of(algorithm));
  auth->initiators = access.initiators;
  return auth;
}

Portals::Portals(io::Reactor& reactor, Random& random, TargetBoard& board)
    : reactor_(reactor), portal_(board.table(), reactor, reactor.clock(), random), scope_(reactor) {}

Result<std::unique_ptr<Portals>> Portals::open(io::Reactor& reactor, Random& random, const IscsiConfig& config,
                                               TargetBoard& board) {
  std::unique_ptr<Portals> portals(new Portals(reactor, random, board));
  TRY(portals->bind(config));
  board.addresses.clear();
  for (const Address& announced : config.portals) board.addresses.push_back({announced.text(), board.options.portal_group});
  if (!board.addresses.empty()) return portals;
  for (const std::string& bound : portals->addresses()) board.addresses.push_back({bound, board.options.portal_group});
  return portals;
}

Result<void> Portals::bind(const IscsiConfig& config) {
  const auto keep = [&](Result<std::unique_ptr<io::TcpListener>> listener) -> Result<void> {
    if (!listener) return fail(listener.error().code, "iscsi.listen: " + listener.error().message);
    listeners_.push_back(std::move(*listener));
    return {};
  };
  const std::vector<int> inherited = io::inherited_listening_sockets();
  for (const int fd : inherited) TRY(keep(io::adopt_tcp_listener(reactor_, fd)));
  if (!inherited.empty()) return {};
  for (const Address& address : config.listen) TRY(keep(io::listen_tcp(reactor_, io::Endpoint{address.host, address.port})));
  return {};
}

void Portals::serve() {
  for (const auto& listener : listeners_) scope_.spawn(portal_.run(listener.get()));
}

Task<void> Portals::close() {
  for (const auto& listener : listeners_) listener->close();
  co_await scope_.join();
}

std::vector<std::string> Portals::addresses() const {
  std::vector<std::string> out;
  for (const auto& listener : listeners_) out.push_back(listener->local_endpoint().text());
  return out;
}

}  // namespace holdfast::daemon
