#include "io/ring_call.h"

#include <utility>

#include "base/ensure.h"
#include "io/reactor.h"

namespace holdfast::io {

io_uring_sqe* RingCall::prepare() {
  ENSURE(!pending_);
  return reactor_->ring().prepare();
}

void RingCall::own(io_uring_sqe* sqe) {
  Ring::own(sqe, *this);
  pending_ = true;
}

void RingCall::poll(int fd, unsigned events) {
  io_uring_sqe* sqe = prepare();
  io_uring_prep_poll_add(sqe, fd, events);
  own(sqe);
}

void RingCall::take_back() {
  Ring& ring = reactor_->ring();
  if (!pending_ || !ring.on_own_thread()) return;
  ring.cancel(*this);
  while (pending_) ring.wait_and_collect();
}

void RingCall::cancel() {
  waiter_ = {};
  take_back();
}

void RingCall::interrupt() { take_back(); }

void RingCall::completed(int result) {
  pending_ = false;
  result_ = result;
  if (waiter_) reactor_->post(std::exchange(waiter_, {}));
}

}  // namespace holdfast::io
