#include "io/link_tcp.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

#include "base/clock.h"
#include "base/ensure.h"
#include "base/sync.h"
#include "base/text.h"
#include "io/link_envelope.h"

namespace holdfast::io {
namespace {

constexpr std::size_t kStagingBytes = std::size_t{16} << 10;
// Offered behind the rest of a payload that is read into its place: the next head comes along, and little of its payload.
constexpr std::size_t kStagingBehindPayload = std::size_t{4} << 10;
static_assert(kStagingBehindPayload >= sizeof(EnvelopeOnWire));
constexpr std::size_t kHeadMemoryBytes = std::size_t{1} << 20;  // Sixteen of the largest heads, or 256 small ones.
static_assert(kHeadMemoryBytes >= 2 * kLinkHeadBytesMax);
constexpr std::size_t kFramesPerWrite = 16;  // Three segments each.
constexpr DurationNs kMemoryPause = milliseconds(1);

class TcpLink final : public Link {
 public:
  TcpLink(LinkMemory& memory, std::unique_ptr<Stream> stream)
      : memory_(&memory), stream_(std::move(stream)), heads_(memory.reactor(), kHeadMemoryBytes), turn_(memory.reactor(), 1),
        staging_(std::make_unique_for_overwrite<std::byte[]>(kStagingBytes)) {}

  Task<Result<void>> send(Frame frame) override;
  Task<Result<void>> send_all(std::span<Frame> frames) override;
  Task<Result<Frame>> receive() override;
  void close() override;

 private:
  void end(Error why);
  void say_end();
  // What the broken stream means here. No end was said: whatever the stream calls it, the other side is gone.
  void stream_broke(const Error& error);
  std::unexpected<Error> ended() const { return fail(*ended_); }

  Task<Result<Frame>> receive_one();
  Task<Result<void>> fill(std::size_t bytes);
  Task<Result<void>> read_into(MutableBytes target);
  Task<Result<Buffer>> obtain(BufferPool* pool, std::size_t bytes);
  MutableBytes staged() const { return {staging_.get() + begin_, end_ - begin_}; }

