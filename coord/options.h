// What the etcd coordinator is told by its operator. Checked as a whole before anything is connected.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace holdfast::coord {

struct EtcdOptions {
  std::vector<std::string> endpoints;  // "http://192.0.2.1:2379", "https://etcd1.example:2379": the nearest first; 1 to 16.
  std::string prefix = "/holdfast";    // All keys are below it; clusters that share an etcd differ here.
  std::string cluster_id;              // What the marker must say; empty: believe the first marker that is seen.
  std::string user, password;          // Both empty: no authentication.
  std::string password_file;           // Where the password is by now: read again for each authentication. Empty: as above.
  std::string tls_ca_file;             // PEM. Empty: the system's certificate authorities.
  std::string tls_certificate_file, tls_key_file;  // PEM, of this client. Both or neither.

  std::int64_t request_timeout_ms = 2'000;  // A call as a whole; of a list each page. Safety rests on none of these times.
  std::int64_t connect_timeout_ms = 500;    // Until a request can be sent to an endpoint; then the next one is tried.
  std::int64_t hedge_after_ms = 250;        // A read without an answer for so long is asked of the next endpoint as well.
  std::int64_t watch_timeout_ms = 5'000;    // until_changed returns after that even if nothing changed.
  std::int64_t stream_life_ms = 60'000;     // A stream of changes is made anew after that: a dead one is not dead for ever.
  // Some gateways close the connection where others say that a token is not valid; but so does a server that is restarted, which
  // keeps tokens: so old is a token that is suspected then.
  std::int64_t token_trusted_ms = 5'000;
};

inline constexpr std::size_t kEtcdEndpointsMax = 16;

struct HttpEndpoint {
  bool tls = false;
  std::string host;  // Without brackets.
  std::string port;
  std::string url() const;
};

// Errors name the field and what is allowed.
Result<HttpEndpoint> parse_http_endpoint(const std::string& text);
Result<std::vector<HttpEndpoint>> check(const EtcdOptions& options);

}  // namespace holdfast::coord
