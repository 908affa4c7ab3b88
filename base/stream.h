// The Stream port: bytes to and from an initiator.
#pragma once

#include <sys/uio.h>

#include <memory>
#include <span>
#include <string>

#include "base/bytes.h"
#include "base/result.h"
#include "base/task.h"

namespace holdfast {

class Executor;

class Stream {
 public:
  virtual ~Stream() = default;
  // Reads what is there, at least one byte, into the segments in order. Errc::closed at the peer's end.
  virtual Task<Result<std::size_t>> read_some(std::span<const iovec> into) = 0;
  // Writes everything. One writer and one reader at a time.
  virtual Task<Result<void>> write_all(std::span<const iovec> from) = 0;
  // Wakes a pending read and write with Errc::closed. Idempotent.
  virtual void close() = 0;
  virtual std::string peer_address() const = 0;   // "192.0.2.7:51234" or "[2001:db8::1]:51234"
  virtual std::string local_address() const = 0;
  // Hands an idle stream to another thread; the result is used on that thread only, this stream no more.
  virtual std::unique_ptr<Stream> move_to(Executor& executor) = 0;
};

class Listener {
 public:
  virtual ~Listener() = default;
  virtual Task<Result<std::unique_ptr<Stream>>> accept() = 0;
  virtual void close() = 0;
};

}  // namespace holdfast
