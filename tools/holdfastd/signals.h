// SIGTERM, SIGINT and SIGHUP as events: a thread waits for them, so that no handler interrupts anything.
#pragma once

#include <csignal>
#include <cstdint>
#include <functional>

namespace holdfast::daemon {

// Before any other thread is started: the threads inherit the mask.
void block_signals();

struct SignalEvents {
  std::function<void()> read_again;       // At each SIGHUP.
  std::function<void(int signal)> stop;   // At the first of the others.
};
// Starts the thread, which calls these. After the first stop a second one, or `patience_ms`, ends the process at once, as a crash
// would: that is always safe.
void watch_signals(SignalEvents events, std::int64_t patience_ms);

}  // namespace holdfast::daemon
