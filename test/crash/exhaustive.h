// Exhaustive: one scripted load is recorded with all its disk I/O; then the store is recovered from every point of it, with
// every class of what a power loss may leave of the unsynced writes, and held against the ledger as of that point.
#pragma once

#include <string>

#include "test/crash/process.h"

namespace holdfast::crash {

struct ExhaustiveOptions {
  std::uint64_t seed = 1;           // Of the load and of the latencies.
  std::uint64_t operations = 250;
  std::uint64_t every = 1;          // Only every n-th crash point: the slice for quick runs.
  std::uint64_t inner_every = 50;   // At every n-th image the recovery itself is crashed at each of its I/Os.
  unsigned jobs = 2;
};

struct ExhaustiveReport {
  std::uint64_t points = 0;
  std::uint64_t images = 0;
  std::uint64_t recoveries_crashed = 0;
  std::uint64_t failures = 0;
};

ExhaustiveReport run_exhaustive(const StoreMaker& maker, ExhaustiveOptions options);

}  // namespace holdfast::crash
