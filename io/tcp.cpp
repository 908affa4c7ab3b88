#include "io/tcp.h"

#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>

#include "base/scope.h"
#include "io/reactor.h"
#include "io/ring_call.h"
#include "io/system_error.h"
#include "io/unique_fd.h"

namespace holdfast::io {
namespace {

constexpr std::size_t kSegmentsPerCall = 64;
constexpr unsigned kReadsWithoutYield = 32;  // A peer that never lets the socket run dry must not starve the others.

void set_option(int fd, int level, int name, int value) { ::setsockopt(fd, level, name, &value, sizeof value); }

void prepare_connection(int fd, const TcpOptions& options) {
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, options.keepalive_idle_s);
  set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, options.keepalive_interval_s);
  set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, options.keepalive_count);
  if (options.user_timeout_ms > 0) set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, options.user_timeout_ms);
}

SocketAddress address_of(int fd, int (*get)(int, sockaddr*, socklen_t*)) {
  SocketAddress address;
  address.length = sizeof address.storage;
  if (get(fd, reinterpret_cast<sockaddr*>(&address.storage), &address.length) != 0) address = {};
  return address;
}

// Every broken connection is the same to its owner: gone. Only a time-out says something more.
Errc connection_errc(int error_number) { return errc_of(error_number) == Errc::timed_out ? Errc::timed_out : Errc::closed; }

std::size_t bytes_of(std::span<const iovec> segments) {
  std::size_t bytes = 0;
  for (const iovec& segment : segments) bytes += segment.iov_len;
  return bytes;
}

// Sends directly, and waits in the ring only while the socket takes nothing. Receives through the ring, in the system call that
// waits, unless the last time left something behind.
class TcpStream final : public Stream {
 public:
  // A blocking socket: the ring waits for one, but gives up at once on one that says O_NONBLOCK.
  TcpStream(Reactor& reactor, UniqueFd fd)
      : fd_(std::move(fd)), receiving_(reactor), sending_(reactor),
        peer_(address_of(fd_.get(), ::getpeername).text()), local_(address_of(fd_.get(), ::getsockname).text()) {}

  Task<Result<std::size_t>> read_some(std::span<const iovec> into) override {
    const std::size_t room = bytes_of(into);
    message_ = {};
    message_.msg_iov = const_cast<iovec*>(into.data());
    message_.msg_iovlen = std::min<std::size_t>(into.size(), IOV_MAX);
    for (;;) {
      if (closed_) co_return fail(Errc::closed);
      ssize_t bytes = 0;
      if (may_have_more_ && ++reads_without_wait_ <= kReadsWithoutYield) {
        bytes = ::recvmsg(fd_.get(), &message_, MSG_DONTWAIT);
        if (bytes < 0) bytes = -errno;
        if (bytes == -EAGAIN) may_have_more_ = false;
      } else {
        reads_without_wait_ = 0;
        start_receiving(into);
        auto answer = receiving_.answer();
        bytes = co_await answer;
      }
      if (bytes == -EAGAIN || bytes == -EINTR) continue;
      if (bytes == 0 || closed_) co_return fail(Errc::closed);
      if (bytes < 0) co_return fail(connection_errc(static_cast<int>(-bytes)));
      may_have_more_ = static_cast<std::size_t>(bytes) == room;
      co_return static_cast<std::size_t>(bytes);
    }
  }

  Task<Result<void>> write_all(std::span<const iovec> from) override {
    std::size_t index = 0;   // The first segment that is not written whole,
    std::size_t offset = 0;  // and how much of it is.
    for (;;) {
      while (index < from.size() && offset >= from[index].iov_len) {
        offset -= from[index].iov_len;
        ++index;
      }
      if (index == from.size()) co_return Result<void>();
      if (closed_) co_return fail(Errc::closed);
      const ssize_t bytes = send_from(from.subspan(index), offset);
      if (bytes >= 0) {
        offset += static_cast<std::size_t>(bytes);
        continue;
      }
      if (errno == EINTR) continue;
      if (errno != EAGAIN) co_return fail(connection_errc(errno));
      sending_.poll(fd_.get(), POLLOUT);
      auto writable = sending_.answer();
      co_await writable;
    }
  }

