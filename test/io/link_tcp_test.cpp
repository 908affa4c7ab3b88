// Frames over real sockets: whole and in order, whatever the pieces; an end in order told from a break; nothing believed unseen.
#include "io/link_tcp.h"

#include <gtest/gtest.h>

#include <cstring>
#include <future>
#include <optional>
#include <thread>

#include "base/checksum.h"
#include "io/link_envelope.h"
#include "io/reactor_pool.h"
#include "test/io/link_support.h"

namespace holdfast::io {
namespace {

using test::filled;
using test::is_filled;
using test::make_frame;
using test::make_reactor;
using test::make_stream_pair;
using test::pause_for;
using test::RawPeer;
using test::StreamPair;

// Two links of one connection, each with what it needs.
struct Ends {
  explicit Ends(TcpOptions options = {}) {
    StreamPair pair = run_task(*reactor, make_stream_pair(reactor.get(), options));
    a = make_tcp_link(memory, std::move(pair.client));
    b = make_tcp_link(memory, std::move(pair.server));
  }
  std::unique_ptr<Reactor> reactor = make_reactor({.buffer_bytes = 8 << 20});
  LinkMemory memory{*reactor, 4 << 20};
  BufferPool outgoing{*reactor, 16 << 20};
  std::unique_ptr<Link> a, b;
};

// A link whose other end is a test's own socket.
struct HandMade {
  HandMade() {
    auto listener = listen_tcp(*reactor, {"127.0.0.1", 0}, kLinkTcpOptions);
    EXPECT_TRUE(listener.has_value());
    peer.emplace((*listener)->local_endpoint().port);
    std::unique_ptr<Stream> stream;
    run_task(*reactor, test::accept_stream(listener->get(), &stream));
    link = make_tcp_link(memory, std::move(stream));
  }
  Result<Frame> receive() { return run_task(*reactor, link->receive()); }
  Errc receive_error() {
    const auto frame = receive();
    EXPECT_FALSE(frame.has_value());
    return frame ? Errc{} : frame.error().code;
  }
  std::unique_ptr<Reactor> reactor = make_reactor();
  LinkMemory memory{*reactor, 1 << 20};
  BufferPool outgoing{*reactor, 4 << 20};
  std::optional<RawPeer> peer;
  std::unique_ptr<Link> link;
};

std::vector<std::byte> wire_of(const Frame& frame) {
  const EnvelopeBytes envelope = encode_envelope({Envelope::Kind::frame, frame.head.size(), frame.payload.size()});
  std::vector<std::byte> out(envelope.begin(), envelope.end());
  for (const Buffer* part : {&frame.head, &frame.payload}) out.insert(out.end(), part->data(), part->data() + part->size());
  return out;
}

// ---- Frames under load.

struct Plan {
  std::size_t head_bytes, payload_bytes;
};

// Every size that is near an edge of what is read at once, and some in between.
Plan plan_of(unsigned sender, unsigned round) {
  constexpr std::size_t kHeads[] = {12, 32, 33, 4096, 300, 16'360, 16'384, 40'000, kLinkHeadBytesMax, 64};
  constexpr std::size_t kBlocks[] = {0, 1, 0, 2, 16, 0, 3, 4, 5, 256, 0, 33, 1, 1};
  return {kHeads[(sender * 3 + round) % std::size(kHeads)], kBlocks[(sender * 5 + round) % std::size(kBlocks)] * kBlockBytes};
}

Task<void> send_rounds(Link* link, BufferPool* pool, unsigned sender, unsigned rounds) {
  for (unsigned round = 0; round < rounds; ++round) {
    const Plan plan = plan_of(sender, round);
    Frame frame;
    frame.head = co_await pool->acquire(plan.head_bytes);
    if (plan.payload_bytes > 0) frame.payload = co_await pool->acquire(plan.payload_bytes);
    const unsigned seed = sender * 10'000 + round;
    for (Buffer* part : {&frame.head, &frame.payload})
      for (std::size_t i = 0; i < part->size(); ++i) part->data()[i] = std::byte(seed + i * 7 + (i >> 8));
    const std::uint32_t tag[] = {sender, round};
    std::memcpy(frame.head.data(), tag, sizeof tag);
    const auto sent = co_await link->send(std::move(frame));
    EXPECT_TRUE(sent.has_value());
  }
}

void expect_as_planned(const Frame& frame, std::vector<unsigned>& next) {
  std::uint32_t tag[2];
  ASSERT_GE(frame.head.size(), sizeof tag);
  std::memcpy(tag, frame.head.data(), sizeof tag);
  ASSERT_LT(tag[0], next.size());
  EXPECT_EQ(tag[1], next[tag[0]]++);  // One sender's frames keep their order.
  const Plan plan = plan_of(tag[0], tag[1]);
  ASSERT_EQ(frame.head.size(), plan.head_bytes);
  ASSERT_EQ(frame.payload.size(), plan.payload_bytes);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(frame.payload.data()) % kBlockBytes, 0u);
  const unsigned seed = tag[0] * 10'000 + tag[1];
  std::size_t wrong = 0;
  for (std::size_t i = sizeof tag; i < frame.head.size(); ++i) wrong += frame.head.data()[i] != std::byte(seed + i * 7 + (i >> 8));
  for (std::size_t i = 0; i < frame.payload.size(); ++i) wrong += frame.payload.data()[i] != std::byte(seed + i * 7 + (i >> 8));
  EXPECT_EQ(wrong, 0u);
}

Task<void> receive_rounds(Link* link, unsigned senders, unsigned rounds) {
  std::vector<unsigned> next(senders);
  for (unsigned i = 0; i < senders * rounds; ++i) {
    const auto frame = co_await link->receive();
    EXPECT_TRUE(frame.has_value());
    if (!frame) co_return;
    expect_as_planned(*frame, next);
  }
}

Task<void> exchange(Ends* ends, unsigned senders, unsigned rounds) {
  Scope scope(*ends->reactor);
  for (unsigned sender = 0; sender < senders; ++sender) {
    scope.spawn(send_rounds(ends->a.get(), &ends->outgoing, sender, rounds));
    scope.spawn(send_rounds(ends->b.get(), &ends->outgoing, sender, rounds));
  }
  scope.spawn(receive_rounds(ends->a.get(), senders, rounds));
  scope.spawn(receive_rounds(ends->b.get(), senders, rounds));
  co_await scope.join();
}

TEST(TcpLink, Frames_OfSeveralSendersBothWays_ArriveWholeInOrderAndUnmixed) {
  Ends ends;
  run_task(*ends.reactor, exchange(&ends, 4, 210));
}

Task<void> send_together(Link* link, std::span<Frame> frames, unsigned* sent) {
  const auto done = co_await link->send_all(frames);
  *sent += done.has_value();
}

Task<void> receive_planned(Link* link, unsigned frames, unsigned* received) {
  for (unsigned i = 0; i < frames; ++i) {
    const auto frame = co_await link->receive();
    EXPECT_TRUE(frame.has_value());
    if (!frame) co_return;
    EXPECT_TRUE(is_filled(frame->head, i));
    EXPECT_EQ(frame->payload.size(), i % 3 * kBlockBytes);
    EXPECT_TRUE(frame->payload.empty() || is_filled(frame->payload, i + 1));
    ++*received;
  }
}

// More than one writing takes, and none at all.
TEST(TcpLink, Frames_SentTogether_ArriveOneByOneInOrder) {
  Ends ends;
  constexpr unsigned kFrames = 40;
  std::vector<Frame> frames;
  for (unsigned i = 0; i < kFrames; ++i) frames.push_back(make_frame(ends.outgoing, 40 + i, i % 3 * kBlockBytes, i));
  unsigned sent = 0, received = 0;
  Scope scope(*ends.reactor);
  scope.spawn(send_together(ends.a.get(), {}, &sent));
  scope.spawn(send_together(ends.a.get(), frames, &sent));
  scope.spawn(receive_planned(ends.b.get(), kFrames, &received));
  run_task(*ends.reactor, scope.join());
  EXPECT_EQ(sent, 2u);
  EXPECT_EQ(received, kFrames);
}

// Takes everything, and counts how often it is given something.
class CountingStream final : public Stream {
 public:
  explicit CountingStream(unsigned* writes) : writes_(writes) {}
  Task<Result<std::size_t>> read_some(std::span<const iovec>) override { co_return fail(Errc::closed); }
  Task<Result<void>> write_all(std::span<const iovec>) override {
    ++*writes_;
    co_return Result<void>{};
  }
  void close() override {}
  std::string peer_address() const override { return {}; }
  std::string local_address() const override { return {}; }
  std::unique_ptr<Stream> move_to(Executor&) override { return nullptr; }

