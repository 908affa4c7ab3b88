// How a question reaches an etcd of several members: to whom first, how long to wait, with which token.
//
// A read may be asked of several members: the first answer that passes its judge counts. A write is handed to one member once.
// It is tried elsewhere only as long as nobody can have heard it, and again with a new token only when etcd itself said that it
// refused the old one; whatever else happens, nobody knows what became of it.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/sync.h"
#include "base/task.h"
#include "coord/endpoint_order.h"
#include "coord/etcd_messages.h"
#include "coord/etcd_stats.h"
#include "coord/http.h"

namespace holdfast::coord {

// Lives in the frame of whoever asks, until the answer is there.
struct Question {
  const char* path;
  std::string body;
  BootNs deadline;
  // Of a read. Errors: the answer does not count, another member is asked.
  std::function<Result<void>(const std::string& where, std::string_view body)> judge;
  std::size_t answer_bytes_max = 512 << 10;
};

struct Written {
  bool answered = false;
  std::size_t endpoint = 0;      // Valid if answered, as are
  std::string where, body;
  Error error{Errc::timed_out};  // Valid if not.
};

class EtcdChannel {
 public:
  EtcdChannel(Loop& loop, HttpClient& http, const EtcdOptions& options, std::vector<HttpEndpoint> endpoints, EtcdStats& stats);

  // Errors: foreign and protocol (the judge's), permission, out_of_range (compacted), timed_out, io_error, overloaded.
  Task<Result<void>> read(Question* question);
  Task<Written> write(Question* question);

  // For a stream, which goes its own way. Empty: none is needed.
  Task<Result<std::string>> token(BootNs deadline);
  void drop_token(const std::string& refused);
  EndpointOrder& order() { return order_; }
  // No answer came from there, or one that does not count.
  void failed(std::size_t endpoint);
  const std::string& url(std::size_t endpoint) const { return stats_->endpoints[endpoint].url; }
  BootNs now() { return loop_->clock().now(); }

 private:
  struct Race;
  struct RaceEnd {
    bool good = false;
    Refusal::Kind refusal = Refusal::Kind::other;  // Valid unless good: token and auth_is_off are the caller's business.
    Error error{Errc::timed_out};
  };
  Task<RaceEnd> race(Question* question, const std::string* token);
  bool settle(Race* race, Question* question, const std::string* token, RaceEnd* end);
  void give_up_unsent(Race* race, RaceEnd* end);
  Task<Written> write_with(Question* question, const std::string* token, bool* token_refused);
  std::string password() const;
  Task<RaceEnd> authenticate(BootNs deadline);
  void begin(Race* race, std::size_t endpoint, const Question& question, const std::string& token);
  void answered(std::size_t endpoint, BootNs begun);
  void suspect_token(const std::string& used);

  Loop* loop_;
  HttpClient* http_;
  const EtcdOptions* options_;
  EtcdStats* stats_;
  EndpointOrder order_;

  std::string token_;            // Empty: none yet, or it was refused.
  BootNs token_since_{};
  bool authenticating_ = false;
  bool auth_is_off_ = false;     // etcd said so.
  std::uint64_t authentications_ = 0;
  RaceEnd last_authentication_;
  WaitList authenticated_;
};

}  // namespace holdfast::coord
