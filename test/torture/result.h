// How runs ended: a line of JSON each in a results file, which lets a long series be taken up again; a table for people; and
// JUnit's XML for machines.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace holdfast::torture {

struct RunResult {
  std::string id, title;
  std::uint64_t seed = 0;
  bool passed = false;
  bool no_measure = false;                                   // It failed by a pause alone that the machine itself explains (StoodStill).
  std::string failure;                                       // Why not.
  double seconds = 0;
  std::vector<std::pair<std::string, std::uint64_t>> proofs; // That the fault happened.
  std::vector<std::pair<std::string, double>> figures;       // Times in ms.
};

std::string to_json(const RunResult& result);                // One line, without its end.
// Lines that are none of these are passed over: a run may have been cut off.
std::vector<RunResult> results_in(const std::string& text);

// By scenario: runs, passed, the median and the greatest of each figure. Runs that were no measure are counted apart.
std::string table_of(const std::vector<RunResult>& results);
std::string junit_of(const std::vector<RunResult>& results);

}  // namespace holdfast::torture
