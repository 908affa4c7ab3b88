// What the take-over needs of the node (takeover.h). On the control thread.
#include "base/log.h"
#include "base/text.h"
#include "tools/holdfastd/iscsi.h"
#include "tools/holdfastd/node.h"
#include "tools/holdfastd/remote.h"

namespace holdfast::daemon {
namespace {

// Of a group that nobody has: it answers as soon as its process turns, and none of its groups hears of it.
Task<Errc> knock_from(ReactorThread* thread, NodeId node) {
  auto link = co_await thread->cluster()->connector().connect(node, Uuid{});
  if (!link) co_return link.error().code;
  (*link)->close();
  co_return Errc{};
}

}  // namespace

void Node::start_takeover() {
  std::vector<Ipv4Endpoint> listeners;
  for (const std::string& address : portals_->addresses()) {
    const auto endpoint = parse_ipv4_endpoint(address);
    if (endpoint) listeners.push_back(*endpoint);
    else log_warning(concat("iscsi.takeover: initiators at ", address, " are not told: it is no IPv4 address"));
  }
  takeover_ = std::make_unique<Takeover>(control_.clock(), cluster_->self(), cluster_->coordinator(), cluster_->directory(), *this, std::move(listeners));
  takeover_->start();
}

Task<std::optional<engine::Register>> Node::view_of(std::string volume) {
  auto seen = co_await look(std::move(volume));
  co_return std::move(seen.view);
}

Task<Errc> Node::knock(std::string volume, NodeId node) {
  const auto found = slots_.find(volume);
  if (found == slots_.end() || !found->second.volume) co_return Errc::not_found;
  ReactorThread* thread = found->second.thread;
  auto asking = run_in<Errc>(control_, thread->scope(), [thread, node] { return knock_from(thread, node); });
  const Errc answer = co_await asking;
  co_return answer;
}

std::vector<coord::VolumeDefinition> Node::known_definitions() const {
  std::vector<coord::VolumeDefinition> out;
  for (const auto& [name, definition] : keeper_->definitions()) out.push_back(definition);
  return out;
}

}  // namespace holdfast::daemon
