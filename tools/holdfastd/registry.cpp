#include "tools/holdfastd/registry.h"

#include <boost/json.hpp>

#include <algorithm>
#include <filesystem>

#include "admin/names.h"
#include "tools/holdfastd/durable_file.h"

namespace holdfast::daemon {
namespace {

namespace json = boost::json;

constexpr std::size_t kRegistryBytesMax = 64u << 20;
constexpr std::string_view kStates[] = {"creating", "ready", "deleting", "formatted"};

std::unexpected<Error> damaged(const std::string& what) { return fail(Errc::corrupt, what); }

std::optional<Uuid> uuid_of(std::string_view text) {
  Uuid out{};
  std::size_t digits = 0;
  for (const char c : text) {
    if (c == '-') continue;
    const int value = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (value < 0 || digits == 32) return std::nullopt;
    out[digits / 2] = static_cast<std::uint8_t>(out[digits / 2] * 16 + value);
    ++digits;
  }
  if (digits != 32) return std::nullopt;
  return out;
}

Result<std::string> text_at(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  if (!value || !value->is_string()) return damaged("a volume has no text \"" + std::string(key) + "\"");
  return std::string(value->get_string());
}

Result<void> read_replica(const json::object& object, RegistryEntry& out) {
  const json::value* value = object.if_contains("replica");
  if (!value && out.state == EntryState::formatted) return damaged("volume " + out.name + " is formatted and no replica");
  if (!value) return {};
  if (!value->is_object()) return damaged("volume " + out.name + " has a replica that is no object");
  const auto group = text_at(value->get_object(), "group"), incarnation = text_at(value->get_object(), "incarnation");
  const auto group_id = uuid_of(group ? *group : std::string()), incarnation_id = uuid_of(incarnation ? *incarnation : std::string());
  if (!group_id || !incarnation_id) return damaged("volume " + out.name + " is a replica without valid ids");
  out.replica = ReplicaEntry{*group_id, *incarnation_id};
  return {};
}

Result<RegistryEntry> entry_of(const json::object& object) {
  RegistryEntry out;
  const auto name = text_at(object, "name"), uuid = text_at(object, "uuid"), backing = text_at(object, "backing");
  const auto state = text_at(object, "state"), kind = text_at(object, "kind");
  for (const auto* text : {&name, &uuid, &backing, &state, &kind}) {
    if (!*text) return fail(text->error());
  }
  if (!admin::check_volume_name(*name)) return damaged("a volume has the name \"" + admin::printable(*name) + "\"");
  const auto id = uuid_of(*uuid);
  if (!id) return damaged("volume " + *name + " has no valid uuid");
  if (!backing->starts_with('/')) return damaged("volume " + *name + " has no absolute backing path");
  if (*kind != "file" && *kind != "device") return damaged("volume " + *name + " is neither on a file nor on a device");
  const auto* found = std::ranges::find(kStates, *state);
  if (found == std::end(kStates)) return damaged("volume " + *name + " is in no known state");
  const json::value* size = object.if_contains("size_bytes");
  if (!size || !size->is_int64() || !admin::check_volume_size(static_cast<std::uint64_t>(size->get_int64()))) {
    return damaged("volume " + *name + " has no valid size");
  }
  out.name = *name;
  out.uuid = *id;
  out.backing = *backing;
  out.is_device = *kind == "device";
  out.state = static_cast<EntryState>(found - std::begin(kStates));
  out.size_bytes = static_cast<std::uint64_t>(size->get_int64());
  TRY(read_replica(object, out));
  return out;
}

// Stores without a registry are somebody's data, not an empty node.
bool has_stores(const std::string& data_dir) {
  std::error_code error;
  for (std::filesystem::directory_iterator file(data_dir + "/volumes", error), end; !error && file != end; file.increment(error)) {
    if (file->path().extension() == ".hf") return true;
  }
  return false;
}

}  // namespace

std::string registry_text(const std::vector<RegistryEntry>& entries) {
  json::array volumes;
  for (const RegistryEntry& entry : entries) {
    json::object volume{{"name", entry.name},
                        {"uuid", admin::uuid_text(entry.uuid)},
                        {"backing", entry.backing},
                        {"kind", entry.is_device ? "device" : "file"},
                        {"size_bytes", static_cast<std::int64_t>(entry.size_bytes)},
                        {"state", kStates[static_cast<std::size_t>(entry.state)]}};
    if (entry.replica) {
      volume["replica"] = json::object{{"group", admin::uuid_text(entry.replica->group)}, {"incarnation", admin::uuid_text(entry.replica->incarnation)}};
    }
    volumes.push_back(std::move(volume));
  }
  // Without replicas an earlier holdfastd can still read it.
  const bool replicas = std::ranges::any_of(entries, [](const RegistryEntry& entry) { return entry.replica.has_value(); });
  return json::serialize(json::object{{"holdfast_registry", replicas ? Registry::kFormatVersion : 1}, {"volumes", std::move(volumes)}}) + "\n";
}

Result<std::vector<RegistryEntry>> parse_registry(std::string_view text) {
  json::error_code error;
  const json::value document = json::parse(text, error);
  if (error || !document.is_object()) return damaged("is not a JSON object");
  const json::object& body = document.get_object();
  const json::value* version = body.if_contains("holdfast_registry");
  if (!version || !version->is_int64() || version->get_int64() < 1) return damaged("names no format version");
  if (version->get_int64() > static_cast<std::int64_t>(Registry::kFormatVersion)) {
    return fail(Errc::version_too_new, "has format version " + std::to_string(version->get_int64()) +
                                           ", written by a newer holdfastd; this one knows up to " +
                                           std::to_string(Registry::kFormatVersion) + ": install the newer program again");
  }
  const json::value* volumes = body.if_contains("volumes");
  if (!volumes || !volumes->is_array()) return damaged("has no list of volumes");
  std::vector<RegistryEntry> out;
  for (const json::value& volume : volumes->get_array()) {
    if (!volume.is_object()) return damaged("lists something that is no volume");
    auto entry = entry_of(volume.get_object());
    if (!entry) return fail(std::move(entry).error());
    out.push_back(std::move(*entry));
  }
  std::ranges::sort(out, {}, &RegistryEntry::name);
  const auto twin = std::ranges::adjacent_find(out, {}, &RegistryEntry::name);
  if (twin != out.end()) return damaged("lists volume " + twin->name + " twice");
  return out;
}

Result<Registry> Registry::load(const std::string& data_dir) {
  Registry registry(data_dir + "/registry.json");
  const auto text = read_whole(registry.path_, kRegistryBytesMax);
  if (!text && text.error().code == Errc::not_found) {
    if (!has_stores(data_dir)) return registry;
    return damaged(registry.path_ + " is missing, but there are stores in " + data_dir +
                   "/volumes: restore it from a backup of the data directory, or move the stores away");
  }
  if (!text) return fail(text.error());
  auto entries = parse_registry(*text);
  if (!entries) return fail(entries.error().code, registry.path_ + " " + entries.error().message);
  registry.entries_ = std::move(*entries);
  return registry;
}

const RegistryEntry* Registry::find(const std::string& name) const {
  const auto found = std::ranges::find(entries_, name, &RegistryEntry::name);
  return found == entries_.end() ? nullptr : &*found;
}

Result<void> Registry::put(RegistryEntry entry) {
  std::vector<RegistryEntry> changed = entries_;
  std::erase_if(changed, [&](const RegistryEntry& other) { return other.name == entry.name; });
  changed.push_back(std::move(entry));
  std::ranges::sort(changed, {}, &RegistryEntry::name);
  return replace(std::move(changed));
}

Result<void> Registry::remove(const std::string& name) {
  std::vector<RegistryEntry> changed = entries_;
  std::erase_if(changed, [&](const RegistryEntry& other) { return other.name == name; });
  return replace(std::move(changed));
}

Result<void> Registry::replace(std::vector<RegistryEntry> entries) {
  TRY(write_durably(path_, registry_text(entries)));
  entries_ = std::move(entries);
  return {};
}

}  // namespace holdfast::daemon
