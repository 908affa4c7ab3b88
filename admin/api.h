// The operator's door without the sockets: a request in, a response later. Stateless but for the node it speaks for;
// everything here runs on the caller's thread, the answers come from any.
#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "admin/http.h"
#include "engine/node.h"

namespace holdfast::admin {

struct ApiOptions {
  std::string token;  // Bearer token that every request must carry, except for the health probes. Empty: none.
};

class Api {
 public:
  // The node outlives the api and every answer that is under way.
  Api(NodeControl& node, ApiOptions options);
  void handle(Request request, Respond respond) const;
  // Counts from the next request on, also for copies of this api. From any thread.
  void set_token(std::string token);

 private:
  struct Token {
    std::mutex mutex;
    std::string text;
  };
  bool is_authorized(const std::string& header) const;

  NodeControl& node_;
  std::shared_ptr<Token> token_;
};

}  // namespace holdfast::admin
