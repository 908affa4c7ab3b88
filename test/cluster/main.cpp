// holdfast-sim: lives of whole clusters of real groups, one a seed. See usage().
#include <unistd.h>

#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>

#include "base/log.h"
#include "base/marks.h"
#include "base/planted.h"
#include "test/cluster/life.h"
#include "test/cluster/planted_table.h"
#include "test/cluster/story.h"
#include "test/crash/jobs.h"
#include "test/sim/text.h"

namespace holdfast::cluster {
namespace {

int usage() {
  std::fprintf(stderr,
               "holdfast-sim [--seeds N | --minutes M] [--first S | --fresh] [--jobs J] [--nodes 1..5] [--keep-going] [--twice] [--narrate]\n"
               "             [--with FAULT] [--without FAULT] [--only-fault FAULT]\n"
               "    Each seed is the life of a cluster: faults, then calm, then it must be well and have lost nothing.\n"
               "    --fresh takes seeds that nobody has tried, by the clock; the first one is printed.\n"
               "    --twice runs each seed twice and compares the traces; --narrate tells the story as it happens.\n"
               "holdfast-sim --coverage N [--first S] [--jobs J]\n"
               "    How often N seeds, and then the stories, come by each mark of a rare branch; fails when one is never passed (needs\n"
               "    the preset `planted`).\n"
               "holdfast-sim --faults\n"
               "    The kinds of faults, and which are on.\n"
               "holdfast-sim --scenario ID|all|list [--first S] [--seeds N] [--narrate]\n"
               "    Plays the scenario of docs/scenarios.md with that id, or all of them, once for each seed.\n"
               "holdfast-sim --planted [--seeds N] [--jobs J] [--only BUG]\n"
               "    For each planted bug the number of seeds until it is found, and by what: lives of clusters; lives of role\n"
               "    machines alone, which are shorter; one node and its disk (needs the preset `planted`).\n");
  return 2;
}

struct Arguments {
  std::uint64_t first = 1;
  std::uint64_t seeds = 0, minutes = 0;
  unsigned jobs = 2;
  bool keep_going = false, twice = false, planted = false, faults = false, coverage = false;
  std::string only, scenario;
  LifeOptions life;
};

double seconds_now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// Figures besides the faults, in the order in which they are tallied.
constexpr const char* kFigures[] = {"simulated ms", "healing ms", "events", "checks", "operations", "done", "refused", "unknown",
                                    "blocks undecided", "process lives", "times a node began to serve", "switchovers asked for",
                                    "switchovers done", "views confirmed to clients", "frames", "frames and requests held by a cut",
                                    "connections broken"};
constexpr std::size_t kFigureCount = std::size(kFigures);
static_assert(kFigureCount + kFaults + kMarks <= crash::Tally::kCounts);

void add_marks([[maybe_unused]] crash::Tally& tally) {
#ifdef HOLDFAST_PLANTED_BUGS
  for (std::size_t i = 0; i < kMarks; ++i) tally.counts[kFigureCount + kFaults + i] += std::exchange(mark_counts[i], 0);
#endif
}

void add_to(crash::Tally& tally, const LifeReport& r) {
  const std::uint64_t values[] = {static_cast<std::uint64_t>(r.lived_ms), static_cast<std::uint64_t>(r.healed_ms), r.steps, r.checks,
                                  r.operations, r.done, r.refused, r.unknown, r.undecided, r.lives, r.figures.primaries,
                                  r.figures.switchovers, r.figures.switchovers_done, r.views, r.network.frames, r.network.held, r.network.resets};
  static_assert(std::size(values) == kFigureCount);
  for (std::size_t i = 0; i < kFigureCount; ++i) tally.counts[i] += values[i];
  for (std::size_t i = 0; i < kFaults; ++i) tally.counts[kFigureCount + i] += r.faults[i];
  add_marks(tally);
}

std::string try_seed(std::uint64_t seed, const Arguments& arguments, crash::Tally& tally) {
  const LifeReport report = live(seed, arguments.life);
  add_to(tally, report);
  if (!report.ok) {
    const std::string told = arguments.life.choices.narrate ? "" : arguments.keep_going ? "" : report.story;
    return sim::format("seed {} FAILED: {}\n{}  replay: holdfast-sim --first {} --seeds 1 --narrate", seed, report.failure, told, seed);
  }
  if (!arguments.twice || live(seed, arguments.life).trace == report.trace) return {};
  return sim::format("seed {} FAILED: it does not replay the same", seed);
}

// Some branches are for moments that chance hardly ever meets: those have stories. True when every mark was passed, and all stories
// went well.
bool print_coverage(const crash::Tally& by_seeds, const Arguments& arguments) {
  const std::vector<Scenario> stories = all_stories();
  const auto told = crash::run_jobs(
      0, stories.size(), arguments.jobs, true,
      [&](std::uint64_t story, crash::Tally& tally) {
        const StoryReport report = play(stories[story], 1, false);
        add_marks(tally);
        return report.ok ? std::string() : sim::format("{} FAILED: {}", stories[story].id, report.failure);
      },
      [](std::uint64_t, const crash::Tally&) {});
  bool all = told.failures == 0;
  std::printf("  marks, by seeds and by stories:\n");
  for (std::size_t i = 0; i < kMarks; ++i) {
    const std::uint64_t seeds = by_seeds.counts[kFigureCount + kFaults + i], by_stories = told.tally.counts[kFigureCount + kFaults + i];
    all = all && seeds + by_stories > 0;
    std::printf("  %12" PRIu64 " %9" PRIu64 " %-28s %s\n", seeds, by_stories, std::string(kMarkTexts[i].name).c_str(), std::string(kMarkTexts[i].text).c_str());
  }
  return all;
}

int run_seeds(const Arguments& arguments) {
  const double begin = seconds_now();
  const auto run = [&](std::uint64_t first, std::uint64_t count) {
    return crash::run_jobs(
        first, count, arguments.jobs, arguments.keep_going,
        [&](std::uint64_t seed, crash::Tally& tally) { return try_seed(seed, arguments, tally); }, [](std::uint64_t, const crash::Tally&) {});
  };
  auto result = run(arguments.first, arguments.seeds);
  while (seconds_now() - begin < static_cast<double>(arguments.minutes) * 60 && (result.failures == 0 || arguments.keep_going)) {
    const auto more = run(arguments.first + result.done, arguments.seeds);
    if (result.failures == 0) result.first_failure = more.first_failure;
    result.failures += more.failures;
    result.done += more.done;
    for (std::size_t i = 0; i < crash::Tally::kCounts; ++i) result.tally.counts[i] += more.tally.counts[i];
  }
  const double took = seconds_now() - begin;
  std::printf("%" PRIu64 " seeds in %.1f s (%.0f a minute), %.2f simulated hours, %" PRIu64 " failed\n", result.done, took,
              static_cast<double>(result.done) * 60 / took, static_cast<double>(result.tally.counts[0]) / 3.6e6, result.failures);
  for (std::size_t i = 0; i < kFigureCount; ++i) std::printf("  %12" PRIu64 " %s\n", result.tally.counts[i], kFigures[i]);
  std::printf("  faults:\n");
  for (std::size_t i = 0; i < kFaults; ++i)
    if (arguments.life.faults[i])
      std::printf("  %12" PRIu64 " %s\n", result.tally.counts[kFigureCount + i], std::string(kFaultKinds[i].name).c_str());
  if (result.failures > 0) std::printf("the smallest failing seed: %" PRIu64 "\n", result.first_failure);
  const bool covered = !arguments.coverage || print_coverage(result.tally, arguments);
  return result.failures == 0 && covered ? 0 : 1;
}

int run_planted(const Arguments& arguments) {
  return print_planted_table({arguments.first, arguments.seeds, arguments.jobs, arguments.only, arguments.life}) ? 0 : 1;
}

int list_faults(const Arguments& arguments) {
  for (std::size_t i = 0; i < kFaults; ++i) std::printf("%-4s %s\n", arguments.life.faults[i] ? "on" : "off", std::string(kFaultKinds[i].name).c_str());
  return 0;
}

// True when each seed of it passed.
bool play_scenario(const Scenario& scenario, const Arguments& arguments) {
  std::uint64_t passed = 0;
  std::string first_failure;
  for (std::uint64_t seed = arguments.first; seed < arguments.first + arguments.seeds; ++seed) {
    const StoryReport report = play(scenario, seed, arguments.life.choices.narrate);
    passed += report.ok;
    if (!report.ok && first_failure.empty()) first_failure = sim::format("seed {}: {}", seed, report.failure);
  }
  const bool all = passed == arguments.seeds;
  std::printf("%-4s %-5s %-62s %" PRIu64 " of %" PRIu64 "\n", all ? "ok" : "FAIL", std::string(scenario.id).c_str(),
              std::string(scenario.title).c_str(), passed, arguments.seeds);
  if (!all) std::printf("          %.400s\n", first_failure.c_str());
  std::fflush(stdout);
  return all;
}

int run_scenarios(const Arguments& arguments) {
  bool known = false, ok = true;
  for (const Scenario& scenario : all_stories()) {
    if (arguments.scenario == "list") std::printf("%-5s %s\n", std::string(scenario.id).c_str(), std::string(scenario.title).c_str());
    const bool wanted = arguments.scenario == "all" || arguments.scenario == scenario.id;
    known = known || wanted || arguments.scenario == "list";
    if (wanted && !play_scenario(scenario, arguments)) ok = false;
  }
  if (!known) std::fprintf(stderr, "holdfast-sim: there is no scenario \"%s\"; see --scenario list\n", arguments.scenario.c_str());
  return !known ? 2 : ok ? 0 : 1;
}

bool set_fault(Arguments& arguments, const std::string& how, const std::string& name) {
  for (std::size_t i = 0; i < kFaults; ++i) {
    if (kFaultKinds[i].name != name) continue;
    if (how == "--only-fault") arguments.life.faults.fill(false);
    arguments.life.faults[i] = how != "--without";
    return true;
  }
  std::fprintf(stderr, "holdfast-sim: there is no fault named \"%s\"; see --faults\n", name.c_str());
  return false;
}

bool parse_valued(Arguments& out, const std::string& name, const std::string& value) {
  if (name == "--with" || name == "--without" || name == "--only-fault") return set_fault(out, name, value);
  if (name == "--only") return out.only = value, true;
  if (name == "--scenario") return out.scenario = value, true;
  char* end = nullptr;
  const std::uint64_t number = std::strtoull(value.c_str(), &end, 10);
  if (value.empty() || *end != 0) return false;
  if (name == "--first") out.first = number;
  else if (name == "--seeds") out.seeds = number;
  else if (name == "--minutes") out.minutes = number;
  else if (name == "--coverage") out.seeds = number, out.coverage = true;
  else if (name == "--jobs" && number >= 1 && number <= 64) out.jobs = static_cast<unsigned>(number);
  else if (name == "--nodes" && number >= 1 && number <= 5) out.life.choices.nodes = static_cast<unsigned>(number);
  else return false;
  return true;
}

int run(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    if (name == "--narrate") arguments.life.choices.narrate = true;
    else if (name == "--keep-going") arguments.keep_going = true;
    else if (name == "--twice") arguments.twice = true;
    else if (name == "--planted") arguments.planted = true;
    else if (name == "--fresh") arguments.first = static_cast<std::uint64_t>(std::time(nullptr)) * 1'000;
    else if (name == "--faults") arguments.faults = true;
    else if (i + 1 == argc || !parse_valued(arguments, name, argv[i + 1])) return usage();
    else ++i;
  }
  if (arguments.faults) return list_faults(arguments);
  if (arguments.seeds == 0 && !arguments.scenario.empty()) arguments.seeds = 1;
  if (arguments.seeds == 0) arguments.seeds = arguments.planted ? 5'000 : arguments.minutes > 0 ? 50 : 600;
  if (!arguments.planted && arguments.scenario.empty()) std::printf("seeds from %" PRIu64 " on\n", arguments.first);
  std::fflush(stdout);
  if (arguments.life.choices.narrate) {
    arguments.jobs = 1;
    set_log_sink([](LogLevel, std::string_view line) { std::printf("            log: %.*s\n", static_cast<int>(line.size()), line.data()); });
  }
  if (!arguments.scenario.empty()) return run_scenarios(arguments);
  return arguments.planted ? run_planted(arguments) : run_seeds(arguments);
}

}  // namespace
}  // namespace holdfast::cluster

int main(int argc, char** argv) { return holdfast::cluster::run(argc, argv); }
