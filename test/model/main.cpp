// holdfast-model: every state of a small cluster, or long walks through a larger one. See usage().
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "test/model/search.h"

namespace holdfast::model {
namespace {

int usage() {
  std::fprintf(stderr,
               "holdfast-model [--nodes 2|3] [--writes 1..3] [--crashes N] [--epochs 2..14] [--cas 1..4] [--disks N] [--break RULE]...\n"
               "               [--states MAX] [--walks N --steps N --seed S]\n"
               "    Without --walks every state within the bounds is visited (16 bytes and a little time each).\n"
               "holdfast-model --rules\n"
               "    The rules that can be broken.\n");
  return 2;
}

int tell(const Found& found) {
  if (found.violation.empty()) {
    std::printf("ok: %" PRIu64 " states, %" PRIu64 " moves%s\n", found.states, found.moves, found.complete ? ", complete" : "");
    return 0;
  }
  std::printf("VIOLATION after %" PRIu64 " states: %s\n", found.states, found.violation.c_str());
  for (std::size_t i = 0; i < found.trace.size(); ++i) std::printf("  %2zu  %s\n", i + 1, found.trace[i].c_str());
  return 1;
}

int run(int argc, char** argv) {
  Bounds bounds;
  Rules rules;
  std::uint64_t states = 4'000'000, walks = 0, seed = 1;
  unsigned steps = 120;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    if (name == "--rules") {
      for (const auto rule : kBrokenNames) std::printf("%s\n", rule.data());
      return 0;
    }
    if (i + 1 == argc) return usage();
    const std::string text = argv[++i];
    const int value = std::atoi(text.c_str());
    if (name == "--nodes") bounds.nodes = value;
    else if (name == "--writes") bounds.writes = value;
    else if (name == "--crashes") bounds.crashes = value;
    else if (name == "--epochs") bounds.epochs = value;
    else if (name == "--cas") bounds.cas_in_flight = value;
    else if (name == "--disks") bounds.wipes = value;
    else if (name == "--states") states = std::strtoull(text.c_str(), nullptr, 10);
    else if (name == "--walks") walks = std::strtoull(text.c_str(), nullptr, 10);
    else if (name == "--steps") steps = static_cast<unsigned>(value);
    else if (name == "--seed") seed = std::strtoull(text.c_str(), nullptr, 10);
    else if (name == "--break") {
      std::size_t rule = 0;
      while (rule < kBrokenNames.size() && kBrokenNames[rule] != text) ++rule;
      if (rule == kBrokenNames.size()) return usage();
      rules.broken_bits |= std::uint64_t{1} << rule;
    } else return usage();
  }
  const bool possible = bounds.nodes >= 2 && bounds.nodes <= kNodesMax && bounds.writes >= 0 && bounds.writes <= 3 && bounds.epochs >= 1 &&
                        bounds.epochs <= 14 && bounds.cas_in_flight >= 1 && bounds.cas_in_flight <= kCasMax;
  if (!possible) return usage();
  const Model model(bounds, rules);
  return tell(walks ? walk(model, seed, walks, steps) : search(model, states));
}

}  // namespace
}  // namespace holdfast::model

int main(int argc, char** argv) { return holdfast::model::run(argc, argv); }
