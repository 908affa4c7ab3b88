// A stream in memory. The wire outlives the stream, so that a test can look at what was said after the target hung up.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>
#include <string>

#include "base/stream.h"
#include "base/sync.h"

namespace holdfast::test {

struct FakeWire {
  explicit FakeWire(Executor& executor) : changed(std::in_place, executor) {}

  // The test's end.
  void send(std::string_view bytes) {
    inbound.append(bytes);
    changed->notify_all();
  }
  void hang_up() {
    peer_gone = true;
    changed->notify_all();
  }
  void allow_writes(bool allowed) {
    writes_blocked = !allowed;
    changed->notify_all();
  }

  std::string inbound;            // To the target; what it has read is gone.
  std::string outbound;           // From the target; the test takes from it.
  std::size_t read_bytes_max = ~std::size_t{0};  // Of one read: cuts PDUs anywhere.
  bool writes_blocked = false;    // An initiator that does not read.
  bool peer_gone = false;
  bool closed = false;            // By the target.
  unsigned reads = 0;
  unsigned writes = 0;
  unsigned moves = 0;
  std::optional<WaitList> changed;
};

class FakeStream final : public Stream {
 public:
  explicit FakeStream(std::shared_ptr<FakeWire> wire) : wire_(std::move(wire)) {}
  ~FakeStream() override {
    if (wire_) wire_->closed = true;
  }

  Task<Result<std::size_t>> read_some(std::span<const iovec> into) override {
    const auto wire = wire_;
    while (wire->inbound.empty() && !wire->closed && !wire->peer_gone) co_await wire->changed->wait();
    if (wire->closed || wire->inbound.empty()) co_return fail(Errc::closed);
    ++wire->reads;
    std::size_t done = 0;
    for (const iovec& segment : into) {
      const std::size_t bytes =
          std::min({segment.iov_len, wire->inbound.size() - done, wire->read_bytes_max - done});
      std::memcpy(segment.iov_base, wire->inbound.data() + done, bytes);
      done += bytes;
    }
    wire->inbound.erase(0, done);
    co_return done;
  }

  Task<Result<void>> write_all(std::span<const iovec> from) override {
    const auto wire = wire_;
    while (wire->writes_blocked && !wire->closed && !wire->peer_gone) co_await wire->changed->wait();
    if (wire->closed || wire->peer_gone) co_return fail(Errc::closed);
    ++wire->writes;
    for (const iovec& segment : from) wire->outbound.append(static_cast<const char*>(segment.iov_base), segment.iov_len);
    co_return Result<void>();
  }

  void close() override {
    wire_->closed = true;
    wire_->changed->notify_all();
  }
  std::string peer_address() const override { return "192.0.2.7:51234"; }
  std::string local_address() const override { return "192.0.2.1:3260"; }
  std::unique_ptr<Stream> move_to(Executor& executor) override {
    ++wire_->moves;
    wire_->changed.emplace(executor);
    return std::make_unique<FakeStream>(std::move(wire_));
  }

 private:
  std::shared_ptr<FakeWire> wire_;
};

}  // namespace holdfast::test
