// holdfast-protocol: lives of whole clusters of role machines, one a seed. See usage().
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/planted.h"
#include "test/protocol/protocol_world.h"

namespace holdfast::protocol {
namespace {

int usage() {
  std::fprintf(stderr,
               "holdfast-protocol [--seeds N] [--first S] [--nodes 2..5] [--narrate]\n"
               "    Each seed is the life of a cluster of role machines: faults, then calm, then it must be well.\n"
               "holdfast-protocol --planted [--seeds N] [--only BUG]\n"
               "    For each planted bug the number of seeds until it is found (needs the preset `planted`).\n");
  return 2;
}

struct Arguments {
  std::uint64_t first = 1;
  std::uint64_t seeds = 0;
  unsigned nodes = 0;
  bool narrate = false;
  bool planted = false;
  std::string only;
};

Shape shape_of(const Arguments& arguments, std::uint64_t seed) {
  Shape shape;
  shape.seed = seed;
  shape.nodes = arguments.nodes ? arguments.nodes : 2 + static_cast<unsigned>(seed % 3);
  shape.narrate = arguments.narrate;
  return shape;
}

int run_seeds(const Arguments& arguments) {
  constexpr int kFailuresShown = 5;
  Tally sum;
  TrueNs time = 0;
  int failed = 0;
  for (std::uint64_t seed = arguments.first; seed < arguments.first + arguments.seeds && failed < kFailuresShown; ++seed) {
    const Shape shape = shape_of(arguments, seed);
    const Verdict verdict = live(shape);
    sum.add(verdict.tally);
    time += verdict.time;
    if (!verdict.failure) continue;
    ++failed;
    std::printf("seed %" PRIu64 " (%u nodes) at %.3f ms: %s\n", seed, shape.nodes, static_cast<double>(verdict.time) / kMs, verdict.failure->c_str());
  }
  std::printf("%" PRIu64 " seeds, %.1f simulated hours, %" PRIu64 " events\n"
              "  faults: kills %" PRIu64 ", power losses %" PRIu64 ", pauses %" PRIu64 ", broken links %" PRIu64 ", partitions %" PRIu64
              ", one-way %" PRIu64 ", new disks %" PRIu64 ", register outages %" PRIu64 ", unknown CAS %" PRIu64 ", slow disks %" PRIu64 "\n"
              "  life: take-overs %" PRIu64 ", hand-overs %" PRIu64 ", removals %" PRIu64 ", joins %" PRIu64 ", writes answered %" PRIu64
              ", reads %" PRIu64 "\n",
              arguments.seeds, static_cast<double>(time) / kMs / 3.6e6, sum.events, sum.crashes, sum.power_losses, sum.pauses, sum.breaks,
              sum.partitions, sum.one_way, sum.wipes, sum.register_outages, sum.unknown_swaps, sum.slow_disks, sum.take_overs,
              sum.hand_overs, sum.removals, sum.joins, sum.acks, sum.reads);
  return failed ? 1 : 0;
}

#ifdef HOLDFAST_PLANTED_BUGS
int run_planted(const Arguments& arguments) {
  int missed = 0;
  for (std::size_t bug = kStoreBugs; bug < kStoreBugs + kProtocolBugs; ++bug) {
    if (!arguments.only.empty() && arguments.only != kBugNames[bug]) continue;
    planted_bugs = std::uint64_t{1} << bug;
    std::uint64_t seed = arguments.first;
    std::optional<std::string> found;
    for (; seed < arguments.first + arguments.seeds && !found; ++seed) found = live(shape_of(arguments, seed)).failure;
    missed += !found;
    if (found) std::printf("%-32s found after %5" PRIu64 " seeds: %.120s\n", kBugNames[bug].data(), seed - arguments.first, found->c_str());
    else std::printf("%-32s NOT FOUND in %" PRIu64 " seeds\n", kBugNames[bug].data(), arguments.seeds);
    std::fflush(stdout);
  }
  return missed ? 1 : 0;
}
#else
int run_planted(const Arguments&) {
  std::fprintf(stderr, "holdfast-protocol: no bugs are planted in this build; use the preset `planted`\n");
  return 2;
}
#endif

int run(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    const bool valued = i + 1 < argc;
    if (name == "--narrate") arguments.narrate = true;
    else if (name == "--planted") arguments.planted = true;
    else if (!valued) return usage();
    else if (name == "--first") arguments.first = std::strtoull(argv[++i], nullptr, 10);
    else if (name == "--seeds") arguments.seeds = std::strtoull(argv[++i], nullptr, 10);
    else if (name == "--nodes") arguments.nodes = static_cast<unsigned>(std::strtoul(argv[++i], nullptr, 10));
    else if (name == "--only") arguments.only = argv[++i];
    else return usage();
  }
  if (arguments.nodes == 1 || arguments.nodes > 5) return usage();
  if (arguments.seeds == 0) arguments.seeds = arguments.planted ? 5000 : 1000;
  return arguments.planted ? run_planted(arguments) : run_seeds(arguments);
}

}  // namespace
}  // namespace holdfast::protocol

int main(int argc, char** argv) { return holdfast::protocol::run(argc, argv); }
