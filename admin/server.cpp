// The one file that compiles Beast.
#include "admin/server.h"

#include <pthread.h>
#include <sys/socket.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>

#include <array>
#include <chrono>
#include <list>
#include <thread>

#include "base/log.h"

namespace holdfast::admin {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using tcp = asio::ip::tcp;
using ErrorCode = boost::system::error_code;

namespace {

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
using Parser = http::request_parser<http::string_body>;
using Reply = http::response<http::string_body>;

std::chrono::milliseconds ms(std::int64_t count) { return std::chrono::milliseconds(count); }

// The time-outs of asio's streams run on the steady clock; that is fine for a door that promises no more than not to hang.
struct Answer {
  explicit Answer(asio::io_context& io) : deadline(io) {}
  asio::steady_timer deadline;
  std::optional<Response> response;
};

struct Connection {
  explicit Connection(tcp::socket socket) : stream(std::move(socket)) {}
  beast::tcp_stream stream;
  bool busy = false;               // Between a request's first byte and the last one of its answer.
  std::shared_ptr<Answer> answer;  // While the node works on it.
};

Request request_of(const http::request<http::string_body>& message) {
  const auto text = [](beast::string_view view) { return std::string(view.data(), view.size()); };
  Request request;
  request.method = text(message.method_string());
  request.target = text(message.target());
  request.content_type = text(message[http::field::content_type]);
  request.authorization = text(message[http::field::authorization]);
  request.body = message.body();
  return request;
}

Reply reply_of(Response response, unsigned http_version, bool head_only, bool keep_alive) {
  Reply reply(static_cast<http::status>(response.status), http_version);
  if (!response.content_type.empty()) reply.set(http::field::content_type, response.content_type);
  for (const auto& [name, value] : response.headers) reply.set(name, value);
  reply.set(http::field::server, "holdfast");
  reply.set(http::field::cache_control, "no-store");
  reply.set("X-Content-Type-Options", "nosniff");
  reply.keep_alive(keep_alive);
  if (response.status == 204) return reply;
  reply.content_length(response.body.size());
  if (!head_only) reply.body() = std::move(response.body);
  return reply;
}

// What to say to a request that could not be read; nothing when there is nobody to say it to.
std::optional<Response> refusal(const ErrorCode& error, const ServerOptions& options) {
  if (error == http::error::body_limit) {
    return problem(413, "body too large", "a body may have " + std::to_string(options.body_bytes_max) + " bytes");
  }
  if (error == http::error::header_limit || error == http::error::buffer_overflow) {
    return problem(431, "header too large", "a header may have " + std::to_string(options.header_bytes_max) + " bytes");
  }
  if (error == http::error::bad_version) return problem(505, "version not supported", "speak HTTP/1.1");
  if (error == http::error::end_of_stream || error == http::error::partial_message) return std::nullopt;
  if (error.category() == make_error_code(http::error::bad_method).category()) {
    return problem(400, "bad request", error.message());
  }
  return std::nullopt;
}

Errc errc_of(const ErrorCode& error) {
  if (error == asio::error::address_in_use) return Errc::busy;
  if (error == asio::error::access_denied || error == asio::error::no_permission) return Errc::permission;
  return Errc::io_error;
}

}  // namespace

struct Server::Core : std::enable_shared_from_this<Server::Core> {
  Core(ServerOptions o, Api a) : options(std::move(o)), api(std::move(a)), acceptor(io) {}

  ServerOptions options;
  Api api;
  asio::io_context io{1};
  tcp::acceptor acceptor;
  std::list<Connection> connections;
  asio::steady_timer grace{io};  // Runs from stop() on.
  bool stopping = false;
  std::thread thread;

