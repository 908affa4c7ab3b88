#include "coord/node_record.h"

#include <algorithm>
#include <boost/json.hpp>

#include "base/text.h"

namespace holdfast::coord {

namespace json = boost::json;

namespace {

constexpr std::int64_t kFormat = 1;
constexpr std::size_t kAddressesMax = 16, kAddressBytesMax = 300, kNameBytesMax = 63, kRecordBytesMax = 16 << 10;

bool is_plain(std::string_view text, std::size_t bytes_max) {
  return !text.empty() && text.size() <= bytes_max && std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c <= '~'; });
}

std::unexpected<Error> bad(std::string_view field) { return fail(Errc::corrupt, concat("a node's record: ", field)); }

Result<std::string> text_of(const json::object& object, std::string_view field) {
  const json::value* value = object.if_contains(field);
  const json::string* text = value ? value->if_string() : nullptr;
  if (!text) return bad(concat(field, " is missing or no text"));
  return std::string(text->data(), text->size());
}

Result<std::vector<std::string>> addresses_of(const json::object& object, std::string_view field) {
  const json::value* value = object.if_contains(field);
  const json::array* items = value ? value->if_array() : nullptr;
  if (!items || items->size() > kAddressesMax) return bad(concat(field, " is missing, no list, or too long"));
  std::vector<std::string> addresses;
  for (const json::value& item : *items) {
    const json::string* text = item.if_string();
    if (!text || !is_plain({text->data(), text->size()}, kAddressBytesMax)) return bad(concat(field, " has something else than addresses"));
    addresses.emplace_back(text->data(), text->size());
  }
  return addresses;
}

json::array array_of(const std::vector<std::string>& texts) {
  json::array array;
  for (const std::string& text : texts) array.emplace_back(text);
  return array;
}

}  // namespace

std::string encode_node_record(const NodeRecord& record) {
  return json::serialize(json::object{{"format", kFormat},
                                      {"name", record.name},
                                      {"links", array_of(record.links)},
                                      {"portals", array_of(record.portals)},
                                      {"admin", record.admin}});
}

Result<NodeRecord> decode_node_record(NodeId node, std::string_view text) {
  if (text.size() > kRecordBytesMax) return bad("it is too long");
  boost::system::error_code error;
  const json::value value = json::parse(text, error);
  const json::object* object = error ? nullptr : value.if_object();
  if (!object) return bad("it is no JSON object");
  const json::value* format = object->if_contains("format");
  const std::int64_t* version = format ? format->if_int64() : nullptr;
  if (!version || *version < 1) return bad("format is missing or no number");
  if (*version > kFormat) return fail(Errc::version_too_new, concat("a node's record has format ", *version, ", written by a newer Holdfast"));
  NodeRecord record;
  record.node = node;
  auto name = text_of(*object, "name"), admin = text_of(*object, "admin");
  auto links = addresses_of(*object, "links"), portals = addresses_of(*object, "portals");
  for (const Error* wrong : {name ? nullptr : &name.error(), admin ? nullptr : &admin.error(), links ? nullptr : &links.error(),
                             portals ? nullptr : &portals.error()})
    if (wrong) return fail(*wrong);
  if (!is_plain(*name, kNameBytesMax)) return bad("name: 1 to 63 printable characters");
  if (!admin->empty() && !is_plain(*admin, kAddressBytesMax)) return bad("admin is no address");
  record.name = std::move(*name);
  record.admin = std::move(*admin);
  record.links = std::move(*links);
  record.portals = std::move(*portals);
  return record;
}

}  // namespace holdfast::coord
