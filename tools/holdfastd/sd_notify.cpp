#include "tools/holdfastd/sd_notify.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <tuple>

namespace holdfast::daemon {
namespace {

std::string taken(const char* name) {
  const char* value = std::getenv(name);
  std::string out = value ? value : "";
  ::unsetenv(name);
  return out;
}

// A status is one line.
std::string one_line(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = c == '\n' ? ' ' : c;
  return out;
}

}  // namespace

ServiceNotifier ServiceNotifier::from_environment() {
  ServiceNotifier out;
  out.socket_ = taken("NOTIFY_SOCKET");
  const std::string pid = taken("WATCHDOG_PID");
  const std::string usec = taken("WATCHDOG_USEC");
  const bool for_us = pid.empty() || pid == std::to_string(::getpid());
  if (for_us) out.watchdog_interval_ms_ = std::strtoll(usec.c_str(), nullptr, 10) / 2000;
  return out;
}

void ServiceNotifier::ready(std::string_view status) const { send("READY=1\nSTATUS=" + one_line(status)); }
void ServiceNotifier::stopping(std::string_view status) const { send("STOPPING=1\nSTATUS=" + one_line(status)); }
void ServiceNotifier::status(std::string_view status) const { send("STATUS=" + one_line(status)); }
void ServiceNotifier::watchdog() const { send("WATCHDOG=1"); }

void ServiceNotifier::send(const std::string& lines) const {
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  if (socket_.empty() || socket_.size() >= sizeof to.sun_path) return;
  std::memcpy(to.sun_path, socket_.data(), socket_.size());
  if (socket_[0] == '@') to.sun_path[0] = '\0';  // The abstract name space.
  const int fd = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return;
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + socket_.size());
  // Nobody to tell when this fails: the service runs all the same.
  std::ignore = ::sendto(fd, lines.data(), lines.size(), MSG_NOSIGNAL, reinterpret_cast<const sockaddr*>(&to), length);
  ::close(fd);
}

}  // namespace holdfast::daemon
