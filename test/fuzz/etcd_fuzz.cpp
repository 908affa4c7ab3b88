// What an etcd, or somebody in its place, may say: answers, refusals, tokens, lines of a stream, markers and nodes' records. The first
// byte chooses. What is understood is within what was promised; what is written and read again is the same.
#include <cstdlib>

#include "base/ensure.h"
#include "coord/cluster_guard.h"
#include "coord/etcd_messages.h"
#include "coord/node_record.h"
#include "coord/options.h"

namespace {

using namespace holdfast;
using namespace holdfast::coord;

void read_txn(std::string_view text) {
  const auto answer = decode_txn("here", text);
  if (!answer) return;
  ENSURE(answer->header.revision > 0 && answer->header.cluster_id > 0);
  for (const RangeAnswer& range : answer->ranges)
    for (const KeyValue& entry : range.entries) ENSURE(!entry.key.empty() && entry.modified > 0);
}

void read_stream(std::string_view text) {
  const auto line = decode_watch_line("here", text);
  if (!line) return;
  for (const WatchLine::Change& change : line->changes) ENSURE(!change.key.empty() && change.revision > 0);
}

void read_token(std::string_view text) {
  const auto token = decode_token("here", text);
  if (!token) return;
  for (const char c : *token) ENSURE(c > ' ' && c <= '~');
}

void read_marker(std::string_view text) {
  const auto marker = decode_marker(text);
  if (!marker) return;
  const auto again = decode_marker(encode_marker(*marker));
  ENSURE(again && again->id == marker->id && again->etcd_id == marker->etcd_id);
}

void read_record(std::string_view text) {
  const auto record = decode_node_record(NodeId(1), text);
  if (!record) return;
  const auto again = decode_node_record(NodeId(1), encode_node_record(*record));
  ENSURE(again && *again == *record);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0]) {
    case 't': read_txn(text); break;
    case 'w': read_stream(text); break;
    case 'a': read_token(text); break;
    case 'r': (void)decode_refusal(503, text); break;
    case 'm': read_marker(text); break;
    case 'n': read_record(text); break;
    default: (void)parse_http_endpoint(std::string(text)); break;
  }
  return 0;
}
