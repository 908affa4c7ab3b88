// What a volume's thread has of the cluster: a line to the coordinator, connections to other nodes, and the groups that these
// are for. Everything on that thread, or before it starts.
#pragma once

#include <map>
#include <memory>

#include "base/coordinator.h"
#include "engine/group.h"
#include "io/link_connector.h"
#include "io/link_memory.h"

namespace holdfast::daemon {

class ClusterThread {
 public:
  // The book outlives it.
  ClusterThread(io::Reactor& reactor, std::unique_ptr<Coordinator> coordinator, std::shared_ptr<io::LinkCredentials> credentials,
                const io::AddressBook& book);

  Coordinator& coordinator() { return *coordinator_; }
  Connector& connector() { return connector_; }

  void put(Uuid group, Group& running) { groups_[group] = &running; }
  void remove(Uuid group) { groups_.erase(group); }
  // Another node's connection, idle and of this thread.
  void arrived(NodeId from, Uuid group, std::unique_ptr<Stream> stream);
  // Ends connections that are being made. No group runs any more.
  Task<void> stop() { return connector_.stop(); }

 private:
  std::unique_ptr<Coordinator> coordinator_;
  io::LinkMemory memory_;
  io::TcpConnector connector_;
  std::map<Uuid, Group*> groups_;
};

}  // namespace holdfast::daemon
