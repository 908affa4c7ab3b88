// HTTP/1.1 for the Api: a thread of its own, bounded connections, sizes and times, so that no client can hold it up.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "admin/api.h"
#include "base/result.h"

namespace holdfast::admin {

struct ServerOptions {
  std::string address = "127.0.0.1";
  std::uint16_t port = 9440;                     // 0: any free one.
  std::size_t connections_max = 64;
  std::uint64_t body_bytes_max = 1ULL << 20;
  std::uint32_t header_bytes_max = 16u << 10;
  std::int64_t request_timeout_ms = 10'000;      // For a whole request to arrive, and for a whole answer to leave.
  std::int64_t idle_timeout_ms = 60'000;         // Between the requests of a connection.
  std::int64_t read_answer_timeout_ms = 10'000;  // For the node to answer a GET: probes must not hang.
  std::int64_t answer_timeout_ms = 300'000;      // For the rest: creating a volume zeroes its log.
};

class Server {
 public:
  // Binds and serves. Errors say which address and why: busy (in use), permission, invalid_argument, io_error.
  static Result<std::unique_ptr<Server>> start(ServerOptions options, Api api);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  std::uint16_t port() const;
  // No new connections; idle ones close at once, requests under way get `grace_ms` to finish. Joins the thread.
  void stop(std::int64_t grace_ms);

 private:
  struct Core;
  explicit Server(std::shared_ptr<Core> core);
  std::shared_ptr<Core> core_;
};

}  // namespace holdfast::admin
