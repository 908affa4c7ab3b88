// One HTTP request to a node's admin port.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace holdfast::cli {

struct ServerUrl {
  std::string host = "127.0.0.1";  // Without brackets.
  std::uint16_t port = 9440;
  std::string text() const;        // "http://127.0.0.1:9440"
};
// "http://host[:port]", "host:port" or "host"; the error says what is wrong.
Result<ServerUrl> parse_server_url(std::string_view text);

struct Answer {
  unsigned status = 0;
  std::string content_type;
  std::string body;
};

class Client {
 public:
  Client(ServerUrl server, std::string token) : server_(std::move(server)), token_(std::move(token)) {}
  const ServerUrl& server() const { return server_; }
  // The same token, for another node.
  Client at(ServerUrl server) const { return Client(std::move(server), token_); }
  // Errors: not_found (no such host), closed (nobody listens, or it hung up), timed_out, protocol (no HTTP).
  Result<Answer> send(std::string method, std::string target, std::string json_body, std::int64_t timeout_ms);

 private:
  ServerUrl server_;
  std::string token_;
};

}  // namespace holdfast::cli
