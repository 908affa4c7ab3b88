#include "coord/session_record.h"

#include <algorithm>
#include <boost/json.hpp>
#include <charconv>
#include <optional>

#include "base/log.h"
#include "base/text.h"

namespace holdfast::coord {

namespace json = boost::json;

namespace {

constexpr std::int64_t kSessionFormat = 1;
constexpr std::string_view kSessionFolder = "sessions";
constexpr std::size_t kWordBytesMax = 64;
constexpr int kPublishTriesMax = 4;

std::unexpected<Error> no_session_record(std::string_view field) { return fail(Errc::corrupt, concat("a record of sessions: ", field)); }

// A word of the object, printable and without spaces; nothing when it is something else.
std::optional<std::string> word_of(const json::object& object, std::string_view field) {
  const json::value* value = object.if_contains(field);
  const json::string* text = value ? value->if_string() : nullptr;
  if (!text || text->empty() || text->size() > kWordBytesMax) return std::nullopt;
  if (!std::ranges::all_of(*text, [](char c) { return c > ' ' && c <= '~'; })) return std::nullopt;
  return std::string(text->data(), text->size());
}

// A list of objects of two words each.
template <class T>
Result<std::vector<T>> pairs_of(const json::object& object, std::string_view field, std::size_t count_max, std::string_view first, std::string_view second) {
  const json::value* value = object.if_contains(field);
  const json::array* items = value ? value->if_array() : nullptr;
  if (!items || items->size() > count_max) return no_session_record(concat(field, " is missing, no list, or too long"));
  std::vector<T> out;
  for (const json::value& item : *items) {
    const json::object* pair = item.if_object();
    auto one = pair ? word_of(*pair, first) : std::nullopt, other = pair ? word_of(*pair, second) : std::nullopt;
    if (!one || !other) return no_session_record(concat(field, " has something else than ", first, " and ", second));
    out.push_back({std::move(*one), std::move(*other)});
  }
  return out;
}

std::optional<NodeId> node_of_session(std::string_view key) {
  key.remove_prefix(std::min(key.size(), kSessionFolder.size() + 1));
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), number);
  if (error != std::errc{} || end != key.data() + key.size() || number == 0 || key.front() == '0') return std::nullopt;
  return NodeId(number);
}

}  // namespace

std::string session_key(NodeId node) { return concat(kSessionFolder, "/", node.value); }

std::string encode_session_record(const SessionRecord& record) {
  json::array portals, connections;
  for (const SessionRecord::Portal& portal : record.portals) portals.push_back(json::object{{"address", portal.address}, {"mac", portal.mac}});
  for (const SessionRecord::Connection& one : record.connections) connections.push_back(json::object{{"portal", one.portal}, {"initiator", one.initiator}});
  return json::serialize(json::object{{"format", kSessionFormat}, {"portals", std::move(portals)}, {"connections", std::move(connections)}});
}

Result<SessionRecord> decode_session_record(NodeId node, std::string_view text) {
  if (text.size() > kCoordinatorValueBytesMax) return no_session_record("it is too long");
  boost::system::error_code error;
  const json::value value = json::parse(text, error);
  const json::object* object = error ? nullptr : value.if_object();
  if (!object) return no_session_record("it is no JSON object");
  const json::value* format = object->if_contains("format");
  const std::int64_t* version = format ? format->if_int64() : nullptr;
  if (!version || *version < 1) return no_session_record("format is missing or no number");
  if (*version > kSessionFormat) return fail(Errc::version_too_new, concat("a record of sessions has format ", *version, ", written by a newer Holdfast"));
  auto portals = pairs_of<SessionRecord::Portal>(*object, "portals", kSessionPortalsMax, "address", "mac");
  if (!portals) return fail(portals.error());
  auto connections = pairs_of<SessionRecord::Connection>(*object, "connections", kSessionConnectionsMax, "portal", "initiator");
  if (!connections) return fail(connections.error());
  return SessionRecord{node, std::move(*portals), std::move(*connections)};
}

Task<Result<void>> publish_sessions(Coordinator* coordinator, SessionRecord record) {
  const std::string key = session_key(record.node);
  const std::string wanted = encode_session_record(record);
  for (int tries = 0; tries < kPublishTriesMax; ++tries) {
    auto entry = co_await coordinator->get(key);
    if (!entry) co_return fail(entry.error());
    if (entry->revision != 0 && entry->value == wanted) co_return Result<void>{};
    // Whatever came of it, the next look tells.
    auto outcome = co_await coordinator->compare_and_swap(key, entry->revision, wanted);
    if (outcome.status == CasStatus::applied) co_return Result<void>{};
  }
  co_return fail(Errc::timed_out, "the coordinator did not confirm this node's record of sessions");
}

Task<Result<std::vector<SessionRecord>>> list_sessions(ClusterDirectory* directory) {
  auto entries = co_await directory->list(std::string(kSessionFolder));
  if (!entries) co_return fail(entries.error());
  std::vector<SessionRecord> out;
  for (const DirectoryEntry& entry : *entries) {
    const auto node = node_of_session(entry.key);
    auto record = node ? decode_session_record(*node, entry.entry.value) : fail(Errc::corrupt, "no node's number");
    if (record) out.push_back(std::move(*record));
    else log_line(LogLevel::debug, concat("coordinator: ", entry.key, " is left out: ", record.error().text()));
  }
  std::ranges::sort(out, {}, &SessionRecord::node);
  co_return out;
}

}  // namespace holdfast::coord
