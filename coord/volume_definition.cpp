#include "coord/volume_definition.h"

#include <algorithm>
#include <array>
#include <boost/json.hpp>

#include "base/text.h"

namespace holdfast::coord {
namespace {

namespace json = boost::json;

constexpr std::int64_t kDefinitionFormat = 1;
constexpr std::size_t kDefinitionBytesMax = 16 << 10, kTroubleBytesMax = 1 << 10, kDeviceBytesMax = 1 << 10;
constexpr std::array<std::string_view, 3> kDefinitionStates{"creating", "ready", "deleting"};

std::unexpected<Error> wrong(std::string_view what) { return fail(Errc::corrupt, concat("a volume's definition: ", what)); }

std::string hex_of_id(const Uuid& id) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out;
  for (const std::uint8_t byte : id) {
    out.push_back(kDigits[byte >> 4]);
    out.push_back(kDigits[byte & 15]);
  }
  return out;
}

std::optional<Uuid> id_of_hex(std::string_view text) {
  Uuid out{};
  if (text.size() != 2 * out.size()) return std::nullopt;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (digit < 0) return std::nullopt;
    out[i / 2] = static_cast<std::uint8_t>(out[i / 2] * 16 + digit);
  }
  return out;
}

// Reads fields one after the other, and keeps what was wrong first.
class FieldReader {
 public:
  explicit FieldReader(const json::object& object) : object_(&object) {}

