#include "test/cluster/life.h"

#include "test/cluster/call.h"
#include "test/cluster/owners.h"
#include "test/sim/text.h"

namespace holdfast::cluster {
namespace {

constexpr DurationNs kHealing = milliseconds(20'000);
constexpr DurationNs kLastSlowRequest = milliseconds(1'000);
constexpr DurationNs kPeace = milliseconds(300);
constexpr DurationNs kEndIsNoted = milliseconds(300);  // 50 ms without writes, and the writing of it.
constexpr DurationNs kEnding = milliseconds(10'000);
constexpr std::uint64_t kOperationsInPeace = 5;

class Life {
 public:
  Life(std::uint64_t seed, const LifeOptions& options)
      : cluster_(draw_plan(seed, with_retention(options))), swarm_(cluster_, possible(options.faults)), seed_(seed) {}

  LifeReport run() {
    if (cluster_.set_up() && chaos() && healing() && peace()) judgement();
    return report();
  }

 private:
  static PlanChoices with_retention(const LifeOptions& options) {
    PlanChoices choices = options.choices;
    choices.beyond_retention = options.faults[static_cast<std::size_t>(Fault::beyond_retention)];
    return choices;
  }

  // A checkpoint frees log, and so may take from an absent member what it needs.
  static Swarm::Enabled possible(Swarm::Enabled faults) {
    if (!faults[static_cast<std::size_t>(Fault::beyond_retention)]) faults[static_cast<std::size_t>(Fault::checkpoint)] = false;
    return faults;
  }

  bool chaos() {
    cluster_.clients().start();
    swarm_.start();
    cluster_.run_for(cluster_.plan().chaos);
    return !cluster_.violation();
  }

  bool healing() {
    swarm_.heal();
    const BootNs begin = cluster_.now();
    if (!cluster_.run_until_well(kHealing)) {
      cluster_.hangs(sim::format("not well {} ms after the last fault: {}", kHealing.value / 1'000'000, cluster_.describe()));
      return false;
    }
    healed_ms_ = (cluster_.now() - begin).value / 1'000'000;
    return true;
  }

  // Now every operation succeeds, at once; and then the clients rest.
  bool peace() {
    // Ghosts of the chaos may still be under way.
    cluster_.run_for(cluster_.plan().clients.patience_max);
    for (const auto& n : cluster_.nodes()) n->disk().faults.slow_ppm = 0;
    cluster_.run_for(kLastSlowRequest);
    const std::uint64_t before = cluster_.clients().counters().done;
    cluster_.clients().options().think_max = milliseconds(5);
    cluster_.expects_answers = true;
    cluster_.run_for(kPeace);
    if (!cluster_.violation() && cluster_.clients().counters().done < before + kOperationsInPeace)
      cluster_.hangs("a healthy cluster answers nobody: " + cluster_.describe());
    cluster_.clients().stop();
    const auto at_rest = [this] { return cluster_.clients().stopped(); };
    if (!cluster_.run_until(at_rest, kEnding)) cluster_.violation("the clients do not come to rest");
    return !cluster_.violation() && !cluster_.gave_up();
  }

  void judgement() {
    if (!cluster_.run_until_well(kEnding)) {
      cluster_.hangs("not at rest without load: " + cluster_.describe());
      return;
    }
    cluster_.invariants().check();
    cluster_.run_for(kEndIsNoted);
    if (const auto wrong = cluster_.unnoted_end()) return cluster_.violation(*wrong);
    if (const auto wrong = spoilt_copy()) return cluster_.violation(*wrong);
    if (!cluster_.read_everything() || !cluster_.replicas_are_equal()) return;
    for (const auto& each : cluster_.nodes())
      if (const auto wrong = wrong_owner(each->group())) return cluster_.violation(sim::format("node {}: {}", each->id().value, *wrong));
    if (const auto wrong = cluster_.history().judge()) cluster_.wrong_content(*wrong);
  }

  // On disks that are in order every copy has what its maps say, by itself: it never had to ask another one.
  std::optional<std::string> spoilt_copy() {
    if (cluster_.tolerance.rot || cluster_.tolerance.failed_stores) return std::nullopt;
    for (const auto& each : cluster_.nodes()) {
      const auto verified = call(cluster_, each->id(), each->group()->verify_all(), kEnding);
      if (!verified || !*verified) return sim::format("node {}: {}", each->id().value, verified ? verified->error().text() : "it cannot be verified");
      const GroupStatus s = each->group()->status();
      if (s.repaired_blocks + s.lost_blocks + s.checksum_errors > 0)
        return sim::format("node {}: {} blocks repaired, {} lost, {} mismatches", each->id().value, s.repaired_blocks, s.lost_blocks, s.checksum_errors);
    }
    return std::nullopt;
  }

  LifeReport report() {
    LifeReport r;
    r.ok = !cluster_.violation();
    r.trace = cluster_.world().trace_hash();
    r.lived_ms = static_cast<std::int64_t>(cluster_.now_ms());
    r.healed_ms = healed_ms_;
    r.steps = cluster_.world().steps();
    r.checks = cluster_.invariants().checks();
    const ClientCounters& c = cluster_.clients().counters();
    r.operations = c.operations;
    r.done = c.done;
    r.refused = c.refused;
    r.unknown = c.unknown;
    r.views = c.views;
    r.undecided = cluster_.history().undecided();
    for (const auto& n : cluster_.nodes()) r.lives += n->lives();
    r.figures = cluster_.figures;
    r.faults = swarm_.counts();
    r.network = cluster_.network().counters();
    r.coordinator = cluster_.coordinator().counters();
    if (r.ok) return r;
    r.failure = *cluster_.violation();
    r.story = sim::format("seed {} ({} nodes)\n", seed_, cluster_.size());
    for (const std::string& line : cluster_.notes()) r.story += "  " + line + "\n";
    return r;
  }

  Cluster cluster_;
  Swarm swarm_;
  std::uint64_t seed_;
  std::int64_t healed_ms_ = 0;
};

}  // namespace

LifeReport live(std::uint64_t seed, const LifeOptions& options) {
  Life life(seed, options);
  return life.run();
}

}  // namespace holdfast::cluster
