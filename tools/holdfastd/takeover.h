// Tells initiators of a node that is silent what they would find out in seconds (iscsi.takeover): when a copy here begins to serve in its
// place, and it answers nobody and leads nothing any more, their connections to it are ended (tickler.h). Everything on the control thread;
// frames come and go on a thread of their own.
//
// Nothing depends on it: neither who serves nor what is acknowledged. At worst an initiator loses a connection to a node that is well, and
// makes it again.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/scope.h"
#include "coord/session_record.h"
#include "coord/volume_definition.h"
#include "engine/register.h"
#include "io/worker.h"
#include "tools/holdfastd/frames.h"
#include "tools/holdfastd/packet_port.h"
#include "tools/holdfastd/takeover_step.h"

namespace holdfast::daemon {

// What of the node it needs.
class TakeoverHost {
 public:
  virtual ~TakeoverHost() = default;
  // Volumes that this node has a copy of.
  virtual std::vector<std::string> kept() const = 0;
  // The register, as this node's copy has read it last; nothing: it is not open, or has not read it.
  virtual Task<std::optional<engine::Register>> view_of(std::string volume) = 0;
  // Asks that node's process, on the volume's thread. Errc{} or an error that says how it answered; timed_out: not at all.
  virtual Task<Errc> knock(std::string volume, NodeId node) = 0;
  // Of all of the cluster's volumes, as last read.
  virtual std::vector<coord::VolumeDefinition> known_definitions() const = 0;
};

class Takeover {
 public:
  // listeners: where initiators reach this node.
  Takeover(Clock& clock, NodeId self, Coordinator& coordinator, ClusterDirectory& directory, TakeoverHost& host, std::vector<Ipv4Endpoint> listeners);

  void start();
  // Returns when nothing of it is under way.
  Task<void> stop();
  // A copy here serves the volume from now on.
  void begins_to_serve(const std::string& volume);

 private:
  struct Knocking;
  Task<void> exchange();
  Task<Result<void>> publish();
  Task<void> note_leaders();
  Task<void> attend(std::string volume, NodeId node);
  Task<TakeoverFacts::Knock> knock(std::string volume, NodeId node);
  Task<void> ask(std::shared_ptr<Knocking> knocking, std::string volume, NodeId node);
  Task<TakeoverFacts::Leads> leads(NodeId node);
  Task<void> end_connections(NodeId node);

  Clock& clock_;
  NodeId self_;
  Coordinator& coordinator_;
  ClusterDirectory& directory_;
  TakeoverHost& host_;
  std::vector<Ipv4Endpoint> listeners_;
  std::optional<coord::SessionRecord> published_;
  std::map<NodeId, coord::SessionRecord> known_;   // Other nodes' sessions, as last read.
  std::map<std::string, NodeId> leaders_;          // Of volumes here: the last other node that was seen to lead.
  std::set<NodeId> attended_;                      // Whom something is being done about.
  std::string trouble_;                            // Why sessions are not told or known; empty: they are.
  bool stopping_ = false;
  Timer pause_;
  io::Worker worker_;
  Scope scope_;                                    // Last: its frames refer to everything above.
};

}  // namespace holdfast::daemon
