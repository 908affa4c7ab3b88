#include "test/sim/coordinator.h"

#include <algorithm>

#include "base/planted.h"
#include "test/sim/text.h"

namespace holdfast::sim {

// One request under way. Its caller may be gone.
struct SimCoordinator::Call {
  enum class Kind : std::uint8_t { get, swap, watch };
  Kind kind;
  NodeId node;
  std::string key;
  std::uint64_t base_revision = 0;  // Of a watch: what its caller has seen.
  std::string value;
  Timer* timer = nullptr;           // Nothing: the caller has gone.
  // Written when the request has arrived.
  bool answered = false;
  CasStatus status = CasStatus::unknown;
  CoordinatorEntry entry;
  std::string cluster_id;
};

class SimCoordinatorPort final : public Coordinator {
 public:
  SimCoordinatorPort(SimCoordinator& server, NodeId node, SimHost& host) : server_(&server), node_(node), host_(&host) {}
  Task<Result<CoordinatorEntry>> get(std::string key) override;
  Task<CasOutcome> compare_and_swap(std::string key, std::uint64_t base_revision, std::string value) override;
  Task<void> until_changed(std::string key, std::uint64_t revision) override;
  std::string cluster_id() const override { return cluster_id_; }

 private:
  Task<void> ask(SimCoordinator::Shared call, DurationNs patience);
  // False: this answer is of another cluster, or of an older state than this process has seen.
  bool accept(const SimCoordinator::Call& call);
  SimCoordinator::Shared make(SimCoordinator::Call::Kind kind, std::string key) {
    auto call = std::make_shared<SimCoordinator::Call>();
    call->kind = kind;
    call->node = node_;
    call->key = std::move(key);
    return call;
  }

