#include "tools/holdfastd/signals.h"

#include <pthread.h>
#include <unistd.h>

#include <cerrno>
#include <thread>

#include "base/log.h"

namespace holdfast::daemon {
namespace {

sigset_t stop_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  return set;
}

void watch(const std::function<void(int)>& stop, std::int64_t patience_ms) {
  pthread_setname_np(pthread_self(), "signals");
  const sigset_t set = stop_signals();
  int signal = 0;
  while (sigwait(&set, &signal) != 0) continue;
  stop(signal);
  const timespec patience{.tv_sec = patience_ms / 1000, .tv_nsec = patience_ms % 1000 * 1'000'000};
  int second = 0;
  do {
    second = sigtimedwait(&set, nullptr, &patience);
  } while (second < 0 && errno == EINTR);
  log_error(second < 0 ? "the stop takes too long: ending at once; the next start recovers from the log"
                       : "second signal: ending at once; the next start recovers from the log");
  ::_exit(1);
}

}  // namespace

void block_stop_signals() {
  const sigset_t set = stop_signals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGHUP, SIG_IGN);  // There is nothing to reload, and a lost terminal is no reason to stop.
}

void watch_stop_signals(std::function<void(int)> stop, std::int64_t patience_ms) {
  std::thread([stop = std::move(stop), patience_ms] { watch(stop, patience_ms); }).detach();
}

}  // namespace holdfast::daemon
