#include "coord/etcd_messages.h"

#include <boost/json.hpp>
#include <charconv>

#include "base/base64.h"
#include "base/text.h"

namespace holdfast::coord {

namespace json = boost::json;

namespace {

constexpr std::size_t kTokenBytesMax = 8 << 10;
constexpr std::size_t kMessageBytesMax = 512;

// What others say goes to logs and terminals.
std::string printable(std::string_view text) {
  std::string out;
  for (const char c : text.substr(0, kMessageBytesMax)) out += c >= ' ' && c <= '~' ? c : ' ';
  return out;
}

// ---- Building. Everything of ours that goes between quotes is base64 or a number, but for user and password.

std::string base64(std::string_view text) { return to_base64(as_bytes(text)); }

void add_range(std::string& out, const std::string& key, const std::string& end) {
  out += concat("\"key\":\"", base64(key), "\"");
  if (!end.empty()) out += concat(",\"range_end\":\"", base64(end), "\"");
}

void add(std::string& out, const Comparison& c) {
  out += "{\"result\":\"EQUAL\",";
  add_range(out, c.key, c.end);
  switch (c.target) {
    case Comparison::Target::modified: out += concat(",\"target\":\"MOD\",\"mod_revision\":\"", c.number, "\"}"); break;
    case Comparison::Target::version: out += concat(",\"target\":\"VERSION\",\"version\":\"", c.number, "\"}"); break;
    case Comparison::Target::value: out += concat(",\"target\":\"VALUE\",\"value\":\"", base64(c.value), "\"}"); break;
  }
}

void add(std::string& out, const Operation& o) {
  switch (o.kind) {
    case Operation::Kind::range:
      out += "{\"request_range\":{";
      add_range(out, o.key, o.end);
      if (o.limit > 0) out += concat(",\"limit\":\"", o.limit, "\"");
      if (o.revision > 0) out += concat(",\"revision\":\"", o.revision, "\"");
      break;
    case Operation::Kind::put:
      out += "{\"request_put\":{";
      add_range(out, o.key, {});
      out += concat(",\"value\":\"", base64(o.value), "\"");
      break;
    case Operation::Kind::erase:
      out += "{\"request_delete_range\":{";
      add_range(out, o.key, o.end);
      break;
  }
  out += "}}";
}

template <class T>
void add_all(std::string& out, const char* name, const std::vector<T>& items) {
  out += concat("\"", name, "\":[");
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (i > 0) out += ',';
    add(out, items[i]);
  }
  out += ']';
}

// ---- Reading. An accessor that does not find what it looks for, where it may be left out, gives the default value.

std::unexpected<Error> nonsense(std::string_view what) { return fail(Errc::protocol, std::string(what)); }

// The error of a part as that of the whole.
std::unexpected<Error> not_understood(const std::string& where, const Error& error) {
  return fail(error.code, concat("the etcd at ", where, " is not understood: ", error.message));
}

Result<json::object> parse_object(std::string_view text) {
  boost::system::error_code error;
  json::value value = json::parse(text, error);
  if (error) return nonsense(concat("it is not JSON (", error.message(), ")"));
  if (!value.is_object()) return nonsense("it is no JSON object");
  return std::move(value.get_object());
}

const json::object* object_in(const json::object& parent, std::string_view name) {
  const json::value* value = parent.if_contains(name);
  return value ? value->if_object() : nullptr;
}

const json::array* array_in(const json::object& parent, std::string_view name) {
  const json::value* value = parent.if_contains(name);
  return value ? value->if_array() : nullptr;
}

std::string_view text_in(const json::object& parent, std::string_view name) {
  const json::value* value = parent.if_contains(name);
  const json::string* text = value ? value->if_string() : nullptr;
  return text ? std::string_view(text->data(), text->size()) : std::string_view();
}

bool flag_in(const json::object& parent, std::string_view name) {
  const json::value* value = parent.if_contains(name);
  const bool* flag = value ? value->if_bool() : nullptr;
  return flag && *flag;
}

// Absent: zero. Not a number without a sign: nothing.
std::optional<std::uint64_t> number_in(const json::object& parent, std::string_view name) {
  const json::value* value = parent.if_contains(name);
  if (!value) return 0;
  if (const std::int64_t* number = value->if_int64()) return *number >= 0 ? std::optional<std::uint64_t>(*number) : std::nullopt;
  if (const std::uint64_t* number = value->if_uint64()) return *number;
  const json::string* text = value->if_string();
  if (!text || text->empty()) return std::nullopt;
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), number);
  if (error != std::errc{} || end != text->data() + text->size()) return std::nullopt;
  return number;
}

