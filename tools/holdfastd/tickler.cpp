#include "tools/holdfastd/tickler.h"

#include <algorithm>

namespace holdfast::daemon {

Tickler::Tickler(const std::vector<Wire>& wires, const std::map<Ipv4, Mac>& homes, const std::vector<Connection>& connections)
    : wires_(wires), homes_(homes) {
  const auto is_own = [&](Ipv4 address) { return std::ranges::any_of(wires_, [&](const Wire& w) { return w.address == address; }); };
  for (const Connection& connection : connections) {
    const Ipv4 portal = connection.portal.address, initiator = connection.initiator.address;
    const auto wire = std::ranges::find_if(wires_, [&](const Wire& w) { return w.has(portal) && w.has(initiator); });
    if (wire == wires_.end() || is_own(portal) || is_own(initiator) || portal == initiator || !homes_.contains(portal)) continue;
    Initiator& known = initiators_[initiator];
    known.wire = &*wire;
    total_ += known.connections[portal].emplace(connection, State{}).second ? 1 : 0;
  }
  open_ = total_;
}

void Tickler::claim(const Initiator& initiator, Ipv4 portal, std::vector<Outgoing>& out) const {
  out.push_back({initiator.wire->interface, arp_statement(initiator.wire->mac, *initiator.mac, portal, initiator.wire->mac)});
}

void Tickler::put_right(const Initiator& initiator, Ipv4 portal, std::vector<Outgoing>& out) const {
  out.push_back({initiator.wire->interface, arp_statement(initiator.wire->mac, *initiator.mac, portal, homes_.at(portal))});
}

void Tickler::tickle(const Initiator& initiator, const Connection& connection, std::vector<Outgoing>& out) const {
  Segment bogus{connection.portal, connection.initiator, 0, 0, true, false};
  out.push_back({initiator.wire->interface, tcp_frame(initiator.wire->mac, *initiator.mac, bogus)});
}

void Tickler::begin(Initiator& initiator, std::vector<Outgoing>& out) const {
  for (const auto& [portal, connections] : initiator.connections) {
    claim(initiator, portal, out);
    for (const auto& [connection, state] : connections)
      if (state.is_open) tickle(initiator, connection, out);
  }
}

void Tickler::next_round(std::vector<Outgoing>& out) {
  ++rounds_;
  for (auto& [address, initiator] : initiators_) {
    if (initiator.connections.empty()) continue;
    for (auto& [portal, connections] : initiator.connections)
      for (auto& [connection, state] : connections) state.replies = 0;
    if (initiator.mac) begin(initiator, out);
    else out.push_back({initiator.wire->interface, arp_question(initiator.wire->mac, initiator.wire->address, address)});
  }
}

void Tickler::receive(Bytes frame, std::vector<Outgoing>& out) {
  if (const auto answer = read_arp_answer(frame)) {
    const auto found = initiators_.find(answer->address);
    if (found == initiators_.end() || found->second.mac) return;
    found->second.mac = answer->mac;
    return begin(found->second, out);
  }
  const auto segment = read_segment(frame);
  if (!segment) return;
  const auto found = initiators_.find(segment->from.address);
  if (found == initiators_.end() || !found->second.mac) return;
  Initiator& initiator = found->second;
  const auto portal = initiator.connections.find(segment->to.address);
  if (portal == initiator.connections.end()) return;
  const auto known = portal->second.find(Connection{segment->to, segment->from});
  if (known == portal->second.end() || !known->second.is_open) return;
  if (!segment->is_reset) {
    if (!segment->is_ack || ++known->second.replies > kRepliesMax) return;
    const Segment reset{segment->to, segment->from, segment->acknowledged, 0, false, true};
    out.push_back({initiator.wire->interface, tcp_frame(initiator.wire->mac, *initiator.mac, reset)});
    return tickle(initiator, known->first, out);  // Its answer is a reset now, which says that the connection is gone.
  }
  known->second.is_open = false;
  --open_;
  if (std::ranges::any_of(portal->second, [](const auto& one) { return one.second.is_open; })) return;
  put_right(initiator, portal->first, out);
  initiator.connections.erase(portal);
}

void Tickler::finish(std::vector<Outgoing>& out) {
  for (auto& [address, initiator] : initiators_) {
    if (!initiator.mac) continue;
    for (const auto& [portal, connections] : initiator.connections) put_right(initiator, portal, out);
    initiator.connections.clear();
  }
}

}  // namespace holdfast::daemon
