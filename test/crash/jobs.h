// Seeds and images are tried by several processes at once: an invariant that traps takes one of them down and is told
// as the failure of the seed it was at.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace holdfast::crash {

// Counts that workers share with their parent.
struct Tally {
  static constexpr std::size_t kCounts = 160;
  std::uint64_t counts[kCounts];
};

// work(item, tally) is called for items first … first + count - 1, each in one of `jobs` processes. It returns an empty
// string, or what is wrong. progress(done, tally) is called in the parent about once a second.
struct JobsResult {
  std::uint64_t done = 0;
  std::uint64_t failures = 0;
  std::uint64_t first_failure = 0;   // The smallest item that failed, when failures > 0.
  Tally tally{};
};
JobsResult run_jobs(std::uint64_t first, std::uint64_t count, unsigned jobs, bool keep_going,
                    const std::function<std::string(std::uint64_t, Tally&)>& work,
                    const std::function<void(std::uint64_t, const Tally&)>& progress);

}  // namespace holdfast::crash
