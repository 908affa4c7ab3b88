#include "test/cluster/cluster.h"

#include <algorithm>
#include <cstdio>

#include "engine/group_impl.h"
#include "test/sim/text.h"

namespace holdfast::cluster {
namespace {

constexpr std::uint64_t kStepsBetweenChecks = 24;
constexpr std::size_t kNotesMax = 400;
constexpr DurationNs kFormatTime = milliseconds(30'000);
constexpr DurationNs kSoon = milliseconds(400);  // An operation of a healthy cluster takes no longer.

}  // namespace

Cluster::Cluster(Plan plan)
    : plan_(std::move(plan)), world_(plan_.seed), wires_(world_), network_(world_, plan_.network), coordinator_(world_, plan_.coordinator),
      invariants_(world_, nodes_, [this](std::string what) { violation(std::move(what)); }), clients_(world_, *this, history_, plan_.clients) {
  for (unsigned i = 1; i <= plan_.nodes; ++i) {
    const ClusterNode::World around{world_, network_, coordinator_, *this};
    nodes_.push_back(std::make_unique<ClusterNode>(around, NodeId(i)));
    ClusterNode& made = *nodes_.back();
    made.disk().latency = plan_.disk_latency;
    made.disk().faults.slow_ppm = plan_.disk_slow_ppm;
    if (i <= plan_.clock_drift.size()) {
      made.host().clock().set_drift(plan_.clock_drift[i - 1]);
      made.host().clock().set_offset(DurationNs{static_cast<std::int64_t>(world_.random().below(1'000'000'000'000))});
    }
  }
  powered_.assign(plan_.nodes, true);
  history_.set_bits_from(Lba(plan_.clients.volume_blocks));
  tight_chunks = plan_.tight_chunks;
  corrupt_opens_.assign(plan_.nodes, 0);
  coordinator_.observer = [this](const std::string&, const CoordinatorEntry& entry) { register_changed(entry); };
  coordinator_.same_value = [](const std::string& a, const std::string& b) {
    const auto x = engine::decode_register(a), y = engine::decode_register(b);
    return x && y && x->epoch == y->epoch && x->primary == y->primary && x->in_sync == y->in_sync;
  };
  invariants_.way = [this](NodeId a, NodeId b) -> std::optional<DurationNs> {
    const sim::NetworkPath &there = network_.path(a, b), &back = network_.path(b, a);
    if (there.cut || back.cut) return std::nullopt;
    return DurationNs{std::max(there.delay.value + there.jitter.value, back.delay.value + back.jitter.value)};
  };
  invariants_.on_role = [this](NodeId id, const ReplicaStatus& replica, Epoch epoch) { role_changed(id, replica, epoch); };
}

Cluster::~Cluster() = default;

// ---- The story.

void Cluster::note(std::string line) {
  line = sim::format("{} ms  {}", static_cast<double>(static_cast<std::int64_t>(now_ms() * 1000)) / 1000, line);
  if (plan_.narrate) std::printf("%s\n", line.c_str());
  if (notes_.size() == kNotesMax) notes_.erase(notes_.begin(), notes_.begin() + kNotesMax / 2);
  notes_.push_back(std::move(line));
}

void Cluster::violation(std::string what) {
  if (violation_) return;
  note("VIOLATION: " + what);
  violation_ = std::move(what);
}

void Cluster::unavailable(std::string what) {
  if (!beyond_promise_) return violation(std::move(what));
  gave_up_ = true;
  note("given up, the last copy in sync had the bad disk: " + what);
}

void Cluster::hangs(std::string what) {
  const bool by_the_bad_copy = bad_copy_ && truth().has_in_sync(*bad_copy_) && !others_have_everything(bad_copy_->node);
  if (by_the_bad_copy) unavailable(std::move(what));
  else violation(std::move(what));
}

void Cluster::wrong_content(std::string what) {
  if (invariants_.rotten_tail) unavailable(std::move(what));
  else violation(std::move(what));
}

void Cluster::disk_is_bad(NodeId id) {
  bad_copy_ = invariants_.rotten = engine::Copy{id, node(id).incarnation()};
  look_at_bad_copy();
}

void Cluster::look_at_bad_copy() {
  if (bad_copy_ && truth().has_in_sync(*bad_copy_) && !others_have_everything(bad_copy_->node)) beyond_promise_ = true;
}

bool Cluster::others_have_everything(NodeId id) {
  return std::any_of(truth().in_sync.begin(), truth().in_sync.end(), [&](const engine::Copy& copy) {
    return copy.node != id && truth().is_member(copy.node) && node(copy.node).incarnation() == copy.incarnation && copy != bad_copy_;
  });
}

bool Cluster::change_register(std::string what, const engine::RegisterChange& change) {
  engine::Register value = truth();
  if (!change(value)) return false;
  ++value.seq;
  note("the operator: " + what);
  coordinator_.put(register_key_, engine::encode_register(value));
  return true;
}

void Cluster::restore_register() {
  (void)change_register("all are members, as planned", [this](engine::Register& value) -> Result<void> {
    for (const auto& each : nodes_)
      if (!value.is_member(each->id())) TRY(engine::add_member(value, each->id()));
    TRY(engine::set_lease(value, static_cast<std::uint32_t>(plan_.timing.lease_ms)));
    return engine::set_min_in_sync(value, plan_.min_in_sync);
  });
}

void Cluster::register_changed(const CoordinatorEntry& entry) {
  const auto now = engine::decode_register(entry.value);
  if (!now) return violation("the register holds what is none: " + now.error().text());
  std::string in_sync;
  for (const engine::Copy& copy : now->in_sync) in_sync += sim::format(" {}", copy.node.value);
  note(sim::format("register {}: epoch {}, primary {}, in sync{}, floor {}", entry.revision, now->epoch.value, now->primary.value, in_sync,
                   now->floor_commit.value));
  invariants_.register_changed(*now);
  look_at_bad_copy();
}

void Cluster::role_changed(NodeId id, const ReplicaStatus& replica, Epoch epoch) {
  constexpr std::string_view roles[] = {"follower", "opening", "primary"};
  if (replica.role == GroupRole::primary && replica.serving) ++figures.primaries;
  note(sim::format("node {}: {}{} in epoch {}, log ends at {}, durable {}, commit {}", id.value, roles[static_cast<std::size_t>(replica.role)],
                   replica.serving ? ", serves," : "", epoch.value, replica.end.value, replica.durable.value, replica.commit.value));
}

std::string Cluster::describe() const {
  std::string text;
  for (const auto& each : nodes_) {
    if (!each->is_open()) {
      text += sim::format("; node {} is {}", each->id().value, each->is_up() ? "starting" : "down");
      continue;
    }
    const ReplicaStatus r = each->group()->replica_status();
    const GroupStatus s = each->group()->status();
    text += sim::format("; node {}{}: role {}, epoch {}, end {}, durable {}, commit {}, applied {}, log {} of {} KiB", each->id().value,
                        r.serving ? " serves" : "", static_cast<int>(r.role), s.epoch.value, r.end.value, r.durable.value, r.commit.value,
                        s.applied_lsn.value, s.log_used_bytes >> 10, s.log_bytes >> 10);
    text += sim::format(", {} disk requests, {} KiB of memory free{}", each->disk().in_flight(), each->process().pool().free_bytes() >> 10,
                        s.failed ? ", failed: " + s.failure : "");
    if (r.rebuilding) text += " rebuilding";
    for (const auto& m : r.members)
      text += sim::format(" [{}{}{}{} acked {}]", m.node.value, m.connected ? " connected" : "", m.matched ? " matched" : "",
                          m.in_sync ? " in-sync" : "", m.acked.value);
  }
  return sim::format("register epoch {} primary {} in sync {}{}", truth().epoch.value, truth().primary.value, truth().in_sync.size(), text);
}

// ---- Time.

bool Cluster::step() {
  if (!world_.step()) violation("the world stands still");
  for (const auto& each : nodes_)
    if (each->poll()) after_open(*each);
  if (world_.steps() % kStepsBetweenChecks == 0) {
    invariants_.check();
    if (operator_is_there) restart_failed();
  }
  return !violation_;
}

bool Cluster::run_until(const std::function<bool()>& condition, DurationNs within) {
  const BootNs late = now() + within;
  while (!violation_) {
    if (condition()) return true;
    if (now() > late) return false;
    step();
  }
  return false;
}

void Cluster::run_for(DurationNs time) {
  const BootNs end = now() + time;
  bool over = false;
  world_.at(end, wires_, [&over] { over = true; });
  while (!over && step()) {
  }
  // The event may not outlive what it names.
  while (!over && world_.step()) {
  }
}

// ---- Nodes.

void Cluster::start(NodeId id) {
  ClusterNode& n = node(id);
  if (n.is_up()) return;
  powered_[id.value - 1] = true;
  n.start(draw_group_options(plan_, id, world_.random()));
}

void Cluster::after_open(ClusterNode& n) {
  unsigned& corrupt_opens = corrupt_opens_[n.id().value - 1];
  if (n.is_open()) {
    corrupt_opens = 0;
    return note(sim::format("node {}: open", n.id().value));
  }
  if (n.state() != ClusterNode::State::failed) return;
  ++figures.failed_opens;
  note(sim::format("node {}: {}", n.id().value, n.failure()));
  if (!tolerance.failed_stores) return violation(sim::format("node {} cannot start: {}", n.id().value, n.failure()));
  corrupt_opens += n.failure_code() == Errc::corrupt;
  die(n.id(), Death::killed);
  // As the error says: a copy that cannot be opened is replaced, when another one has everything.
  if (corrupt_opens >= 3 && others_have_everything(n.id())) {
    corrupt_opens = 0;
    return wipe(n.id());
  }
  restart_after(n.id(), milliseconds(500));
}

void Cluster::restart_failed() {
  for (const auto& each : nodes_) {
    if (!each->is_open() || !each->group()->status().failed) continue;
    ++figures.failed_stores;
    die(each->id(), Death::killed);
    start(each->id());
  }
}

void Cluster::die(NodeId id, Death how) {
  ClusterNode& n = node(id);
  if (!n.is_up()) return;
  invariants_.check();  // It may have begun to serve since the last look, and have said so.
  note(sim::format("node {}: {}", id.value, how == Death::killed ? "killed" : "loses power"));
  powered_[id.value - 1] = how == Death::killed;
  n.die(how);
}

void Cluster::restart_after(NodeId id, DurationNs delay) {
  const std::uint64_t life = node(id).lives();
  world_.after(delay, wires_, [this, id, life] {
    if (node(id).is_up() || node(id).lives() != life) return;
    note(sim::format("node {}: starts", id.value));
    start(id);
  });
}

void Cluster::pause(NodeId id) {
  if (!node(id).is_up() || node(id).host().paused()) return;
  note(sim::format("node {}: frozen", id.value));
  node(id).pause();
}

void Cluster::resume(NodeId id) {
  if (!node(id).host().paused()) return;
  note(sim::format("node {}: goes on", id.value));
  node(id).resume();
}

void Cluster::wipe(NodeId id) {
  if (node(id).is_up()) die(id, Death::power_loss);
  note(sim::format("node {}: a new disk", id.value));
  invariants_.forget(id);
  node(id).disk().faults = sim::DiskFaults{};  // What was wrong with the old one has gone with it.
  node(id).disk().set_capacity(~std::uint64_t{0} >> 1);
  powered_[id.value - 1] = true;
  node(id).start_format(FormatOptions{plan_.log_bytes_of(id), group_}, Group::Existing::overwrite);
  if (!run_until([&] { return node(id).state() == ClusterNode::State::formatted; }, kFormatTime)) return violation("a disk cannot be formatted");
  node(id).die(Death::killed);
  start(id);
}

Task<void> Cluster::hand_over(Cluster* self, ClusterNode* from, NodeId to) {
  const BootNs begin = self->now();
  ++self->figures.switchovers;
  self->figures.last_switchover.reset();
  auto done = co_await from->group()->switchover(to);
  self->figures.last_switchover = done ? Errc{} : done.error().code;
  if (done) {
    ++self->figures.switchovers_done;
    self->figures.longest_switchover_ns = std::max(self->figures.longest_switchover_ns, (self->now() - begin).value);
  }
  self->note(sim::format("node {}: switchover to node {}: {}", from->id().value, to.value, done ? "released" : done.error().text()));
}

void Cluster::switchover(NodeId from, NodeId to) {
  ClusterNode& n = node(from);
  if (!n.is_open() || n.host().paused()) return;
  note(sim::format("node {}: is to hand over to node {}", from.value, to.value));
  figures.last_switchover.reset();
  n.process().scope().spawn(hand_over(this, &n, to));
}

Task<void> Cluster::take_checkpoint(ClusterNode* n) { (void)co_await n->group()->checkpoint(); }

void Cluster::checkpoint(NodeId id) {
  ClusterNode& n = node(id);
  if (n.is_open() && !n.host().paused()) n.process().scope().spawn(take_checkpoint(&n));
}

// ---- Between clients and nodes.

DurationNs Cluster::hop() { return microseconds(static_cast<std::int64_t>(world_.random().between(20, 200))); }

void Cluster::send(NodeId to, const ExchangePtr& exchange) {
  ClusterNode& n = node(to);
  if (n.data_port_cut) return;
  world_.after(hop(), wires_, [this, &n, exchange] {
    if (n.data_port_cut || !powered_[n.id().value - 1]) return;
    if (!n.is_open()) {  // Nobody listens: told at once, and nothing was done.
      exchange->outcome = Outcome::refused;
      exchange->error = Errc::closed;
      return answer(n.id(), exchange);
    }
    // In the node's own time: a frozen process finds it when it goes on, and a dead one never.
    world_.after(DurationNs{}, n.host(), [&n, exchange] {
      if (n.is_open()) n.door().accept(exchange);
    });
  });
}

void Cluster::answer(NodeId from, const ExchangePtr& exchange) {
  world_.after(hop(), wires_, [this, from, exchange] {
    if (node(from).data_port_cut || !exchange->waiter) return;
    exchange->answered = true;
    exchange->waiter->cancel();
  });
}

void Cluster::send(NodeId to, const InquiryPtr& inquiry) {
  ClusterNode& n = node(to);
  if (n.data_port_cut) return;
  world_.after(hop(), wires_, [this, &n, inquiry] {
    if (n.data_port_cut || !powered_[n.id().value - 1]) return;
    if (!n.is_open()) return answer(n.id(), inquiry);
    inquiry->arrived = now();
    world_.after(DurationNs{}, n.host(), [&n, inquiry] {
      if (n.is_open()) n.door().accept(inquiry);
    });
  });
}

void Cluster::answer(NodeId from, const InquiryPtr& inquiry) {
  world_.after(hop(), wires_, [this, from, inquiry] {
    if (!node(from).data_port_cut && inquiry->waiter) inquiry->waiter->cancel();
    else inquiry->named.reset();
  });
}

void Cluster::told_view(NodeId by, const Inquiry& inquiry) { invariants_.told_view(by, *inquiry.named, inquiry.arrived); }

// There and back; what is on the way survives neither the port nor the process.
void Cluster::ask_initiators(NodeId id) {
  ClusterNode& n = node(id);
  if (n.data_port_cut || clients_.stopped()) return;
  world_.after(DurationNs{hop().value + hop().value}, wires_, [this, &n, life = n.lives(), asked = n.host().clock().now()] {
    if (n.data_port_cut) return;
    world_.after(DurationNs{}, n.host(), [&n, life, asked] {
      if (n.is_open() && n.lives() == life) n.door().initiator_heard(asked);
    });
  });
}

void Cluster::break_sessions(NodeId id) {
  ClusterNode& n = node(id);
  world_.after(DurationNs{}, n.host(), [&n, life = n.lives()] {
    if (n.is_open() && n.lives() == life) n.door().disconnect();
  });
}

void Cluster::acknowledged(NodeId by, const Exchange& exchange) {
  acknowledgements_.push_back({now(), by, exchange.kind});
  invariants_.acknowledged(by);
}

void Cluster::answered(const Exchange& exchange, const ClientOp& op) {
  world_.trace(static_cast<std::uint64_t>(op.outcome) << 32 ^ exchange.id);
  if (exchange.error == Errc::no_space && !tolerance.no_space) violation("no space, and nothing has taken it: " + history_.line(exchange.id));
  if (!expects_answers) return;
  const bool moved = tolerance.rot && exchange.error == Errc::fenced;
  const bool looked_elsewhere = exchange.answered && (exchange.outcome == Outcome::refused || moved);
  if (op.outcome != Outcome::done && !looked_elsewhere) unavailable("an operation fails in a healthy cluster: " + history_.line(exchange.id));
  if (op.outcome == Outcome::done && (op.responded_at - op.invoked_at).value > kSoon.value)
    hangs("an operation takes too long in a healthy cluster: " + history_.line(exchange.id));
}

// ---- As it should be.

std::optional<NodeId> Cluster::serving() const {
  for (const auto& each : nodes_)
    if (each->is_open() && each->group()->replica_status().serving) return each->id();
  return std::nullopt;
}

// Looked at now and then: a look costs more than a step.
bool Cluster::run_until_well(DurationNs within) {
  constexpr std::uint64_t kStepsBetweenLooks = 64;
  return run_until([this] { return world_.steps() % kStepsBetweenLooks == 0 && is_well(); }, within);
}

bool Cluster::is_well() const {
  std::size_t serve = 0;
  std::optional<Lsn> commit;
  for (const auto& each : nodes_) {
    if (!each->is_open() || each->host().paused()) return false;
    const ReplicaStatus replica = each->group()->replica_status();
    serve += replica.serving;
    if (commit && replica.commit != *commit) return false;
    commit = replica.commit;
    if (each->group()->status().failed) return false;
    if (!truth().has_in_sync(engine::Copy{each->id(), each->incarnation()})) return false;
  }
  return serve == 1;
}

std::optional<std::string> Cluster::unnoted_end() const {
  for (const auto& each : nodes_) {
    if (!each->is_open()) continue;
    auto* group = static_cast<engine::GroupImpl*>(each->group());
    const std::uint64_t noted = group->store().superblock().durable_lsn, durable = group->replica_status().durable.value;
    if (noted < durable) return sim::format("node {} notes that its log ends at {}, and it ends at {}", each->id().value, noted, durable);
  }
  return std::nullopt;
}

}  // namespace holdfast::cluster
