// One host's load over one path, one command after the other: how long each took, and that none failed. Unlike Host it never looks
// elsewhere and waits long: a command that is held is no error, and one that fails is.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

struct iscsi_context;

namespace holdfast::replicas {

enum class LoadKind : std::uint8_t { writes, reads };

class SteadyLoad {
 public:
  using SteadyClock = std::chrono::steady_clock;
  struct Seen {
    std::uint64_t done = 0;
    std::int64_t longest_ms = 0;  // Of a command, since the last look.
    std::string error;            // The first one; the load has ended then.
  };

  // Begins at once. patience_s: what the host gives one command.
  SteadyLoad(LoadKind kind, const std::string& portal, const std::string& volume, int patience_s);
  // Ends after the command under way.
  ~SteadyLoad();
  SteadyLoad(const SteadyLoad&) = delete;

  Seen look();
  // From `since` to the end of the next command but those that have ended already: of one that was held, when it goes on. -1: it failed,
  // or none ends in time.
  std::int64_t next_after_ms(SteadyClock::time_point since, std::chrono::milliseconds patience);
  // A command has been under way for so long.
  bool is_held(std::chrono::milliseconds for_at_least);
  void stop();
  // After stop(): each block has what was last acknowledged. Reads over the same path.
  void expect_ledger();

 private:
  struct Drop {
    void operator()(iscsi_context* path) const;
  };
  void run();
  bool write_next(std::string* error);
  bool read_next(std::string* error);
  void note(SteadyClock::time_point began, const std::string& error);

  const LoadKind kind_;
  std::unique_ptr<iscsi_context, Drop> path_;
  std::map<std::uint64_t, std::uint64_t> ledger_;  // The thread's until it has ended.
  std::uint64_t serial_ = 0;

  std::mutex mutex_;                 // Of everything below.
  std::condition_variable changed_;
  Seen seen_;
  SteadyClock::time_point began_{};  // The command under way.
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace holdfast::replicas
