// Runs one program, with what it needs around it, and says how it ended.
#pragma once

#include <sys/types.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

namespace holdfast::cli {

struct Ended {
  int code = -1;     // Exit code, or 128 + signal.
  std::string out;   // stdout
  std::string err;   // stderr
};

struct ProgramOptions {
  std::map<std::string, std::string> environment;
  std::function<void()> before_exec;  // In the child: system calls only.
};

// A program under way, with its output in files of `folder`.
class Program {
 public:
  Program(std::string folder, std::vector<std::string> words, ProgramOptions options = {});
  ~Program();  // Kills it if it still runs.
  Program(const Program&) = delete;

  pid_t pid() const { return pid_; }
  void signal(int number) const;
  // Fails the test and kills it after `patience_ms`.
  Ended wait(int patience_ms = 30'000);
  bool ended_within(int patience_ms) const;
  std::string err() const;
  // Readable once it has ended.
  int pid_fd() const { return pid_fd_; }

 private:
  std::string folder_;
  pid_t pid_ = -1;
  int pid_fd_ = -1;
  bool reaped_ = false;
};

// A folder of its own in the system's place for temporary files; removed with everything in it.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  const std::string& path() const { return path_; }
  std::string write(const std::string& name, const std::string& text, mode_t mode = 0644) const;

 private:
  std::string path_;
};

std::string read_text(const std::string& path);

}  // namespace holdfast::cli