std::optional<std::string> bytes_in(const json::object& parent, std::string_view name) {
  const json::value* value = parent.if_contains(name);
  if (!value) return std::string();
  if (!value->is_string()) return std::nullopt;
  const auto bytes = from_base64(text_in(parent, name));
  if (!bytes) return std::nullopt;
  return std::string(as_text(*bytes));
}

Result<EtcdHeader> header_in(const json::object& parent) {
  const json::object* object = object_in(parent, "header");
  if (!object) return nonsense("it has no header");
  const auto cluster = number_in(*object, "cluster_id"), revision = number_in(*object, "revision");
  if (!cluster || *cluster == 0) return nonsense("its header names no cluster");
  if (!revision || *revision == 0) return nonsense("its header has no revision");
  return EtcdHeader{*cluster, *revision};
}

Result<KeyValue> entry_of(const json::value& value) {
  const json::object* object = value.if_object();
  if (!object) return nonsense("an entry is no object");
  auto key = bytes_in(*object, "key"), content = bytes_in(*object, "value");
  const auto modified = number_in(*object, "mod_revision");
  if (!key || key->empty()) return nonsense("an entry has no key");
  if (!content) return nonsense("a value is not base64");
  if (!modified || *modified == 0) return nonsense("an entry has no revision");
  return KeyValue{std::move(*key), std::move(*content), *modified};
}

Result<RangeAnswer> range_of(const json::value& value) {
  const json::object* object = value.if_object();
  if (!object) return nonsense("an operation's answer is no object");
  RangeAnswer range;
  const json::object* answer = object_in(*object, "response_range");
  if (!answer) {
    if (object_in(*object, "response_put") || object_in(*object, "response_delete_range")) return range;
    return nonsense("an operation's answer is of no kind that was asked for");
  }
  range.more = flag_in(*answer, "more");
  const json::array* entries = array_in(*answer, "kvs");
  for (std::size_t i = 0; entries && i < entries->size(); ++i) {
    auto entry = entry_of((*entries)[i]);
    if (!entry) return fail(entry.error());
    range.entries.push_back(std::move(*entry));
  }
  return range;
}

Result<WatchLine::Change> change_of(const json::value& value) {
  const json::object* object = value.if_object();
  const json::object* entry = object ? object_in(*object, "kv") : nullptr;
  if (!entry) return nonsense("a change has no key");
  WatchLine::Change change;
  auto key = bytes_in(*entry, "key");
  const auto revision = number_in(*entry, "mod_revision");
  if (!key || key->empty() || !revision || *revision == 0) return nonsense("a change has no key or no revision");
  change.key = std::move(*key);
  change.revision = *revision;
  change.erased = text_in(*object, "type") == "DELETE";
  return change;
}

}  // namespace

std::string encode_txn(const Txn& txn) {
  std::string out = "{";
  add_all(out, "compare", txn.comparisons);
  out += ',';
  add_all(out, "success", txn.success);
  out += ',';
  add_all(out, "failure", txn.failure);
  out += '}';
  return out;
}

Result<TxnAnswer> decode_txn(const std::string& where, std::string_view body) {
  auto object = parse_object(body);
  if (!object) return not_understood(where, object.error());
  auto header = header_in(*object);
  if (!header) return not_understood(where, header.error());
  TxnAnswer answer;
  answer.header = *header;
  answer.succeeded = flag_in(*object, "succeeded");
  const json::array* responses = array_in(*object, "responses");
  for (std::size_t i = 0; responses && i < responses->size(); ++i) {
    auto range = range_of((*responses)[i]);
    if (!range) return not_understood(where, range.error());
    answer.ranges.push_back(std::move(*range));
  }
  return answer;
}

