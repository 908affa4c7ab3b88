#include "tools/holdfastd/takeover.h"

#include <algorithm>

#include "base/log.h"
#include "base/text.h"

namespace holdfast::daemon {
namespace {

constexpr DurationNs kExchangeEvery = milliseconds(1'000);
constexpr DurationNs kKnockLimit = milliseconds(100);  // A node that is well answers in a few; who serves meanwhile serves already.

bool is_counted_on(const engine::Register& view, NodeId node) { return view.find_in_sync(node) != nullptr; }

}  // namespace

struct Takeover::Knocking {
  explicit Knocking(Clock& clock) : limit(clock) {}
  Timer limit;
  std::optional<Errc> answer;
};

Takeover::Takeover(Clock& clock, NodeId self, Coordinator& coordinator, ClusterDirectory& directory, TakeoverHost& host,
                   std::vector<Ipv4Endpoint> listeners)
    : clock_(clock), self_(self), coordinator_(coordinator), directory_(directory), host_(host), listeners_(std::move(listeners)), pause_(clock),
      scope_(clock.executor()) {}

void Takeover::start() { scope_.spawn(exchange()); }

Task<void> Takeover::stop() {
  stopping_ = true;
  pause_.cancel();
  co_await scope_.join();
}

// This node's sessions for the others, and theirs for this one.
Task<void> Takeover::exchange() {
  while (!stopping_) {
    auto done = co_await publish();
    if (done) {
      auto records = co_await coord::list_sessions(&directory_);
      if (records) {
        known_.clear();
        for (coord::SessionRecord& record : *records) known_[record.node] = std::move(record);
        const auto own = known_.find(self_);
        if (own == known_.end() || own->second != published_) published_.reset();  // Somebody has removed it.
      } else {
        done = fail(records.error());
      }
    }
    const std::string trouble = done ? std::string() : done.error().text();
    if (trouble != trouble_ && !trouble.empty()) log_warning("iscsi.takeover: what the nodes know of each other's sessions gets old: " + trouble);
    trouble_ = trouble;
    co_await note_leaders();
    if (!stopping_) co_await pause_.after(kExchangeEvery);
  }
}

Task<Result<void>> Takeover::publish() {
  auto wires = find_wires();
  if (!wires) co_return fail(std::move(wires).error());
  auto connections = find_connections(listeners_);
  if (!connections) co_return fail(std::move(connections).error());
  coord::SessionRecord record;
  record.node = self_;
  std::map<Ipv4, Mac> portals;
  for (const Connection& one : *connections) {
    const auto wire = std::ranges::find(*wires, one.portal.address, &Wire::address);
    if (wire == wires->end() || record.connections.size() >= coord::kSessionConnectionsMax) continue;
    if (!portals.contains(wire->address) && portals.size() >= coord::kSessionPortalsMax) continue;
    portals[wire->address] = wire->mac;
    record.connections.push_back({one.portal.text(), one.initiator.text()});
  }
  for (const auto& [address, mac] : portals) record.portals.push_back({address.text(), mac_text(mac)});
  if (record == published_) co_return Result<void>{};
  auto done = co_await coord::publish_sessions(&coordinator_, record);
  if (done) published_ = std::move(record);
  co_return done;
}

Task<void> Takeover::note_leaders() {
  for (const std::string& volume : host_.kept()) {
    auto view = co_await host_.view_of(volume);
    if (view && view->primary != self_ && view->primary != NodeId()) leaders_[volume] = view->primary;
  }
}

void Takeover::begins_to_serve(const std::string& volume) {
  const auto leader = leaders_.find(volume);
  if (stopping_ || leader == leaders_.end() || !attended_.insert(leader->second).second) return;
  scope_.spawn(attend(volume, leader->second));
}

Task<void> Takeover::attend(std::string volume, NodeId node) {
  const BootNs began = clock_.now();
  TakeoverFacts facts;
  auto view = co_await host_.view_of(volume);
  if (!view || is_counted_on(*view, node)) facts.standing = TakeoverFacts::Standing::in_step;
  for (bool is_over = false; !is_over && !stopping_;) {
    const auto sessions = known_.find(node);
    facts.sessions = sessions != known_.end() && !sessions->second.connections.empty() ? TakeoverFacts::Sessions::some : TakeoverFacts::Sessions::none;
    facts.waited = clock_.now() - began;
    switch (next_move(facts)) {
      case TakeoverMove::leave: is_over = true; break;
      case TakeoverMove::knock: facts.knock = co_await knock(volume, node); break;
      case TakeoverMove::look: facts.leads = co_await leads(node); break;
      case TakeoverMove::wait:
        // It may be back by then: everything is asked anew, and to ask a silent node takes its time.
        facts.knock = TakeoverFacts::Knock::unknown;
        facts.leads = TakeoverFacts::Leads::unknown;
        break;
      case TakeoverMove::tickle:
        co_await end_connections(node);
        is_over = true;
        break;
    }
  }
  attended_.erase(node);
}

Task<void> Takeover::ask(std::shared_ptr<Knocking> knocking, std::string volume, NodeId node) {
  const Errc answer = co_await host_.knock(std::move(volume), node);
  knocking->answer = answer;
  knocking->limit.cancel();
}

Task<TakeoverFacts::Knock> Takeover::knock(std::string volume, NodeId node) {
  const auto knocking = std::make_shared<Knocking>(clock_);
  scope_.spawn(ask(knocking, std::move(volume), node));
  if (!knocking->answer) co_await knocking->limit.after(kKnockLimit);
  const bool answered = knocking->answer && *knocking->answer != Errc::timed_out;
  co_return answered ? TakeoverFacts::Knock::answered : TakeoverFacts::Knock::silent;
}

Task<TakeoverFacts::Leads> Takeover::leads(NodeId node) {
  for (const coord::VolumeDefinition& definition : host_.known_definitions()) {
    if (!definition.find(node)) continue;
    auto entry = co_await coordinator_.get(engine::register_key(definition.group));
    if (!entry) co_return TakeoverFacts::Leads::unreadable;
    if (entry->revision == 0) continue;
    const auto value = engine::decode_register(entry->value);
    if (!value) co_return TakeoverFacts::Leads::unreadable;
    if (value->primary == node) co_return TakeoverFacts::Leads::something;
  }
  co_return TakeoverFacts::Leads::nothing;
}

Task<void> Takeover::end_connections(NodeId node) {
  const coord::SessionRecord record = known_[node];
  std::map<Ipv4, Mac> homes;
  for (const coord::SessionRecord::Portal& portal : record.portals) {
    const auto address = parse_ipv4(portal.address);
    const auto mac = parse_mac(portal.mac);
    if (address && mac) homes[*address] = *mac;
  }
  std::vector<Connection> connections;
  for (const coord::SessionRecord::Connection& one : record.connections) {
    const auto portal = parse_ipv4_endpoint(one.portal), initiator = parse_ipv4_endpoint(one.initiator);
    if (portal && initiator) connections.push_back({*portal, *initiator});
  }
  auto wires = find_wires();
  if (!wires) co_return log_warning("iscsi.takeover: " + wires.error().text());
  const std::size_t count = connections.size();
  io::OnWorker<Result<Tickled>> job(clock_.executor(), worker_, [wires = std::move(*wires), homes = std::move(homes), connections = std::move(connections)]() mutable {
    return tickle(std::move(wires), std::move(homes), std::move(connections));
  });
  const Result<Tickled> done = co_await job;
  if (!done) co_return log_warning("iscsi.takeover: " + done.error().text());
  log_info(concat("node ", node.value, " is silent: of ", count, " connections that initiators had to it, ", done->ended, " are ended (", done->elapsed_ms, " ms)",
                  done->reached < count ? concat("; ", count - done->reached, " are not on this node's networks") : std::string()));
}

}  // namespace holdfast::daemon
