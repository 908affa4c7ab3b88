// The operator's door without the sockets: a request in, a response later. Stateless but for the node it speaks for;
// everything here runs on the caller's thread, the answers come from any.
#pragma once

#include <memory>
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

 private:
  NodeControl& node_;
  ApiOptions options_;
};

}  // namespace holdfast::admin