std::string encode_watch(const std::string& key, const std::string& end, std::uint64_t from_revision) {
  std::string out = "{\"create_request\":{";
  add_range(out, key, end);
  out += concat(",\"start_revision\":\"", from_revision, "\",\"progress_notify\":true,\"fragment\":true}}");
  return out;
}

Result<WatchLine> decode_watch_line(const std::string& where, std::string_view line) {
  auto object = parse_object(line);
  if (!object) return not_understood(where, object.error());
  if (const json::object* error = object_in(*object, "error"))
    return fail(Errc::io_error, concat("the etcd at ", where, " ended the stream: ", printable(text_in(*error, "message"))));
  const json::object* result = object_in(*object, "result");
  if (!result) return not_understood(where, nonsense("a line of the stream has no result").error());
  // A cancellation tells no revision of its own.
  const json::object* header = object_in(*result, "header");
  const auto revision = header ? number_in(*header, "revision") : std::nullopt;
  if (!revision) return not_understood(where, nonsense("a line of the stream has no header").error());
  const auto compacted = number_in(*result, "compact_revision");
  if (!compacted) return not_understood(where, nonsense("a compact_revision is no number").error());
  WatchLine out;
  out.revision = *revision;
  out.created = flag_in(*result, "created");
  out.cancelled = flag_in(*result, "canceled");
  out.more_follows = flag_in(*result, "fragment");
  out.compact_revision = *compacted;
  out.reason = printable(text_in(*result, "cancel_reason"));
  const json::array* events = array_in(*result, "events");
  for (std::size_t i = 0; events && i < events->size(); ++i) {
    auto change = change_of((*events)[i]);
    if (!change) return not_understood(where, change.error());
    out.changes.push_back(std::move(*change));
  }
  return out;
}

std::string encode_authenticate(const std::string& user, const std::string& password) {
  return json::serialize(json::object{{"name", user}, {"password", password}});
}

Result<std::string> decode_token(const std::string& where, std::string_view body) {
  auto object = parse_object(body);
  if (!object) return not_understood(where, object.error());
  const std::string_view token = text_in(*object, "token");
  if (token.empty() || token.size() > kTokenBytesMax) return not_understood(where, nonsense("there is no token in it").error());
  // It becomes a header's value as it is.
  for (const char c : token)
    if (c <= ' ' || c > '~') return not_understood(where, nonsense("the token has other characters than a header may have").error());
  return std::string(token);
}

Refusal decode_refusal(unsigned status, std::string_view body) {
  // gRPC's status codes.
  enum : std::uint64_t { kDeadline = 4, kPermission = 7, kExhausted = 8, kRange = 11, kUnavailable = 14, kUnauthenticated = 16 };
  Refusal refusal;
  std::uint64_t code = 0;
  if (const auto object = parse_object(body)) {
    code = number_in(*object, "code").value_or(0);
    std::string_view message = text_in(*object, "message");
    if (message.empty()) message = text_in(*object, "error");
    refusal.message = printable(message);
  }
  // Else a text of etcd's own door, which is no JSON, or of somebody else's.
  if (refusal.message.empty()) refusal.message = concat("HTTP status ", status, ": ", printable(body));
  // Only what is etcd's own word proves that nothing took effect.
  const auto says = [&refusal, code](std::string_view words) { return code != 0 && refusal.message.find(words) != refusal.message.npos; };
  using enum Refusal::Kind;
  if (code == kUnauthenticated || says("invalid auth token") || says("auth: revision in header is old") || says("user name is empty")) refusal.kind = token;
  else if (says("authentication is not enabled")) refusal.kind = auth_is_off;
  else if (code == kPermission || says("invalid user ID or password")) refusal.kind = permission;
  else if (code == kRange || says("has been compacted")) refusal.kind = compacted;
  else if (code == kUnavailable || code == kDeadline || code == kExhausted || status == 503 || status == 504) refusal.kind = not_now;
  return refusal;
}

std::string end_of_prefix(std::string prefix) {
  // Our prefixes end with a slash, which has a successor.
  prefix.back() = static_cast<char>(prefix.back() + 1);
  return prefix;
}

}  // namespace holdfast::coord
