#include "admin/names.h"

#include <cstdio>

#include "admin/invalid.h"
#include "admin/size_text.h"

namespace holdfast::admin {
namespace {

bool is_alnum(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

Result<void> check_size(std::string_view field, std::uint64_t bytes, std::uint64_t unit, std::uint64_t min, std::uint64_t max) {
  const std::string allowed = "a multiple of " + exact_size_text(unit) + " from " + exact_size_text(min) + " to " +
                              exact_size_text(max) + " is allowed";
  const std::string given = std::string(field) + ": " + (bytes == 0 ? "0" : exact_size_text(bytes));
  if (bytes == 0) return invalid(given + " is no size; " + allowed);
  if (bytes < min) return invalid(given + " is too small; " + allowed);
  if (bytes > max) return invalid(given + " is too large; " + allowed);
  if (bytes % unit != 0) return invalid(given + " is no multiple of " + exact_size_text(unit) + "; " + allowed);
  return {};
}

}  // namespace

Result<void> check_volume_name(std::string_view name) {
  constexpr std::string_view kAllowed = "; allowed: 1 to 63 of a-z, 0-9, '.' and '-', starting and ending with a letter or digit";
  if (name.empty()) return invalid("name: is empty" + std::string(kAllowed));
  if (name.size() > kVolumeNameBytesMax) {
    return invalid("name: " + std::to_string(name.size()) + " characters are too many" + std::string(kAllowed));
  }
  for (const char c : name) {
    if (is_alnum(c) || c == '.' || c == '-') continue;
    return invalid("name: \"" + printable(name) + "\" contains '" + printable(std::string_view(&c, 1)) + "'" +
                 std::string(kAllowed));
  }
  if (!is_alnum(name.front()) || !is_alnum(name.back())) {
    return invalid("name: \"" + printable(name) + "\" starts or ends with '.' or '-'" + std::string(kAllowed));
  }
  return {};
}

Result<void> check_volume_size(std::uint64_t bytes) {
  return check_size("size", bytes, kVolumeSizeUnit, kVolumeSizeMin, kVolumeSizeMax);
}

Result<void> check_log_size(std::uint64_t bytes) {
  return check_size("log_size", bytes, kLogSizeUnit, kLogSizeMin, kLogSizeMax);
}

Result<void> check_device_path(std::string_view path) {
  if (!path.starts_with('/')) return invalid("device: \"" + printable(path) + "\" is not an absolute path, like /dev/nvme0n1");
  if (path.size() > 1024) return invalid("device: the path is longer than 1024 characters");
  if (path.find('\0') != path.npos) return invalid("device: the path contains a zero byte");
  return {};
}

std::string printable(std::string_view text) {
  constexpr std::size_t kShownMax = 80;
  std::string out;
  for (const char c : text.substr(0, kShownMax)) {
    if (c >= ' ' && c <= '~') {
      out.push_back(c);
      continue;
    }
    char escaped[8];
    std::snprintf(escaped, sizeof escaped, "\\x%02x", static_cast<unsigned char>(c));
    out.append(escaped);
  }
  if (text.size() > kShownMax) out.append("...");
  return out;
}

std::string uuid_text(const std::array<std::uint8_t, 16>& uuid) {
  std::string out;
  for (std::size_t i = 0; i < uuid.size(); ++i) {
    char byte[4];
    std::snprintf(byte, sizeof byte, "%02x", uuid[i]);
    if (i == 4 || i == 6 || i == 8 || i == 10) out.push_back('-');
    out.append(byte);
  }
  return out;
}

}  // namespace holdfast::admin