  SimCoordinator* server_;
  NodeId node_;
  SimHost* host_;
  std::string cluster_id_;
  std::map<std::string, std::uint64_t> newest_;  // Revision seen, by key.
};

// ---- The port.

Task<void> SimCoordinatorPort::ask(SimCoordinator::Shared call, DurationNs patience) {
  Timer timer(host_->clock());
  struct Listening {
    SimCoordinator::Call* call;
    ~Listening() { call->timer = nullptr; }
  } listening{call.get()};
  call->timer = &timer;
  server_->request(call);
  (void)co_await timer.after(patience);
}

bool SimCoordinatorPort::accept(const SimCoordinator::Call& call) {
  if (cluster_id_.empty()) cluster_id_ = call.cluster_id;
  std::uint64_t& newest = newest_[call.key];
  if (cluster_id_ != call.cluster_id || call.entry.revision < newest) {
    ++server_->counters_.refused_as_foreign;
    return false;
  }
  newest = call.entry.revision;
  return true;
}

Task<Result<CoordinatorEntry>> SimCoordinatorPort::get(std::string key) {
  const auto call = make(SimCoordinator::Call::Kind::get, std::move(key));
  co_await ask(call, server_->options_.request_timeout);
  if (!call->answered) co_return fail(Errc::timed_out, "coordinator: no answer");
  if (!accept(*call)) co_return fail(Errc::foreign, "coordinator: another cluster, or an older state than was seen");
  co_return call->entry;
}

Task<CasOutcome> SimCoordinatorPort::compare_and_swap(std::string key, std::uint64_t base_revision, std::string value) {
  const auto call = make(SimCoordinator::Call::Kind::swap, std::move(key));
  call->base_revision = base_revision;
  call->value = std::move(value);
  co_await ask(call, server_->options_.request_timeout);
  CasOutcome outcome;
  if (!call->answered || !accept(*call)) co_return outcome;
  outcome.status = call->status;
  outcome.entry = call->entry;
  co_return outcome;
}

Task<void> SimCoordinatorPort::until_changed(std::string key, std::uint64_t revision) {
  const auto call = make(SimCoordinator::Call::Kind::watch, std::move(key));
  call->base_revision = revision;
  co_await ask(call, server_->options_.watch_timeout);
}

// ---- The server.

SimCoordinator::SimCoordinator(SimWorld& world, CoordinatorOptions options) : world_(&world), host_(world), options_(options) { empty_out(); }

std::unique_ptr<Coordinator> SimCoordinator::open_port(NodeId node, SimHost& host) {
  return std::make_unique<SimCoordinatorPort>(*this, node, host);
}

void SimCoordinator::set_turned_away(NodeId node, bool turned_away) {
  if (!turned_away) {
    turned_away_.erase(node);
    return;
  }
  turned_away_.insert(node);
  for (const Shared& watch : watches_)
    if (watch->node == node && watch->timer) watch->timer->cancel();
}

bool SimCoordinator::reachable(NodeId node) const {
  if (turned_away_.contains(node)) return false;
  const auto found = unreachable_.find(node);
  return !faults.stopped && (found == unreachable_.end() || !found->second);
}

void SimCoordinator::empty_out() {
  state_ = State{};
  state_.cluster_id = format("cluster-{}", ++clusters_);
}

void SimCoordinator::put(const std::string& key, std::string value) {
  CoordinatorEntry& entry = state_.entries[key];
  entry.revision = ++state_.revision;
  entry.value = std::move(value);
  if (planted(Bug::cas_by_value)) past_[entry.revision] = entry.value;
  changed(key);
}

DurationNs SimCoordinator::draw_up_to(DurationNs most) {
  return DurationNs{static_cast<std::int64_t>(world_->random().below(static_cast<std::uint64_t>(most.value) + 1))};
}

DurationNs SimCoordinator::draw_latency() {
  const DurationNs usual = draw_up_to(DurationNs{options_.latency_max.value - options_.latency_min.value});
  return DurationNs{options_.latency_min.value + usual.value + draw_up_to(faults.slow).value};
}

bool SimCoordinator::swap_under_way(NodeId node) const {
  return std::any_of(swaps_.begin(), swaps_.end(), [node](const auto& each) {
    const Shared call = each.lock();
    return call && call->node == node;
  });
}

void SimCoordinator::request(const Shared& call) {
  if (call->kind == Call::Kind::swap) {
    std::erase_if(swaps_, [](const auto& each) { return each.expired(); });
    swaps_.push_back(call);
  }
  if (call->kind == Call::Kind::swap && faults.late_swap && faults.late_swap->node == call->node)
    return later(std::exchange(faults.late_swap, std::nullopt)->delay, [this, call] { swap(*call); });
  if (call->kind == Call::Kind::swap && world_->random().per_million(faults.unknown_swap_ppm)) return swap_in_the_dark(call);
  later(draw_latency(), [this, call] { arrive(call); });
}

void SimCoordinator::arrive(const Shared& call) {
  if (turned_away_.contains(call->node)) {
    ++counters_.turned_away;
    if (call->timer) call->timer->cancel();
    return;
  }
  if (!reachable(call->node)) {
    ++counters_.unanswered;
    if (call->kind == Call::Kind::swap && faults.late_swap && faults.late_swap->node == call->node)
    return later(std::exchange(faults.late_swap, std::nullopt)->delay, [this, call] { swap(*call); });
  if (call->kind == Call::Kind::swap && world_->random().one_in(4)) swap_in_the_dark(call);  // On its way for long.
    return;
  }
  switch (call->kind) {
    case Call::Kind::get:
      ++counters_.reads;
      call->entry = peek(call->key);
      return answer(call);
    case Call::Kind::swap:
      swap(*call);
      return answer(call);
    case Call::Kind::watch:
      if (peek(call->key).revision != call->base_revision) return notify(call);
      std::erase_if(watches_, [](const Shared& watch) { return !watch->timer; });
      watches_.push_back(call);
      return;
  }
}

void SimCoordinator::answer(const Shared& call) {
  call->cluster_id = state_.cluster_id;
  later(draw_latency(), [this, call] {
    if (!reachable(call->node) || !call->timer) return;
    call->answered = true;
    call->timer->cancel();
  });
}

void SimCoordinator::swap(Call& call) {
  CoordinatorEntry& entry = state_.entries[call.key];
  const auto same = [&] {  // A planted bug: what the caller read has come back, in other words.
    return planted(Bug::cas_by_value) && same_value && past_.contains(call.base_revision) && same_value(entry.value, past_[call.base_revision]);
  };
  const bool fits = entry.revision == call.base_revision || same();
  ++(fits ? counters_.swaps_applied : counters_.swaps_refused);
  call.status = fits ? CasStatus::applied : CasStatus::conflict;
  if (fits) put(call.key, call.value);
  call.entry = state_.entries[call.key];
}

// The caller never hears of it: it took effect, or it did not, or it does so when nobody expects it any more.
void SimCoordinator::swap_in_the_dark(const Shared& call) {
  const std::uint64_t draw = world_->random().below(4);
  if (draw == 0) {
    ++counters_.unknown_lost;
  } else {
    const DurationNs delay = draw == 1 ? draw_latency() : draw_up_to(options_.late_max);
    ++(draw == 1 ? counters_.unknown_applied : counters_.unknown_late);
    later(delay, [this, call] {
      if (!faults.stopped) swap(*call);
    });
  }
  // A broken connection tells sooner than a time-out.
  if (!world_->random().coin()) return;
  later(draw_latency(), [call] {
    if (call->timer) call->timer->cancel();
  });
}

void SimCoordinator::changed(const std::string& key) {
  world_->trace(mix(state_.revision));
  if (observer) observer(key, state_.entries[key]);
  for (const Shared& watch : watches_)
    if (watch->key == key) notify(watch);
  std::erase_if(watches_, [&](const Shared& watch) { return watch->key == key; });
}

void SimCoordinator::notify(const Shared& watch) {
  if (world_->random().per_million(faults.lost_notice_ppm)) {
    ++counters_.notices_lost;
    return;
  }
  later(draw_latency(), [this, watch] {
    if (reachable(watch->node) && watch->timer) watch->timer->cancel();
  });
}

}  // namespace holdfast::sim
