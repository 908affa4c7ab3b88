#include "test/torture/runner.h"

#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iostream>

#include "test/sim/random.h"
#include "test/sim/text.h"
#include "test/torture/clock.h"
#include "test/torture/failure.h"
#include "test/torture/process.h"

namespace holdfast::torture {
namespace {

volatile std::sig_atomic_t interrupted = 0;

void watch_signals() {
  struct sigaction action {};
  action.sa_handler = [](int) { interrupted = 1; };
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) ::sigaction(number, &action, nullptr);
}

// In a process of its own, whose end ends everything of the run.
RunResult run_once(const Scenario& scenario, const RunnerOptions& options, std::uint64_t seed) {
  RunResult result;
  result.id = scenario.id;
  result.title = scenario.title;
  result.seed = seed;
  const std::string folder = sim::format("{}/{}-{}", options.folder, scenario.id, seed);
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  ProcessOptions process_options;
  process_options.words = {"/proc/self/exe", "play", scenario.id, "--folder", folder, "--seed", std::to_string(seed), "--result", folder + "/result.json"};
  process_options.log = folder + "/story";
  const BootNs began = now();
  {
    Process process(process_options);
    const BootNs deadline = began + milliseconds(scenario.patience_s * 1'000);
    while (!process.ended_within(milliseconds(200)) && !interrupted && !is_over(deadline)) {
    }
    if (process.running()) result.failure = interrupted ? "interrupted" : sim::format("it took more than {} s", scenario.patience_s);
  }
  result.seconds = to_ms(now() - began) / 1'000;
  const auto told = results_in(read_file(folder + "/result.json"));
  if (!told.empty() && result.failure.empty()) {
    const double seconds = result.seconds;
    result = told.front();
    result.seconds = seconds;
  } else if (result.failure.empty()) {
    result.failure = "it died; the end of its story:\n" + read_file(folder + "/story");
  }
  if (result.passed && !options.keep_folders) std::filesystem::remove_all(folder);
  if (!result.passed) result.failure += "\n(everything of it is in " + folder + ")";
  return result;
}

void tell(const RunResult& result) {
  std::cout << sim::format("{} {} (seed {}, {} s): {}", result.passed ? "passed" : "FAILED", result.id, result.seed, result.seconds, result.title);
  for (const auto& [name, value] : result.figures) std::cout << sim::format("; {} {}", name, value);
  std::cout << "\n";
  if (!result.passed) std::cout << "  " << result.failure << "\n";
  std::cout << std::flush;
}

bool has(const std::vector<RunResult>& results, const std::string& id, std::uint64_t seed) {
  return std::any_of(results.begin(), results.end(), [&](const RunResult& r) { return r.id == id && r.seed == seed && r.passed; });
}

}  // namespace

bool run_scenarios(const std::vector<const Scenario*>& which, const RunnerOptions& options) {
  require(::geteuid() == 0, "this needs root: network namespaces, loop devices");
  watch_signals();
  std::vector<RunResult> results = options.results.empty() ? std::vector<RunResult>{} : results_in(read_file(options.results));
  const BootNs deadline = now() + milliseconds(options.minutes * 60'000);
  sim::SimRandom random(options.seed);
  const auto one = [&](const Scenario& scenario, std::uint64_t seed) {
    if (has(results, scenario.id, seed)) return;
    RunResult result = run_once(scenario, options, seed);
    tell(result);
    if (!options.results.empty() && !interrupted) std::ofstream(options.results, std::ios::app) << to_json(result) << "\n";
    results.push_back(std::move(result));
  };
  const auto over = [&] { return interrupted || (options.minutes > 0 && is_over(deadline)); };
  for (std::uint64_t round = 0; round < options.times && !over(); ++round)
    for (std::size_t i = 0; i < which.size() && !over(); ++i) one(*which[options.shuffled ? random.below(which.size()) : i], options.seed + round);
  std::cout << table_of(results);
  if (!options.junit.empty()) write_file(options.junit, junit_of(results));
  return !interrupted && std::all_of(results.begin(), results.end(), [](const RunResult& r) { return r.passed; });
}

int play_scenario(const Scenario& scenario, const std::string& folder, std::uint64_t seed, const std::string& file) {
  RunResult result;
  result.id = scenario.id;
  result.title = scenario.title;
  result.seed = seed;
  Stage stage(folder, seed);
  try {
    // Mounts of this run are its own, and end with it.
    require_call(::unshare(CLONE_NEWNS) == 0 && ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0, "no mount namespace (this needs root)");
    scenario.play(stage);
    result.passed = true;
  } catch (const std::exception& failure) {
    result.failure = failure.what();
    std::cout << "FAILED: " << result.failure << std::endl;
  }
  result.proofs = stage.proofs();
  result.figures = stage.figures();
  write_file(file, to_json(result) + "\n");
  return result.passed ? 0 : 1;
}

}  // namespace holdfast::torture
