#include "coord/options.h"

#include <algorithm>
#include <charconv>

#include "base/text.h"

namespace holdfast::coord {
namespace {

constexpr std::string_view kDefaultPort = "2379";

Result<void> check_time(const char* name, std::int64_t ms, std::int64_t min, std::int64_t max) {
  if (ms >= min && ms <= max) return {};
  return fail(Errc::invalid_argument, concat(name, ": ", ms, " ms; allowed are ", min, " to ", max));
}

Result<void> check_prefix(const std::string& prefix) {
  const auto fine = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' || c == '/';
  };
  const bool good = prefix.size() >= 2 && prefix.size() <= 128 && prefix.front() == '/' && prefix.back() != '/' &&
                    prefix.find("//") == prefix.npos && std::all_of(prefix.begin(), prefix.end(), fine);
  if (good) return {};
  return fail(Errc::invalid_argument, concat("prefix: \"", prefix, "\"; it begins with /, does not end with one, and has letters, digits, - . _ and /"));
}

bool is_port(std::string_view text) {
  unsigned port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc{} && end == text.data() + text.size() && port > 0 && port < 65536;
}

}  // namespace

std::string HttpEndpoint::url() const {
  const bool is_v6 = host.find(':') != host.npos;
  return concat(tls ? "https://" : "http://", is_v6 ? "[" : "", host, is_v6 ? "]" : "", ":", port);
}

Result<HttpEndpoint> parse_http_endpoint(const std::string& text) {
  const auto wrong = [&text](std::string_view why) {
    return fail(Errc::invalid_argument, concat("endpoints: \"", text, "\" ", why, "; write http://HOST:PORT or https://HOST:PORT"));
  };
  HttpEndpoint endpoint;
  std::string_view rest(text);
  if (rest.starts_with("https://")) endpoint.tls = true;
  else if (!rest.starts_with("http://")) return wrong("begins with neither http:// nor https://");
  rest.remove_prefix(endpoint.tls ? 8 : 7);
  if (rest.ends_with('/')) rest.remove_suffix(1);
  std::string_view port = kDefaultPort;
  if (rest.starts_with('[')) {
    const std::size_t end = rest.find(']');
    if (end == rest.npos) return wrong("lacks a ]");
    endpoint.host = rest.substr(1, end - 1);
    rest.remove_prefix(end + 1);
    if (!rest.empty() && rest.front() != ':') return wrong("has something else than a port after ]");
    if (!rest.empty()) port = rest.substr(1);
  } else {
    const std::size_t colon = rest.find(':');
    endpoint.host = rest.substr(0, colon);
    if (colon != rest.npos) port = rest.substr(colon + 1);
  }
  const auto fine = [](char c) { return (c >= '0' && c <= ':') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '.' || c == '_'; };
  if (endpoint.host.empty() || endpoint.host.size() > 253 || !std::all_of(endpoint.host.begin(), endpoint.host.end(), fine))
    return wrong("names no host");
  if (!is_port(port)) return wrong("has no port from 1 to 65535");
  endpoint.port = port;
  return endpoint;
}

Result<std::vector<HttpEndpoint>> check(const EtcdOptions& o) {
  if (o.endpoints.empty() || o.endpoints.size() > kEtcdEndpointsMax)
    return fail(Errc::invalid_argument, concat("endpoints: there are ", o.endpoints.size(), "; allowed are 1 to ", kEtcdEndpointsMax));
  std::vector<HttpEndpoint> endpoints;
  bool tls = false, plain = false;
  for (const std::string& text : o.endpoints) {
    auto endpoint = parse_http_endpoint(text);
    if (!endpoint) return fail(endpoint.error());
    (endpoint->tls ? tls : plain) = true;
    endpoints.push_back(std::move(*endpoint));
  }
  // Whoever can silence the secured ones would be told the password, and believed, at the others.
  if (tls && plain) return fail(Errc::invalid_argument, "endpoints: some begin with https:// and some with http://; all must be secured, or none");
  TRY(check_prefix(o.prefix));
  if (o.user.empty() != o.password.empty())
    return fail(Errc::invalid_argument, o.user.empty() ? "password: there is one, but no user" : "user: there is one, but no password");
  if (o.tls_certificate_file.empty() != o.tls_key_file.empty())
    return fail(Errc::invalid_argument, "tls_certificate_file, tls_key_file: one does not go without the other");
  if (!tls && !(o.tls_ca_file.empty() && o.tls_certificate_file.empty()))
    return fail(Errc::invalid_argument, "tls_ca_file, tls_certificate_file: no endpoint begins with https://");
  TRY(check_time("request_timeout", o.request_timeout_ms, 50, 60'000));
  TRY(check_time("connect_timeout", o.connect_timeout_ms, 10, o.request_timeout_ms));
  TRY(check_time("hedge_after", o.hedge_after_ms, 10, o.request_timeout_ms));
  TRY(check_time("watch_timeout", o.watch_timeout_ms, 50, 600'000));
  TRY(check_time("stream_life", o.stream_life_ms, 1'000, 3'600'000));
  TRY(check_time("token_trusted", o.token_trusted_ms, 0, 3'600'000));
  return endpoints;
}

}  // namespace holdfast::coord
