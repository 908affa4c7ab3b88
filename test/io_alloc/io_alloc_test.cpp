// The real world's share of "no malloc after warm-up": sockets, ring, timers and remote wake-ups take nothing from the heap.
#include <gtest/gtest.h>

#include <array>

#include "base/scope.h"
#include "io/tcp.h"
#include "io/uring_disk.h"
#include "test/io/support.h"
#include "test/support/counting_allocator.h"

namespace holdfast::io {
namespace {

using holdfast::test::allocations_are_counted;
using holdfast::test::AllocationWatch;

struct Connection {
  std::unique_ptr<Stream> client, server;
};

Task<void> accept_into(TcpListener* listener, std::unique_ptr<Stream>* out) {
  auto stream = co_await listener->accept();
  if (stream) *out = std::move(*stream);
}

Task<Connection> connect(Reactor* reactor) {
  auto listener = listen_tcp(*reactor, {"127.0.0.1", 0});
  Connection connection;
  Scope scope(*reactor);
  scope.spawn(accept_into(listener->get(), &connection.server));
  auto client = co_await connect_tcp(*reactor, (*listener)->local_endpoint());
  connection.client = std::move(*client);
  co_await scope.join();
  co_return connection;
}

// A server as the iSCSI door is one: a request comes in, a durable write and a read, an answer goes out.
Task<void> serve(Stream* stream, Disk* disk, Buffer buffer) {
  const iovec segment{buffer.data(), 512};
  for (std::uint64_t round = 0;; ++round) {
    const auto bytes = co_await stream->read_some(std::span(&segment, 1));
    if (!bytes) co_return;
    const auto written = co_await disk->write(round % 16 * kBlockBytes, buffer.bytes(), Durability::durable);
    const auto read = co_await disk->read(round % 16 * kBlockBytes, buffer.bytes());
    const auto answered = co_await stream->write_all(std::span(&segment, 1));
    if (!written || !read || !answered) co_return;
  }
}

Task<int> ask(Reactor* reactor, Stream* stream, Buffer buffer, int rounds) {
  Timer timer(reactor->clock());
  int answers = 0;
  for (int round = 0; round < rounds; ++round) {
    const iovec segment{buffer.data(), 512};
    const auto asked = co_await stream->write_all(std::span(&segment, 1));
    if (!asked) break;
    std::size_t missing = 512;
    while (missing > 0) {
      const auto bytes = co_await stream->read_some(std::span(&segment, 1));
      if (!bytes) co_return answers;
      missing -= *bytes;
    }
    ++answers;
    if (round % 8 == 0) co_await timer.after(microseconds(50));
  }
  co_return answers;
}

TEST(IoAllocations, RequestsOverTcpToTheDisk_AfterWarmUp_TakeNothingFromTheHeap) {
  if (!allocations_are_counted()) GTEST_SKIP() << "not under a sanitizer";
  constexpr int kRounds = 200;
  const test::TempDirectory directory;
  const std::string path = test::make_store(directory);
  const auto reactor = test::make_reactor();
  auto disk = UringDisk::open(*reactor, path);
  ASSERT_TRUE(disk) << disk.error().text();
  Connection connection = run_task(*reactor, connect(reactor.get()));
  Buffer theirs = reactor->buffers().try_acquire(kBlockBytes), ours = reactor->buffers().try_acquire(kBlockBytes);
  Scope scope(*reactor);
  scope.spawn(serve(connection.server.get(), disk->get(), theirs));
  EXPECT_EQ(run_task(*reactor, ask(reactor.get(), connection.client.get(), ours, kRounds)), kRounds);
  {
    AllocationWatch watch;
    const int answers = run_task(*reactor, ask(reactor.get(), connection.client.get(), ours, kRounds));
    EXPECT_EQ(watch.allocations(), 0u) << watch.bytes() << " bytes from\n" << watch.sites();
    EXPECT_EQ(answers, kRounds);
  }
  connection.client->close();
  run_task(*reactor, scope.join());
}

}  // namespace
}  // namespace holdfast::io
