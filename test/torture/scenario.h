// What a scenario is, and what it leaves behind: proofs that its fault happened, figures, and how it ended.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/types.h"
#include "test/torture/metronome.h"

namespace holdfast::torture {

// The stage of one run. Everything of it lies in `folder`, which goes away when all was well.
class Stage {
 public:
  // Without a folder, the machine is not watched.
  Stage(std::string folder, std::uint64_t seed);
  const std::string& folder() const { return folder_; }
  std::uint64_t seed() const { return seed_; }

  // The fault happened, so often. Throws when it did not.
  void prove(const std::string& what, std::uint64_t count);
  void figure(const std::string& name, double value) { figures_.emplace_back(name, value); }
  // A figure in ms that has a bound. Throws when it is above, and tells how long the machine itself stood still.
  void bound(const std::string& name, DurationNs value, DurationNs most);
  void say(const std::string& line);

  const std::vector<std::pair<std::string, std::uint64_t>>& proofs() const { return proofs_; }
  const std::vector<std::pair<std::string, double>>& figures() const { return figures_; }

 private:
  std::string folder_;
  std::uint64_t seed_;
  std::unique_ptr<Metronome> metronome_;
  std::vector<std::pair<std::string, std::uint64_t>> proofs_;
  std::vector<std::pair<std::string, double>> figures_;
};

struct Scenario {
  std::string id;       // "F1", "HP5", "F6c": a row of the catalogue, and a letter when the row has several.
  std::string title;
  void (*play)(Stage& stage);
  std::int64_t patience_s = 180;  // Then it is ended, and has failed.
  bool long_one = false;          // Not part of a group or of `all`: runs when it is named.
};

// All there are, in the order of the catalogue.
const std::vector<Scenario>& scenarios();
// Those that a word names: an id, a group ("F", "HS", "H"), or "all". Empty: none has that name.
std::vector<const Scenario*> scenarios_named(const std::string& word);

}  // namespace holdfast::torture
