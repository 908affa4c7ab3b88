#include "admin/http.h"

#include <boost/json.hpp>

namespace holdfast::admin {
namespace {

constexpr std::size_t kSegmentsMax = 8;
constexpr std::size_t kParametersMax = 16;

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

Result<std::string> percent_decoded(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out.push_back(text[i]);
      continue;
    }
    const int high = i + 1 < text.size() ? hex_value(text[i + 1]) : -1;
    const int low = i + 2 < text.size() ? hex_value(text[i + 2]) : -1;
    if (high < 0 || low < 0) return fail(Errc::invalid_argument, "the URL has a '%' without two hexadecimal digits");
    out.push_back(static_cast<char>(high * 16 + low));
    i += 2;
  }
  return out;
}

// The names that messages of the node may start with: a colon elsewhere in a message makes no field.
std::string_view field_of(std::string_view message) {
  for (const std::string_view field :
       {"name", "size", "log_size", "device", "force", "volume", "body", "node", "replacement", "renew", "replicas", "members", "min_in_sync", "lease_ms", "candidate",
        "accept_data_loss", "others_fenced", "from", "consumer", "limit", "wait_ms", "payload", "confirmed", "durably"}) {
    if (message.starts_with(field) && message.substr(field.size()).starts_with(": ")) return field;
  }
  return {};
}

}  // namespace

std::optional<std::string> Target::parameter(std::string_view name) const {
  for (const auto& [key, value] : query) {
    if (key == name) return value;
  }
  return std::nullopt;
}

Result<Target> parse_target(std::string_view target) {
  Target out;
  if (!target.starts_with('/')) return fail(Errc::invalid_argument, "the request's target must start with '/'");
  const std::size_t question = target.find('?');
  std::string_view path = target.substr(1, question == target.npos ? target.npos : question - 1);
  std::string_view query = question == target.npos ? std::string_view() : target.substr(question + 1);
  if (path.ends_with('/')) path.remove_suffix(1);
  while (!path.empty()) {
    const std::size_t slash = path.find('/');
    auto segment = percent_decoded(path.substr(0, slash));
    if (!segment) return fail(std::move(segment).error());
    if (out.segments.size() == kSegmentsMax) return fail(Errc::invalid_argument, "the URL has too many segments");
    out.segments.push_back(std::move(*segment));
    if (slash == path.npos) break;
    path.remove_prefix(slash + 1);
    if (path.empty()) out.segments.emplace_back();
  }
  while (!query.empty()) {
    const std::size_t end = query.find('&');
    const std::string_view pair = query.substr(0, end);
    const std::size_t equals = pair.find('=');
    auto key = percent_decoded(pair.substr(0, equals));
    auto value = percent_decoded(equals == pair.npos ? std::string_view() : pair.substr(equals + 1));
    if (!key) return fail(std::move(key).error());
    if (!value) return fail(std::move(value).error());
    if (out.query.size() == kParametersMax) return fail(Errc::invalid_argument, "the URL has too many parameters");
    out.query.emplace_back(std::move(*key), std::move(*value));
    query.remove_prefix(end == query.npos ? query.size() : end + 1);
  }
  return out;
}

unsigned status_of(Errc code) {
  switch (code) {
    case Errc::invalid_argument:
    case Errc::out_of_range:
    case Errc::unsupported: return 400;
    case Errc::permission: return 403;
    case Errc::not_found: return 404;
    case Errc::exists:
    case Errc::busy:
    case Errc::locked: return 409;
    case Errc::no_space: return 507;
    case Errc::closed:
    case Errc::cancelled:
    case Errc::fenced:
    case Errc::overloaded: return 503;
    case Errc::timed_out: return 504;
    default: return 500;
  }
}

Response problem(unsigned status, std::string_view title, std::string_view detail, std::string_view field) {
  boost::json::object body;
  std::string type = "urn:holdfast:problem:";
  for (const char c : title) type.push_back(c == ' ' ? '-' : c);
  body["type"] = type;
  body["title"] = title;
  body["status"] = status;
  body["detail"] = detail;
  if (!field.empty()) body["field"] = field;
  Response response;
  response.status = status;
  response.content_type = "application/problem+json";
  response.body = boost::json::serialize(body) + "\n";
  return response;
}

Response problem(const Error& error) {
  const std::string_view field = field_of(error.message);
  const std::string_view detail = field.empty() ? std::string_view(error.message)
                                                : std::string_view(error.message).substr(field.size() + 2);
  return problem(status_of(error.code), errc_name(error.code), detail.empty() ? errc_name(error.code) : detail, field);
}

}  // namespace holdfast::admin
