// Closes a stream when its time is over, so that whoever waits on it goes on. Internal to this room.
#pragma once

#include "base/clock.h"
#include "base/scope.h"
#include "base/stream.h"

namespace holdfast::io {

class StreamDeadline {
 public:
  // The stream outlives this, or finish().
  StreamDeadline(Clock& clock, DurationNs limit, Stream& stream) : timer_(clock), stream_(&stream), scope_(clock.executor()) {
    scope_.spawn(watch(clock.now() + limit));
  }

  bool is_over() const { return over_; }
  // Ends the watch. Await it where the frame ends in order.
  Task<void> finish() {
    while (scope_.running() > 0) {
      timer_.cancel();  // In vain before the watch has begun.
      co_await Yield{scope_.executor()};
    }
  }

 private:
  Task<void> watch(BootNs due) {
    const Wake wake = co_await timer_.until(due);
    if (wake == Wake::cancelled) co_return;
    over_ = true;
    stream_->close();
  }

  Timer timer_;
  Stream* stream_;
  bool over_ = false;
  Scope scope_;  // Last: its flow uses everything above.
};

}  // namespace holdfast::io
