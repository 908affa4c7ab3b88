// Telling systemd how the service is (sd_notify(3)): one datagram to the socket named by NOTIFY_SOCKET. Without one, nothing.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace holdfast::daemon {

class ServiceNotifier {
 public:
  // Reads NOTIFY_SOCKET and WATCHDOG_USEC / WATCHDOG_PID, and takes them out of the environment.
  static ServiceNotifier from_environment();

  void ready(std::string_view status) const;
  void stopping(std::string_view status) const;
  void status(std::string_view status) const;
  void watchdog() const;
  // How often watchdog() has to be called: half of what systemd allows. 0: no watchdog.
  std::int64_t watchdog_interval_ms() const { return watchdog_interval_ms_; }

 private:
  void send(const std::string& lines) const;
  std::string socket_;
  std::int64_t watchdog_interval_ms_ = 0;
};

}  // namespace holdfast::daemon
