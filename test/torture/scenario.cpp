#include "test/torture/scenario.h"

#include <cctype>
#include <iostream>

#include "test/sim/text.h"
#include "test/torture/clock.h"
#include "test/torture/failure.h"
#include "test/torture/scenario_groups.h"

namespace holdfast::torture {

Stage::Stage(std::string folder, std::uint64_t seed) : folder_(std::move(folder)), seed_(seed) {
  if (!folder_.empty()) metronome_ = std::make_unique<Metronome>(folder_);
}

void Stage::prove(const std::string& what, std::uint64_t count) {
  require(count > 0, "the fault did not happen: no " + what);
  proofs_.emplace_back(what, count);
  say(sim::format("proven: {} {}", count, what));
}

void Stage::bound(const std::string& name, DurationNs value, DurationNs most) {
  figure(name, to_ms(value));
  say(sim::format("{}: {} ms", name, to_ms(value)));
  if (value <= most) return;
  const DurationNs stall = metronome_ ? metronome_->longest_stall() : DurationNs{};
  figure("the machine stood still", to_ms(stall));
  const std::string what = sim::format("{} is {} ms, more than {} ms (the machine itself stood still for up to {} ms)", name, to_ms(value), to_ms(most), to_ms(stall));
  if (stall.value >= value.value - most.value) throw StoodStill(what);
  throw Failure(what);
}

void Stage::say(const std::string& line) { std::cout << sim::format("[{} ms] {}", now().value / 1'000'000, line) << std::endl; }

const std::vector<Scenario>& scenarios() {
  static const std::vector<Scenario> all = [] {
    std::vector<Scenario> out;
    for (const auto& group : {single_scenarios(), failure_scenarios(), fault_scenarios(), consistency_scenarios(), node_scenarios(), operation_scenarios(), input_scenarios()}) out.insert(out.end(), group.begin(), group.end());
    return out;
  }();
  return all;
}

std::vector<const Scenario*> scenarios_named(const std::string& word) {
  std::vector<const Scenario*> out;
  for (const Scenario& scenario : scenarios()) {
    const bool exact = scenario.id == word;
    // "F" has F1 and F10, "HP" has HP1; "F1" has F1a, and not F10.
    const bool group = scenario.id.starts_with(word) && scenario.id.size() > word.size() &&
                       (std::isdigit(static_cast<unsigned char>(word.back())) == 0);
    const bool row = scenario.id.starts_with(word) && scenario.id.size() == word.size() + 1 && std::islower(static_cast<unsigned char>(scenario.id.back()));
    if (exact || (!scenario.long_one && (word == "all" || group || row))) out.push_back(&scenario);
  }
  return out;
}

}  // namespace holdfast::torture
