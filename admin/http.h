// One HTTP request and its answer as plain data: what the handlers see. The sockets are server.cpp's business.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace holdfast::admin {

struct Request {
  std::string method;         // "GET"
  std::string target;         // As sent: "/v1/volumes/pg?force=true".
  std::string content_type;   // Empty when there is none.
  std::string authorization;  // Likewise.
  std::string body;
};

struct Response {
  unsigned status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;
};

// Called once, from any thread.
using Respond = std::move_only_function<void(Response)>;

// A target taken apart; everything is percent-decoded.
struct Target {
  std::vector<std::string> segments;                          // "/v1/volumes" → {"v1", "volumes"}
  std::vector<std::pair<std::string, std::string>> query;     // In the order sent.
  std::optional<std::string> parameter(std::string_view name) const;
};
Result<Target> parse_target(std::string_view target);

// RFC 9457. `field` names what to correct, where there is such a thing.
Response problem(unsigned status, std::string_view title, std::string_view detail, std::string_view field = {});
// An error of the node: "field: text" becomes both.
Response problem(const Error& error);
unsigned status_of(Errc code);

}  // namespace holdfast::admin
