// What the tests of links share: pairs of streams, peers that speak by hand, frames.
#pragma once

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <memory>
#include <string>
#include <string_view>

#include "base/link.h"
#include "base/scope.h"
#include "io/link_tcp.h"
#include "io/tcp.h"
#include "io/unique_fd.h"
#include "test/io/support.h"

namespace holdfast::io::test {

// ---- Streams.

struct StreamPair {
  std::unique_ptr<Stream> client, server;
};

inline Task<void> accept_stream(TcpListener* listener, std::unique_ptr<Stream>* out) {
  auto stream = co_await listener->accept();
  if (stream) *out = std::move(*stream);
}

// Patient, unless told: kLinkTcpOptions would take a busy machine, on which nothing is read for 1.5 s, for a silent one.
inline Task<StreamPair> make_stream_pair(Reactor* reactor, TcpOptions options = {}) {
  auto listener = listen_tcp(*reactor, {"127.0.0.1", 0}, options);
  EXPECT_TRUE(listener.has_value());
  StreamPair pair;
  Scope scope(*reactor);
  scope.spawn(accept_stream(listener->get(), &pair.server));
  auto client = co_await connect_tcp(*reactor, (*listener)->local_endpoint(), options);
  EXPECT_TRUE(client.has_value());
  pair.client = std::move(*client);
  co_await scope.join();
  co_return pair;
}

inline Task<void> pause_for(Reactor* reactor, std::int64_t ms) {
  Timer timer(reactor->clock());
  co_await timer.after(milliseconds(ms));
}

// A connection that a test speaks over by hand, with blocking calls.
class RawPeer {
 public:
  explicit RawPeer(std::uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = ::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
    EXPECT_TRUE(connected_);
    timeval limit{.tv_sec = 10, .tv_usec = 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  }
  void say(Bytes bytes) { EXPECT_EQ(::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size())); }
  void say(std::string_view text) { say(as_bytes(text)); }
  // The kernel tells the other side that nobody is here any more.
  void reset() {
    const linger at_once{.l_onoff = 1, .l_linger = 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    fd_.reset();
  }
  void end() { fd_.reset(); }
  // What comes until the other side ends.
  std::string hear_all() {
    std::string out;
    char piece[512];
    for (ssize_t bytes = 0; (bytes = ::recv(fd_.get(), piece, sizeof piece, 0)) > 0;) out.append(piece, static_cast<std::size_t>(bytes));
    return out;
  }
  int fd() const { return fd_.get(); }

 private:
  UniqueFd fd_;
  bool connected_ = false;
};

// ---- Frames.

inline Buffer filled(BufferPool& pool, std::size_t bytes, unsigned seed) {
  Buffer buffer = pool.try_acquire(bytes);
  EXPECT_TRUE(static_cast<bool>(buffer));
  for (std::size_t i = 0; i < bytes; ++i) buffer.data()[i] = std::byte((i * 2'654'435'761u + seed * 40'503u) >> 11);
  return buffer;
}

inline bool is_filled(const Buffer& buffer, unsigned seed) {
  for (std::size_t i = 0; i < buffer.size(); ++i)
    if (buffer.data()[i] != std::byte((i * 2'654'435'761u + seed * 40'503u) >> 11)) return false;
  return true;
}

inline Frame make_frame(BufferPool& pool, std::size_t head_bytes, std::size_t payload_bytes, unsigned seed) {
  Frame frame;
  frame.head = filled(pool, head_bytes, seed);
  if (payload_bytes > 0) frame.payload = filled(pool, payload_bytes, seed + 1);
  return frame;
}

}  // namespace holdfast::io::test
