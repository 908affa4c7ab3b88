#include "test/model/search.h"

#include <unordered_map>

#include "test/sim/random.h"

namespace holdfast::model {
namespace {

std::string told(const Move& move) {
  return "node " + std::to_string(move.node) + " " + name_of(move.step) + " " + std::to_string(move.other) +
         (move.detail ? " (" + std::to_string(move.detail) + ")" : "");
}

// Walks back through the parents, then forward again to tell the steps.
std::vector<std::string> trace_of(const Model& model, const std::unordered_map<std::uint64_t, std::uint64_t>& parents, std::uint64_t last) {
  std::vector<std::uint64_t> path;
  for (std::uint64_t at = last; at != 0; at = parents.at(at)) path.push_back(at);
  std::vector<std::string> out;
  State s = model.initial();
  for (std::size_t k = path.size() - 1; k-- > 0;) {
    bool stepped = false;
    State next = s;
    model.moves(s, [&](const Move& move) {
      if (stepped || model.fingerprint(move.to) != path[k]) return;
      stepped = true;
      next = move.to;
      out.push_back(told(move));
    });
    s = next;
  }
  return out;
}

}  // namespace

Found search(const Model& model, std::uint64_t states_max) {
  Found found;
  std::unordered_map<std::uint64_t, std::uint64_t> parents;
  parents.reserve(states_max);
  const State first = model.initial();
  parents.emplace(model.fingerprint(first), 0);
  std::vector<State> level{first}, next;
  bool full = false;
  while (!level.empty() && found.violation.empty() && !full) {
    next.clear();
    for (const State& s : level) {
      const std::uint64_t from = model.fingerprint(s);
      model.moves(s, [&](const Move& move) {
        if (!found.violation.empty() || full) return;
        ++found.moves;
        const char* wrong = move.violation;
        if (!wrong) {
          if (!parents.emplace(model.fingerprint(move.to), from).second) return;
          wrong = model.violation(move.to);
        }
        if (wrong) {
          found.violation = wrong;
          found.trace = trace_of(model, parents, from);
          found.trace.push_back(told(move));
          return;
        }
        next.push_back(move.to);
        full = parents.size() >= states_max;
      });
      if (!found.violation.empty() || full) break;
    }
    level.swap(next);
  }
  found.states = parents.size();
  found.complete = found.violation.empty() && !full;
  return found;
}

Found walk(const Model& model, std::uint64_t seed, std::uint64_t walks, unsigned steps_each) {
  Found found;
  sim::SimRandom random(seed);
  std::vector<Move> choices;
  for (std::uint64_t w = 0; w < walks && found.violation.empty(); ++w) {
    // Some kinds of steps are rare in one walk and common in the next.
    std::array<std::uint64_t, 24> weight;
    for (auto& each : weight) each = random.one_in(4) ? 20 : random.between(1, 8);
    weight[static_cast<int>(Step::crash)] = random.between(1, 2);
    weight[static_cast<int>(Step::hand_over)] = random.between(1, 2);
    State s = model.initial();
    found.trace.clear();
    for (unsigned k = 0; k < steps_each; ++k) {
      choices.clear();
      std::uint64_t total = 0;
      model.moves(s, [&](const Move& move) {
        choices.push_back(move);
        total += weight[static_cast<int>(move.step)];
      });
      if (choices.empty()) break;
      std::uint64_t pick = random.below(total);
      std::size_t at = 0;
      while (pick >= weight[static_cast<int>(choices[at].step)]) pick -= weight[static_cast<int>(choices[at++].step)];
      ++found.states;
      found.trace.push_back(told(choices[at]));
      s = choices[at].to;
      const char* wrong = choices[at].violation ? choices[at].violation : model.violation(s);
      if (!wrong) continue;
      found.violation = wrong;
      return found;
    }
  }
  found.trace.clear();
  return found;
}

}  // namespace holdfast::model
