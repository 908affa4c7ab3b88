// The initiator's door of one node's process, as far as a cluster needs one: it carries out what clients send, and drops
// them all when its group ceases to serve.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "engine/group.h"
#include "test/cluster/history.h"
#include "test/crash/process.h"

namespace holdfast::cluster {

// What a client asks of a node, and hears of it. Shared by the two, and by what is on the way between them.
struct Exchange {
  OpId id = 0;
  OpKind kind = OpKind::read;
  std::string volume_name;
  std::uint32_t volume = 0;
  BlockRange range{};
  std::vector<OpId> expected;        // Of a compare-and-write.
  Timer* waiter = nullptr;           // Nothing: the client has given up.
  bool answered = false;
  Outcome outcome = Outcome::unknown;
  Errc error{};
  std::vector<OpId> seen;
  std::vector<std::vector<std::uint64_t>> seen_bits;  // Of blocks that are ORed into.
  std::uint64_t mismatch_block = 0;  // Of a compare-and-write that ends with miscompare: within its range.
};
using ExchangePtr = std::shared_ptr<Exchange>;

// A client asks a node how the group stands (REPORT TARGET PORT GROUPS), as multipath does before it trusts a path.
struct Inquiry {
  std::string volume_name;
  Timer* waiter = nullptr;           // Nothing: the client has given up.
  BootNs arrived{};                  // At the node, by the world's clock.
  std::optional<NodeId> named;       // Who is active.
};
using InquiryPtr = std::shared_ptr<Inquiry>;

// What a door needs of the world around it.
class DoorOwner {
 public:
  // The answer goes back to the client.
  virtual void answer(NodeId node, const ExchangePtr& exchange) = 0;
  // At the instant at which the node says yes.
  virtual void acknowledged(NodeId node, const Exchange& exchange) = 0;
  // At the instant at which a node that was asked then says who is active.
  virtual void told_view(NodeId node, const Inquiry& inquiry) = 0;
  virtual void answer(NodeId node, const InquiryPtr& inquiry) = 0;
  // From this instant on; it may be over before anybody looks.
  virtual void begins_to_serve() = 0;
  // The node asks its clients whether they hear it.
  virtual void ask_initiators(NodeId node) = 0;
  virtual void violation(std::string what) = 0;
  virtual History& history() = 0;

 protected:
  ~DoorOwner() = default;
};

class Door final : public VolumeObserver {
 public:
  Door(DoorOwner& owner, NodeId node, crash::Process& process) : owner_(&owner), node_(node), process_(&process) {}
  Door(const Door&) = delete;
  Door& operator=(const Door&) = delete;

  // A request has arrived.
  void accept(ExchangePtr exchange);
  void accept(InquiryPtr inquiry);
  // A client has answered a question that was put to it then.
  void initiator_heard(BootNs when);
  // The connections of all clients are broken; nobody has logged out.
  void disconnect();
  // All connections end: what is under way is never answered by this process.
  void drop_all(Errc why);
  std::size_t open() const { return open_.size(); }
  std::uint64_t times_dropped() const { return times_dropped_; }

 private:
  void volume_event(VolumeEvent event) override;
  static Task<void> serve(Door* self, ExchangePtr exchange);
  static Task<void> look(Door* self, InquiryPtr inquiry);
  Task<Result<void>> carry_out(Volume* volume, Exchange* exchange);
  Task<Result<void>> read(Volume* volume, Exchange* exchange);
  Task<Result<void>> write(Volume* volume, Exchange* exchange);
  Task<Result<void>> compare_and_write(Volume* volume, Exchange* exchange);
  Task<Result<void>> read_reservations(Volume* volume, Exchange* exchange);
  void finish(const ExchangePtr& exchange, Outcome outcome, Errc error);
  // A client speaks: it has a session from here on, until the node drops it.
  void hear(Volume& volume);

  DoorOwner* owner_;
  NodeId node_;
  crash::Process* process_;
  std::vector<ExchangePtr> open_;
  using VolumeId = std::pair<Volume*, Uuid>;  // A volume may come to lie where a deleted one was.
  std::vector<VolumeId> observed_, connected_;
  std::uint64_t times_dropped_ = 0;
};

}  // namespace holdfast::cluster
