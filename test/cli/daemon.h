// A real holdfastd for one test, and the command line that talks to it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "test/cli/program.h"

namespace holdfast::cli {

struct DaemonOptions {
  std::string data_dir;                  // Empty: `data` in the test's folder.
  std::string admin_listen = "127.0.0.1:0";
  std::string iscsi_listen = "127.0.0.1:0";
  std::string more_admin, more_store;    // Further lines of these sections.
  ProgramOptions program;
};

class Daemon {
 public:
  explicit Daemon(const TemporaryFolder& folder, DaemonOptions options = {});
  ~Daemon();

  // True when systemd would have been told READY=1; false when the process ended before.
  bool ready();
  // Waits for a message to systemd that contains the text.
  bool notified(const std::string& text, int patience_ms = 30'000);
  std::uint16_t admin_port() const;  // Once it is ready.
  std::uint16_t iscsi_port();

  // SIGTERM and the orderly end.
  Ended stop();
  void kill();
  Program& program() { return *program_; }

  // holdfast with these words, against this node.
  Ended holdfast(std::vector<std::string> words, std::map<std::string, std::string> environment = {}) const;

 private:
  std::string folder_;
  int notify_fd_ = -1;
  std::unique_ptr<Program> program_;
};

}  // namespace holdfast::cli
