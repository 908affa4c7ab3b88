#include "test/coord/fake_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <optional>

#include "test/coord/etcd_process.h"

namespace holdfast::coord::test {
namespace {

std::string header_of(const std::string& head, const std::string& name) {
  const std::size_t begin = head.find("\r\n" + name + ": ");
  if (begin == head.npos) return {};
  const std::size_t from = begin + name.size() + 4;
  return head.substr(from, head.find("\r\n", from) - from);
}

// The next request; nothing at the end.
std::optional<FakeServer::Request> read_request(int fd, std::string& buffer) {
  std::array<char, 4096> piece{};
  const auto more = [&] {
    const ssize_t n = ::recv(fd, piece.data(), piece.size(), 0);
    if (n > 0) buffer.append(piece.data(), static_cast<std::size_t>(n));
    return n > 0;
  };
  std::size_t end = 0;
  while ((end = buffer.find("\r\n\r\n")) == buffer.npos)
    if (!more()) return std::nullopt;
  const std::string head = buffer.substr(0, end);
  const std::string length = header_of(head, "Content-Length");
  const std::size_t bytes = length.empty() ? 0 : std::stoul(length);
  while (buffer.size() < end + 4 + bytes)
    if (!more()) return std::nullopt;
  FakeServer::Request request;
  const std::size_t path = head.find(' ') + 1;
  request.path = head.substr(path, head.find(' ', path) - path);
  request.authorization = header_of(head, "Authorization");
  request.body = buffer.substr(end + 4, bytes);
  buffer.erase(0, end + 4 + bytes);
  return request;
}

bool send_all(int fd, const std::string& bytes) {
  for (std::size_t sent = 0; sent < bytes.size();) {
    const ssize_t n = ::send(fd, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    if (n <= 0) return false;
    sent += static_cast<std::size_t>(n);
  }
  return true;
}

}  // namespace

FakeServer::FakeServer(Behaviour behaviour) : behaviour_(std::move(behaviour)) {
  listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in here{};
  here.sin_family = AF_INET;
  here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ::bind(listener_, reinterpret_cast<const sockaddr*>(&here), sizeof here);
  ::listen(listener_, 64);
  socklen_t length = sizeof here;
  ::getsockname(listener_, reinterpret_cast<sockaddr*>(&here), &length);
  port_ = ntohs(here.sin_port);
  acceptor_ = std::thread([this] { accept_all(); });
}

FakeServer::~FakeServer() {
  ::shutdown(listener_, SHUT_RDWR);
  acceptor_.join();
  {
    const std::lock_guard lock(mutex_);
    for (const int fd : fds_) ::shutdown(fd, SHUT_RDWR);
  }
  for (std::thread& thread : threads_) thread.join();
  ::close(listener_);
}

void FakeServer::accept_all() {
  for (int fd; (fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC)) >= 0;) {
    const std::lock_guard lock(mutex_);
    ++connections_;
    ++open_;
    fds_.insert(fd);
    threads_.emplace_back([this, fd] { serve(fd); });
  }
}

void FakeServer::serve(int fd) {
  std::string buffer;
  for (bool more = true; more;) {
    const auto request = read_request(fd, buffer);
    if (!request) break;
    ++requests_;
    const Reply reply = behaviour_(*request);
    do {
      more = send_all(fd, reply.bytes) && reply.stays_open;
    } while (reply.forever && more);
  }
  {
    const std::lock_guard lock(mutex_);
    fds_.erase(fd);
    ::close(fd);
  }
  --open_;
  open_.notify_all();
}

void FakeServer::await_no_connection() {
  for (int open = open_; open > 0; open = open_) open_.wait(open);
}

std::string http_answer(const std::string& body, const std::string& status) {
  return "HTTP/1.1 " + status + "\r\nContent-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

FakeServer::Reply silence() { return {}; }

FakeServer::Reply pass_on(int port, const FakeServer::Request& request) {
  if (request.path == "/v3/watch") return silence();
  return {http_answer(post(port, request.path, request.body, request.authorization))};
}

}  // namespace holdfast::coord::test
