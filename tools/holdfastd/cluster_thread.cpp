#include "tools/holdfastd/cluster_thread.h"

#include "io/link_tcp.h"

namespace holdfast::daemon {

ClusterThread::ClusterThread(io::Reactor& reactor, std::unique_ptr<Coordinator> coordinator, std::shared_ptr<io::LinkCredentials> credentials,
                             const io::AddressBook& book)
    : coordinator_(std::move(coordinator)), memory_(reactor), connector_(memory_, std::move(credentials), book) {}

void ClusterThread::arrived(NodeId from, Uuid group, std::unique_ptr<Stream> stream) {
  std::unique_ptr<Link> link = io::make_tcp_link(memory_, std::move(stream));
  const auto found = groups_.find(group);
  if (found != groups_.end()) found->second->accept(from, std::move(link));
  else link->close();  // It was closed while the connection was on its way.
}

}  // namespace holdfast::daemon