  LinkMemory* memory_;
  std::unique_ptr<Stream> stream_;
  BufferPool heads_;
  Semaphore turn_;               // Of who sends.
  bool writing_ = false;         // Part of a frame is out, the rest is not.
  bool receiving_ = false;
  std::optional<Error> ended_;   // Set once: what came first is what everybody is told.
  std::unique_ptr<std::byte[]> staging_;
  std::size_t begin_ = 0, end_ = 0;  // What was read and not taken.
};

void TcpLink::end(Error why) {
  if (!ended_) ended_ = std::move(why);
  stream_->close();
}

void TcpLink::stream_broke(const Error& error) {
  if (error.code == Errc::protocol) end(Error(Errc::protocol, concat(stream_->peer_address(), ": ", error.message)));
  else end(error.code == Errc::timed_out ? Errc::timed_out : Errc::io_error);
}

// The last word of an end in order, if it can be said at once: a full socket is waited for by nobody, and half a frame is not
// followed by anything.
void TcpLink::say_end() {
  if (writing_) return;
  EnvelopeBytes last = encode_envelope({});
  const iovec segment{last.data(), last.size()};
  const Task<Result<void>> said = stream_->write_all(std::span(&segment, 1));
  (void)said.await_ready();  // Runs until it is done or would wait; then it is dropped with what it waits for.
}

void TcpLink::close() {
  if (ended_) return;
  say_end();
  end(Errc::closed);
}

// ---- Sending.

Task<Result<void>> TcpLink::send(Frame frame) {
  auto sent = co_await send_all({&frame, 1});
  co_return sent;
}

Task<Result<void>> TcpLink::send_all(std::span<Frame> frames) {
  co_await turn_.acquire();
  struct Turn {  // Those who wait for theirs look at ended_ themselves.
    Semaphore* turn;
    ~Turn() { turn->release(); }
  } turn{&turn_};
  if (ended_) co_return ended();
  if (writing_) {
    // Whoever sent before this one was destroyed on the way, with half a frame out: nothing can follow it.
    end(Errc::io_error);
    co_return ended();
  }
  while (!frames.empty()) {
    std::array<EnvelopeBytes, kFramesPerWrite> envelopes;
    std::array<iovec, 3 * kFramesPerWrite> segments;
    const std::size_t together = std::min(frames.size(), kFramesPerWrite);
    std::size_t used = 0;
    for (std::size_t i = 0; i < together; ++i) {
      const Frame& frame = frames[i];
      envelopes[i] = encode_envelope({Envelope::Kind::frame, frame.head.size(), frame.payload.size()});
      segments[used++] = {envelopes[i].data(), envelopes[i].size()};
      segments[used++] = {frame.head.data(), frame.head.size()};
      if (!frame.payload.empty()) segments[used++] = {frame.payload.data(), frame.payload.size()};
    }
    writing_ = true;
    auto written = co_await stream_->write_all(std::span(segments).first(used));
    if (!written) {
      // Still `writing_`: what is out of these frames is all there will ever be.
      stream_broke(written.error());
      co_return ended();
    }
    writing_ = false;
    frames = frames.subspan(together);
  }
  co_return Result<void>{};
}

// ---- Receiving.

Task<Result<Frame>> TcpLink::receive() {
  ENSURE(!receiving_);  // One receiver at a time.
  struct Receiving {
    bool* flag;
    ~Receiving() { *flag = false; }
  } receiving{&receiving_};
  receiving_ = true;
  if (ended_) co_return ended();
  auto frame = co_await receive_one();
  // Who closed it meanwhile has the say, also over what was read in the same moment.
  if (ended_) co_return ended();
  co_return frame;
}

Task<Result<Frame>> TcpLink::receive_one() {
  CO_TRY(co_await fill(sizeof(EnvelopeOnWire)));
  const auto envelope = decode_envelope(staged().first<sizeof(EnvelopeOnWire)>());
  if (!envelope) {
    end(Error(Errc::protocol, concat(stream_->peer_address(), ": ", envelope.error().message)));
    co_return ended();
  }
  begin_ += sizeof(EnvelopeOnWire);
  if (envelope->kind == Envelope::Kind::end) {
    end(Errc::closed);
    co_return ended();
  }
  auto head = co_await obtain(&heads_, envelope->head_bytes);
  if (!head) co_return fail(head.error());
  CO_TRY(co_await read_into(head->bytes()));
  Frame frame;  // Named: GCC 12 destroys such a temporary twice.
  frame.head = std::move(*head);
  if (envelope->payload_bytes > 0) {
    auto payload = co_await obtain(nullptr, envelope->payload_bytes);
    if (!payload) co_return fail(payload.error());
    CO_TRY(co_await read_into(payload->bytes()));
    frame.payload = std::move(*payload);
  }
  co_return frame;
}

// Memory of the link's own pool, or (without one) for payload. Looked for again and again rather than waited for in the pool's
// line: the reserve may come free first, and a link that is closed must not wait any longer.
Task<Result<Buffer>> TcpLink::obtain(BufferPool* pool, std::size_t bytes) {
  Timer pause(memory_->reactor().clock());
  for (;;) {
    if (ended_) co_return ended();
    Buffer buffer;
    if (pool) buffer = pool->try_acquire(bytes);
    else buffer = memory_->try_acquire(bytes);
    if (buffer) co_return buffer;
    co_await pause.after(kMemoryPause);
  }
}

// At least so much is staged when it returns well.
Task<Result<void>> TcpLink::fill(std::size_t bytes) {
  ENSURE(bytes <= kStagingBytes);
  while (end_ - begin_ < bytes) {
    if (begin_ == end_) {
      begin_ = end_ = 0;
    } else if (begin_ > 0) {
      std::memmove(staging_.get(), staging_.get() + begin_, end_ - begin_);  // Less than an envelope.
      end_ -= begin_;
      begin_ = 0;
    }
    const iovec segment{staging_.get() + end_, kStagingBytes - end_};
    auto got = co_await stream_->read_some(std::span(&segment, 1));
    if (!got) {
      stream_broke(got.error());
      co_return ended();
    }
    end_ += *got;
  }
  co_return Result<void>{};
}

Task<Result<void>> TcpLink::read_into(MutableBytes target) {
  const std::size_t here = std::min(target.size(), end_ - begin_);
  std::memcpy(target.data(), staging_.get() + begin_, here);
  begin_ += here;
  target = target.subspan(here);
  while (!target.empty()) {
    ENSURE(begin_ == end_);
    begin_ = end_ = 0;
    const std::size_t behind = target.size() >= kStagingBytes ? kStagingBehindPayload : kStagingBytes;
    const std::array<iovec, 2> segments{iovec{target.data(), target.size()}, iovec{staging_.get(), behind}};
    auto got = co_await stream_->read_some(segments);
    if (!got) {
      stream_broke(got.error());
      co_return ended();
    }
    const std::size_t placed = std::min(*got, target.size());
    end_ = *got - placed;
    target = target.subspan(placed);
  }
  co_return Result<void>{};
}

}  // namespace

std::unique_ptr<Link> make_tcp_link(LinkMemory& memory, std::unique_ptr<Stream> stream) {
  return std::make_unique<TcpLink>(memory, std::move(stream));
}

}  // namespace holdfast::io
