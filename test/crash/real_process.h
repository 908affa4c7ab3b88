// Real kill -9: a child serves a real file under load and is killed at a random moment; the next child recovers and reads
// everything back, and the parent, which was told of every call and every answer, judges with the ledger.
//   holdfast-crash real [--rounds N] [--seed S] [--dir DIR] [--bug NAME]
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace holdfast::crash {

struct RealOptions {
  std::uint64_t rounds = 200;
  std::uint64_t seed = 1;
  std::string directory;         // The store's file is made in it and removed at the end.
  bool narrate_progress = false;
};

struct RealReport {
  std::uint64_t rounds = 0;               // Each ended by SIGKILL with operations acknowledged or under way.
  std::uint64_t killed_in_recovery = 0;   // Further kills: before the store was open …
  std::uint64_t killed_in_verification = 0;
  std::uint64_t operations = 0;
  std::uint64_t acked_writes = 0;
  std::uint64_t acked_blocks = 0;
  std::uint64_t in_flight_at_kill = 0;
  std::uint64_t writes_in_flight_at_kill = 0;
  std::uint64_t unsynced_dropped = 0;     // Blocks, as of each child's last word.
  std::uint64_t written_early = 0;
  std::uint64_t checkpoints = 0;
  std::uint64_t replayed = 0;
  std::uint64_t verifications = 0;
  std::uint64_t blocks_checked = 0;       // By the last verify_all.
  std::optional<std::string> violation;   // Lost, torn, stale, or a child that did not do as told.
  bool interrupted = false;
};

RealReport run_real(const RealOptions& options);
int real_command(int argc, char** argv);

}  // namespace holdfast::crash
