// Looking for trouble: every state by breadth, or long random walks where there are too many.
#pragma once

#include <string>
#include <vector>

#include "test/model/model.h"

namespace holdfast::model {

struct Found {
  std::string violation;             // Empty: none.
  std::vector<std::string> trace;    // The steps that lead to it.
  std::uint64_t states = 0;          // Different ones; steps of walks for a walk.
  std::uint64_t moves = 0;
  bool complete = false;             // Every state within the bounds was seen.
};

// states_max bounds memory: 16 bytes a state.
Found search(const Model& model, std::uint64_t states_max);
Found walk(const Model& model, std::uint64_t seed, std::uint64_t walks, unsigned steps_each);

}  // namespace holdfast::model
