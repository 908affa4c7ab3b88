// The command line of `holdfast-crash real`.
#include <unistd.h>

#include <charconv>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <string_view>

#include "base/planted.h"
#include "test/crash/real_process.h"

namespace holdfast::crash {
namespace {

bool parse_number(std::string_view text, std::uint64_t& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size();
}

bool plant([[maybe_unused]] std::string_view name) {
#ifdef HOLDFAST_PLANTED_BUGS
  for (std::size_t i = 0; i < kStoreBugs; ++i) {
    if (kBugNames[i] != name) continue;
    planted_bugs |= 1u << i;
    return true;
  }
  std::fprintf(stderr, "holdfast-crash: no planted bug of that name\n");
#else
  std::fprintf(stderr, "holdfast-crash: this build has no planted bugs; use: cmake --preset planted && cmake --build build-planted\n");
#endif
  return false;
}

bool parse(int argc, char** argv, RealOptions& out) {
  for (int i = 2; i < argc; i += 2) {
    const std::string_view name = argv[i];
    if (i + 1 == argc) return false;
    const std::string_view value = argv[i + 1];
    const bool understood = (name == "--rounds" && parse_number(value, out.rounds)) ||
                            (name == "--seed" && parse_number(value, out.seed)) || (name == "--bug" && plant(value)) ||
                            (name == "--dir" && !(out.directory = value).empty());
    if (!understood) return false;
  }
  return true;
}

void print(const RealReport& report, double took) {
  const std::pair<std::uint64_t, const char*> figures[] = {
      {report.rounds, "rounds: killed by SIGKILL with operations acknowledged or under way"},
      {report.killed_in_recovery, "more kills inside recovery"},
      {report.killed_in_verification, "more kills just after it"},
      {report.operations, "operations of the load"},
      {report.acked_writes, "writes acknowledged"},
      {report.acked_blocks, "blocks of them"},
      {report.in_flight_at_kill, "operations under way when killed"},
      {report.writes_in_flight_at_kill, "of them writes"},
      {report.unsynced_dropped, "unsynced blocks dropped"},
      {report.written_early, "unsynced blocks that had reached the file, whole or torn"},
      {report.checkpoints, "checkpoints asked for"},
      {report.replayed, "records replayed by recoveries"},
      {report.verifications, "full verifications"},
      {report.blocks_checked, "blocks checked by the last verify_all"}};
  for (const auto& [value, name] : figures) std::printf("  %12llu %s\n", static_cast<unsigned long long>(value), name);
  if (report.violation) std::printf("FAILED after %.1f s: %s\n", took, report.violation->c_str());
  else if (report.interrupted) std::printf("interrupted after %.1f s; nothing wrong so far\n", took);
  else std::printf("0 lost, 0 torn, 0 stale, in %.1f s\n", took);
}

}  // namespace

int real_command(int argc, char** argv) {
  RealOptions options;
  if (!parse(argc, argv, options)) {
    std::fprintf(stderr, "usage: holdfast-crash real [--rounds N] [--seed S] [--dir DIR] [--bug NAME]\n");
    return 2;
  }
  options.narrate_progress = isatty(STDOUT_FILENO) != 0;
  const bool own_directory = options.directory.empty();
  if (own_directory) {
    std::string pattern = (std::filesystem::current_path() / "holdfast-crash-XXXXXX").string();
    if (!mkdtemp(pattern.data())) return std::perror("holdfast-crash: no directory can be made here"), 1;
    options.directory = pattern;
  }
  const auto begin = std::chrono::steady_clock::now();
  const RealReport report = run_real(options);
  const double took = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  if (own_directory) std::filesystem::remove_all(options.directory);
  if (options.narrate_progress) std::printf("\r");
  print(report, took);
  return report.violation ? 1 : report.interrupted ? 130 : 0;
}

}  // namespace holdfast::crash
