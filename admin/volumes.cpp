#include "admin/volumes.h"

#include <boost/json.hpp>

#include "admin/invalid.h"
#include "admin/names.h"
#include "admin/size_text.h"

namespace holdfast::admin {
namespace {

namespace json = boost::json;

Result<std::string> text_of(std::string_view field, const json::value& value) {
  if (!value.is_string()) return invalid(std::string(field) + ": must be a string");
  return std::string(value.get_string());
}

// A number of bytes, or a text with a unit.
Result<std::uint64_t> size_of(std::string_view field, const json::value& value) {
  const std::string prefix = std::string(field) + ": ";
  if (value.is_uint64()) return value.get_uint64();
  if (value.is_int64()) {
    if (value.get_int64() < 0) return invalid(prefix + std::to_string(value.get_int64()) + " is negative");
    return static_cast<std::uint64_t>(value.get_int64());
  }
  if (!value.is_string()) return invalid(prefix + "must be a whole number of bytes or a text like \"10GiB\"");
  auto size = parse_size(std::string_view(value.get_string()));
  if (!size) return invalid(prefix + size.error().message);
  return *size;
}

Result<void> read_members(CreateVolume& out, const json::value& value) {
  if (!value.is_array() || value.get_array().empty()) return invalid("members: must be a list of nodes' numbers, like [1, 2, 3]");
  for (const json::value& node : value.get_array()) {
    if (!node.is_int64() || node.get_int64() < 1 || node.get_int64() > 65'535) return invalid("members: must be a list of nodes' numbers, like [1, 2, 3]");
    out.members.push_back(static_cast<std::uint64_t>(node.get_int64()));
  }
  return {};
}

Result<void> read_field(CreateVolume& out, std::string_view field, const json::value& value) {
  if (field == "name" || field == "device") {
    auto text = text_of(field, value);
    if (!text) return fail(std::move(text).error());
    (field == "name" ? out.name : out.device) = std::move(*text);
    return {};
  }
  if (field == "size" || field == "log_size") {
    auto size = size_of(field, value);
    if (!size) return fail(std::move(size).error());
    (field == "size" ? out.size_bytes : out.log_bytes) = *size;
    return {};
  }
  if (field == "replicas" || field == "min_in_sync") {
    if (!value.is_int64() || value.get_int64() < 1 || value.get_int64() > 5) return invalid(std::string(field) + ": must be a number from 1 to 5");
    (field == "replicas" ? out.replicas : out.min_in_sync) = static_cast<unsigned>(value.get_int64());
    return {};
  }
  if (field == "members") return read_members(out, value);
  return invalid("body: unknown field \"" + printable(field) + "\"; known: name, size, log_size, device, replicas, members, min_in_sync");
}

}  // namespace

bool is_json(std::string_view content_type) {
  std::string type;
  for (const char c : content_type.substr(0, content_type.find(';'))) {
    if (c != ' ') type.push_back(static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c));
  }
  return type == "application/json";
}

Result<CreateVolume> parse_create_volume(const Request& request) {
  if (!is_json(request.content_type)) {
    return fail(Errc::unsupported, "send the body as \"Content-Type: application/json\"");
  }
  json::error_code error;
  json::parse_options limits;
  limits.max_depth = 8;
  const json::value body = json::parse(request.body, error, {}, limits);
  if (error) return invalid("body: not valid JSON (" + error.message() + ")");
  if (!body.is_object()) return invalid("body: must be a JSON object like {\"name\": \"pg\", \"size\": \"10GiB\"}");
  const json::object& fields = body.get_object();
  CreateVolume out;
  for (const auto& field : fields) TRY(read_field(out, field.key(), field.value()));
  if (!fields.contains("name")) return invalid("name: is missing");
  if (!fields.contains("size")) return invalid("size: is missing");
  TRY(check_volume_name(out.name));
  TRY(check_volume_size(out.size_bytes));
  if (fields.contains("log_size")) TRY(check_log_size(out.log_bytes));
  if (fields.contains("device")) TRY(check_device_path(out.device));
  return out;
}

Response body_problem(const Error& error) {
  if (error.code == Errc::unsupported) return problem(415, "unsupported media type", error.message);
  return problem(error);
}

Result<bool> parse_force(const Target& target) {
  const auto force = target.parameter("force");
  if (!force || *force == "false") return false;
  if (*force == "true") return true;
  return invalid("force: \"" + printable(*force) + "\" is neither true nor false");
}

}  // namespace holdfast::admin
