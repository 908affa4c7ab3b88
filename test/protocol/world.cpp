#include <cstdio>

#include "base/ensure.h"
#include "base/planted.h"
#include "test/protocol/world_impl.h"

namespace holdfast::protocol {

void Tally::add(const Tally& o) {
  const std::uint64_t Tally::*all[] = {
      &Tally::events, &Tally::crashes, &Tally::power_losses, &Tally::pauses, &Tally::breaks, &Tally::partitions, &Tally::one_way,
      &Tally::wipes, &Tally::register_outages, &Tally::unknown_swaps, &Tally::take_overs, &Tally::hand_overs, &Tally::acks,
      &Tally::reads, &Tally::removals, &Tally::joins, &Tally::slow_disks};
  for (const auto field : all) const_cast<std::uint64_t&>(this->*field) += o.*field;
}

World::World(const Shape& shape) : shape_(shape), random_(shape.seed) {
  group_ = random_.next_uuid();
  // Patience is for comfort: safety may not depend on it, only on leases.
  timing_.lease_ms = random_.pick(std::array<std::int64_t, 4>{600, 600, 300, 1'500});
  timing_.takeover_patience_ms = random_.pick(std::array<std::int64_t, 4>{750, 750, 100, 0});
  timing_.replica_timeout_ms = random_.pick(std::array<std::int64_t, 4>{650, 650, 650, 150});
  timing_.register_poll_ms = random_.pick(std::array<std::int64_t, 4>{1'000, 1'000, 200, 50});
  register_.group = group_;
  register_.seq = 1;
  register_.lease_ms = register_.previous_lease_ms = static_cast<std::uint32_t>(timing_.lease_ms);
  const std::array<TrueNs, 4> delays{kMs / 10, kMs / 4, kMs, 20 * kMs};
  for (unsigned i = 1; i <= shape.nodes; ++i) {
    nodes_.push_back(std::make_unique<Node>(*this, NodeId(i), random_.next_uuid()));
    Node& n = *nodes_.back();
    n.rate = 1.0 + (static_cast<double>(random_.below(9'000)) - 4'500) / 1'000'000;  // ± 0.45 %: 0.9 % between two.
    n.offset = static_cast<TrueNs>(random_.below(1'000'000'000'000));
    n.disk_delay = n.usual_disk_delay = random_.pick(delays);
    register_.members.push_back(NodeId(i));
    register_.add_in_sync(engine::Copy{NodeId(i), n.disk().incarnation});
    cut_off_[NodeId(i)] = false;
  }
  for (unsigned a = 1; a <= shape.nodes; ++a)
    for (unsigned b = a + 1; b <= shape.nodes; ++b) {
      links_.emplace_back();
      links_.back().a = NodeId(a);
      links_.back().b = NodeId(b);
    }
  value_at_[revision_] = register_;
  ops_.resize(1 + random_.below(4));
  const auto chance = [&](std::uint64_t low, std::uint64_t high) { return random_.one_in(3) ? 0 : random_.between(low, high); };
  swarm_.kill = chance(150, 1500);
  swarm_.power = chance(200, 2000);
  swarm_.pause = chance(150, 1500);
  swarm_.link_break = chance(100, 1000);
  swarm_.partition = chance(200, 1500);
  swarm_.one_way = chance(200, 1500);
  swarm_.isolate = chance(200, 1500);
  swarm_.outage = chance(200, 1500);
  swarm_.cut_off = chance(200, 1500);
  swarm_.deposed = chance(100, 800);
  swarm_.hand_over = chance(50, 800);
  swarm_.wipe = random_.one_in(3) ? random_.between(300, 1500) : 0;
  swarm_.slow_disk = chance(300, 1500);
  swarm_.turning = random_.coin() ? 0 : random_.between(3, 20);
  swarm_.unknown_ppm = random_.coin() ? static_cast<std::uint32_t>(random_.below(400'000)) : 0;
  swarm_.slow_hop_max = random_.one_in(4) ? static_cast<TrueNs>(random_.between(10, 150)) * kMs : 0;
}

void World::narrate(const std::string& line) {
  if (shape_.narrate) std::printf("%9.3f ms  %s\n", static_cast<double>(now_) / static_cast<double>(kMs), line.c_str());
}

void World::at(TrueNs due, std::function<void()> what) {
  queue_.push_back(Event{std::max(due, now_), random_.next(), order_++, std::move(what)});
  std::push_heap(queue_.begin(), queue_.end(), later);
}

Verdict World::run() {
  for (auto& n : nodes_) n->start();
  for (std::size_t c = 0; c < ops_.size(); ++c) at(0, [this, c] { client_turn(c); });
  at(0, [this] { inject(); });
  const TrueNs healing = 20'000 * kMs;
  bool well = false;
  while (!failure_ && !queue_.empty() && now_ < shape_.chaos + healing) {
    std::pop_heap(queue_.begin(), queue_.end(), later);
    Event event = std::move(queue_.back());
    queue_.pop_back();
    now_ = event.due;
    ++tally_.events;
    event.what();
    trace_ = sim::mix(trace_ ^ static_cast<std::uint64_t>(now_) ^ acked_ << 20 ^ revision_ << 40);
    check();
    if (calm_ && now_ > shape_.chaos + 1'000 * kMs && tally_.events % 16 == 0 && is_well()) {
      well = true;
      break;
    }
  }
  if (!failure_ && !well) {
    std::string what = "not well " + std::to_string(healing / kMs) + " ms after the last fault:";
    for (const auto& n : nodes_) {
      what += " node " + std::to_string(n->id().value);
      if (!n->up()) {
        what += " down;";
        continue;
      }
      const auto& m = n->machine();
      what += " role " + std::to_string(static_cast<int>(m.role())) + " epoch " + std::to_string(m.epoch().value) + " end " +
              std::to_string(n->facts().end.value) + " commit " + std::to_string(m.commit().value) + (m.is_open() ? " open;" : ";");
    }
    what += " register epoch " + std::to_string(register_.epoch.value) + " primary " + std::to_string(register_.primary.value) +
            " in sync " + std::to_string(register_.in_sync.size());
    fail(what);
  }
  return Verdict{failure_, trace_, tally_, now_};
}

// ---- Links.

World::Link& World::link(NodeId x, NodeId y) {
  const NodeId a = std::min(x, y), b = std::max(x, y);
  return *std::find_if(links_.begin(), links_.end(), [&](const Link& l) { return l.a == a && l.b == b; });
}

void World::with_node(Node& n, std::uint64_t life, std::function<void()> what) {
  if (n.life() != life || !n.up()) return;
  if (n.paused_until <= now_ && n.held.empty()) return what();
  if (n.held.empty()) at(n.paused_until, [this, &n, life] { release_held(n, life); });
  n.held.push_back(std::move(what));
}

// The pause is over: what happened meanwhile happens now, in its order.
void World::release_held(Node& n, std::uint64_t life) {
  if (n.life() != life || !n.up()) return;
  if (n.paused_until > now_) return at(n.paused_until, [this, &n, life] { release_held(n, life); });
  const auto held = std::exchange(n.held, {});
  for (const auto& what : held)
    if (n.life() == life && n.up()) what();
}

void World::send(NodeId from, NodeId to, SessionId session, Packet packet) {
  Link& l = link(from, to);
  if (l.session != session) return;
  if (shape_.narrate && std::holds_alternative<engine::Message>(packet)) {
    const char* names[] = {"hello", "beat", "match", "ack", "release", "fenced"};
    const auto& m = std::get<engine::Message>(packet);
    narrate(std::to_string(from.value) + " -> " + std::to_string(to.value) + " session " + std::to_string(session.value) + ": " + names[m.index()] +
            (std::holds_alternative<engine::Hello>(m) ? " bound " + std::to_string(std::get<engine::Hello>(m).bound.epoch.value) + " end " + std::to_string(std::get<engine::Hello>(m).end.value) : ""));
  }
  if (shape_.narrate && std::holds_alternative<Append>(packet))
    narrate(std::to_string(from.value) + " -> " + std::to_string(to.value) + " session " + std::to_string(session.value) + ": records after " + std::to_string(std::get<Append>(packet).after.value) + " count " + std::to_string(std::get<Append>(packet).records.size()));
  const int direction = from == l.a ? 0 : 1;
  l.waiting[direction].push_back(std::move(packet));
  if (!l.cut[direction]) deliver(l, direction);
}

// Schedules everything that waits, in order.
void World::deliver(Link& l, int direction) {
  while (!l.waiting[direction].empty()) {
    const TrueNs slow = swarm_.slow_hop_max && !calm_ ? static_cast<TrueNs>(random_.below(static_cast<std::uint64_t>(swarm_.slow_hop_max))) : 0;
    Node& to = node(direction == 0 ? l.b : l.a);
    const TrueNs due = std::max(l.last_due[direction] + 1, now_ + hop() + slow);
    l.last_due[direction] = due;
    const NodeId from = direction == 0 ? l.a : l.b;
    at(due, [this, &l, &to, from, session = l.session, life = to.life(), packet = std::move(l.waiting[direction].front())] {
      if (l.session != session) return;
      with_node(to, life, [&to, from, session, packet] { to.receive(from, session, packet); });
    });
    l.waiting[direction].pop_front();
  }
}

void World::notify_end(Link& l, int side, SessionId session, RoleMachine::LinkEnd how) {
  Node& n = node(side == 0 ? l.a : l.b);
  const NodeId other = side == 0 ? l.b : l.a;
  // Each side learns of it in its own time; a half-open connection is the rule.
  at(now_ + hop() * static_cast<TrueNs>(random_.between(1, 20)), [this, &l, &n, side, other, session, how, life = n.life()] {
    with_node(n, life, [&n, other, session, how] { n.disconnected(other, session, how); });
    l.ended_at[side] = true;
  });
}

void World::break_link(Link& l, RoleMachine::LinkEnd how) {
  if (l.session == SessionId()) return;
  const SessionId session = std::exchange(l.session, SessionId());
  for (auto& w : l.waiting) w.clear();
  l.ended_at[0] = l.ended_at[1] = false;
  notify_end(l, 0, session, how);
  notify_end(l, 1, session, how);
  l.next_try = now_ + static_cast<TrueNs>(random_.between(1, 200)) * kMs;
}

void World::maintain_links() {
  for (Link& l : links_) {
    Node &a = node(l.a), &b = node(l.b);
    const bool possible = a.up() && b.up() && !l.cut[0] && !l.cut[1];
    if (l.session != SessionId() || !possible || now_ < l.next_try || !l.ended_at[0] || !l.ended_at[1]) continue;
    l.session = SessionId(next_session_++);
    l.last_due[0] = l.last_due[1] = now_;
    for (Node* n : {&a, &b}) {
      const NodeId other = n == &a ? l.b : l.a;
      const TrueNs due = now_ + hop();
      l.last_due[n == &a ? 1 : 0] = due;  // Nothing of the session arrives before it is known.
      at(due, [this, n, other, session = l.session, life = n->life(), &l] {
        with_node(*n, life, [n, other, session, &l] {
          if (l.session == session) n->connected(other, session);
        });
      });
    }
  }
}

// ---- The register.

void World::read_register(Node& n) {
  const std::uint64_t life = n.life();
  const TrueNs there = hop();
  const TrueNs back = !calm_ && random_.one_in(20) ? static_cast<TrueNs>(random_.below(1'000)) * kMs : hop();
  if (outage_ || cut_off_[n.id()]) {
    at(now_ + 300 * kMs, [this, &n, life] {
      with_node(n, life, [&n] {
        n.machine().register_unreadable(n.clock());
        n.run_actions();
      });
    });
    return;
  }
  at(now_ + there, [this, &n, life, back] {
    at(now_ + back, [this, &n, life, revision = revision_, value = register_] {
      with_node(n, life, [&n, revision, value] {
        n.disk().seq_seen = std::max(n.disk().seq_seen, value.seq);
        n.machine().register_read(n.clock(), revision, value);
        n.run_actions();
      });
    });
  });
}

void World::swap_register(Node& n, std::uint64_t base, engine::Register value) {
  const std::uint64_t life = n.life();
  if (value.epoch > register_.epoch) claims_in_flight_[value.claim] = n.id();
  const bool lost_on_the_way = (outage_ || cut_off_[n.id()]) && random_.coin();
  const bool unknown = outage_ || cut_off_[n.id()] || random_.per_million(swarm_.unknown_ppm);
  if (unknown) ++tally_.unknown_swaps;
  const auto reply = [this, &n, life](RoleMachine::SwapResult result, std::uint64_t revision, engine::Register held) {
    with_node(n, life, [&n, result, revision, held] {
      n.machine().swap_done(n.clock(), result, revision, held);
      n.run_actions();
    });
  };
  if (unknown) at(now_ + 300 * kMs, [reply] { reply(RoleMachine::SwapResult::unknown, 0, {}); });
  if (lost_on_the_way) return;
  // An unknown one may arrive much later than its sender waits.
  const TrueNs there = unknown && random_.coin() ? static_cast<TrueNs>(random_.below(3'000)) * kMs : hop();
  at(now_ + there, [this, reply, unknown, base, value] {
    const bool same_value = value_at_[base].epoch == register_.epoch && value_at_[base].primary == register_.primary &&
                            value_at_[base].in_sync == register_.in_sync;
    const bool applied = base == revision_ || (planted(Bug::cas_by_value) && same_value);
    if (applied) register_changes(base, value);
    if (unknown) return;
    const TrueNs back = !calm_ && random_.one_in(20) ? static_cast<TrueNs>(random_.below(1'000)) * kMs : hop();
    at(now_ + back, [reply, applied, revision = revision_, held = register_] {
      reply(applied ? RoleMachine::SwapResult::applied : RoleMachine::SwapResult::conflict, revision, held);
    });
  });
}

void World::register_changes(std::uint64_t, const engine::Register& value) {
  if (value.epoch < register_.epoch) fail("the register's epoch went backwards");
  if (value.epoch > register_.epoch) {
    if (claims_.contains(value.epoch)) fail("two claims of one epoch");
    claims_[value.epoch] = value.claim;
  } else {
    if (value.in_sync.size() < register_.in_sync.size()) ++tally_.removals;
    else ++tally_.joins;
  }
  register_ = value;
  value_at_[++revision_] = value;
  narrate("register " + std::to_string(revision_) + ": epoch " + std::to_string(value.epoch.value) + " primary " +
          std::to_string(value.primary.value) + " in sync " + [&] {
            std::string all;
            for (const auto& c : value.in_sync) all += std::to_string(c.node.value) + " ";
            return all;
          }());
}

// ---- Clients: one operation each at a time, at whoever admits it.

void World::client_turn(std::size_t c) {
  const auto again = [this, c](TrueNs delay) { at(now_ + delay, [this, c] { client_turn(c); }); };
  Op& op = ops_[c];
  if (op.waiting && now_ - op.invoked < 3'000 * kMs) return again(20 * kMs);
  op = Op{};
  op.kind = random_.one_in(3) ? OpKind::read : OpKind::write;
  Node& n = *nodes_[random_.below(nodes_.size())];
  if (!n.up() || n.paused_until > now_) return again(5 * kMs);
  n.machine().initiators_attached(1);
  n.machine().initiator_heard(n.clock());
  op.node = n.id();
  op.life = n.life();
  op.invoked = now_;
  op.floor = acked_;
  if (op.kind == OpKind::write) {
    op.value = next_value_++;
    const auto lsn = n.admit(op.value);
    if (!lsn) return again(static_cast<TrueNs>(random_.between(1, 10)) * kMs);
    op.lsn = *lsn;
    op.waiting = true;
    n.run_actions();
  } else {
    if (!n.machine().is_open()) return again(static_cast<TrueNs>(random_.between(1, 10)) * kMs);
    // Fetched now, answered later: the lease is looked at in between (7).
    const std::uint64_t position = n.machine().commit().value;
    op.waiting = true;
    at(now_ + hop() * static_cast<TrueNs>(random_.between(1, 40)), [this, c, &n, life = n.life(), position, floor = op.floor, epoch = n.machine().epoch()] {
      with_node(n, life, [this, &n, position, floor, epoch] {
        if (n.machine().epoch() != epoch || !n.machine().may_serve(n.clock())) return;
        if (position < floor) fail("a read of position " + std::to_string(position) + " after " + std::to_string(floor) + " was seen");
        acked_ = std::max(acked_, position);
        ++tally_.reads;
      });
      ops_[c].waiting = false;
    });
  }
  again(static_cast<TrueNs>(random_.between(1, 30)) * kMs);
}

void World::settle_writes(Node& n) {
  for (Op& op : ops_) {
    if (!op.waiting || op.kind != OpKind::write || op.node != n.id() || op.life != n.life()) continue;
    if (n.machine().commit() < op.lsn || !n.machine().may_acknowledge(n.clock())) continue;
    if (op.lsn.value > committed_.size() || committed_[op.lsn.value - 1].value != op.value) {
      fail("an acknowledged write is not what was committed at its place");
      continue;
    }
    if (op.lsn.value <= op.floor) fail("a write was ordered before one that was complete when it began");
    acked_ = std::max(acked_, op.lsn.value);
    ++tally_.acks;
    op.waiting = false;
  }
}

void World::committed(Node& n, Lsn upto) {
  for (std::uint64_t i = 0; i < upto.value; ++i) {
    if (i >= n.disk().log.size()) return fail("a node commits records that it does not have");
    const Record& r = n.disk().log[i];
    if (i < committed_.size()) {
      if (committed_[i] != r)
        return fail("node " + std::to_string(n.id().value) + " commits another record at " + std::to_string(i + 1));
    } else {
      committed_.push_back(r);
    }
  }
}

// Its clients hear nothing more of what they sent there: unknown.
void World::ceased(Node& n) {
  for (Op& op : ops_)
    if (op.waiting && op.kind == OpKind::write && op.node == n.id() && op.life == n.life()) op.waiting = false;
}

// ---- Faults.

void World::strike_down(Node& n, Death how) {
  if (!n.up() || calm_) return;
  n.die(how);
  ++(how == Death::power_lost ? tally_.power_losses : tally_.crashes);
  narrate((how == Death::power_lost ? "power loss of " : "kill of ") + std::to_string(n.id().value));
  for (Link& l : links_)
    if (l.a == n.id() || l.b == n.id())
      break_link(l, how == Death::power_lost ? RoleMachine::LinkEnd::closed : RoleMachine::LinkEnd::reset);
  const bool claim_under_way =
      std::any_of(claims_in_flight_.begin(), claims_in_flight_.end(), [&](const auto& c) { return c.second == n.id(); });
  const engine::Copy mine{n.id(), n.disk().incarnation};
  const bool others_have_it = std::any_of(register_.in_sync.begin(), register_.in_sync.end(), [&](const engine::Copy& c) {
    return c.node != n.id() && node(c.node).disk().incarnation == c.incarnation;
  });
  const bool wanted = swarm_.wipe != 0 && random_.one_in(3);
  if (wanted && !claim_under_way && (others_have_it || !register_.has_in_sync(mine))) {
    n.wipe(random_.next_uuid());
    ++tally_.wipes;
    narrate("its disk is replaced");
  }
  at(now_ + static_cast<TrueNs>(random_.between(1, random_.coin() ? 50 : 3'000)) * kMs, [&n] {
    if (!n.up()) n.start();
  });
}

// Something has just become durable, or is on its way to the register: the best moment to die.
void World::turning_point(Node& n) {
  if (calm_ || swarm_.turning == 0 || !random_.one_in(swarm_.turning)) return;
  at(now_ + static_cast<TrueNs>(random_.below(20'000)) * 1'000, [this, &n] {
    strike_down(n, random_.one_in(3) ? Death::power_lost : Death::killed);
  });
}

void World::inject() {
  maintain_links();
  for (auto& n : nodes_)
    if (n->up() && n->paused_until <= now_) settle_writes(*n);
  if (failure_) return;
  at(now_ + 10 * kMs, [this] { inject(); });
  if (calm_) return;
  if (now_ >= shape_.chaos) return heal();
  const auto strikes = [&](std::uint64_t chance) { return chance != 0 && random_.one_in(chance); };
  Node& n = *nodes_[random_.below(nodes_.size())];
  const auto mend_later = [&](auto what) { at(now_ + static_cast<TrueNs>(random_.between(10, 4'000)) * kMs, what); };
  const bool kill = strikes(swarm_.kill), power = strikes(swarm_.power);
  if (kill || power) strike_down(n, power ? Death::power_lost : Death::killed);
  if (strikes(swarm_.pause) && n.up()) {
    n.pause(now_ + static_cast<TrueNs>(random_.between(10, 3'000)) * kMs);
    ++tally_.pauses;
    narrate("pause of " + std::to_string(n.id().value));
  }
  Link& l = links_[random_.below(links_.size())];
  if (strikes(swarm_.link_break)) {
    break_link(l, random_.coin() ? RoleMachine::LinkEnd::reset : RoleMachine::LinkEnd::closed);
    ++tally_.breaks;
  }
  const auto reopen = [this](Link* which, int direction) {
    which->cut[direction] = false;
    deliver(*which, direction);
  };
  const auto cut = [&](Link& which, int direction) {
    which.cut[direction] = true;
    mend_later([reopen, w = &which, direction] { reopen(w, direction); });
    // A connection through a cut link ends some time.
    if (random_.coin())
      mend_later([this, w = &which, session = which.session] {
        if (w->session == session) break_link(*w, RoleMachine::LinkEnd::closed);
      });
  };
  if (strikes(swarm_.partition)) {
    cut(l, 0), cut(l, 1);
    ++tally_.partitions;
    narrate("partition of " + std::to_string(l.a.value) + " and " + std::to_string(l.b.value));
  }
  if (strikes(swarm_.one_way)) {
    cut(l, random_.coin() ? 0 : 1);
    ++tally_.one_way;
  }
  if (strikes(swarm_.isolate)) {
    for (Link& each : links_)
      if (each.a == n.id() || each.b == n.id()) cut(each, 0), cut(each, 1);
    ++tally_.partitions;
    narrate("isolation of " + std::to_string(n.id().value));
  }
  if (strikes(swarm_.deposed) && register_.primary != NodeId()) {
    // The primary loses the register and one of the others, and does not learn that it is deposed.
    const NodeId primary = register_.primary;
    for (Link& each : links_)
      if ((each.a == primary || each.b == primary) && random_.coin()) cut(each, 0), cut(each, 1);
    cut_off_[primary] = true;
    mend_later([this, primary] { cut_off_[primary] = false; });
    ++tally_.partitions;
    narrate("the primary " + std::to_string(primary.value) + " is cut off from the register and some others");
  }
  if (strikes(swarm_.outage)) {
    outage_ = true;
    mend_later([this] { outage_ = false; });
    ++tally_.register_outages;
    narrate("the register is out");
  }
  if (strikes(swarm_.cut_off)) {
    cut_off_[n.id()] = true;
    mend_later([this, id = n.id()] { cut_off_[id] = false; });
    ++tally_.register_outages;
  }
  if (strikes(swarm_.hand_over) && n.up() && n.paused_until <= now_) {
    const NodeId candidate = nodes_[random_.below(nodes_.size())]->id();
    if (n.machine().is_open() && n.try_hand_over(candidate)) narrate("hand-over to " + std::to_string(candidate.value));
    n.run_actions();
  }
  if (strikes(swarm_.slow_disk)) {
    n.disk_delay = static_cast<TrueNs>(random_.between(50, 1'500)) * kMs;
    mend_later([&n] { n.disk_delay = n.usual_disk_delay; });
    ++tally_.slow_disks;
  }
}

void World::heal() {
  calm_ = true;
  outage_ = false;
  swarm_.unknown_ppm = 0;
  for (auto& [id, cut] : cut_off_) cut = false;
  for (Link& l : links_)
    for (int d : {0, 1}) {
      l.cut[d] = false;
      deliver(l, d);
    }
  for (auto& n : nodes_) {
    n->paused_until = std::min(n->paused_until, now_);
    n->disk_delay = n->usual_disk_delay;
    if (!n->up()) n->start();
  }
  narrate("calm");
}

bool World::is_well() {
  std::size_t serving = 0;
  for (const auto& n : nodes_) {
    if (!n->up()) return false;
    serving += n->machine().may_serve(n->clock());
  }
  if (serving != 1 || register_.in_sync.size() != nodes_.size()) return false;
  for (const auto& n : nodes_)
    if (!register_.has_in_sync(engine::Copy{n->id(), n->disk().incarnation})) return false;
  return true;
}

// The invariants of the cluster, after every event.
void World::check() {
  std::size_t serving = 0;
  for (const auto& n : nodes_) serving += n->up() && n->machine().may_serve(n->clock());
  if (serving > 1) fail("two nodes may serve at one instant");
  if (acked_ > committed_.size()) fail("something was seen that is not committed");
  for (const engine::Copy& copy : register_.in_sync) {
    Node& n = node(copy.node);
    if (n.disk().incarnation != copy.incarnation) continue;
    if (n.disk().synced < acked_) {
      fail("in-sync node " + std::to_string(copy.node.value) + " lacks position " + std::to_string(acked_) + ", which a client has seen");
    } else if (acked_ > 0 && n.disk().log[acked_ - 1] != committed_[acked_ - 1]) {
      fail("in-sync node " + std::to_string(copy.node.value) + " has another record where a client has seen one");
    }
  }
}

Verdict live(const Shape& shape) {
  World world(shape);
  return world.run();
}

}  // namespace holdfast::protocol
