// One seed: a random store under a random load, killed at random moments, recovered and judged by the ledger.
#pragma once

#include <cstdint>
#include <string>

#include "test/crash/process.h"

namespace holdfast::crash {

// What troubles a seed besides crashes.
enum class Trouble : std::uint8_t { none, no_space, io_errors, rot };
inline constexpr std::size_t kTroubles = 4;
std::string_view trouble_name(Trouble trouble);

struct SeedReport {
  bool ok = true;
  std::string story;         // Of a failure.
  std::uint64_t trace = 0;   // Equal for equal seeds.
  Trouble trouble = Trouble::none;
  std::uint64_t operations = 0, acked_writes = 0, crashes = 0, crashes_in_recovery = 0, verifications = 0;
  std::uint64_t no_space = 0, failed_stores = 0, refused_opens = 0, corrupt_reads = 0;
  sim::DiskCounters disk;
};

struct SeedOptions {
  bool narrate = false;      // Prints the story as it happens.
  int trouble = -1;          // Forces one.
};

SeedReport run_seed(std::uint64_t seed, const StoreMaker& maker, SeedOptions options = {});

}  // namespace holdfast::crash
