#include "test/torture/runner.h"

#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <mutex>
#include <thread>

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
  std::cout << sim::format("{} {} (seed {}, {} s): {}", result.passed ? "passed" : result.no_measure ? "no measure" : "FAILED", result.id, result.seed, result.seconds, result.title);
  for (const auto& [name, value] : result.figures) std::cout << sim::format("; {} {}", name, value);
  std::cout << "\n";
  if (!result.passed) std::cout << "  " << result.failure << "\n";
  std::cout << std::flush;
}

// What is to be played, and what became of it. Workers share it.
class Plan {
 public:
  Plan(const std::vector<const Scenario*>& which, const RunnerOptions& options)
      : which_(which), options_(options), results_(options.results.empty() ? std::vector<RunResult>{} : results_in(read_file(options.results))),
        deadline_(now() + milliseconds(options.minutes * 60'000)), random_(options.seed) {}

  // Until nothing is left, or it is over.
  void work() {
    while (const auto next = take()) {
      for (unsigned attempt = 1; attempt <= kAttempts && !is_ended(); ++attempt) {
        RunResult result = run_once(*next->scenario, options_, next->seed);
        // A measure that is never to be had is a failure.
        if (attempt == kAttempts) result.no_measure = false;
        if (!add(std::move(result))) break;
      }
    }
  }
  const std::vector<RunResult>& results() const { return results_; }

 private:
  static constexpr unsigned kAttempts = 3;
  struct Turn {
    const Scenario* scenario;
    std::uint64_t seed;
  };

  bool is_ended() const { return interrupted || (options_.minutes > 0 && is_over(deadline_)); }

  std::optional<Turn> take() {
    const std::lock_guard lock(mutex_);
    while (!is_ended() && taken_ < options_.times * which_.size()) {
      const std::uint64_t at = taken_++;
      const Turn turn{which_[options_.shuffled ? random_.below(which_.size()) : at % which_.size()], options_.seed + at / which_.size()};
      if (!has_passed(turn)) return turn;
    }
    return std::nullopt;
  }

  bool has_passed(const Turn& turn) const {
    return std::any_of(results_.begin(), results_.end(), [&](const RunResult& r) { return r.id == turn.scenario->id && r.seed == turn.seed && r.passed; });
  }

  // True: it is to be played once more.
  bool add(RunResult result) {
    const std::lock_guard lock(mutex_);
    tell(result);
    if (!options_.results.empty() && !interrupted) std::ofstream(options_.results, std::ios::app) << to_json(result) << "\n";
    const bool again = result.no_measure;
    results_.push_back(std::move(result));
    return again;
  }

  const std::vector<const Scenario*>& which_;
  const RunnerOptions& options_;
  std::mutex mutex_;
  std::vector<RunResult> results_;
  const BootNs deadline_;
  sim::SimRandom random_;
  std::uint64_t taken_ = 0;
};

}  // namespace

bool run_scenarios(const std::vector<const Scenario*>& which, const RunnerOptions& options) {
  require(::geteuid() == 0, "this needs root: network namespaces, loop devices");
  watch_signals();
  Plan plan(which, options);
  {
    // The runs' processes end with the thread that began them: it lives as long as they do.
    std::vector<std::jthread> workers;
    for (unsigned i = 0; i < options.jobs; ++i) workers.emplace_back([&] { plan.work(); });
  }
  const std::vector<RunResult>& results = plan.results();
  std::cout << table_of(results);
  if (!options.junit.empty()) write_file(options.junit, junit_of(results));
  return !interrupted && std::all_of(results.begin(), results.end(), [](const RunResult& r) { return r.passed || r.no_measure; });
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
  } catch (const StoodStill& failure) {
    result.no_measure = true;
    result.failure = failure.what();
    std::cout << "no measure: " << result.failure << std::endl;
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
