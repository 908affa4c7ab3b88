// Programs in network namespaces. None outlives this process: the kernel kills them when the thread that started them ends, so
// they are started by the main thread only.
#pragma once

#include <sys/types.h>

#include <map>
#include <string>
#include <vector>

#include "base/types.h"
#include "io/unique_fd.h"
#include "test/torture/net_namespace.h"

namespace holdfast::torture {

struct ProcessOptions {
  std::vector<std::string> words;                  // The program first; it is looked up in PATH.
  std::map<std::string, std::string> environment;  // Besides ours.
  const NetNamespace* where = nullptr;             // Null: ours.
  std::string log;                                 // stdout and stderr are appended to it. Empty: nowhere.
  std::vector<int> listening;                      // Become descriptors 3, 4, … as systemd passes them (LISTEN_FDS).
};

class Process {
 public:
  explicit Process(const ProcessOptions& options);
  Process(const Process&) = delete;
  ~Process();  // Kills it.

  pid_t pid() const { return pid_; }
  bool running() const { return !ended_within({}); }
  bool ended_within(DurationNs patience) const;
  void signal(int number) const;
  // SIGKILL; returns when it is gone. Throws when it was gone before, or ended in another way.
  void kill();
  // SIGSTOP; returns when it stands still.
  void freeze();
  void thaw();
  // How it ended: exit code, or 128 + signal. Throws, and kills it, when it does not within `patience`.
  int wait(DurationNs patience);

 private:
  int reap();
  std::string name_;
  pid_t pid_ = -1;
  io::UniqueFd pid_fd_;
  int status_ = -1;
  bool reaped_ = false;
};

struct Ran {
  int status = -1;     // Exit code, or 128 + signal.
  std::string output;  // stdout and stderr.
};
// Runs a program to its end, which comes within `patience`.
Ran run(const std::vector<std::string>& words, const NetNamespace* where = nullptr, DurationNs patience = milliseconds(60'000),
        const std::map<std::string, std::string>& environment = {});
// The same; throws unless it succeeds. Returns what it said.
std::string must_run(const std::vector<std::string>& words, const NetNamespace* where = nullptr);

std::string read_file(const std::string& path);
void write_file(const std::string& path, const std::string& text);

}  // namespace holdfast::torture
