// holdfast-torture: the catalogue of scenarios with real processes on network namespaces. tools/torture calls it.
#include <CLI/CLI.hpp>

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <string_view>

#include "test/torture/failure.h"
#include "test/torture/process.h"
#include "test/torture/runner.h"

namespace holdfast::torture {
namespace {

// A folder whose path is short: sockets are in it.
std::string default_folder() { return (std::filesystem::temp_directory_path() / "holdfast-torture").string(); }

// The row W6: ten rounds of all of W and F, one after the other.
constexpr std::string_view kRounds = "W6";
constexpr std::uint64_t kRoundCount = 10;

int list() {
  for (const Scenario& scenario : scenarios()) std::cout << scenario.id << std::string(8 - std::min<std::size_t>(7, scenario.id.size()), ' ') << scenario.title << "\n";
  std::cout << kRounds << "      ten rounds of all of W and F, one after the other\n";
  return 0;
}

int run_named(std::vector<std::string> names, RunnerOptions options) {
  std::vector<const Scenario*> which;
  if (const auto rounds = std::find(names.begin(), names.end(), kRounds); rounds != names.end()) {
    if (names.size() > 1) {
      std::cerr << "torture: " << kRounds << " is " << kRoundCount << " rounds of W and F, and runs alone\n";
      return 2;
    }
    names = {"W", "F"};
    options.times *= kRoundCount;
  }
  for (const std::string& name : names) {
    const auto found = scenarios_named(name);
    if (found.empty()) {
      std::cerr << "torture: nothing is named " << name << "; see: tools/torture list\n";
      return 2;
    }
    which.insert(which.end(), found.begin(), found.end());
  }
  if (options.folder.empty()) options.folder = default_folder() + "-" + std::to_string(::getpid());
  std::filesystem::create_directories(options.folder);
  const bool passed = run_scenarios(which, options);
  if (std::filesystem::is_empty(options.folder)) std::filesystem::remove(options.folder);
  return passed ? 0 : 1;
}

int torture(int count, char** words) {
  CLI::App app("The catalogue of scenarios (docs/torture.md) with real processes, on network namespaces. As root.", "torture");
  app.require_subcommand(1);
  RunnerOptions options;
  std::vector<std::string> names{"all"};
  std::string id, folder, file;
  CLI::App* listing = app.add_subcommand("list", "All scenarios");
  CLI::App* running = app.add_subcommand("run", "Runs scenarios; exit status 0 when all passed");
  running->add_option("names", names, "Ids (F1), groups (F, HP), or all")->required();
  running->add_option("--times", options.times, "Each so many times")->check(CLI::Range(1, 1'000'000));
  CLI::App* soaking = app.add_subcommand("soak", "Scenarios at random, until it is interrupted or the time is over");
  soaking->add_option("names", names, "What to draw from (default all)");
  soaking->add_option("--minutes", options.minutes, "How long (default: until it is interrupted)");
  for (CLI::App* command : {running, soaking}) {
    command->add_option("--junit", options.junit, "Writes JUnit's XML to this file");
    command->add_option("--results", options.results, "A line of JSON for each run is appended to this file; what it has passed is not run again");
    command->add_option("--seed", options.seed, "Of the first run of each scenario (default 1)");
    command->add_option("--jobs", options.jobs, "So many side by side (default 1); pauses are those of a busier machine then")->check(CLI::Range(1, 16));
    command->add_option("--folder", options.folder, "Where the runs have their folders; decides the disk (default: the system's place for temporary files)");
    command->add_flag("--keep", options.keep_folders, "Keep the folders of runs that passed, too");
  }
  CLI::App* playing = app.add_subcommand("play", "One run, in this process")->group("");
  playing->add_option("id", id)->required();
  playing->add_option("--folder", folder)->required();
  playing->add_option("--seed", options.seed)->required();
  playing->add_option("--result", file)->required();
  try {
    app.parse(count, words);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (*listing) return list();
  if (*running) return run_named(names, options);
  if (*soaking) {
    options.times = 1'000'000;
    options.shuffled = true;
    return run_named(names, options);
  }
  for (const Scenario& scenario : scenarios())
    if (scenario.id == id) return play_scenario(scenario, folder, options.seed, file);
  return 2;
}

}  // namespace
}  // namespace holdfast::torture

int main(int count, char** words) {
  try {
    return holdfast::torture::torture(count, words);
  } catch (const std::exception& error) {
    std::cerr << "torture: " << error.what() << "\n";
    return 2;
  }
}
