#include "test/cluster/story.h"

#include <algorithm>

#include "test/sim/text.h"

namespace holdfast::cluster {
namespace {

constexpr DurationNs kSettling = milliseconds(20'000);

Plan story_plan(std::uint64_t seed, bool narrate) {
  Plan plan;
  plan.seed = seed;
  plan.narrate = narrate;
  plan.log_bytes = 64ULL << 20;
  plan.clients.clients = 4;
  plan.clients.volumes = 2;
  plan.clients.think_max = milliseconds(4);
  plan.clients.retry_delay = milliseconds(2);
  plan.clients.patience_min = milliseconds(300);
  plan.clients.patience_max = milliseconds(400);
  plan.clients.write_bytes_max = 24ULL << 20;
  plan.clients.large_one_in = 40;
  return plan;
}

}  // namespace

void Story::tell(std::string text) {
  if (goes_on()) cluster_.note(sim::format("{}. {}", ++told_, text));
}

void Story::run_for(std::int64_t ms) {
  if (goes_on()) cluster_.run_for(milliseconds(ms));
}

double Story::until(std::int64_t ms_max, std::string what, const std::function<bool()>& condition) {
  if (!goes_on()) return 0;
  const BootNs begin = now();
  if (!cluster_.run_until(condition, milliseconds(ms_max)) && goes_on())
    cluster_.violation(sim::format("not within {} ms: {}; {}", ms_max, what, cluster_.describe()));
  const double took = static_cast<double>((now() - begin).value) / 1e6;
  if (goes_on()) cluster_.note(sim::format("   after {} ms: {}", took, what));
  return took;
}

void Story::expect(bool holds, std::string what) {
  if (!goes_on()) return;
  if (holds) cluster_.note("   as it should be: " + what);
  else cluster_.violation("not as it should be: " + what + "; " + cluster_.describe());
}

void Story::begin() {
  if (!cluster_.set_up()) return;
  cluster_.clients().start();
  run_for(200);
}

void Story::clients_rest() {
  cluster_.clients().stop();
  until(10'000, "the clients rest", [this] { return cluster_.clients().stopped(); });
}

void Story::rest() {
  clients_rest();
  if (!goes_on()) return;
  if (!cluster_.run_until_well(kSettling)) cluster_.violation("the cluster is not whole again: " + cluster_.describe());
}

void Story::end() {
  if (!goes_on()) return;
  tell("The clients rest; the cluster must be whole, its copies equal, and what was seen one history");
  rest();
  if (!goes_on() || !cluster_.read_everything() || !cluster_.replicas_are_equal()) return;
  if (auto wrong = cluster_.history().judge()) cluster_.violation(*wrong);
}

NodeId Story::primary() {
  constexpr std::int64_t kMomentMs = 1'000;  // Between its register's changes a primary may lack its lease.
  if (!cluster_.serving()) until(kMomentMs, "somebody serves", [this] { return cluster_.serving().has_value(); });
  return cluster_.serving().value_or(NodeId(1));
}

NodeId Story::standby(std::size_t n) {
  const NodeId serving = primary();
  for (const auto& each : cluster_.nodes())
    if (each->id() != serving && n-- == 0) return each->id();
  expect(false, "there are so many standbys");
  return NodeId(1);
}

bool Story::serves_elsewhere(NodeId than) const {
  const auto serving = cluster_.serving();
  return serving && *serving != than;
}

bool Story::in_sync(NodeId id) const { return cluster_.truth().has_in_sync(engine::Copy{id, cluster_.nodes()[id.value - 1]->incarnation()}); }

ReplicaStatus::Member Story::shown(NodeId id) {
  if (const auto serving = cluster_.serving())
    for (const ReplicaStatus::Member& member : replica(*serving).members)
      if (member.node == id) return member;
  return {};
}

bool Story::in_step(NodeId id) {
  if (cluster_.serving() == id) return in_sync(id);
  const ReplicaStatus::Member member = shown(id);
  return cluster_.node(id).is_open() && in_sync(id) && member.connected && member.matched && member.in_sync;
}

double Story::longest_pause_since(BootNs then) const {
  std::int64_t longest = 0;
  BootNs last = then;
  for (const Acknowledgement& ack : cluster_.acknowledgements()) {
    if (ack.at < then) continue;
    longest = std::max(longest, (ack.at - last).value);
    last = ack.at;
  }
  return static_cast<double>(std::max(longest, (now() - last).value)) / 1e6;
}

void Story::cut_from_peers(NodeId id) {
  for (const auto& each : cluster_.nodes())
    if (each->id() != id) cluster_.network().cut_both(id, each->id());
}

void Story::mend_to_peers(NodeId id) {
  for (const auto& each : cluster_.nodes()) {
    if (each->id() == id) continue;
    cluster_.network().mend(id, each->id());
    cluster_.network().mend(each->id(), id);
  }
}

void Story::set_paths_of(NodeId id, std::int64_t delay_ms, std::int64_t jitter_ms) {
  const sim::NetworkPath path{false, milliseconds(delay_ms), milliseconds(jitter_ms)};
  for (const auto& each : cluster_.nodes()) {
    if (each->id() == id) continue;
    cluster_.network().set_path(id, each->id(), path);
    cluster_.network().set_path(each->id(), id, path);
  }
}

void Story::data_port(NodeId id, bool open) {
  cluster_.set_data_port(id, open);
  if (open) mend_to_peers(id);
  else cut_from_peers(id);
}

void Story::data_port_rejects(NodeId id) {
  data_port(id, false);
  for (const auto& each : cluster_.nodes())
    if (each->id() != id) cluster_.network().reset(id, each->id());
}

std::string Story::first_failure_since(BootNs then) {
  const auto& ops = cluster_.history().ops();
  for (std::size_t id = 1; id < ops.size(); ++id) {
    const bool failed = ops[id].outcome == Outcome::unknown || (ops[id].outcome == Outcome::refused && ops[id].kind != OpKind::compare_and_write);
    if (failed && ops[id].responded_at >= then) return cluster_.history().line(static_cast<OpId>(id));
  }
  return "none";
}

CopyContent Story::content(NodeId id) {
  if (!goes_on()) return {};
  auto found = content_of(cluster_, id);
  expect(found.has_value(), sim::format("the copy of node {} can be read", id.value));
  return found.value_or(CopyContent{});
}

Errc Story::operate(OpKind kind, std::uint32_t volume, BlockRange range) {
  if (!goes_on()) return Errc::closed;
  const ExchangePtr exchange = cluster_.clients().start_one(primary(), kind, volume, range);
  constexpr std::int64_t kAnswerMs = 2'000;
  const auto ended = [&] { return exchange->id != 0 && cluster_.history().op(exchange->id).outcome != Outcome::pending; };
  if (!cluster_.run_until(ended, milliseconds(kAnswerMs))) expect(false, "a client's operation ends");
  if (!goes_on()) return Errc::closed;
  return cluster_.history().op(exchange->id).outcome == Outcome::done ? Errc{} : exchange->answered ? exchange->error : Errc::timed_out;
}

Errc Story::verify(NodeId id) {
  if (!goes_on() || !cluster_.node(id).is_open()) return Errc::closed;
  auto verified = call(cluster_, id, cluster_.node(id).group()->verify_all());
  if (!verified) return Errc::timed_out;
  return *verified ? Errc{} : verified->error().code;
}

void Story::checkpoint(NodeId id) {
  if (!goes_on()) return;
  const Lsn commit = status(id).commit_lsn;
  cluster_.checkpoint(id);
  until(10'000, sim::format("node {} has in its map what was committed", id.value), [&] { return status(id).checkpoint_lsn >= commit; });
}

void Story::stop_in_order(NodeId id) {
  if (!goes_on()) return;
  ClusterNode& node = cluster_.node(id);
  node.process().start_stop();
  until(6'000, sim::format("node {} has stopped", id.value), [&] { return node.process().stopped.has_value(); });
  if (goes_on()) cluster_.die(id, Death::killed);
}

double Story::hand_over(NodeId to) {
  if (!goes_on()) return 0;
  cluster_.switchover(primary(), to);
  return until(2'000, sim::format("node {} serves", to.value), [&] { return cluster_.serving() == to; });
}

std::vector<Scenario> all_stories() {
  std::vector<Scenario> all;
  for (const auto part : {failure_stories(), storage_stories(), consistency_stories(), rebuild_stories(), role_stories(), log_stories(), moment_stories(),
                          forced_stories(), unreadable_stories()})
    all.insert(all.end(), part.begin(), part.end());
  return all;
}

StoryReport play(const Scenario& scenario, std::uint64_t seed, bool narrate) {
  Plan plan = story_plan(seed, narrate);
  if (scenario.shape) scenario.shape(plan);
  Story story(plan);
  story.cluster().note(sim::format("{}: {}", scenario.id, scenario.title));
  story.begin();
  if (story.goes_on()) scenario.play(story);
  StoryReport report;
  report.ok = story.goes_on();
  report.notes = story.cluster().notes();
  report.lived_ms = static_cast<std::int64_t>(story.cluster().now_ms());
  if (!report.ok) report.failure = *story.cluster().violation();
  return report;
}

}  // namespace holdfast::cluster
