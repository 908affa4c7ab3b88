// The log and its consumers over HTTP: what is asked, and documents of docs/api.md.
#pragma once

#include <vector>

#include "admin/http.h"
#include "engine/node.h"

namespace holdfast::admin {

// ?from=LSN | ?consumer=NAME, &limit=, &wait_ms=, &payload=omit|base64
Result<ReadLog> parse_read_log(const Target& target);
struct CreateConsumer {
  std::string name;
  ConsumerStart start = ConsumerStart::now;
};
// {"name": "backup", "from": "oldest" | "now"}
Result<CreateConsumer> parse_create_consumer(const Request& request);
struct ConfirmConsumer {
  Lsn lsn;
  Confirm when = Confirm::soon;
};
// {"confirmed": LSN, "durably": true | false}
Result<ConfirmConsumer> parse_confirm_consumer(const Request& request);

Response log_response(const LogBatch& batch);
Response consumers_response(const std::vector<ConsumerStatus>& consumers);
Response consumer_created_response(const ConsumerStatus& consumer);

}  // namespace holdfast::admin