 private:
  unsigned* writes_;
};

// A system call for each would cost more than all else that is done for a record.
TEST(TcpLink, Frames_SentTogether_AreWrittenTogether) {
  const auto reactor = make_reactor();
  LinkMemory memory(*reactor, 1 << 20);
  BufferPool outgoing(*reactor, 4 << 20);
  unsigned writes = 0, sent = 0;
  const auto link = make_tcp_link(memory, std::make_unique<CountingStream>(&writes));
  std::vector<Frame> frames;
  for (unsigned i = 0; i < 16; ++i) frames.push_back(make_frame(outgoing, 64, kBlockBytes, i));
  run_task(*reactor, send_together(link.get(), frames, &sent));
  EXPECT_EQ(sent, 1u);
  EXPECT_EQ(writes, 1u);
}

TEST(TcpLink, Frame_InSingleBytes_ArrivesWhole) {
  HandMade hand;
  const auto bytes = wire_of(make_frame(hand.outgoing, 300, 4096, 5));
  std::jthread dribble([&] {
    for (const std::byte& byte : bytes) hand.peer->say(Bytes(&byte, 1));
  });
  const auto frame = hand.receive();
  ASSERT_TRUE(frame.has_value()) << frame.error().text();
  EXPECT_EQ(frame->head.size(), 300u);
  EXPECT_TRUE(is_filled(frame->head, 5));
  EXPECT_EQ(frame->payload.size(), 4096u);
  EXPECT_TRUE(is_filled(frame->payload, 6));
}

// Three frames in one piece: each is there with the next receive(), without another byte from the wire.
TEST(TcpLink, Frames_ThatComeAtOnce_AreGivenOneByOne) {
  HandMade hand;
  std::vector<std::byte> all;
  for (unsigned i = 0; i < 3; ++i) {
    const auto one = wire_of(make_frame(hand.outgoing, 40 + i, i * kBlockBytes, i * 10));
    all.insert(all.end(), one.begin(), one.end());
  }
  hand.peer->say(all);
  for (unsigned i = 0; i < 3; ++i) {
    const auto frame = hand.receive();
    ASSERT_TRUE(frame.has_value());
    EXPECT_EQ(frame->head.size(), 40 + i);
    EXPECT_EQ(frame->payload.size(), i * kBlockBytes);
    EXPECT_TRUE(is_filled(frame->head, i * 10));
  }
}

// ---- Ends.

Task<void> note_receive_end(Link* link, std::optional<Errc>* out) {
  const auto frame = co_await link->receive();
  if (!frame) *out = frame.error().code;
}

Task<void> note_send_end(Link* link, BufferPool* pool, std::optional<Errc>* out) {
  for (unsigned i = 0; i < 100'000 && !*out; ++i) {
    Frame frame;
    frame.head = co_await pool->acquire(64);
    frame.payload = co_await pool->acquire(kLinkPayloadBytesMax);
    const auto sent = co_await link->send(std::move(frame));
    if (!sent) *out = sent.error().code;
  }
}

TEST(TcpLink, Close_IsAnEndInOrder_ForBothSides) {
  Ends ends;
  std::optional<Errc> here, there;
  Scope scope(*ends.reactor);
  scope.spawn(note_receive_end(ends.a.get(), &here));
  scope.spawn(note_receive_end(ends.b.get(), &there));
  run_task(*ends.reactor, pause_for(ends.reactor.get(), 2));
  ends.a->close();
  run_task(*ends.reactor, scope.join());
  EXPECT_EQ(here, Errc::closed);
  EXPECT_EQ(there, Errc::closed);
  const auto sent = run_task(*ends.reactor, ends.b->send(make_frame(ends.outgoing, 8, 0, 1)));
  ASSERT_FALSE(sent.has_value());
  EXPECT_EQ(sent.error().code, Errc::closed);
  const auto again = run_task(*ends.reactor, ends.a->receive());
  ASSERT_FALSE(again.has_value());
  EXPECT_EQ(again.error().code, Errc::closed);
}

// What was sent before the end comes before the end.
TEST(TcpLink, Close_BehindFrames_ComesAfterThem) {
  Ends ends;
  for (unsigned i = 0; i < 5; ++i)
    ASSERT_TRUE(run_task(*ends.reactor, ends.a->send(make_frame(ends.outgoing, 10 + i, kBlockBytes, i))).has_value());
  ends.a->close();
  for (unsigned i = 0; i < 5; ++i) {
    const auto frame = run_task(*ends.reactor, ends.b->receive());
    ASSERT_TRUE(frame.has_value());
    EXPECT_EQ(frame->head.size(), 10 + i);
  }
  const auto end = run_task(*ends.reactor, ends.b->receive());
  ASSERT_FALSE(end.has_value());
  EXPECT_EQ(end.error().code, Errc::closed);
}

// Sends without an end: the socket fills up, one frame is half out, others wait for their turn.
TEST(TcpLink, Close_WithSendersWaiting_WakesThemAll) {
  Ends ends;
  std::optional<Errc> first, second, third, there;
  Scope scope(*ends.reactor);
  scope.spawn(note_send_end(ends.a.get(), &ends.outgoing, &first));
  scope.spawn(note_send_end(ends.a.get(), &ends.outgoing, &second));
  scope.spawn(note_send_end(ends.a.get(), &ends.outgoing, &third));
  run_task(*ends.reactor, pause_for(ends.reactor.get(), 20));
  EXPECT_FALSE(first || second || third);
  ends.a->close();
  run_task(*ends.reactor, scope.join());
  EXPECT_EQ(first, Errc::closed);
  EXPECT_EQ(second, Errc::closed);
  EXPECT_EQ(third, Errc::closed);
}

// Part of a frame is out: nothing can follow it, and the other side takes it for a break.
TEST(TcpLink, Close_InTheMiddleOfAFrame_IsABreakForTheOtherSide) {
  Ends ends;
  std::optional<Errc> here;
  Scope scope(*ends.reactor);
  scope.spawn(note_send_end(ends.a.get(), &ends.outgoing, &here));
  run_task(*ends.reactor, pause_for(ends.reactor.get(), 20));
  ends.a->close();
  run_task(*ends.reactor, scope.join());
  for (unsigned i = 0; i < 100; ++i) {
    const auto frame = run_task(*ends.reactor, ends.b->receive());
    if (frame) continue;
    EXPECT_EQ(frame.error().code, Errc::io_error);
    return;
  }
  FAIL() << "no end";
}

Task<void> receive_to_the_end(Link* link, std::optional<Errc>* out) {
  for (unsigned i = 0; i < 1'000 && !*out; ++i) {
    const auto frame = co_await link->receive();
    if (!frame) *out = frame.error().code;
  }
}

// A sender that is destroyed with half of its frame out: what the next one sends would be taken for the rest of it.
TEST(TcpLink, Send_AfterOneThatEndedHalfOut_IsABreakForBothSides) {
  Ends ends;
  std::optional<Errc> first;
  {
    Scope scope(*ends.reactor);
    scope.spawn(note_send_end(ends.a.get(), &ends.outgoing, &first));
    run_task(*ends.reactor, pause_for(ends.reactor.get(), 20));
    ASSERT_EQ(scope.running(), 1u);  // The sockets are full.
  }
  Scope scope(*ends.reactor);
  std::optional<Errc> there;
  scope.spawn(receive_to_the_end(ends.b.get(), &there));
  const auto next = run_task(*ends.reactor, ends.a->send(make_frame(ends.outgoing, 100, 0, 9)));
  ASSERT_FALSE(next.has_value());
  EXPECT_EQ(next.error().code, Errc::io_error);
  run_task(*ends.reactor, scope.join());
  EXPECT_EQ(there, Errc::io_error);
}

// The kernel of a killed process closes its connections without a reset, if all it got was read.
TEST(TcpLink, End_WithoutTheWord_IsABreak) {
  HandMade hand;
  hand.peer->say(wire_of(make_frame(hand.outgoing, 64, 0, 1)));
  hand.peer->end();
  EXPECT_TRUE(hand.receive().has_value());
  EXPECT_EQ(hand.receive_error(), Errc::io_error);
  EXPECT_EQ(hand.receive_error(), Errc::io_error);
  const auto sent = run_task(*hand.reactor, hand.link->send(make_frame(hand.outgoing, 8, 0, 1)));
  ASSERT_FALSE(sent.has_value());
  EXPECT_EQ(sent.error().code, Errc::io_error);
}

TEST(TcpLink, Reset_IsABreak) {
  HandMade hand;
  std::optional<Errc> end;
  Scope scope(*hand.reactor);
  scope.spawn(note_receive_end(hand.link.get(), &end));
  run_task(*hand.reactor, pause_for(hand.reactor.get(), 2));
  hand.peer->reset();
  run_task(*hand.reactor, scope.join());
  EXPECT_EQ(end, Errc::io_error);
}

// The sender may be the first to notice, and closes the link: what the receiver is told stays a break.
TEST(TcpLink, Reset_ThatTheSenderSeesFirst_IsABreakForTheReceiverToo) {
  HandMade hand;
  hand.peer->reset();
  run_task(*hand.reactor, pause_for(hand.reactor.get(), 2));
  const auto sent = run_task(*hand.reactor, hand.link->send(make_frame(hand.outgoing, 8, 0, 1)));
  ASSERT_FALSE(sent.has_value());
  EXPECT_EQ(sent.error().code, Errc::io_error);
  hand.link->close();
  EXPECT_EQ(hand.receive_error(), Errc::io_error);
}

TEST(TcpLink, Frame_CutAnywhere_IsABreak) {
  for (const std::size_t bytes : {std::size_t{1}, sizeof(EnvelopeOnWire) - 1, sizeof(EnvelopeOnWire), sizeof(EnvelopeOnWire) + 50, std::size_t{5000}}) {
    HandMade hand;
    const auto whole = wire_of(make_frame(hand.outgoing, 100, 2 * kBlockBytes, 1));
    hand.peer->say(Bytes(whole).first(bytes));
    hand.peer->end();
    EXPECT_EQ(hand.receive_error(), Errc::io_error) << bytes;
  }
}

TEST(TcpLink, Garbage_IsRefusedAsProtocol) {
  for (const std::string& garbage : {std::string("GET / HTTP/1.1\r\nHost: holdfast\r\n\r\n"), std::string(1000, '\0'), std::string(24, '\xff')}) {
    HandMade hand;
    hand.peer->say(garbage);
    const auto frame = hand.receive();
    ASSERT_FALSE(frame.has_value());
    EXPECT_EQ(frame.error().code, Errc::protocol);
    EXPECT_NE(frame.error().message.find("127.0.0.1:"), std::string::npos) << frame.error().text();
    const auto sent = run_task(*hand.reactor, hand.link->send(make_frame(hand.outgoing, 8, 0, 1)));
    ASSERT_FALSE(sent.has_value());
    EXPECT_EQ(sent.error().code, Errc::protocol);
    EXPECT_EQ(hand.peer->hear_all(), "");
  }
}

// A well-made envelope that asks for memory: refused before any of it is taken.
TEST(TcpLink, HugeLengths_TakeNoMemory) {
  HandMade hand;
  const std::size_t before = hand.reactor->buffers().free_bytes();
  EnvelopeOnWire wire{};
  wire.magic = kEnvelopeMagic;
  wire.version = kEnvelopeVersion;
  wire.head_bytes = 0xfffffff0;
  wire.payload_bytes = 0xfffff000;
  wire.check_xxh3 = xxh3(holdfast::bytes_of(wire).first(16));
  hand.peer->say(holdfast::bytes_of(wire));
  EXPECT_EQ(hand.receive_error(), Errc::protocol);
  EXPECT_EQ(hand.reactor->buffers().free_bytes(), before);
}

// ---- Memory.

// A pool that hosts have filled keeps no heartbeat from being heard, and not even a payload: there is a reserve.
TEST(TcpLink, Frames_WithThePoolFull_ArriveAllTheSame) {
  HandMade hand;
  std::vector<Buffer> taken;
  while (Buffer all = hand.reactor->buffers().try_acquire(kBlockBytes)) taken.push_back(std::move(all));
  hand.peer->say(wire_of(make_frame(hand.outgoing, 64, 0, 3)));
  const auto beat = hand.receive();
  ASSERT_TRUE(beat.has_value());
  EXPECT_TRUE(is_filled(beat->head, 3));
  hand.peer->say(wire_of(make_frame(hand.outgoing, 64, 8 * kBlockBytes, 4)));
  const auto records = hand.receive();
  ASSERT_TRUE(records.has_value());
  EXPECT_TRUE(is_filled(records->payload, 5));
}

// Without any memory left the receiver waits, goes on as soon as there is some, and can still be woken by close().
TEST(TcpLink, Payload_WithoutAnyMemory_WaitsForItOrForTheEnd) {
  HandMade hand;
  std::vector<Buffer> taken;
  while (Buffer all = hand.memory.try_acquire(kBlockBytes)) taken.push_back(std::move(all));
  std::optional<Errc> end;
  {
    Scope scope(*hand.reactor);
    std::optional<Errc> none;
    scope.spawn(note_receive_end(hand.link.get(), &none));
    hand.peer->say(wire_of(make_frame(hand.outgoing, 64, kBlockBytes, 4)));
    run_task(*hand.reactor, pause_for(hand.reactor.get(), 20));
    EXPECT_EQ(scope.running(), 1u);
    taken.pop_back();
    run_task(*hand.reactor, scope.join());
    EXPECT_FALSE(none.has_value());
  }
  while (Buffer all = hand.memory.try_acquire(kBlockBytes)) taken.push_back(std::move(all));
  Scope scope(*hand.reactor);
  scope.spawn(note_receive_end(hand.link.get(), &end));
  hand.peer->say(wire_of(make_frame(hand.outgoing, 64, kBlockBytes, 4)));
  run_task(*hand.reactor, pause_for(hand.reactor.get(), 20));
  EXPECT_EQ(scope.running(), 1u);
  hand.link->close();
  run_task(*hand.reactor, scope.join());
  EXPECT_EQ(end, Errc::closed);
}

// ---- Silence.

// Who takes nothing for long is given up. This is silence: nothing is known of the other process.
TEST(TcpLink, Send_ToWhoReadsNothing_IsGivenUpAsTimedOut) {
  TcpOptions options = kLinkTcpOptions;
  options.user_timeout_ms = 300;
  Ends ends(options);
  std::optional<Errc> sending, receiving;
  Scope scope(*ends.reactor);
  scope.spawn(note_send_end(ends.a.get(), &ends.outgoing, &sending));
  scope.spawn(note_receive_end(ends.a.get(), &receiving));
  run_task(*ends.reactor, scope.join());
  EXPECT_EQ(sending, Errc::timed_out);
  EXPECT_EQ(receiving, Errc::timed_out);
}

// ---- Another thread.

// Until the other side ends the link.
Task<void> echo_frames(std::unique_ptr<Link>* link, std::promise<Errc>* ended) {
  for (;;) {
    auto frame = co_await (*link)->receive();
    if (!frame) co_return ended->set_value(frame.error().code);
    const auto sent = co_await (*link)->send(std::move(*frame));
    EXPECT_TRUE(sent.has_value());
  }
}

// As the listener does it: the stream moves while it is idle, and the link is made where the group lives.
TEST(TcpLink, Stream_MovedToAnotherReactor_CarriesTheLinkThere) {
  auto pool = ReactorPool::start(1, {.buffer_bytes = 2 << 20});
  ASSERT_TRUE(pool.has_value());
  Reactor& other = (*pool)->reactor(0);
  const auto reactor = make_reactor();
  LinkMemory memory(*reactor, 1 << 20);
  BufferPool outgoing(*reactor, 4 << 20);
  StreamPair pair = run_task(*reactor, make_stream_pair(reactor.get()));
  std::unique_ptr<Stream> moved = pair.server->move_to(other);
  std::optional<LinkMemory> there;
  std::unique_ptr<Link> far;
  std::optional<Scope> scope;
  std::promise<Errc> ended;
  other.post_remote([&] {
    there.emplace(other, std::size_t{1} << 20);
    far = make_tcp_link(*there, std::move(moved));
    scope.emplace(other);
    scope->spawn(echo_frames(&far, &ended));
  });
  auto near = make_tcp_link(memory, std::move(pair.client));
  for (unsigned i = 0; i < 20; ++i) {
    ASSERT_TRUE(run_task(*reactor, near->send(make_frame(outgoing, 100 + i, i % 5 * kBlockBytes, i))).has_value());
    const auto frame = run_task(*reactor, near->receive());
    ASSERT_TRUE(frame.has_value());
    EXPECT_TRUE(is_filled(frame->head, i));
    EXPECT_TRUE(frame->payload.empty() || is_filled(frame->payload, i + 1));
  }
  near->close();
  EXPECT_EQ(ended.get_future().get(), Errc::closed);
  ReactorPool::run_on(other, [&] {
    scope.reset();
    far.reset();
    there.reset();
  });
}

}  // namespace
}  // namespace holdfast::io
