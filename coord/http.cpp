// The one file that compiles Beast for the coordinator.
#include "coord/http.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <deque>
#include <optional>
#include <unordered_set>

#include "base/ensure.h"
#include "base/text.h"

namespace holdfast::coord {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
namespace ssl = boost::asio::ssl;
using tcp = asio::ip::tcp;
using ErrorCode = boost::system::error_code;

namespace {

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t kActiveMax = 32;    // Requests at once to one server; streams do not count.
constexpr std::size_t kWaitingMax = 512;  // And those that wait for that.
constexpr std::size_t kIdleMax = 8;       // Connections that are kept.
constexpr std::size_t kBufferBytes = 128 << 10;
constexpr std::uint32_t kHeaderBytesMax = 16 << 10;
constexpr std::size_t kPieceBytes = 16 << 10;

// Before its first byte is written, and after its last answer was read, a connection has nothing to say.
struct Connection {
  explicit Connection(asio::io_context& io) : socket(io), buffer(kBufferBytes) {}
  tcp::socket socket;
  std::optional<ssl::context> tls_context;
  std::optional<ssl::stream<tcp::socket&>> tls;
  beast::flat_buffer buffer;

  // A server that went away, or says something unasked, is noticed before a request is entrusted to it.
  bool is_quiet() {
    char byte = 0;
    const ssize_t got = ::recv(socket.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) && buffer.size() == 0;
  }
};

// A dead machine is noticed below us too: a stream may say nothing for hours.
void watch_over(tcp::socket& socket) {
  ErrorCode ignored;
  socket.set_option(tcp::no_delay(true), ignored);
  socket.set_option(asio::socket_base::keep_alive(true), ignored);
  const auto set = [fd = socket.native_handle()](int option, int value) { ::setsockopt(fd, IPPROTO_TCP, option, &value, sizeof value); };
  set(TCP_KEEPIDLE, 5);
  set(TCP_KEEPINTVL, 2);
  set(TCP_KEEPCNT, 3);
  set(TCP_USER_TIMEOUT, 10'000);
}

std::string tls_error(const ErrorCode& error, SSL* handle) {
  const long verified = SSL_get_verify_result(handle);
  if (verified == X509_V_OK) return error.message();
  return concat("its certificate is not trusted (", X509_verify_cert_error_string(verified), "): check tls_ca_file and the host's name");
}

Errc errc_of(const ErrorCode& error) {
  if (error.category() == make_error_code(http::error::bad_method).category()) return Errc::protocol;
  if (error.category() == asio::error::get_ssl_category()) return Errc::permission;
  return Errc::io_error;
}

}  // namespace

struct HttpClient::Impl : std::enable_shared_from_this<Impl> {
  struct Exchange;
  using Shared = std::shared_ptr<Exchange>;
  struct Host {
    HttpEndpoint endpoint;
    std::size_t active = 0;
    std::deque<Shared> waiting;
    std::vector<std::unique_ptr<Connection>> idle;  // The newest last.
  };

  asio::io_context* io;
  HttpOptions options;
  std::deque<Host> hosts;
  std::unordered_set<Exchange*> under_way;
  bool ending = false;

  Result<void> load_tls(ssl::context* context) const;
  void begin(Shared exchange);
  void finish(Shared exchange);
  asio::awaitable<void> carry_out(Shared exchange);
  asio::awaitable<bool> open_connection(Shared exchange);
  asio::awaitable<bool> connect(Shared exchange);
  asio::awaitable<bool> shake_hands(Shared exchange);
  template <class Stream>
  asio::awaitable<void> talk(Stream* stream, Shared exchange);
  template <class Stream>
  asio::awaitable<void> read_answer(Stream* stream, Shared exchange);
  template <class Stream>
  asio::awaitable<void> read_lines(Stream* stream, Shared exchange);
};

struct HttpClient::Impl::Exchange final : HttpExchange {
  Exchange(std::shared_ptr<Impl> c, std::size_t h, HttpRequest r, HttpCalls k)
      : client(std::move(c)), host(h), request(std::move(r)), calls(std::move(k)), streaming(calls.on_line),
        resolver(*client->io) {}

