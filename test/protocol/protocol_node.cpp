#include "test/protocol/protocol_node.h"

#include "base/ensure.h"
#include "base/planted.h"
#include "test/protocol/world_impl.h"

namespace holdfast::protocol {

using engine::Action;

Node::Node(World& world, NodeId id, Uuid incarnation) : world_(&world), id_(id) { disk_.incarnation = incarnation; }

BootNs Node::clock() const { return BootNs{offset + static_cast<TrueNs>(static_cast<double>(world_->now()) * rate)}; }

void Node::rebuild_history() {
  facts_.history = wal::EpochHistory();
  for (std::size_t i = 0; i < disk_.log.size(); ++i) facts_.history.note(disk_.log[i].epoch, Lsn(i + 1));
  facts_.end = Lsn(disk_.log.size());
  facts_.durable = Lsn(disk_.synced);
}

void Node::start() {
  ENSURE(!up());
  ++life_;
  disk_.synced = disk_.log.size();  // A start makes durable what it read.
  facts_ = engine::LogFacts{};
  rebuild_history();
  facts_.applied = disk_.applied;
  RoleMachine::Start start;
  start.self = engine::Copy{id_, disk_.incarnation};
  start.group = world_->group();
  start.timing = world_->timing();
  start.bound = disk_.bound;
  start.seq_seen = disk_.seq_seen;
  start.now = clock();
  machine_ = std::make_unique<RoleMachine>(start, facts_, world_->random());
  shipped_.clear();
  handing_over_to_.reset();
  turn_free_ = 0;
  sync_scheduled_ = false;
  tick();
}

void Node::die(Death how) {
  ENSURE(up());
  world_->ceased(*this);
  machine_.reset();
  ++life_;
  if (how == Death::power_lost && disk_.synced < disk_.log.size())
    disk_.log.resize(world_->random().between(disk_.synced, disk_.log.size()));
  paused_until = 0;
  held.clear();
}

void Node::wipe(Uuid incarnation) {
  ENSURE(!up());
  disk_ = DiskState{};
  disk_.incarnation = incarnation;
}

void Node::later(TrueNs delay, std::function<void()> what) {
  world_->at(world_->now() + delay, [this, life = life_, what = std::move(what)] {
    if (life != life_ || !up()) return;
    world_->with_node(*this, life, [this, what] {
      what();
      run_actions();
    });
  });
}

void Node::in_turn(TrueNs delay, std::function<void()> what) {
  turn_free_ = std::max(turn_free_, world_->now()) + delay;
  later(turn_free_ - world_->now(), std::move(what));
}

void Node::tick() {
  machine_->tick(clock());
  run_actions();
  world_->at(world_->now() + 10 * kMs, [this, life = life_] { tick_unless_paused(life); });
}

// After a pause the sockets are drained first: the tick comes behind everything that waited.
void Node::tick_unless_paused(std::uint64_t life) {
  if (life != life_ || !up()) return;
  if (paused_until <= world_->now() && held.empty()) return tick();
  world_->at(std::max(paused_until, world_->now()) + kMs, [this, life] { tick_unless_paused(life); });
}

void Node::connected(NodeId peer, SessionId session) {
  machine_->connected(clock(), peer, session);
  run_actions();
}

void Node::disconnected(NodeId peer, SessionId session, RoleMachine::LinkEnd how) {
  machine_->disconnected(clock(), peer, session, how);
  run_actions();
}

void Node::append(Record record) {
  disk_.log.push_back(record);
  facts_.history.note(record.epoch, Lsn(disk_.log.size()));
  facts_.end = Lsn(disk_.log.size());
  schedule_sync();
}

void Node::schedule_sync() {
  if (sync_scheduled_ || disk_.synced == disk_.log.size()) return;
  sync_scheduled_ = true;
  const std::size_t target = disk_.log.size();
  later(disk_delay, [this, target] {
    sync_scheduled_ = false;
    disk_.synced = std::max(disk_.synced, std::min(target, disk_.log.size()));
    facts_.durable = Lsn(disk_.synced);
    machine_->log_changed(clock());
    schedule_sync();
  });
}

void Node::receive(NodeId from, SessionId session, const Packet& packet) {
  if (const auto* message = std::get_if<engine::Message>(&packet)) {
    machine_->received(clock(), from, session, *message);
  } else {
    const Append& append_to = std::get<Append>(packet);
    const bool fits = append_to.after == facts_.end && facts_.history.at(facts_.end) == append_to.after_epoch;
    if (machine_->accepts(session, append_to.epoch)) {
      if (!fits) return world_->fail("node " + std::to_string(id_.value) + ": the records of a matched session, after " + std::to_string(append_to.after.value) +
                                      ", do not continue the log, which ends at " + std::to_string(facts_.end.value));
      for (const Record& record : append_to.records) append(record);
      machine_->told_commit(clock(), session, append_to.commit);
    }
  }
  run_actions();
}

std::optional<Lsn> Node::admit(std::uint64_t value) {
  if (!machine_->may_admit(clock())) return std::nullopt;
  append(Record{machine_->epoch(), value});
  const Lsn lsn = facts_.end;
  ship();
  return lsn;
}

bool Node::try_hand_over(NodeId candidate) {
  if (!machine_->prepare_hand_over(candidate)) return false;
  handing_over_to_ = candidate;
  // A drain that takes too long is given up.
  later(500 * kMs, [this, candidate] {
    if (handing_over_to_ != candidate) return;
    handing_over_to_.reset();
    machine_->cancel_hand_over();
  });
  return true;
}

// Everything that a matched session has not been sent, in pieces.
void Node::ship() {
  if (!up() || machine_->role() != engine::Role::primary) return;
  for (auto& other : shipped_) {
    const auto after = machine_->ship_after(other.first, other.second.first);
    if (!after) continue;
    Lsn& sent = other.second.second;
    sent = std::max(sent, *after);
    if (sent.value > disk_.log.size()) continue;
    while (sent < facts_.end) {
      Append piece{machine_->epoch(), sent, facts_.history.at(sent), {}, machine_->commit()};
      const std::uint64_t count = std::min<std::uint64_t>(facts_.end.value - sent.value, world_->random().between(1, 8));
      for (std::uint64_t i = 0; i < count; ++i) piece.records.push_back(disk_.log[sent.value + i]);
      sent = Lsn(sent.value + count);
      world_->send(id_, other.first, other.second.first, std::move(piece));
    }
  }
}

void Node::run_actions() {
  for (int rounds = 0; rounds < 1000; ++rounds) {
    const auto actions = machine_->take_actions();
    if (actions.empty()) break;
    for (const Action& action : actions) perform(action);
  }
  if (handing_over_to_ && machine_->role() == engine::Role::primary && machine_->commit() == facts_.end) {
    const NodeId to = *handing_over_to_;
    if (machine_->hand_over(clock(), to)) {
      handing_over_to_.reset();
      ++world_->tally().hand_overs;
      return run_actions();
    }
  }
  ship();
}

void Node::perform(const Action& action) {
  const auto slow = static_cast<TrueNs>(world_->random().between(1, 20)) * disk_delay / 10;
  if (const auto* to = std::get_if<engine::SendTo>(&action)) {
    if (std::holds_alternative<engine::MatchAt>(to->message)) shipped_[to->node] = {to->session, Lsn()};
    world_->send(id_, to->node, to->session, to->message);
  } else if (std::holds_alternative<engine::ReadRegister>(action)) {
    world_->read_register(*this);
  } else if (const auto* swap = std::get_if<engine::SwapRegister>(&action)) {
    world_->swap_register(*this, swap->base_revision, swap->value);
    world_->turning_point(*this);
  } else if (const auto* bind = std::get_if<engine::BindTo>(&action)) {
    const bool durable = !planted(Bug::bound_epoch_not_durable);
    if (durable && world_->random().coin()) disk_.bound = bind->bound;  // A crash before the end may find it done.
    in_turn(slow, [this, bound = bind->bound, durable] {
      if (durable) disk_.bound = bound;
      machine_->bound_done(clock(), bound);
      world_->turning_point(*this);
    });
  } else if (const auto* cut = std::get_if<engine::CutTo>(&action)) {
    if (cut->end < facts_.applied) world_->fail("an applied record is to be cut");
    in_turn(slow, [this, session = cut->session, end = cut->end] {
      if (end < facts_.applied) return;  // A commit came with an older session's cut still under way.
      if (end < facts_.end) {
        disk_.log.resize(end.value);
        disk_.synced = std::min(disk_.synced, disk_.log.size());
        facts_.history.cut(end);
        facts_.end = end;
      }
      disk_.synced = disk_.log.size();
      facts_.durable = Lsn(disk_.synced);
      machine_->cut_done(clock(), session);
      world_->turning_point(*this);
    });
  } else if (const auto* begin = std::get_if<engine::BeginEpoch>(&action)) {
    append(Record{begin->epoch, 0});
    ++world_->tally().take_overs;
    machine_->epoch_begun(clock(), facts_.end);
  } else if (const auto* commit = std::get_if<engine::CommitTo>(&action)) {
    facts_.applied = std::max(facts_.applied, commit->lsn);
    if (world_->random().one_in(3)) disk_.applied = Lsn(std::min<std::uint64_t>(facts_.applied.value, disk_.synced));
    world_->committed(*this, commit->lsn);
  } else if (std::holds_alternative<engine::Cease>(action)) {
    handing_over_to_.reset();
    world_->ceased(*this);
  } else if (const auto* rebuild = std::get_if<engine::RebuildFrom>(&action)) {
    if (rebuild->whole) world_->fail("a follower's applied records differ from the primary's");
    else world_->narrate("node " + std::to_string(id_.value) + " lacks more than the primary can ship");
  }
}

}  // namespace holdfast::protocol