  void id(std::string_view field, Uuid& out) {
    const json::string* text = text_at(field);
    const auto value = text ? id_of_hex({text->data(), text->size()}) : std::nullopt;
    if (value) out = *value;
    else note(field, "is no id");
  }
  template <class T>
  void number(std::string_view field, T& out, std::uint64_t min, std::uint64_t max) {
    const json::value* value = object_->if_contains(field);
    const std::int64_t* number = value ? value->if_int64() : nullptr;
    if (number && *number >= 0 && static_cast<std::uint64_t>(*number) >= min && static_cast<std::uint64_t>(*number) <= max) out = T(*number);
    else note(field, "is missing or out of its bounds");
  }
  void flag(std::string_view field, bool& out) {
    const json::value* value = object_->if_contains(field);
    if (value && value->is_bool()) out = value->get_bool();
    else note(field, "is neither true nor false");
  }
  void node(std::string_view field, NodeId& out) { number(field, out.value, 1, 65'535); }
  void text(std::string_view field, std::string& out, std::size_t bytes_max) {
    const json::string* text = text_at(field);
    if (text && text->size() <= bytes_max) out.assign(text->data(), text->size());
    else note(field, "is missing, no text, or too long");
  }
  const json::array* array(std::string_view field) {
    const json::value* value = object_->if_contains(field);
    const json::array* out = value ? value->if_array() : nullptr;
    if (!out) note(field, "is missing or no list");
    return out;
  }
  void note(std::string_view field, std::string_view what) {
    if (trouble_.empty()) trouble_ = concat(field, " ", what);
  }
  const std::string& trouble() const { return trouble_; }

 private:
  const json::string* text_at(std::string_view field) const {
    const json::value* value = object_->if_contains(field);
    return value ? value->if_string() : nullptr;
  }
  const json::object* object_;
  std::string trouble_;
};

std::string read_members(const json::array& items, std::vector<MemberDefinition>& out) {
  if (items.size() > kDefinedMembersMax) return "members has too many";
  for (const json::value& item : items) {
    const json::object* object = item.if_object();
    if (!object) return "members has something that is no member";
    FieldReader fields(*object);
    MemberDefinition member;
    fields.node("node", member.node);
    fields.id("incarnation", member.incarnation);
    if (object->contains("offered")) fields.flag("offered", member.offered);
    if (!fields.trouble().empty()) return concat("members: ", fields.trouble());
    if (!out.empty() && out.back().node >= member.node) return "members are not in order";
    out.push_back(member);
  }
  return {};
}

}  // namespace

std::string_view state_name(DefinitionState state) { return kDefinitionStates[static_cast<std::size_t>(state)]; }

const MemberDefinition* VolumeDefinition::find(NodeId node) const {
  const auto found = std::ranges::find(members, node, &MemberDefinition::node);
  return found == members.end() ? nullptr : &*found;
}
MemberDefinition* VolumeDefinition::find(NodeId node) { return const_cast<MemberDefinition*>(std::as_const(*this).find(node)); }

std::string volume_key(std::string_view name) { return concat("volumes/", name); }

std::string encode_definition(const VolumeDefinition& d) {
  json::array members;
  for (const MemberDefinition& member : d.members) {
    json::object one{{"node", member.node.value}, {"incarnation", hex_of_id(member.incarnation)}};
    if (member.offered) one["offered"] = true;
    members.push_back(std::move(one));
  }
  json::object out{{"format", kDefinitionFormat},
                   {"group", hex_of_id(d.group)},
                   {"volume", hex_of_id(d.volume)},
                   {"size_bytes", d.size_bytes},
                   {"log_bytes", d.log_bytes},
                   {"state", state_name(d.state)},
                   {"founder", d.founder.value},
                   {"min_in_sync", d.min_in_sync},
                   {"lease_ms", d.lease_ms},
                   {"members", std::move(members)}};
  if (d.replacement) out["replacement"] = json::object{{"from", d.replacement->from.value}, {"to", d.replacement->to.value}};
  if (!d.device.empty()) out["device"] = d.device;
  if (!d.trouble.empty()) out["trouble"] = std::string_view(d.trouble).substr(0, kTroubleBytesMax);
  return json::serialize(out);
}

Result<VolumeDefinition> decode_definition(std::string_view name, std::string_view text) {
  if (text.size() > kDefinitionBytesMax) return wrong("it is too long");
  boost::system::error_code error;
  const json::value value = json::parse(text, error);
  const json::object* object = error ? nullptr : value.if_object();
  if (!object) return wrong("it is no JSON object");
  FieldReader fields(*object);
  VolumeDefinition out;
  out.name = name;
  std::uint64_t format = 0;
  fields.number("format", format, 1, ~std::uint64_t{0} >> 1);
  if (fields.trouble().empty() && format > static_cast<std::uint64_t>(kDefinitionFormat))
    return fail(Errc::version_too_new, concat("a volume's definition has format ", format, ", written by a newer Holdfast"));
  fields.id("group", out.group);
  fields.id("volume", out.volume);
  fields.number("size_bytes", out.size_bytes, kChunkBytes, std::uint64_t{1} << 50);
  fields.number("log_bytes", out.log_bytes, kBlockBytes, std::uint64_t{1} << 40);
  std::string state;
  fields.text("state", state, 16);
  const auto known = std::ranges::find(kDefinitionStates, state);
  if (known == kDefinitionStates.end()) fields.note("state", "is none that is known");
  else out.state = static_cast<DefinitionState>(known - kDefinitionStates.begin());
  fields.node("founder", out.founder);
  fields.number("min_in_sync", out.min_in_sync, 1, kDefinedMembersMax);
  fields.number("lease_ms", out.lease_ms, 1, 3'600'000);
  if (object->contains("device")) fields.text("device", out.device, kDeviceBytesMax);
  if (object->contains("trouble")) fields.text("trouble", out.trouble, kTroubleBytesMax);
  if (const json::array* members = fields.array("members")) {
    const std::string trouble = read_members(*members, out.members);
    if (!trouble.empty()) fields.note(trouble, "");
  }
  if (const json::value* replacement = object->if_contains("replacement")) {
    static const json::object kNoNodes;
    const json::object* both = replacement->if_object();
    FieldReader nodes(both ? *both : kNoNodes);
    out.replacement.emplace();
    nodes.node("from", out.replacement->from);
    nodes.node("to", out.replacement->to);
    if (!nodes.trouble().empty()) fields.note("replacement:", nodes.trouble());
  }
  if (!fields.trouble().empty()) return wrong(fields.trouble());
  return out;
}

}  // namespace holdfast::coord
