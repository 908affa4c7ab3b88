// Runs scenarios, each in a process of its own with machines of its own: whatever becomes of one, the next one begins on a clean
// machine, and several may run side by side.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "test/torture/result.h"
#include "test/torture/scenario.h"

namespace holdfast::torture {

struct RunnerOptions {
  std::uint64_t times = 1;
  std::uint64_t seed = 1;            // Of the first run of each scenario; the next one has the next.
  std::string folder;                // Where the runs have their folders. Those of failed runs stay.
  std::string junit, results;        // Files; empty: none. Runs that `results` has already are not run again.
  unsigned jobs = 1;                 // So many side by side. Pauses are those of a machine that has more to do, then.
  std::int64_t minutes = 0;          // soak: after so many no new run begins. 0: no limit.
  bool shuffled = false;             // soak: any scenario after any other one.
  bool keep_folders = false;
};

// False when a run failed, or was interrupted. A run whose pause the machine itself explains is repeated, twice at most.
bool run_scenarios(const std::vector<const Scenario*>& which, const RunnerOptions& options);

// In the process of one run: plays it, and writes its result to `file`.
int play_scenario(const Scenario& scenario, const std::string& folder, std::uint64_t seed, const std::string& file);

}  // namespace holdfast::torture
