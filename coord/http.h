// POST requests to a few fixed servers, over connections that are kept: HTTP/1.1, with or without TLS. Everything here happens
// on the loop's thread, and nothing here has a time limit: who asked cancels when it has waited long enough.
//
// What it knows for certain is `may_be_sent`: false means that the server has not seen a byte of the request and never will.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "coord/loop.h"
#include "coord/options.h"

namespace holdfast::coord {

struct HttpRequest {
  std::string path;
  std::string body;           // JSON.
  std::string authorization;  // Empty: none.
  std::size_t answer_bytes_max = 512 << 10;
};

struct HttpAnswer {
  unsigned status = 0;  // Zero: there is no whole answer, and `error` says why.
  std::string body;
  Error error{Errc::cancelled};
};

class HttpExchange {
 public:
  virtual ~HttpExchange() = default;
  virtual bool done() const = 0;
  virtual bool may_be_sent() const = 0;    // Final once it is done or cancelled.
  virtual const HttpAnswer& answer() const = 0;  // Valid when it is done.
  // The connection breaks off, and nobody is called any more.
  virtual void cancel() = 0;
};

struct HttpCalls {
  // When it is done; not called when it is done already as start() returns.
  std::move_only_function<void()> on_done;
  // For an answer without an end: each line of its body, as it comes, as long as the status is 200.
  std::move_only_function<void(std::string_view)> on_line;
};

struct HttpOptions {
  std::string tls_ca_file, tls_certificate_file, tls_key_file;  // Read again for each new connection: they get renewed.
  std::size_t line_bytes_max = 4u << 20;
};

class HttpClient {
 public:
  HttpClient(Loop& loop, std::vector<HttpEndpoint> endpoints, HttpOptions options);
  HttpClient(const HttpClient&) = delete;
  // Cancels what is under way.
  ~HttpClient();

  // Errors: those of a file that cannot be read or is none; the message names option and file.
  Result<void> check_files() const;

  std::shared_ptr<HttpExchange> start(std::size_t endpoint, HttpRequest request, HttpCalls calls);

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace holdfast::coord
