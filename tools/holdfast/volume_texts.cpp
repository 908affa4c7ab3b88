#include "tools/holdfast/volume_texts.h"

#include "admin/size_text.h"
#include "tools/holdfast/documents.h"
#include "tools/holdfast/table.h"

namespace holdfast::cli {

namespace json = boost::json;

namespace {

std::string log_percent(const json::object& volume) {
  const json::object log = object_at(volume, "log");
  const std::uint64_t bytes = number_at(log, "bytes");
  return bytes == 0 ? "-" : std::to_string(number_at(log, "used_bytes") * 100 / bytes) + " %";
}

}  // namespace

std::string size_at(const json::object& object, std::string_view key) { return admin::size_text(number_at(object, key)); }

std::string health_text(const json::object& volume) {
  std::string health = text_at(volume, "health");
  for (char& c : health) c = c == '_' ? ' ' : c;
  return health;
}

std::string volume_table(const json::array& volumes) {
  Table table({{"NAME", Align::left},
               {"SIZE", Align::right},
               {"ALLOCATED", Align::right},
               {"FREE", Align::right},
               {"LOG", Align::right},
               {"SESSIONS", Align::right},
               {"HEALTH", Align::left}});
  for (const json::value& value : volumes) {
    if (!value.is_object()) continue;
    const json::object& volume = value.get_object();
    table.add({text_at(volume, "name"), size_at(volume, "size_bytes"), size_at(volume, "allocated_bytes"),
               size_at(object_at(volume, "store"), "free_bytes"), log_percent(volume),
               std::to_string(number_at(volume, "sessions")), health_text(volume)});
  }
  return table.text();
}

}  // namespace holdfast::cli
