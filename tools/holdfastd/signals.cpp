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

void watch(const SignalEvents& events, std::int64_t patience_ms) {
  pthread_setname_np(pthread_self(), "signals");
  const sigset_t set = stop_signals();
  sigset_t all = set;
  sigaddset(&all, SIGHUP);
  int signal = 0;
  while (sigwait(&all, &signal) != 0 || signal == SIGHUP) {
    if (signal == SIGHUP) events.read_again();
    signal = 0;
  }
  events.stop(signal);
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

void block_signals() {
  sigset_t set = stop_signals();
  sigaddset(&set, SIGHUP);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
}

void watch_signals(SignalEvents events, std::int64_t patience_ms) {
  std::thread([events = std::move(events), patience_ms] { watch(events, patience_ms); }).detach();
}

}  // namespace holdfast::daemon
