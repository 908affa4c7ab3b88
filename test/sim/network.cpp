#include "test/sim/network.h"

#include <algorithm>

#include "test/sim/network_connection.h"

namespace holdfast::sim {

Connector& SimNetwork::add(NodeId node, SimHost& host) {
  Machine& machine = machines_[node];
  ENSURE(!machine.connector);
  machine.id = node;
  machine.host = &host;
  machine.connector = std::make_unique<SimConnector>(*this, node, host);
  return *machine.connector;
}

void SimNetwork::process_started(NodeId node, BufferPool& pool) {
  Machine& machine = machines_.at(node);
  machine.pool = &pool;
  machine.powered = true;
  reset_half_open(node);
}

void SimNetwork::listen(NodeId node, Accept accept) { machines_.at(node).accept = std::move(accept); }

DurationNs SimNetwork::draw_latency(NodeId from, NodeId to) {
  const NetworkPath& way = paths_[{from, to}];
  const auto spread = static_cast<std::uint64_t>(options_.latency_max.value - options_.latency_min.value + way.jitter.value);
  return DurationNs{options_.latency_min.value + way.delay.value + static_cast<std::int64_t>(world_->random().below(spread + 1))};
}

// ---- Making connections.

Task<Result<std::unique_ptr<Link>>> SimConnector::connect(NodeId node, Uuid) {
  const auto attempt = std::make_shared<SimNetwork::Attempt>();
  attempt->from = self_;
  attempt->to = node;
  Timer timer(host_->clock());
  struct Listening {  // An answer to a caller that has gone is dropped.
    SimNetwork::Attempt* attempt;
    ~Listening() { attempt->timer = nullptr; }
  } listening{attempt.get()};
  attempt->timer = &timer;
  network_->later(network_->draw_latency(self_, node), [network = network_, attempt] { network->request_arrives(attempt); });
  (void)co_await timer.after(network_->options_.connect_timeout);
  if (attempt->link) co_return std::move(attempt->link);
  if (attempt->refusal != Errc{}) co_return fail(attempt->refusal, "connect: refused");
  ++network_->counters_.connects_timed_out;
  co_return fail(Errc::timed_out, "connect: no answer");
}

void SimNetwork::request_arrives(const std::shared_ptr<Attempt>& attempt) {
  const auto found = machines_.find(attempt->to);
  if (found == machines_.end() || !found->second.powered || path(attempt->from, attempt->to).cut) {
    ++counters_.held;
    return;
  }
  Machine& there = found->second;
  Machine& here = machines_.at(attempt->from);
  const DurationNs back = draw_latency(attempt->to, attempt->from);
  if (!there.accept || !here.pool) {
    ++counters_.refused;
    return answer(attempt, attempt->to, Errc::io_error, nullptr, back);
  }
  forget_ended();
  const auto connection = std::make_shared<Connection>(here, there);
  connection->side[0].last_due = world_->now() + back;  // Nothing of the connection arrives before the answer.
  connections_.push_back(connection);
  ++counters_.connections;
  answer(attempt, attempt->to, Errc{}, std::make_unique<SimLink>(*this, connection, 0), back);
  // In the listener's own time: the kernel takes connections also for a process that is frozen.
  world_->after(DurationNs{}, *there.host, [this, from = attempt->from, to = attempt->to, link = std::make_unique<SimLink>(*this, connection, 1)]() mutable {
    Machine& machine = machines_.at(to);
    if (machine.accept) machine.accept(from, std::move(link));
  });
}

void SimNetwork::answer(const std::shared_ptr<Attempt>& attempt, NodeId from, Errc refusal, std::unique_ptr<Link> link, DurationNs delay) {
  later(delay, [this, attempt, from, refusal, link = std::move(link)]() mutable {
    if (path(from, attempt->from).cut || !attempt->timer) return;  // The link, if any, ends with this event.
    attempt->refusal = refusal;
    attempt->link = std::move(link);
    attempt->timer->cancel();
  });
}

// ---- Frames.

Task<Result<void>> SimLink::send(Frame frame) {
  const SimNetwork::Shared connection = connection_;
  auto& self = connection->side[side_];
  auto& other = connection->side[1 - side_];
  const std::size_t bytes = frame.head.size() + frame.payload.size();
  while (!self.is_over() && other.window_used > 0 && other.window_used + bytes > network_->options_.window_bytes) {
    ++network_->counters_.waits;
    co_await self.writable.wait();
  }
  if (self.is_over()) co_return fail(self.ended);
  other.window_used += bytes;
  Parcel parcel;
  parcel.head.assign(frame.head.data(), frame.head.data() + frame.head.size());
  parcel.payload.assign(frame.payload.data(), frame.payload.data() + frame.payload.size());
  other.flying.push_back(std::move(parcel));
  ++network_->counters_.frames;
  network_->counters_.bytes += bytes;
  network_->transmit(connection, 1 - side_);
  co_return Result<void>{};
}

// Puts the newest parcel on its way.
void SimNetwork::transmit(const Shared& connection, int to) {
  Connection::Side& side = connection->side[to];
  const NodeId from = connection->side[1 - to].node;
  if (path(from, side.node).delay.value > 0) ++counters_.delayed;
  side.last_due = std::max(side.last_due, world_->now() + draw_latency(from, side.node));
  side.flying.back().due = side.last_due;
  world_->at(side.last_due, host_, [this, connection, to] { pump(connection, to); });
}

void SimNetwork::pump(const Shared& connection, int to) {
  Connection::Side& side = connection->side[to];
  const NodeId from = connection->side[1 - to].node;
  bool news = false;
  while (!side.flying.empty() && side.flying.front().due <= world_->now()) {
    if (path(from, side.node).cut) {
      meet_cut(connection, to);
      break;
    }
    if (side.gone && !machines_.at(side.node).powered) break;  // Sent again and again: answered when the machine is back.
    Parcel parcel = std::move(side.flying.front());
    side.flying.pop_front();
    world_->trace(parcel.size());
    if (side.is_over()) {
      if (!parcel.is_end) break_side(connection, 1 - to, draw_latency(side.node, from));
      continue;
    }
    side.arrived.push_back(std::move(parcel));
    news = true;
  }
  if (news) side.readable.notify_all();
}

void SimNetwork::meet_cut(const Shared& connection, int to) {
  Connection::Side& side = connection->side[to];
  Parcel& first = side.flying.front();
  if (!first.counted_as_held) ++counters_.held;
  first.counted_as_held = true;
  if (side.watched || options_.unacknowledged_max.value == 0) return;
  side.watched = true;
  later(options_.unacknowledged_max, [this, connection, to] {
    Connection::Side& waiting = connection->side[to];
    waiting.watched = false;
    if (waiting.flying.empty() || !waiting.flying.front().counted_as_held) return;
    ++counters_.broken;
    break_side(connection, 1 - to, DurationNs{});
  });
}

Task<Result<Frame>> SimLink::receive() {
  const SimNetwork::Shared connection = connection_;
  auto& self = connection->side[side_];
  ENSURE(!self.receiving);  // One receiver at a time.
  struct Receiving {
    bool* flag;
    ~Receiving() { *flag = false; }
  } receiving{&self.receiving};
  self.receiving = true;
  while (!self.is_over() && self.arrived.empty()) co_await self.readable.wait();
  if (self.is_over()) co_return fail(self.ended);
  if (self.arrived.front().is_end) {
    self.ended = Errc::closed;
    self.writable.notify_all();
    co_return fail(Errc::closed);
  }
  ENSURE(!self.arrived.front().head.empty());
  Buffer head = co_await self.pool->acquire(self.arrived.front().head.size());
  if (self.is_over()) co_return fail(self.ended);
  Buffer payload;
  if (const std::size_t bytes = self.arrived.front().payload.size(); bytes > 0) {
    Buffer room = co_await self.pool->acquire(bytes);
    payload = std::move(room);
  }
  if (self.is_over()) co_return fail(self.ended);
  const Parcel parcel = std::move(self.arrived.front());
  self.arrived.pop_front();
  std::memcpy(head.data(), parcel.head.data(), parcel.head.size());
  if (!parcel.payload.empty()) std::memcpy(payload.data(), parcel.payload.data(), parcel.payload.size());
  Frame frame;
  frame.head = std::move(head);
  frame.payload = std::move(payload);
  network_->give_window_back(*connection, side_, parcel.size());
  co_return frame;
}

void SimNetwork::give_window_back(Connection& connection, int to, std::size_t bytes) {
  Connection::Side& side = connection.side[to];
  Connection::Side& sender = connection.side[1 - to];
  side.window_owed += bytes;
  if (path(side.node, sender.node).cut) return;  // The acknowledgement is lost for now.
  side.window_used -= std::exchange(side.window_owed, 0);
  sender.writable.notify_all();
}

// ---- Ends.

void SimNetwork::close_side(const Shared& connection, int at) {
  Connection::Side& side = connection->side[at];
  if (side.is_over()) return;
  side.ended = Errc::closed;
  side.arrived.clear();
  side.readable.notify_all();
  side.writable.notify_all();
  Connection::Side& other = connection->side[1 - at];
  if (other.is_over()) return;
  other.flying.emplace_back();
  other.flying.back().is_end = true;
  transmit(connection, 1 - at);
}

// The side learns that the connection is broken, unless the word of it is lost on the way.
void SimNetwork::break_side(const Shared& connection, int at, DurationNs delay) {
  later(delay, [this, connection, at] {
    Connection::Side& side = connection->side[at];
    if (side.is_over()) return;
    ++counters_.resets;
    side.ended = Errc::io_error;
    side.arrived.clear();
    side.readable.notify_all();
    side.writable.notify_all();
    if (!connection->side[1 - at].is_over()) ask_after_peer(connection, 1 - at);
  });
}

void SimNetwork::process_died(NodeId node, Death how) {
  Machine& machine = machines_.at(node);
  machine.accept = nullptr;
  machine.pool = nullptr;
  machine.powered = how == Death::killed;
  for (const Shared& connection : connections_)
    for (const int at : {0, 1}) {
      Connection::Side& side = connection->side[at];
      if (side.node != node || side.gone) continue;
      const bool was_over = side.is_over();
      side.gone = true;
      side.ended = Errc::closed;
      side.arrived.clear();
      const NodeId other = connection->side[1 - at].node;
      if (was_over) continue;
      if (how == Death::killed && !path(node, other).cut) break_side(connection, 1 - at, draw_latency(node, other));
      ask_after_peer(connection, 1 - at);
    }
}

// A side that sends nothing learns only by asking that its peer has ended, once the peer's machine answers again.
void SimNetwork::ask_after_peer(const Shared& connection, int at) {
  if (options_.keepalive.value == 0) return;
  later(options_.keepalive, [this, connection, at] {
    Connection::Side& side = connection->side[at];
    if (side.is_over()) return;
    const NodeId peer = connection->side[1 - at].node;
    const bool answers = machines_.at(peer).powered && !path(side.node, peer).cut && !path(peer, side.node).cut;
    if (answers) return break_side(connection, at, draw_latency(peer, side.node));
    ask_after_peer(connection, at);
  });
}

// The machine is back: it knows nothing of old connections, and says so to who still sends on them.
void SimNetwork::reset_half_open(NodeId node) {
  for (const Shared& connection : connections_)
    for (const int at : {0, 1}) {
      const Connection::Side& side = connection->side[at];
      const Connection::Side& other = connection->side[1 - at];
      if (side.node != node || !side.gone || other.is_over()) continue;
      if (path(node, other.node).cut || path(other.node, node).cut) continue;
      break_side(connection, 1 - at, milliseconds(static_cast<std::int64_t>(world_->random().below(300))));
    }
}

std::size_t SimNetwork::reset(NodeId a, NodeId b) {
  std::size_t broken = 0;
  for (const Shared& connection : connections_) {
    auto& side = connection->side;
    if (!(side[0].node == a && side[1].node == b) && !(side[0].node == b && side[1].node == a)) continue;
    if (side[0].is_over() && side[1].is_over()) continue;
    ++broken;
    for (const int at : {0, 1}) {
      side[at].flying.clear();
      break_side(connection, at, microseconds(static_cast<std::int64_t>(world_->random().below(2'000))));
    }
  }
  return broken;
}

void SimNetwork::set_path(NodeId from, NodeId to, NetworkPath way) {
  NetworkPath& old = paths_[{from, to}];
  const bool mended = old.cut && !way.cut;
  old = way;
  if (!mended) return;
  for (const Shared& connection : connections_)
    for (const int at : {0, 1}) {
      if (connection->side[at].node == to && connection->side[1 - at].node == from) resume_after_cut(connection, at);
      // Acknowledgements of the other direction come through again.
      if (connection->side[at].node == from && connection->side[1 - at].node == to) give_window_back(*connection, at, 0);
    }
}

void SimNetwork::cut(NodeId from, NodeId to) {
  NetworkPath way = path(from, to);
  way.cut = true;
  set_path(from, to, way);
}

void SimNetwork::mend(NodeId from, NodeId to) {
  NetworkPath way = path(from, to);
  way.cut = false;
  set_path(from, to, way);
}

// TCP tries again in its own time.
void SimNetwork::resume_after_cut(const Shared& connection, int to) {
  Connection::Side& side = connection->side[to];
  if (side.flying.empty()) return;
  BootNs due = world_->now() + milliseconds(static_cast<std::int64_t>(world_->random().between(1, 200)));
  for (Parcel& parcel : side.flying) {
    parcel.due = due = std::max(due, parcel.due);
    parcel.counted_as_held = false;
    world_->at(due, host_, [this, connection, to] { pump(connection, to); });
  }
  side.last_due = std::max(side.last_due, due);
}

void SimNetwork::forget_ended() {
  std::erase_if(connections_, [](const Shared& connection) { return connection->side[0].is_over() && connection->side[1].is_over(); });
}

}  // namespace holdfast::sim