  Result<void> bind();
  void begin_stop(std::int64_t grace_ms);
  void cut_off();
  asio::awaitable<void> accept_all();
  asio::awaitable<void> serve(std::list<Connection>::iterator connection);
  asio::awaitable<bool> serve_request(Connection& connection, beast::flat_buffer& buffer);
  asio::awaitable<void> refuse(Connection& connection, ErrorCode error);
  asio::awaitable<Response> answer(Connection& connection, Request request);
  asio::awaitable<bool> send(Connection& connection, Reply reply);
};

Result<void> Server::Core::bind() {
  const std::string where = options.address + ":" + std::to_string(options.port);
  ErrorCode error;
  const auto address = asio::ip::make_address(options.address, error);
  if (error) return fail(Errc::invalid_argument, "admin.listen: \"" + options.address + "\" is not an IP address");
  const tcp::endpoint endpoint(address, options.port);
  const auto check = [&](const char* step) -> Result<void> {
    if (!error) return {};
    std::string message = "admin.listen: cannot " + std::string(step) + " " + where + ": " + error.message();
    if (error == asio::error::address_in_use) message.append("; another program (or another holdfastd) listens there");
    return fail(errc_of(error), std::move(message));
  };
  acceptor.open(endpoint.protocol(), error);
  TRY(check("open a socket for"));
  acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (address.is_v6()) acceptor.set_option(asio::ip::v6_only(true), error);
  acceptor.bind(endpoint, error);
  TRY(check("bind"));
  acceptor.listen(asio::socket_base::max_listen_connections, error);
  TRY(check("listen on"));
  return {};
}

// The thread ends by itself once nothing is left to wait for: frames unwind, none is dropped.
void Server::Core::begin_stop(std::int64_t grace_ms) {
  stopping = true;
  ErrorCode ignored;
  acceptor.close(ignored);
  for (Connection& connection : connections) {
    if (!connection.busy) connection.stream.close();
  }
  if (connections.empty()) return;
  grace.expires_after(ms(grace_ms));
  grace.async_wait([this](ErrorCode error) {
    if (!error) cut_off();
  });
}

void Server::Core::cut_off() {
  for (Connection& connection : connections) {
    connection.stream.close();
    if (connection.answer) connection.answer->deadline.cancel();
  }
}

asio::awaitable<void> Server::Core::accept_all() {
  auto self = shared_from_this();
  asio::steady_timer pause(io);
  while (!stopping) {
    auto [error, socket] = co_await acceptor.async_accept(kAwait);
    if (stopping) break;
    if (error) {  // Out of descriptors, mostly: try again, but not at once.
      pause.expires_after(ms(100));
      auto [waited] = co_await pause.async_wait(kAwait);
      if (waited) break;
      continue;
    }
    if (connections.size() >= options.connections_max) continue;  // The socket closes: the client may try again.
    connections.emplace_back(std::move(socket));
    asio::co_spawn(io, serve(std::prev(connections.end())), asio::detached);
  }
}

asio::awaitable<void> Server::Core::serve(std::list<Connection>::iterator connection) {
  auto self = shared_from_this();
  beast::flat_buffer buffer(options.header_bytes_max + options.body_bytes_max);
  for (;;) {
    const bool more = co_await serve_request(*connection, buffer);
    if (!more || stopping) break;
  }
  ErrorCode ignored;
  connection->stream.socket().shutdown(tcp::socket::shutdown_both, ignored);
  connections.erase(connection);
  if (stopping && connections.empty()) grace.cancel();
}

// One request and its answer; true when the connection stays.
asio::awaitable<bool> Server::Core::serve_request(Connection& connection, beast::flat_buffer& buffer) {
  if (buffer.size() == 0) {  // Wait for the first byte with the patience of an idle connection.
    connection.stream.expires_after(ms(options.idle_timeout_ms));
    auto [error, count] = co_await connection.stream.async_read_some(buffer.prepare(4096), kAwait);
    if (error) co_return false;
    buffer.commit(count);
  }
  connection.busy = true;
  connection.stream.expires_after(ms(options.request_timeout_ms));
  Parser parser;
  parser.header_limit(options.header_bytes_max);
  parser.body_limit(options.body_bytes_max);
  auto [error, count] = co_await http::async_read(connection.stream, buffer, parser, kAwait);
  if (error) {
    co_await refuse(connection, error);
    co_return false;
  }
  const auto& message = parser.get();
  const unsigned version = message.version();
  const bool head_only = message.method() == http::verb::head;
  const bool keep_alive = message.keep_alive();
  connection.stream.expires_never();
  Request request = request_of(message);
  Response response = co_await answer(connection, std::move(request));
  const bool stay = keep_alive && !stopping;
  const bool sent = co_await send(connection, reply_of(std::move(response), version, head_only, stay));
  connection.busy = false;
  co_return sent && stay;
}

asio::awaitable<void> Server::Core::refuse(Connection& connection, ErrorCode error) {
  auto response = refusal(error, options);
  if (!response || !connection.stream.socket().is_open()) co_return;
  const bool sent = co_await send(connection, reply_of(std::move(*response), 11, false, false));
  if (!sent) co_return;
  // Closing with unread bytes would reset the connection and take the answer with it: swallow some first.
  ErrorCode ignored;
  connection.stream.socket().shutdown(tcp::socket::shutdown_send, ignored);
  connection.stream.expires_after(ms(1000));
  std::array<char, 16384> sink;
  for (std::uint64_t swallowed = 0; swallowed < 4 * options.body_bytes_max;) {
    auto [closed, count] = co_await connection.stream.async_read_some(asio::buffer(sink), kAwait);
    if (closed) break;
    swallowed += count;
  }
}

asio::awaitable<Response> Server::Core::answer(Connection& connection, Request request) {
  auto state = std::make_shared<Answer>(io);
  connection.answer = state;
  const bool reads = request.method == "GET" || request.method == "HEAD";
  state->deadline.expires_after(ms(reads ? options.read_answer_timeout_ms : options.answer_timeout_ms));
  // The answer comes from any thread, perhaps after this server is gone: it keeps the core, not the server, alive.
  api.handle(std::move(request), [self = shared_from_this(), state](Response response) {
    asio::post(self->io, [state, response = std::move(response)]() mutable {
      state->response = std::move(response);
      state->deadline.cancel();
    });
  });
  // What is posted above runs on this thread, so never before this wait has begun.
  [[maybe_unused]] auto [ended] = co_await state->deadline.async_wait(kAwait);
  connection.answer.reset();
  if (state->response) co_return std::move(*state->response);
  if (stopping) co_return problem(503, "stopping", "the node is stopping");
  co_return problem(504, "timed out", "the node did not answer in time; the operation may still be under way");
}

asio::awaitable<bool> Server::Core::send(Connection& connection, Reply reply) {
  connection.stream.expires_after(ms(options.request_timeout_ms));
  auto [error, count] = co_await http::async_write(connection.stream, reply, kAwait);
  co_return !error;
}

Result<std::unique_ptr<Server>> Server::start(ServerOptions options, Api api) {
  auto core = std::make_shared<Core>(std::move(options), std::move(api));
  TRY(core->bind());
  asio::co_spawn(core->io, core->accept_all(), asio::detached);
  core->thread = std::thread([core] {
    pthread_setname_np(pthread_self(), "admin");
    core->io.run();
  });
  return std::unique_ptr<Server>(new Server(std::move(core)));
}

Server::Server(std::shared_ptr<Core> core) : core_(std::move(core)) {}
Server::~Server() { stop(0); }

std::uint16_t Server::port() const {
  ErrorCode error;
  const auto endpoint = core_->acceptor.local_endpoint(error);
  return error ? std::uint16_t{0} : endpoint.port();
}

void Server::stop(std::int64_t grace_ms) {
  if (!core_->thread.joinable()) return;
  asio::post(core_->io, [core = core_, grace_ms] { core->begin_stop(grace_ms); });
  core_->thread.join();
}

}  // namespace holdfast::admin
