#include "test/cluster/planted_table.h"

#include <unistd.h>

#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <utility>

#include "base/planted.h"
#include "test/cluster/story.h"
#include "test/crash/jobs.h"
#include "test/crash/random_run.h"
#include "test/crash/real_store.h"
#include "test/crash/remnant.h"
#include "test/protocol/protocol_world.h"

namespace holdfast::cluster {

#ifdef HOLDFAST_PLANTED_BUGS
namespace {

constexpr std::uint64_t kFirstLives = 300;  // Of clusters, before the shorter worlds are tried.

// Is anything wrong with the seed?
using Try = std::function<bool(std::uint64_t)>;

// A seed that fails without the planted bug, too, has found something else.
bool fails_by_the_bug(std::uint64_t seed, const Try& fails) {
  if (!fails(seed)) return false;
  const std::uint64_t bugs = std::exchange(planted_bugs, 0);
  const bool fails_anyway = fails(seed);
  planted_bugs = bugs;
  return !fails_anyway;
}

// The number of seeds until one fails; zero: none did.
std::uint64_t seeds_until_found(const PlantedTable& table, std::uint64_t seeds, const Try& fails) {
  std::fflush(stdout);
  const int out = dup(STDOUT_FILENO), errors = dup(STDERR_FILENO);
  if (!freopen("/dev/null", "w", stdout) || !freopen("/dev/null", "w", stderr)) std::abort();
  const auto result = crash::run_jobs(
      table.first, seeds, table.jobs, false,
      [&](std::uint64_t seed, crash::Tally&) { return fails_by_the_bug(seed, fails) ? std::string("found") : std::string(); },
      [](std::uint64_t, const crash::Tally&) {});
  std::fflush(stdout);
  dup2(out, STDOUT_FILENO);
  dup2(errors, STDERR_FILENO);
  close(out);
  close(errors);
  return result.failures > 0 ? result.first_failure - table.first + 1 : 0;
}

bool machines_fail(std::uint64_t seed) {
  protocol::Shape shape;
  shape.seed = seed;
  shape.nodes = 2 + static_cast<unsigned>(seed % 3);
  return protocol::live(shape).failure.has_value();
}

bool one_node_fails(std::uint64_t seed) { return !crash::run_seed(seed, crash::kRealStore).ok; }

// Chance hardly ever meets what these break.
constexpr std::pair<Bug, std::string_view> kStoryOf[] = {
    {Bug::reclaimed_without_wait, "K1"},
    {Bug::reclaimed_alone_without_wait, "K1"},
    {Bug::delta_without_holes, "K6"},
    {Bug::delta_from_log_end, "K9"},
    {Bug::resumed_after_release, "K10"},
    {Bug::rebuilt_copy_fit_at_once, "K11"},
    {Bug::elided_copy_fit, "K12"},
};

bool story_fails(std::string_view id, std::uint64_t seed) {
  for (const Scenario& scenario : all_stories())
    if (scenario.id == id) return !play(scenario, seed, false).ok;
  std::abort();
}

struct Found {
  std::uint64_t seeds = 0;
  const char* by = "";
};

Found find(const PlantedTable& table, std::size_t bug) {
  constexpr std::uint64_t kStorySeeds = 20;
  for (const auto& [told, id] : kStoryOf) {
    if (static_cast<Bug>(bug) != told) continue;
    const Try fails = [id = id](std::uint64_t seed) { return story_fails(id, seed); };
    if (const auto n = seeds_until_found(table, kStorySeeds, fails)) return {n, "a story of a cluster"};
  }
  const Try cluster_fails = [&](std::uint64_t seed) { return !live(seed, table.life).ok; };
  if (const auto n = seeds_until_found(table, std::min(table.seeds, kFirstLives), cluster_fails)) return {n, "clusters"};
  // No crash reaches this one: the log's chain refuses first. A story takes that lock away.
  if (static_cast<Bug>(bug) == Bug::generation_not_bumped)
    return {crash::run_remnant(crash::kRealStore, crash::RemnantChain::fits).empty() ? 0u : 1u, "a story of one node"};
  const bool of_store = bug < kStoreBugs, of_protocol = !of_store && bug < kStoreBugs + kProtocolBugs;
  if (of_store)
    if (const auto n = seeds_until_found(table, table.seeds, one_node_fails)) return {n, "one node"};
  if (of_protocol)
    if (const auto n = seeds_until_found(table, table.seeds, machines_fail)) return {n, "role machines"};
  if (const auto n = seeds_until_found(table, table.seeds, cluster_fails)) return {n, "clusters"};
  return {};
}

}  // namespace

bool print_planted_table(const PlantedTable& table) {
  int missed = 0;
  for (std::size_t bug = 0; bug < kBugNames.size(); ++bug) {
    if (!table.only.empty() && table.only != kBugNames[bug]) continue;
    planted_bugs = std::uint64_t{1} << bug;
    const Found found = find(table, bug);
    missed += found.seeds == 0;
    if (found.seeds > 0) std::printf("%-36s found after %5" PRIu64 " seeds of %s\n", kBugNames[bug].data(), found.seeds, found.by);
    else std::printf("%-36s NOT FOUND in %" PRIu64 " seeds\n", kBugNames[bug].data(), table.seeds);
    std::fflush(stdout);
  }
  return missed == 0;
}
#else
bool print_planted_table(const PlantedTable&) {
  std::fprintf(stderr, "holdfast-sim: no bugs are planted in this build; use the preset `planted`\n");
  return false;
}
#endif

}  // namespace holdfast::cluster
