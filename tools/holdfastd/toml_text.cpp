#include "tools/holdfastd/toml_text.h"

#include <algorithm>
#include <cstddef>

namespace holdfast::daemon {
namespace {

bool is_ascii(char c) { return static_cast<unsigned char>(c) < 0x80; }

// Past the end of what begins at `at` and ends with `closing`, or the end of the text; `escapes`: a backslash hides what follows.
enum class Escapes : bool { none, backslash };
std::size_t end_of(std::string_view text, std::size_t at, std::string_view closing, Escapes escapes) {
  for (; at < text.size(); ++at) {
    if (escapes == Escapes::backslash && text[at] == '\\') ++at;
    else if (text.substr(at).starts_with(closing)) return at + closing.size();
  }
  return text.size();
}

// A text on one line ends at the line's end at the latest.
std::size_t end_of_text_on_one_line(std::string_view text, std::size_t at, char quote) {
  const std::size_t line_end = std::min(text.find('\n', at), text.size());
  const Escapes escapes = quote == '"' ? Escapes::backslash : Escapes::none;
  return end_of(text.substr(0, line_end), at, std::string_view(&quote, 1), escapes);
}

}  // namespace

std::optional<unsigned> line_of_stray_character(std::string_view text) {
  constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
  std::size_t at = text.starts_with(kByteOrderMark) ? kByteOrderMark.size() : 0;
  while (at < text.size()) {
    const std::string_view rest = text.substr(at);
    std::size_t looked_at = at + 1;  // Up to here nothing outside ASCII may stand.
    if (rest.starts_with('#')) {
      at = std::min(text.find('\n', at), text.size());
      continue;
    } else if (rest.starts_with("\"\"\"")) {
      looked_at = end_of(text, at + 3, "\"\"\"", Escapes::backslash);
    } else if (rest.starts_with("'''")) {
      looked_at = end_of(text, at + 3, "'''", Escapes::none);
    } else if (rest.starts_with('"') || rest.starts_with('\'')) {
      at = end_of_text_on_one_line(text, at + 1, text[at]);
      continue;
    }
    const auto begin = text.begin() + static_cast<std::ptrdiff_t>(at), end = text.begin() + static_cast<std::ptrdiff_t>(looked_at);
    const auto stray = std::find_if_not(begin, end, is_ascii);
    if (stray != end) return 1 + static_cast<unsigned>(std::count(text.begin(), stray, '\n'));
    at = looked_at;
  }
  return std::nullopt;
}

}  // namespace holdfast::daemon