  void close() override {
    if (std::exchange(closed_, true)) return;
    // The peer hears of it now, and so does the ring; the descriptor lives until nobody can be using it.
    ::shutdown(fd_.get(), SHUT_RDWR);
  }

  std::string peer_address() const override { return peer_; }
  std::string local_address() const override { return local_; }

  std::unique_ptr<Stream> move_to(Executor& executor) override {
    auto* target = dynamic_cast<Reactor*>(&executor);
    ENSURE(target && !receiving_.pending() && !sending_.pending());
    closed_ = true;
    return std::make_unique<TcpStream>(*target, std::move(fd_));
  }

 private:
  // What was left of the last answer has been taken: the kernel need not try before it waits. When bytes or the peer's end
  // have come meanwhile, it does not wait.
  void start_receiving(std::span<const iovec> into) {
    io_uring_sqe* sqe = receiving_.prepare();
    if (into.size() == 1) io_uring_prep_recv(sqe, fd_.get(), into[0].iov_base, into[0].iov_len, 0);
    else io_uring_prep_recvmsg(sqe, fd_.get(), &message_, 0);
    if (!may_have_more_) sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
    receiving_.own(sqe);
  }

  ssize_t send_from(std::span<const iovec> from, std::size_t offset) {
    std::array<iovec, kSegmentsPerCall> part;
    const std::size_t count = std::min(from.size(), part.size());
    std::copy_n(from.begin(), count, part.begin());
    part[0].iov_base = static_cast<std::byte*>(part[0].iov_base) + offset;
    part[0].iov_len -= offset;
    msghdr message{};
    message.msg_iov = part.data();
    message.msg_iovlen = count;
    return ::sendmsg(fd_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT | (count < from.size() ? MSG_MORE : 0));
  }

  UniqueFd fd_;
  bool closed_ = false;
  bool may_have_more_ = false;  // The last receiving filled all it was given.
  unsigned reads_without_wait_ = 0;
  msghdr message_{};            // Of the receiving under way.
  RingCall receiving_, sending_;
  std::string peer_, local_;
};

class TcpListenerImpl final : public TcpListener {
 public:
  TcpListenerImpl(Reactor& reactor, UniqueFd fd, TcpOptions options)
      : reactor_(&reactor), fd_(std::move(fd)), arriving_(reactor), options_(options) {}

  Task<Result<std::unique_ptr<Stream>>> accept() override {
    for (;;) {
      if (!fd_) co_return fail(Errc::closed);
      UniqueFd connection(::accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (connection) {
        prepare_connection(connection.get(), options_);
        std::unique_ptr<Stream> stream = std::make_unique<TcpStream>(*reactor_, std::move(connection));
        co_return stream;
      }
      // The connection died before we took it (accept(2) lists what a pending one may report): the next one, please.
      if (errno == EINTR || errno == ECONNABORTED || errno == EPROTO || errno == ENETDOWN || errno == EHOSTUNREACH ||
          errno == ENETUNREACH || errno == ETIMEDOUT)
        continue;
      if (errno != EAGAIN) co_return fail(system_error(errno, "cannot accept a connection"));
      arriving_.poll(fd_.get(), POLLIN);
      auto arrival = arriving_.answer();
      co_await arrival;
    }
  }

  // The port is free when this returns: the ring has let go of it too.
  void close() override {
    arriving_.interrupt();
    fd_.reset();
  }

  Endpoint local_endpoint() const override {
    const SocketAddress address = address_of(fd_.get(), ::getsockname);
    auto endpoint = parse_endpoint(address.text());
    return endpoint ? *endpoint : Endpoint{};
  }

 private:
  Reactor* reactor_;
  UniqueFd fd_;
  RingCall arriving_;
  TcpOptions options_;
};

Error listen_error(int error_number, const Endpoint& endpoint) {
  const std::string where = endpoint.text();
  switch (error_number) {
    case EADDRINUSE: return Error(Errc::busy, "cannot listen on " + where + ": another process uses this port");
    case EACCES:
    case EPERM:
      return Error(Errc::permission, "cannot listen on " + where + ": no permission (ports below 1024 need CAP_NET_BIND_SERVICE)");
    case EADDRNOTAVAIL:
      return Error(Errc::invalid_argument, "cannot listen on " + where + ": no interface of this machine has that address");
    default: return system_error(error_number, "cannot listen on " + where);
  }
}

}  // namespace

