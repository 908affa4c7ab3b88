// The time-out of a login: closes the stream unless it is let go in time.
#pragma once

#include <memory>

#include "base/clock.h"
#include "base/stream.h"

namespace holdfast::scsi {

// Shared by the login and its watchdog, because either may end first.
struct LoginWatch {
  LoginWatch(Clock& clock, Stream* s) : timer(clock), stream(s) {}
  Timer timer;
  Stream* stream;  // Null: let go.

  void let_go() {
    stream = nullptr;
    timer.cancel();
  }
};

inline Task<void> watch_login(std::shared_ptr<LoginWatch> watch, DurationNs limit) {
  if (!watch->stream) co_return;  // The login was over before we began.
  const Wake wake = co_await watch->timer.after(limit);
  if (wake == Wake::fired && watch->stream) watch->stream->close();
}

}  // namespace holdfast::scsi
