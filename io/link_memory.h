// Memory for what links of one reactor receive. Payload goes to the reactor's pool, as what comes from hosts does; when that is
// full, to a reserve that nothing else can take: two nodes whose pools are full of their hosts' writes, each of which waits for the
// other node, would otherwise wait for ever, and no beat behind such a payload would be heard.
// One a reactor; it outlives everything that was received into it.
#pragma once

#include "base/buffer.h"
#include "io/reactor.h"

namespace holdfast::io {

class LinkMemory {
 public:
  // Twice what a primary sends ahead of its acknowledgements. Not touched before it is needed.
  static constexpr std::size_t kReserveBytes = std::size_t{16} << 20;

  explicit LinkMemory(Reactor& reactor, std::size_t reserve_bytes = kReserveBytes)
      : reactor_(&reactor), reserve_(reactor, reserve_bytes) {}
  LinkMemory(const LinkMemory&) = delete;
  LinkMemory& operator=(const LinkMemory&) = delete;

  // Empty when neither has room now.
  Buffer try_acquire(std::size_t bytes) {
    if (Buffer buffer = reactor_->buffers().try_acquire(bytes)) return buffer;
    return reserve_.try_acquire(bytes);
  }
  Reactor& reactor() const { return *reactor_; }

 private:
  Reactor* reactor_;
  BufferPool reserve_;
};

}  // namespace holdfast::io
