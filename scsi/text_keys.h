// Text of login and text requests (RFC 7143 §6.1): key=value pairs, each ended by a NUL. All of it comes from strangers:
// every length is bounded before anything is kept.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace holdfast::scsi {

inline constexpr std::size_t kTextBytesMax = 64 * 1024;  // One negotiation's text over all its PDUs.
inline constexpr std::size_t kTextPairsMax = 256;
inline constexpr std::size_t kKeyBytesMax = 63;          // §6.1
inline constexpr std::size_t kValueBytesMax = 8192;

struct TextPair {
  std::string_view key;
  std::string_view value;
};

// The views point into `text`. Errc::protocol when it is not a sequence of well-formed pairs.
Result<std::vector<TextPair>> parse_text(std::string_view text);

// A list value "a,b,c": calls until f returns true; true when it did.
template <class F>
bool any_in_list(std::string_view list, F f) {
  for (;;) {
    const auto comma = list.find(',');
    if (f(list.substr(0, comma))) return true;
    if (comma == std::string_view::npos) return false;
    list.remove_prefix(comma + 1);
  }
}

// Decimal or 0x-hexadecimal, within [least, most].
Result<std::uint64_t> parse_number(std::string_view text, std::uint64_t least, std::uint64_t most);

// An iSCSI name (§4.2.7) in the lower case that names are compared in; Errc::protocol when it cannot be one.
Result<std::string> normal_name(std::string_view name);

class TextBuilder {
 public:
  void add(std::string_view key, std::string_view value) {
    text_.append(key).append(1, '=').append(value).append(1, '\0');
  }
  void add(std::string_view key, std::uint64_t value) { add(key, std::string_view(std::to_string(value))); }
  bool empty() const { return text_.empty(); }
  std::size_t size() const { return text_.size(); }
  std::string take() { return std::move(text_); }

 private:
  std::string text_;
};

}  // namespace holdfast::scsi
