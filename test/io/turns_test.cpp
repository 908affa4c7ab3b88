// What the loop costs and what it guarantees, seen by an initiator: a request over TCP that needs the disk.
#include <gtest/gtest.h>
#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <thread>

#include "base/scope.h"
#include "io/tcp.h"
#include "io/uring_disk.h"
#include "test/io/support.h"

namespace holdfast::io {
namespace {

using test::make_reactor;

constexpr std::size_t kMessageBytes = 64;

// A client as another process is one: a thread with a blocking socket. Asks one thing at a time.
class Client {
 public:
  Client(Endpoint endpoint, int rounds) : thread_([this, endpoint, rounds] { run(endpoint, rounds); }) {}
  ~Client() { thread_.join(); }
  int answers() const { return answers_; }  // Once the server's flow has seen the end.

 private:
  void run(Endpoint endpoint, int rounds) {
    const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(endpoint.port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
      std::array<char, kMessageBytes> message{};
      for (int i = 0; i < rounds; ++i) {
        if (::send(fd, message.data(), message.size(), MSG_NOSIGNAL) != ssize_t(message.size())) break;
        if (::recv(fd, message.data(), message.size(), MSG_WAITALL) != ssize_t(message.size())) break;
        ++answers_;
      }
    }
    ::close(fd);
  }
  std::atomic<int> answers_{0};
  std::thread thread_;
};

Task<void> serve(TcpListener* listener, Disk* disk, Buffer buffer) {
  auto accepted = co_await listener->accept();
  EXPECT_TRUE(accepted.has_value());
  const std::unique_ptr<Stream> stream = std::move(*accepted);
  const iovec segment{buffer.data(), kMessageBytes * 2};
  for (;;) {
    const auto bytes = co_await stream->read_some(std::span(&segment, 1));
    if (!bytes) co_return;
    const auto read = co_await disk->read(0, buffer.bytes());
    EXPECT_TRUE(read.has_value());
    const iovec answer{buffer.data(), kMessageBytes};
    const auto answered = co_await stream->write_all(std::span(&answer, 1));
    EXPECT_TRUE(answered.has_value());
  }
}

class Turns : public ::testing::Test {
 protected:
  void SetUp() override {
    auto disk = UringDisk::open(*reactor_, path_);
    ASSERT_TRUE(disk) << disk.error().text();
    disk_ = std::move(*disk);
    auto listener = listen_tcp(*reactor_, {"127.0.0.1", 0});
    ASSERT_TRUE(listener.has_value());
    listener_ = std::move(*listener);
  }
  Task<void> serve_one() { return serve(listener_.get(), disk_.get(), reactor_->buffers().try_acquire(kBlockBytes)); }

  test::TempDirectory directory_;
  std::string path_ = test::make_store(directory_);
  std::unique_ptr<Reactor> reactor_ = make_reactor();
  std::unique_ptr<UringDisk> disk_;
  std::unique_ptr<TcpListener> listener_;
};

// One call waits for the request; one submits the disk's read together with the next receiving, and waits for it.
TEST_F(Turns, RequestAtDepthOne_CostsTwoCallsOfTheRing) {
  constexpr int kRounds = 500;
  const Client client(listener_->local_endpoint(), kRounds);
  run_task(*reactor_, serve_one());
  EXPECT_EQ(client.answers(), kRounds);
  EXPECT_LE(reactor_->stats().enters.get(), kRounds * 2 + kRounds / 5);
}

Task<void> read_all_the_time(Reactor* reactor, Disk* disk, const bool* done) {
  Buffer buffer = reactor->buffers().try_acquire(kBlockBytes);
  while (!*done) {
    const auto read = co_await disk->read(0, buffer.bytes());
    EXPECT_TRUE(read.has_value());
  }
}

Task<void> note_end(Task<void> task, bool* done) {
  co_await std::move(task);
  *done = true;
}

// The sockets have their turn however much the disks bring.
TEST_F(Turns, BusyDisks_DoNotStarveTheSocket) {
  constexpr int kRounds = 50;
  bool done = false;
  const Client client(listener_->local_endpoint(), kRounds);
  Scope scope(*reactor_);
  for (int i = 0; i < 32; ++i) scope.spawn(read_all_the_time(reactor_.get(), disk_.get(), &done));
  scope.spawn(note_end(serve_one(), &done));
  run_task(*reactor_, scope.join());
  EXPECT_EQ(client.answers(), kRounds);
}

Task<void> run_all_the_time(Executor* executor, const bool* done) {
  while (!*done) co_await Yield{*executor};
}

// And however busy the flows are: the loop never comes to wait.
TEST_F(Turns, BusyFlows_DoNotStarveTheSocket) {
  constexpr int kRounds = 50;
  bool done = false;
  const Client client(listener_->local_endpoint(), kRounds);
  Scope scope(*reactor_);
  scope.spawn(run_all_the_time(reactor_.get(), &done));
  scope.spawn(note_end(serve_one(), &done));
  run_task(*reactor_, scope.join());
  EXPECT_EQ(client.answers(), kRounds);
}

}  // namespace
}  // namespace holdfast::io
