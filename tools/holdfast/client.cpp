// The one file of this program that compiles Beast.
#include "tools/holdfast/client.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>

#include <charconv>
#include <chrono>
#include <optional>

#include "admin/names.h"

namespace holdfast::cli {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using tcp = asio::ip::tcp;
using ErrorCode = boost::system::error_code;

namespace {

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr std::uint64_t kAnswerBytesMax = 256ULL << 20;
constexpr std::int64_t kConnectTimeoutMs = 5'000;

struct Exchange {
  ServerUrl server;
  http::request<http::string_body> request;
  std::chrono::milliseconds timeout;
  std::optional<Result<Answer>> outcome;
};

Error error_of(const ErrorCode& error) {
  if (error == beast::error::timeout) return {Errc::timed_out, "no answer in time"};
  if (error.category() == asio::error::get_netdb_category() || error.category() == asio::error::get_addrinfo_category()) {
    return {Errc::not_found, error.message()};
  }
  if (error.category() == make_error_code(http::error::bad_method).category()) {
    const bool hung_up = error == http::error::end_of_stream || error == http::error::partial_message;
    return hung_up ? Error{Errc::closed, "the server closed the connection"}
                   : Error{Errc::protocol, "what listens there does not speak HTTP (" + error.message() + ")"};
  }
  return {Errc::closed, error.message()};
}

// The exchange outlives this flow: run_until_done below waits for it.
asio::awaitable<void> exchange(Exchange* work) {
  const auto executor = co_await asio::this_coro::executor;
  tcp::resolver resolver(executor);
  auto [unresolved, endpoints] =
      co_await resolver.async_resolve(work->server.host, std::to_string(work->server.port), kAwait);
  if (unresolved) {
    work->outcome = fail(error_of(unresolved));
    co_return;
  }
  beast::tcp_stream stream(executor);
  stream.expires_after(std::chrono::milliseconds(kConnectTimeoutMs));
  auto [unconnected, endpoint] = co_await stream.async_connect(endpoints, kAwait);
  if (unconnected) {
    work->outcome = fail(error_of(unconnected));
    co_return;
  }
  stream.expires_after(work->timeout);
  auto [unsent, sent_bytes] = co_await http::async_write(stream, work->request, kAwait);
  http::response_parser<http::string_body> parser;
  parser.body_limit(kAnswerBytesMax);
  beast::flat_buffer buffer;
  // Also after a failed write: the server may have refused the request before it was all there.
  auto [unread, read_bytes] = co_await http::async_read(stream, buffer, parser, kAwait);
  if (unread) {
    work->outcome = fail(error_of(unsent ? unsent : unread));
    co_return;
  }
  Answer answer;
  answer.status = parser.get().result_int();
  const auto type = parser.get()[http::field::content_type];
  answer.content_type.assign(type.data(), type.size());
  answer.body = std::move(parser.get().body());
  work->outcome = std::move(answer);
}

}  // namespace

std::string ServerUrl::text() const {
  const bool ipv6 = host.find(':') != std::string::npos;
  return "http://" + (ipv6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

Result<ServerUrl> parse_server_url(std::string_view text) {
  const auto wrong = [&](std::string_view why) {
    return fail(Errc::invalid_argument, "\"" + admin::printable(text) + "\" " + std::string(why) +
                                            "; write it like http://127.0.0.1:9440");
  };
  std::string_view rest = text;
  if (rest.starts_with("https://")) return wrong("asks for TLS, which the admin port does not speak");
  if (rest.starts_with("http://")) rest.remove_prefix(7);
  if (rest.find("://") != rest.npos) return wrong("has an unknown scheme");
  if (rest.ends_with('/')) rest.remove_suffix(1);
  if (rest.find_first_of("/?#@ ") != rest.npos) return wrong("has more than a host and a port");
  ServerUrl out;
  std::string_view port;
  if (rest.starts_with('[')) {
    const std::size_t end = rest.find(']');
    if (end == rest.npos) return wrong("has no closing bracket");
    out.host = rest.substr(1, end - 1);
    rest.remove_prefix(end + 1);
    if (!rest.empty() && !rest.starts_with(':')) return wrong("has text between the bracket and the port");
    port = rest.empty() ? rest : rest.substr(1);
    if (!rest.empty() && port.empty()) return wrong("has no port after the colon");
  } else {
    const std::size_t colon = rest.find(':');
    out.host = rest.substr(0, colon);
    if (colon != rest.npos) {
      port = rest.substr(colon + 1);
      if (port.empty()) return wrong("has no port after the colon");
    }
  }
  if (out.host.empty()) return wrong("has no host");
  if (port.empty()) return out;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), out.port);
  if (error != std::errc() || end != port.data() + port.size() || out.port == 0) return wrong("has no valid port");
  return out;
}

Result<Answer> Client::send(std::string method, std::string target, std::string json_body, std::int64_t timeout_ms) {
  Exchange work{server_, {}, std::chrono::milliseconds(timeout_ms), std::nullopt};
  auto& request = work.request;
  request.version(11);
  request.method_string(method);
  request.target(target);
  request.set(http::field::host, server_.host);
  request.set(http::field::user_agent, "holdfast");
  request.set(http::field::accept, "application/json");
  if (!token_.empty()) request.set(http::field::authorization, "Bearer " + token_);
  if (!json_body.empty()) request.set(http::field::content_type, "application/json");
  request.body() = std::move(json_body);
  request.keep_alive(false);
  request.prepare_payload();
  asio::io_context io{1};
  asio::co_spawn(io, exchange(&work), asio::detached);
  io.run();
  if (!work.outcome) return fail(Errc::closed, "the connection ended");
  return std::move(*work.outcome);
}

}  // namespace holdfast::cli
