// The links' share of "no malloc after warm-up": frames take nothing from the heap, on either side.
#include <gtest/gtest.h>

#include <array>

#include "base/frame_pool.h"
#include "io/link_tcp.h"
#include "test/io/link_support.h"
#include "test/support/counting_allocator.h"

namespace holdfast::io {
namespace {

using holdfast::test::allocations_are_counted;
using holdfast::test::AllocationWatch;

// A beat, a small record, a record of whole chunks: what a session is made of.
constexpr std::size_t kPayloads[] = {0, kBlockBytes, 0, 16 * kBlockBytes, kLinkPayloadBytesMax};

Task<void> ship(Link* link, BufferPool* pool, int rounds, int* sent) {
  for (int round = 0; round < rounds; ++round)
    for (const std::size_t bytes : kPayloads) {
      Frame frame;
      frame.head = co_await pool->acquire(88 + bytes / kBlockBytes * 8);
      if (bytes > 0) frame.payload = co_await pool->acquire(bytes);
      const auto done = co_await link->send(std::move(frame));
      *sent += done.has_value();
    }
}

Task<void> take(Link* link, int frames, int* received) {
  for (int i = 0; i < frames; ++i) {
    const auto frame = co_await link->receive();
    if (!frame) co_return;
    ++*received;
  }
}

// Several senders a side, both directions at once: turns are waited for, and the sockets fill up.
Task<int> exchange(Reactor* reactor, Link* a, Link* b, BufferPool* pool, int senders, int rounds) {
  int sent = 0, received = 0;
  Scope scope(*reactor);
  for (Link* link : {a, b}) {
    for (int sender = 0; sender < senders; ++sender) scope.spawn(ship(link, pool, rounds, &sent));
    scope.spawn(take(link, senders * rounds * static_cast<int>(std::size(kPayloads)), &received));
  }
  co_await scope.join();
  EXPECT_EQ(sent, received);
  co_return received;
}

// How many flows are suspended at the same place at once is chance: there are frames for more than ever are.
void have_frames() {
  constexpr std::size_t kFrameBytesMax = 4096;
  std::array<void*, 64> frames;
  for (std::size_t bytes = 64; bytes <= kFrameBytesMax; bytes += 64) {
    for (void*& frame : frames) frame = frame_allocate(bytes);
    for (void* frame : frames) frame_release(frame, bytes);
  }
}

TEST(IoAllocations, FramesOverALink_AfterWarmUp_TakeNothingFromTheHeap) {
  if (!allocations_are_counted()) GTEST_SKIP() << "not under a sanitizer";
  constexpr int kRounds = 100;
  constexpr int kSenders = 2;
  constexpr int kFrames = 2 * kSenders * kRounds * static_cast<int>(std::size(kPayloads));
  const auto reactor = test::make_reactor({.buffer_bytes = 8 << 20});
  LinkMemory memory(*reactor);
  BufferPool pool(*reactor, std::size_t{16} << 20);
  test::StreamPair pair = run_task(*reactor, test::make_stream_pair(reactor.get()));
  const auto a = make_tcp_link(memory, std::move(pair.client)), b = make_tcp_link(memory, std::move(pair.server));
  EXPECT_EQ(run_task(*reactor, exchange(reactor.get(), a.get(), b.get(), &pool, kSenders, kRounds)), kFrames);
  have_frames();
  AllocationWatch watch;
  const int frames = run_task(*reactor, exchange(reactor.get(), a.get(), b.get(), &pool, kSenders, kRounds));
  EXPECT_EQ(watch.allocations(), 0u) << watch.bytes() << " bytes from\n" << watch.sites();
  EXPECT_EQ(frames, kFrames);
}

}  // namespace
}  // namespace holdfast::io
