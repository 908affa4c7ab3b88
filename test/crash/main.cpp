// holdfast-crash: proves the store against crashes. See usage() below.
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "base/planted.h"
#include "test/crash/exhaustive.h"
#include "test/crash/fake_store.h"
#include "test/crash/jobs.h"
#include "test/crash/random_run.h"
#include "test/crash/real_process.h"
#include "test/crash/real_store.h"
#include "test/crash/remnant.h"
#include "test/sim/text.h"

namespace holdfast::crash {
namespace {

int usage() {
  std::fprintf(stderr,
               "holdfast-crash random [--seeds N] [--first S] [--jobs J] [--trouble 0..3] [--keep-going] [--narrate] [--twice]\n"
               "    Random loads, crashes, recoveries, judged by a ledger. --narrate tells one seed's story as it happens,\n"
               "    --twice runs each seed twice and compares the traces. Trouble: 0 none, 1 no space, 2 I/O errors, 3 rot.\n"
               "holdfast-crash exhaustive [--operations N] [--every N] [--jobs J] [--first SEED]\n"
               "    Recovers from every disk event of a scripted load, with every class of what may be left of unsynced writes.\n"
               "holdfast-crash planted [--seeds N] [--jobs J]\n"
               "    For each planted bug the number of seeds until it is found (needs the preset `planted`).\n"
               "holdfast-crash real [--rounds N] [--seed S] [--dir DIR] [--bug NAME]\n"
               "    Kills a real process with kill -9 under load and inside recovery, on a file whose unsynced data dies with it.\n");
  return 2;
}

struct Arguments {
  std::uint64_t seeds = 1000;
  std::uint64_t first = 1;
  unsigned jobs = 2;
  std::uint64_t operations = 250;
  std::uint64_t every = 1;
  bool keep_going = false;
  bool twice = false;
  bool fake = false;
  SeedOptions seed;
};

bool parse(int argc, char** argv, Arguments& out) {
  for (int i = 2; i < argc; ++i) {
    const std::string name = argv[i];
    if (name == "--keep-going") out.keep_going = true;
    else if (name == "--narrate") out.seed.narrate = true;
    else if (name == "--twice") out.twice = true;
    else if (name == "--fake") out.fake = true;
    else if (i + 1 == argc) return false;
    else {
      char* end = nullptr;
      const std::uint64_t value = std::strtoull(argv[++i], &end, 10);
      if (end == argv[i] || *end != 0) return false;
      if (name == "--seeds") out.seeds = value;
      else if (name == "--first") out.first = value;
      else if (name == "--operations" && value > 0) out.operations = value;
      else if (name == "--every" && value > 0) out.every = value;
      else if (name == "--jobs" && value >= 1 && value <= 64) out.jobs = static_cast<unsigned>(value);
      else if (name == "--trouble" && value < kTroubles) out.seed.trouble = static_cast<int>(value);
      else return false;
    }
  }
  return true;
}

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// The figures of a report, in the order in which they are tallied and printed.
constexpr const char* kFigures[] = {
    "operations", "writes acknowledged", "crashes", "crashes inside recovery", "full verifications",
    "refused for lack of space", "stores that failed on an I/O error", "opens refused after rot", "corrupt reads after rot",
    "disk reads", "disk writes", "durable writes", "syncs", "punches", "read errors", "write errors", "sync errors",
    "no-space answers", "power losses", "kills", "unsynced writes lost", "unsynced writes kept", "unsynced writes torn",
    "bits flipped", "slow requests"};

void add_to(Tally& tally, const SeedReport& r) {
  const std::uint64_t values[] = {
      r.operations, r.acked_writes, r.crashes, r.crashes_in_recovery, r.verifications, r.no_space, r.failed_stores,
      r.refused_opens, r.corrupt_reads, r.disk.reads, r.disk.writes, r.disk.durable_writes, r.disk.syncs, r.disk.punches,
      r.disk.read_errors, r.disk.write_errors, r.disk.sync_errors, r.disk.no_space, r.disk.power_losses, r.disk.kills,
      r.disk.writes_lost, r.disk.writes_kept, r.disk.writes_torn, r.disk.rotten_bits, r.disk.slow};
  static_assert(std::size(values) == std::size(kFigures) && std::size(values) <= Tally::kCounts);
  for (std::size_t i = 0; i < std::size(values); ++i) tally.counts[i] += values[i];
}

std::string try_seed(std::uint64_t seed, const StoreMaker& maker, const Arguments& arguments, Tally& tally) {
  const SeedReport report = run_seed(seed, maker, arguments.seed);
  add_to(tally, report);
  if (!report.ok) return report.story;
  if (!arguments.twice) return {};
  const SeedReport again = run_seed(seed, maker, arguments.seed);
  return again.trace == report.trace ? std::string() : sim::format("seed {} FAILED: it does not replay the same", seed);
}

int random_command(const Arguments& arguments, const StoreMaker& maker) {
  const double begin = seconds_now();
  const bool live = isatty(STDOUT_FILENO) != 0;
  const auto result = run_jobs(
      arguments.first, arguments.seeds, arguments.jobs, arguments.keep_going,
      [&](std::uint64_t seed, Tally& tally) { return try_seed(seed, maker, arguments, tally); },
      [&](std::uint64_t done, const Tally&) {
        if (!live) return;
        std::printf("\r%llu of %llu seeds", static_cast<unsigned long long>(done), static_cast<unsigned long long>(arguments.seeds));
        std::fflush(stdout);
      });
  const double took = seconds_now() - begin;
  std::printf("%s%llu seeds in %.1f s (%.0f a minute), %llu failed\n", live ? "\r" : "",
              static_cast<unsigned long long>(result.done), took, static_cast<double>(result.done) * 60 / took,
              static_cast<unsigned long long>(result.failures));
  for (std::size_t i = 0; i < std::size(kFigures); ++i)
    std::printf("  %12llu %s\n", static_cast<unsigned long long>(result.tally.counts[i]), kFigures[i]);
  if (result.failures > 0) std::printf("the smallest failing seed: %llu\n", static_cast<unsigned long long>(result.first_failure));
  return result.failures == 0 ? 0 : 1;
}

int exhaustive_command(const Arguments& arguments, const StoreMaker& maker) {
  const double begin = seconds_now();
  ExhaustiveOptions options;
  options.seed = arguments.first;
  options.operations = arguments.operations;
  options.every = arguments.every;
  options.jobs = arguments.jobs;
  const ExhaustiveReport report = run_exhaustive(maker, options);
  std::printf("%llu crash points, %llu images recovered, %llu recoveries crashed in turn, %llu failed, in %.1f s\n",
              static_cast<unsigned long long>(report.points), static_cast<unsigned long long>(report.images),
              static_cast<unsigned long long>(report.recoveries_crashed), static_cast<unsigned long long>(report.failures),
              seconds_now() - begin);
  return report.failures == 0 ? 0 : 1;
}

#ifdef HOLDFAST_PLANTED_BUGS
int planted_command(const Arguments& arguments, const StoreMaker& maker) {
  int missed = 0;
  std::printf("%-40s %s\n", "planted bug", "found after");
  for (std::size_t i = 0; i < kStoreBugs; ++i) {
    planted_bugs = 1u << i;
    // No crash of one node alone reaches this one: the log's chain refuses first. A story takes that lock away.
    if (static_cast<Bug>(i) == Bug::generation_not_bumped) {
      const bool found = !run_remnant(maker, RemnantChain::fits).empty();
      std::printf("%-40s %s\n", kBugNames[i].data(), found ? "the scripted remnant" : "NOT FOUND by the scripted remnant");
      missed += !found;
      continue;
    }
    std::fflush(stdout);
    const int quiet = dup(STDOUT_FILENO);
    const int quiet_errors = dup(STDERR_FILENO);
    if (!freopen("/dev/null", "w", stdout) || !freopen("/dev/null", "w", stderr)) return 1;
    const auto result = run_jobs(
        arguments.first, arguments.seeds, arguments.jobs, false,
        [&](std::uint64_t seed, Tally& tally) { return try_seed(seed, maker, arguments, tally); }, [](std::uint64_t, const Tally&) {});
    std::fflush(stdout);
    dup2(quiet, STDOUT_FILENO);
    dup2(quiet_errors, STDERR_FILENO);
    close(quiet);
    close(quiet_errors);
    if (result.failures == 0) ++missed;
    if (result.failures == 0) std::printf("%-40s NOT FOUND in %llu seeds\n", kBugNames[i].data(), static_cast<unsigned long long>(result.done));
    else std::printf("%-40s %llu seeds\n", kBugNames[i].data(), static_cast<unsigned long long>(result.first_failure - arguments.first + 1));
  }
  return missed == 0 ? 0 : 1;
}
#else
int planted_command(const Arguments&, const StoreMaker&) {
  std::fprintf(stderr, "holdfast-crash: this build has no planted bugs; use: cmake --preset planted && cmake --build build-planted\n");
  return 2;
}
#endif

int run(int argc, char** argv) {
  Arguments arguments;
  if (argc >= 2 && std::strcmp(argv[1], "real") == 0) return real_command(argc, argv);
  if (argc < 2 || !parse(argc, argv, arguments)) return usage();
  const StoreMaker& maker = arguments.fake ? kFakeStore : kRealStore;
  if (arguments.seed.narrate) arguments.jobs = 1;
  if (std::strcmp(argv[1], "random") == 0) return random_command(arguments, maker);
  if (std::strcmp(argv[1], "exhaustive") == 0) return exhaustive_command(arguments, maker);
  if (std::strcmp(argv[1], "planted") == 0) return planted_command(arguments, maker);
  return usage();
}

}  // namespace
}  // namespace holdfast::crash

int main(int argc, char** argv) { return holdfast::crash::run(argc, argv); }
