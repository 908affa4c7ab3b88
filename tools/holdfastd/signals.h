// SIGTERM and SIGINT as events: a thread waits for them, so that no handler interrupts anything.
#pragma once

#include <csignal>
#include <cstdint>
#include <functional>

namespace holdfast::daemon {

// Before any other thread is started: the threads inherit the mask.
void block_stop_signals();

// Starts the thread. The first signal calls `stop` (there); a second one, or `patience_ms` after the first, ends the
// process at once, as a crash would: that is always safe.
void watch_stop_signals(std::function<void(int signal)> stop, std::int64_t patience_ms);

}  // namespace holdfast::daemon
