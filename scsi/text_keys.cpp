#include "scsi/text_keys.h"

#include <algorithm>
#include <charconv>

namespace holdfast::scsi {
namespace {

bool is_key_character(char c) {  // §6.1: standard-label characters, and what X# and Y- names add.
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-' ||
         c == '+' || c == '@' || c == '_' || c == '#' || c == ':' || c == '/';
}

}  // namespace

Result<std::vector<TextPair>> parse_text(std::string_view text) {
  if (text.size() > kTextBytesMax) return fail(Errc::protocol);
  std::vector<TextPair> pairs;
  while (!text.empty()) {
    if (text.front() == '\0') {  // Some initiators count padding as data.
      text.remove_prefix(1);
      continue;
    }
    const auto end = text.find('\0');
    if (end == std::string_view::npos) return fail(Errc::protocol);
    const std::string_view pair = text.substr(0, end);
    text.remove_prefix(end + 1);
    const auto equals = pair.find('=');
    if (equals == std::string_view::npos || equals == 0 || equals > kKeyBytesMax) return fail(Errc::protocol);
    const TextPair entry{pair.substr(0, equals), pair.substr(equals + 1)};
    if (!std::ranges::all_of(entry.key, is_key_character)) return fail(Errc::protocol);
    if (entry.value.size() > kValueBytesMax || pairs.size() == kTextPairsMax) return fail(Errc::protocol);
    pairs.push_back(entry);
  }
  return pairs;
}

Result<std::uint64_t> parse_number(std::string_view text, std::uint64_t least, std::uint64_t most) {
  int base = 10;
  if (text.starts_with("0x") || text.starts_with("0X")) {
    base = 16;
    text.remove_prefix(2);
  }
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || end != text.data() + text.size()) return fail(Errc::protocol);
  if (value < least || value > most) return fail(Errc::out_of_range);
  return value;
}

Result<std::string> normal_name(std::string_view name) {
  if (name.empty() || name.size() > 223) return fail(Errc::protocol);
  std::string normal(name);
  for (char& c : normal) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    // No space, control character or comma: names go into lists, logs and TransportIDs.
    if (static_cast<unsigned char>(c) <= ' ' || c == 0x7f || c == ',' || c == '=') return fail(Errc::protocol);
  }
  return normal;
}

}  // namespace holdfast::scsi
