#include "test/cli/daemon.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <boost/json.hpp>
#include <csignal>
#include <cstring>
#include <filesystem>

namespace holdfast::cli {
namespace {

int bind_notify_socket(const std::string& path) {
  const int fd = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  std::strncpy(to.sun_path, path.c_str(), sizeof to.sun_path - 1);
  EXPECT_EQ(::bind(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to), 0) << path;
  return fd;
}

// "… : 127.0.0.1:34567" at the end of the log line that contains the text.
std::uint16_t port_in(const std::string& log, const std::string& text) {
  const std::size_t at = log.find(text);
  if (at == std::string::npos) return 0;
  const std::string line = log.substr(at, log.find('\n', at) - at);
  return static_cast<std::uint16_t>(std::stoul(line.substr(line.rfind(':') + 1)));
}

std::string serial() {
  static std::atomic<int> next{0};
  return std::to_string(next++);
}

}  // namespace

Daemon::Daemon(const TemporaryFolder& folder, DaemonOptions options) : folder_(folder.path() + "/node" + serial()) {
  std::filesystem::create_directory(folder_);
  const std::string data = options.data_dir.empty() ? folder.path() + "/data" : options.data_dir;
  const std::string config = folder.write("node" + serial() + ".toml",
                                          "[node]\nname = \"test\"\nreactors = 1\nmemory = \"16MiB\"\ndata_dir = \"" + data +
                                              "\"\n[iscsi]\nlisten = [\"" + options.iscsi_listen + "\"]\n[admin]\nlisten = \"" +
                                              options.admin_listen + "\"\n" + options.more_admin +
                                              "\n[store]\nlog_size = \"4MiB\"\nmap_cache = \"1MiB\"\n" + options.more_store + "\n");
  const std::string socket = folder_ + "/notify";
  notify_fd_ = bind_notify_socket(socket);
  options.program.environment.try_emplace("NOTIFY_SOCKET", socket);
  program_ = std::make_unique<Program>(folder_, std::vector<std::string>{HOLDFASTD, "--config", config}, options.program);
}

Daemon::~Daemon() { ::close(notify_fd_); }

bool Daemon::notified(const std::string& text, int patience_ms) {
  for (;;) {
    pollfd either[2] = {{.fd = notify_fd_, .events = POLLIN, .revents = 0},
                        {.fd = program_->pid_fd(), .events = POLLIN, .revents = 0}};
    if (::poll(either, 2, patience_ms) <= 0) return false;
    char message[4096];
    const ssize_t count = ::recv(notify_fd_, message, sizeof message, MSG_DONTWAIT);
    if (count < 0) return false;  // It ended, and nothing is left to read.
    if (std::string_view(message, static_cast<std::size_t>(count)).find(text) != std::string_view::npos) return true;
  }
}

bool Daemon::ready() { return notified("READY=1"); }

std::uint16_t Daemon::admin_port() const { return port_in(program_->err(), "admin port: "); }

std::uint16_t Daemon::iscsi_port() {
  const Ended status = holdfast({"--json", "status"});
  const auto portals = boost::json::parse(status.out).at("portals").as_array();
  return port_in(std::string(portals.at(0).as_string()), "127.0.0.1");
}

Ended Daemon::stop() {
  program_->signal(SIGTERM);
  return program_->wait();
}

void Daemon::kill() {
  program_->signal(SIGKILL);
  program_->wait();
}

Ended Daemon::holdfast(std::vector<std::string> words, std::map<std::string, std::string> environment) const {
  const std::string place = folder_ + "/cli";
  std::filesystem::create_directory(place);
  words.insert(words.begin(), HOLDFAST);
  environment.try_emplace("HOLDFAST_SERVER", "http://127.0.0.1:" + std::to_string(admin_port()));
  return Program(place, std::move(words), {std::move(environment), nullptr}).wait();
}

}  // namespace holdfast::cli