  bool done() const override { return done_; }
  bool may_be_sent() const override { return may_be_sent_; }
  const HttpAnswer& answer() const override { return answer_; }
  void cancel() override {
    if (done_ || cancelled) return;
    cancelled = true;
    calls = HttpCalls{};
    resolver.cancel();
    ErrorCode ignored;
    if (connection) connection->socket.close(ignored);
  }
  Host& at() const { return client->hosts[host]; }
  bool fails(Errc code, std::string what) {
    if (!cancelled) answer_.error = Error(code, concat(at().endpoint.url(), ": ", what));
    return false;
  }

  std::shared_ptr<Impl> client;
  std::size_t host;
  HttpRequest request;
  HttpCalls calls;
  const bool streaming;
  tcp::resolver resolver;
  std::unique_ptr<Connection> connection;  // Nothing: not begun, or given back.
  HttpAnswer answer_;
  bool cancelled = false;
  bool done_ = false;
  bool may_be_sent_ = false;
};

Result<void> HttpClient::Impl::load_tls(ssl::context* context) const {
  ErrorCode error;
  const auto check = [&error](const char* option, const std::string& file, std::string_view remedy = {}) -> Result<void> {
    if (!error) return {};
    return fail(Errc::invalid_argument, concat(option, ": ", file, " cannot be used: ", error.message(), remedy));
  };
  // OpenSSL would ask for a passphrase at the terminal, and this thread would wait for somebody to type it.
  context->set_password_callback([](std::size_t, ssl::context::password_purpose) { return std::string(); }, error);
  context->set_options(ssl::context::default_workarounds | ssl::context::no_sslv2 | ssl::context::no_sslv3 | ssl::context::no_tlsv1 |
                           ssl::context::no_tlsv1_1,
                       error);
  if (options.tls_ca_file.empty()) context->set_default_verify_paths(error);
  else context->load_verify_file(options.tls_ca_file, error);
  TRY(check("tls_ca_file", options.tls_ca_file));
  context->set_verify_mode(ssl::verify_peer, error);
  if (options.tls_certificate_file.empty()) return {};
  context->use_certificate_chain_file(options.tls_certificate_file, error);
  TRY(check("tls_certificate_file", options.tls_certificate_file));
  context->use_private_key_file(options.tls_key_file, ssl::context::pem, error);
  TRY(check("tls_key_file", options.tls_key_file, "; it must be PEM, without a passphrase, and the key of tls_certificate_file"));
  return {};
}

void HttpClient::Impl::begin(Shared exchange) {
  if (!exchange->streaming) ++exchange->at().active;
  asio::co_spawn(*io, carry_out(exchange), asio::detached);
}

// Tells who asked, and lets the next one begin.
void HttpClient::Impl::finish(Shared exchange) {
  Host& host = exchange->at();
  exchange->connection.reset();
  exchange->done_ = true;
  under_way.erase(exchange.get());
  if (!exchange->streaming) --host.active;
  while (!ending && !host.waiting.empty() && host.active < kActiveMax) {
    const Shared next = std::move(host.waiting.front());
    host.waiting.pop_front();
    if (next->cancelled) under_way.erase(next.get());
    else begin(next);
  }
  auto on_done = std::move(exchange->calls.on_done);
  exchange->calls = HttpCalls{};
  if (on_done && !exchange->cancelled) on_done();
}

asio::awaitable<void> HttpClient::Impl::carry_out(Shared exchange) {
  auto self = shared_from_this();
  bool open = false;
  if (!exchange->cancelled) open = co_await open_connection(exchange);
  if (open && !exchange->cancelled) {
    Connection* connection = exchange->connection.get();
    if (connection->tls) co_await talk(&*connection->tls, exchange);
    else co_await talk(&connection->socket, exchange);
  }
  finish(exchange);
}

asio::awaitable<bool> HttpClient::Impl::open_connection(Shared exchange) {
  auto& idle = exchange->at().idle;
  while (!exchange->streaming && !idle.empty()) {
    exchange->connection = std::move(idle.back());
    idle.pop_back();
    if (exchange->connection->is_quiet()) co_return true;
    exchange->connection.reset();
  }
  exchange->connection = std::make_unique<Connection>(*io);
  const bool connected = co_await connect(exchange);
  if (!connected || !exchange->at().endpoint.tls) co_return connected;
  const bool shaken = co_await shake_hands(exchange);
  co_return shaken;
}

asio::awaitable<bool> HttpClient::Impl::connect(Shared exchange) {
  const HttpEndpoint& endpoint = exchange->at().endpoint;
  tcp::socket& socket = exchange->connection->socket;
  ErrorCode error;
  const auto address = asio::ip::make_address(endpoint.host, error);
  if (!error) {
    const tcp::endpoint there(address, static_cast<std::uint16_t>(std::stoi(endpoint.port)));
    auto [failed] = co_await socket.async_connect(there, kAwait);
    error = failed;
  } else {
    auto [unknown, found] = co_await exchange->resolver.async_resolve(endpoint.host, endpoint.port, kAwait);
    if (unknown) co_return exchange->fails(Errc::io_error, concat("its name cannot be resolved: ", unknown.message()));
    if (exchange->cancelled) co_return false;
    auto [failed, there] = co_await asio::async_connect(socket, found, kAwait);
    error = failed;
  }
  if (error) co_return exchange->fails(Errc::io_error, concat("no connection: ", error.message()));
  if (exchange->cancelled) co_return false;
  watch_over(socket);
  co_return true;
}

asio::awaitable<bool> HttpClient::Impl::shake_hands(Shared exchange) {
  Connection& connection = *exchange->connection;
  const std::string& name = exchange->at().endpoint.host;
  connection.tls_context.emplace(ssl::context::tls_client);
  const auto loaded = load_tls(&*connection.tls_context);
  if (!loaded) co_return exchange->fails(loaded.error().code, loaded.error().message);
  connection.tls.emplace(connection.socket, *connection.tls_context);
  SSL* handle = connection.tls->native_handle();
  connection.tls->set_verify_callback(ssl::host_name_verification(name));
  ErrorCode is_name;
  (void)asio::ip::make_address(name, is_name);
  if (is_name) SSL_set_tlsext_host_name(handle, name.c_str());
  auto [error] = co_await connection.tls->async_handshake(ssl::stream_base::client, kAwait);
  if (error) co_return exchange->fails(Errc::permission, concat("no TLS connection: ", tls_error(error, handle)));
  co_return true;
}

template <class Stream>
asio::awaitable<void> HttpClient::Impl::talk(Stream* stream, Shared exchange) {
  http::request<http::string_body> message(http::verb::post, exchange->request.path, 11);
  const HttpEndpoint& endpoint = exchange->at().endpoint;
  const bool is_v6 = endpoint.host.find(':') != endpoint.host.npos;
  message.set(http::field::host, concat(is_v6 ? "[" : "", endpoint.host, is_v6 ? "]" : "", ":", endpoint.port));
  message.set(http::field::user_agent, "holdfast");
  message.set(http::field::content_type, "application/json");
  if (!exchange->request.authorization.empty()) message.set(http::field::authorization, exchange->request.authorization);
  message.body() = std::move(exchange->request.body);
  message.prepare_payload();
  exchange->may_be_sent_ = true;
  auto [error, count] = co_await http::async_write(*stream, message, kAwait);
  if (error) {
    exchange->fails(Errc::io_error, concat("the connection broke while the request was sent: ", error.message()));
    co_return;
  }
  if (exchange->streaming) co_await read_lines(stream, exchange);
  else co_await read_answer(stream, exchange);
}

template <class Stream>
asio::awaitable<void> HttpClient::Impl::read_answer(Stream* stream, Shared exchange) {
  http::response_parser<http::string_body> parser;
  parser.header_limit(kHeaderBytesMax);
  parser.body_limit(exchange->request.answer_bytes_max);
  auto [error, count] = co_await http::async_read(*stream, exchange->connection->buffer, parser, kAwait);
  if (error == http::error::end_of_stream || error == asio::error::eof || error == asio::error::connection_reset) {
    exchange->fails(Errc::closed, concat("the connection was closed without an answer: ", error.message()));
    co_return;
  }
  if (error == http::error::body_limit || error == http::error::header_limit || error == http::error::buffer_overflow) {
    exchange->fails(Errc::protocol, concat("its answer is longer than ", exchange->request.answer_bytes_max, " bytes"));
    co_return;
  }
  if (error) {
    exchange->fails(errc_of(error), concat("no whole answer: ", error.message()));
    co_return;
  }
  exchange->answer_.status = parser.get().result_int();
  exchange->answer_.body = std::move(parser.get().body());
  auto& idle = exchange->at().idle;
  if (parser.get().keep_alive() && !exchange->cancelled && idle.size() < kIdleMax) idle.push_back(std::move(exchange->connection));
}

// The end of a stream is never an answer: it ends because somebody or something ended it.
template <class Stream>
asio::awaitable<void> HttpClient::Impl::read_lines(Stream* stream, Shared exchange) {
  http::response_parser<http::buffer_body> parser;
  parser.header_limit(kHeaderBytesMax);
  parser.body_limit(boost::none);
  beast::flat_buffer& buffer = exchange->connection->buffer;
  auto [error, count] = co_await http::async_read_header(*stream, buffer, parser, kAwait);
  ErrorCode ended = error;
  const unsigned status = ended ? 0 : parser.get().result_int();
  // Ours from now on: it may cancel the exchange, and with it everything that the exchange would call.
  auto on_line = std::move(exchange->calls.on_line);
  std::array<char, kPieceBytes> piece;
  std::string lines;  // What is not told yet. Of a refusal: all of it.
  while (!ended && !exchange->cancelled && !parser.is_done()) {
    parser.get().body().data = piece.data();
    parser.get().body().size = piece.size();
    auto [failed, got] = co_await http::async_read_some(*stream, buffer, parser, kAwait);
    if (failed && failed != http::error::need_buffer) ended = failed;
    if (exchange->cancelled) co_return;
    std::size_t begin = 0, looked_at = lines.size();
    lines.append(piece.data(), piece.size() - parser.get().body().size);
    for (std::size_t end = 0; status == 200 && (end = lines.find('\n', looked_at)) != lines.npos; begin = looked_at = end + 1) {
      on_line(std::string_view(lines).substr(begin, end - begin));
      if (exchange->cancelled) co_return;
    }
    lines.erase(0, begin);
    if (lines.size() > (status == 200 ? options.line_bytes_max : kPieceBytes)) {
      exchange->fails(Errc::protocol, "a line of its stream is too long");
      co_return;
    }
  }
  if (status != 0 && status != 200 && !ended) {
    exchange->answer_.status = status;
    exchange->answer_.body = std::move(lines);
    co_return;
  }
  exchange->fails(Errc::closed, concat("the stream ended", ended ? ": " : "", ended ? ended.message() : ""));
}

HttpClient::HttpClient(Loop& loop, std::vector<HttpEndpoint> endpoints, HttpOptions options) : impl_(std::make_shared<Impl>()) {
  impl_->io = &loop.sockets();
  impl_->options = std::move(options);
  for (HttpEndpoint& endpoint : endpoints) {
    impl_->hosts.emplace_back();
    impl_->hosts.back().endpoint = std::move(endpoint);
  }
}

HttpClient::~HttpClient() {
  impl_->ending = true;
  for (Impl::Exchange* exchange : impl_->under_way) exchange->cancel();
  for (Impl::Host& host : impl_->hosts) {
    host.waiting.clear();
    host.idle.clear();
  }
}

Result<void> HttpClient::check_files() const {
  ssl::context context(ssl::context::tls_client);
  return impl_->load_tls(&context);
}

std::shared_ptr<HttpExchange> HttpClient::start(std::size_t endpoint, HttpRequest request, HttpCalls calls) {
  ENSURE(endpoint < impl_->hosts.size());
  auto exchange = std::make_shared<Impl::Exchange>(impl_, endpoint, std::move(request), std::move(calls));
  Impl::Host& host = impl_->hosts[endpoint];
  const bool at_once = exchange->streaming || host.active < kActiveMax;
  if (!at_once && host.waiting.size() >= kWaitingMax)
    std::erase_if(host.waiting, [this](const Impl::Shared& waiting) { return waiting->cancelled && impl_->under_way.erase(waiting.get()); });
  if (!at_once && host.waiting.size() >= kWaitingMax) {
    exchange->fails(Errc::overloaded, concat(kWaitingMax, " requests wait already"));
    exchange->done_ = true;
    return exchange;
  }
  impl_->under_way.insert(exchange.get());
  if (at_once) impl_->begin(exchange);
  else host.waiting.push_back(exchange);
  return exchange;
}

}  // namespace holdfast::coord
