// The door over real sockets on loopback: what the handlers' tests cannot see.
#include "admin/server.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <future>

#include "test/admin/fake_node.h"

namespace holdfast::admin {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

class Client {
 public:
  explicit Client(std::uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = ::connect(fd_, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0;
    const timeval patience{.tv_sec = 10, .tv_usec = 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  }
  ~Client() { ::close(fd_); }
  bool connected() const { return connected_; }
  void send(std::string_view bytes) const { std::ignore = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL); }
  // Everything until the server closes.
  std::string read_all() const {
    std::string out;
    char piece[4096];
    ssize_t count = 0;
    while ((count = ::recv(fd_, piece, sizeof piece, 0)) > 0) out.append(piece, static_cast<std::size_t>(count));
    if (count < 0 && errno == EAGAIN) out.append("<the server kept the connection>");
    return out;
  }
  // Up to the end of a body of `Content-Length`.
  std::string read_one() const {
    std::string out;
    char byte = 0;
    while (out.find("\r\n\r\n") == std::string::npos && ::recv(fd_, &byte, 1, 0) == 1) out.push_back(byte);
    const std::size_t at = out.find("Content-Length: ");
    if (at == std::string::npos) return out;
    for (auto left = std::strtoul(out.c_str() + at + 16, nullptr, 10); left > 0 && ::recv(fd_, &byte, 1, 0) == 1; --left) {
      out.push_back(byte);
    }
    return out;
  }

 private:
  int fd_;
  bool connected_ = false;
};

class ServerTest : public testing::Test {
 protected:
  void start(ServerOptions options = {}) {
    options.port = 0;
    auto server = Server::start(options, Api(node_, {}));
    ASSERT_TRUE(server.has_value()) << server.error().text();
    server_ = std::move(*server);
  }
  std::string talk(std::string_view request) {
    Client client(server_->port());
    client.send(request);
    return client.read_all();
  }
  FakeNode node_;
  std::unique_ptr<Server> server_;
};

TEST_F(ServerTest, KeepAlive_TwoRequests_AreAnsweredOnOneConnection) {
  start();
  Client client(server_->port());
  client.send("GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_THAT(client.read_one(), StartsWith("HTTP/1.1 200 OK"));
  client.send("GET /v1/volumes HTTP/1.1\r\nHost: x\r\n\r\nGET /nothing HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_THAT(client.read_one(), HasSubstr("{\"volumes\":[]}"));
  EXPECT_THAT(client.read_one(), StartsWith("HTTP/1.1 404 Not Found"));
}

TEST_F(ServerTest, Post_WithABody_CreatesTheVolume) {
  start();
  const std::string body = R"({"name":"pg","size":"1GiB"})";
  EXPECT_THAT(talk("POST /v1/volumes HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: " +
                   std::to_string(body.size()) + "\r\n\r\n" + body),
              StartsWith("HTTP/1.1 201 Created"));
}

TEST_F(ServerTest, Head_HasTheHeaderOnly) {
  start();
  const std::string answer = talk("HEAD /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK"));
  EXPECT_THAT(answer, testing::EndsWith("\r\n\r\n"));
}

TEST_F(ServerTest, Body_BeyondTheLimit_Is413) {
  start();
  EXPECT_THAT(talk("POST /v1/volumes HTTP/1.1\r\nHost: x\r\nContent-Length: 1048577\r\n\r\n" + std::string(1048577, 'x')),
              StartsWith("HTTP/1.1 413"));
}

TEST_F(ServerTest, ChunkedBody_BeyondTheLimit_Is413) {
  start({.body_bytes_max = 1000});
  EXPECT_THAT(talk("POST /v1/volumes HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n" +
                   std::string(1024, 'x') + "\r\n0\r\n\r\n"),
              StartsWith("HTTP/1.1 413"));
}

TEST_F(ServerTest, Header_BeyondTheLimit_Is431) {
  start();
  EXPECT_THAT(talk("GET / HTTP/1.1\r\nX: " + std::string(20'000, 'x') + "\r\n\r\n"), StartsWith("HTTP/1.1 431"));
}

TEST_F(ServerTest, NotHttp_IsABadRequest) {
  start();
  EXPECT_THAT(talk("\x16\x03\x01\x02\r\n\r\n"), StartsWith("HTTP/1.1 400"));
  EXPECT_THAT(talk("GET / HTTP/9.9\r\n\r\n"), StartsWith("HTTP/1.1 "));
}

TEST_F(ServerTest, SlowHeader_IsCutOff) {
  start({.request_timeout_ms = 50});
  EXPECT_EQ(talk("GET / HT"), "");
}

TEST_F(ServerTest, IdleConnection_IsClosed) {
  start({.idle_timeout_ms = 50});
  EXPECT_EQ(talk(""), "");
}

TEST_F(ServerTest, ConnectionsBeyondTheBound_AreClosedAtOnce) {
  start({.connections_max = 1});
  Client first(server_->port());
  first.send("GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n");
  first.read_one();
  EXPECT_EQ(talk("GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n"), "");
  first.send("GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_THAT(first.read_one(), StartsWith("HTTP/1.1 200"));
}

TEST_F(ServerTest, NodeThatDoesNotAnswer_Is504) {
  node_.hold = true;
  start({.read_answer_timeout_ms = 20});
  EXPECT_THAT(talk("GET /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), StartsWith("HTTP/1.1 504"));
  node_.release();
}

TEST_F(ServerTest, AnswerAfterTheServerIsGone_HarmsNothing) {
  node_.hold = true;
  start({.read_answer_timeout_ms = 20});
  EXPECT_THAT(talk("GET /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), StartsWith("HTTP/1.1 504"));
  server_.reset();
  node_.release();
}

TEST_F(ServerTest, Stop_WaitsForTheRequestUnderWay) {
  node_.hold = true;
  std::promise<void> held;
  node_.on_held = [&] { held.set_value(); };
  start();
  Client client(server_->port());
  client.send("GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n");
  held.get_future().wait();
  auto stopped = std::async(std::launch::async, [&] { server_->stop(10'000); });
  EXPECT_EQ(stopped.wait_for(std::chrono::milliseconds(20)), std::future_status::timeout);
  node_.release();
  EXPECT_THAT(client.read_all(), StartsWith("HTTP/1.1 200"));
  stopped.get();
}

TEST_F(ServerTest, Stop_WithIdleAndStuckConnections_EndsAfterTheGrace) {
  node_.hold = true;
  std::promise<void> held;
  node_.on_held = [&] { held.set_value(); };
  start();
  Client idle(server_->port());
  Client stuck(server_->port());
  stuck.send("GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n");
  held.get_future().wait();
  const auto begin = std::chrono::steady_clock::now();
  server_->stop(50);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
  EXPECT_EQ(idle.read_all(), "");
  node_.release();
}

TEST_F(ServerTest, Start_PortInUse_SaysSo) {
  start();
  ServerOptions options;
  options.port = server_->port();
  const auto second = Server::start(options, Api(node_, {}));
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.error().code, Errc::busy);
  EXPECT_THAT(second.error().message, HasSubstr("admin.listen: cannot"));
  EXPECT_THAT(second.error().message, HasSubstr("another program"));
}

}  // namespace
}  // namespace holdfast::admin