Result<std::unique_ptr<TcpListener>> listen_tcp(Reactor& reactor, Endpoint endpoint, TcpOptions options) {
  const auto address = resolve(endpoint);
  if (!address) return fail(address.error());
  UniqueFd fd(::socket(address->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return fail(listen_error(errno, endpoint));
  set_option(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1);
  // 0.0.0.0 and [::] can then be given side by side.
  if (address->storage.ss_family == AF_INET6) set_option(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address->storage), address->length) != 0 ||
      ::listen(fd.get(), options.backlog) != 0)
    return fail(listen_error(errno, endpoint));
  return std::make_unique<TcpListenerImpl>(reactor, std::move(fd), options);
}

Result<std::unique_ptr<TcpListener>> adopt_tcp_listener(Reactor& reactor, int fd, TcpOptions options) {
  int listening = 0;
  socklen_t length = sizeof listening;
  if (::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length) != 0 || !listening)
    return fail(Errc::invalid_argument, "inherited descriptor " + std::to_string(fd) + " is not a listening socket");
  UniqueFd owned(fd);
  ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  if (::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK) != 0)
    return fail(system_error(errno, "cannot take over inherited descriptor " + std::to_string(fd)));
  return std::make_unique<TcpListenerImpl>(reactor, std::move(owned), options);
}

std::vector<int> inherited_listening_sockets() {
  constexpr int kFirst = 3;       // sd_listen_fds(3): SD_LISTEN_FDS_START.
  constexpr int kCountMax = 64;
  std::vector<int> sockets;
  const char* pid = std::getenv("LISTEN_PID");
  const char* count = std::getenv("LISTEN_FDS");
  if (pid && count && std::atol(pid) == ::getpid()) {
    const int passed = std::clamp(std::atoi(count), 0, kCountMax);
    for (int i = 0; i < passed; ++i) sockets.push_back(kFirst + i);
  }
  ::unsetenv("LISTEN_PID");
  ::unsetenv("LISTEN_FDS");
  ::unsetenv("LISTEN_FDNAMES");
  return sockets;
}

namespace {

// Takes the wait for a connection back when its time is over.
Task<void> interrupt_after(Timer* timer, DurationNs limit, RingCall* call, bool* over) {
  const Wake wake = co_await timer->after(limit);
  if (wake == Wake::cancelled) co_return;
  *over = true;
  call->interrupt();
}

// Returns when the connection under way has been made or has failed: zero or an errno.
Task<int> await_connection(Reactor* reactor, int fd, int limit_ms) {
  RingCall connected(*reactor);
  Timer timer(reactor->clock());
  bool over = false;
  Scope watch(*reactor);
  connected.poll(fd, POLLOUT);
  if (limit_ms > 0) watch.spawn(interrupt_after(&timer, milliseconds(limit_ms), &connected, &over));
  auto answer = connected.answer();
  co_await answer;
  // The watch may not have begun yet, and then there is no timer to be cancelled.
  while (watch.running() > 0) {
    timer.cancel();
    co_await Yield{*reactor};
  }
  if (over) co_return ETIMEDOUT;
  int error_number = 0;
  socklen_t length = sizeof error_number;
  if (::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error_number, &length) != 0) error_number = errno;
  co_return error_number;
}

}  // namespace

Task<Result<std::unique_ptr<Stream>>> connect_tcp(Reactor& reactor, Endpoint endpoint, TcpOptions options) {
  const auto address = resolve(endpoint);
  if (!address) co_return fail(address.error());
  UniqueFd fd(::socket(address->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) co_return fail(system_error(errno, "cannot create a socket"));
  prepare_connection(fd.get(), options);
  int error_number = 0;
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address->storage), address->length) != 0) error_number = errno;
  if (error_number == EINPROGRESS) error_number = co_await await_connection(&reactor, fd.get(), options.connect_timeout_ms);
  if (error_number != 0) co_return fail(system_error(error_number, "cannot connect to " + endpoint.text()));
  ::fcntl(fd.get(), F_SETFL, ::fcntl(fd.get(), F_GETFL) & ~O_NONBLOCK);
  std::unique_ptr<Stream> stream = std::make_unique<TcpStream>(reactor, std::move(fd));
  co_return stream;
}

}  // namespace holdfast::io
