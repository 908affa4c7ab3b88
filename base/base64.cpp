#include "base/base64.h"

#include <algorithm>
#include <array>

namespace holdfast {
namespace {

constexpr std::string_view kBase64Digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

constexpr auto kBase64Values = [] {
  std::array<std::uint8_t, 256> values{};
  values.fill(0xff);
  for (std::size_t i = 0; i < kBase64Digits.size(); ++i) values[static_cast<std::uint8_t>(kBase64Digits[i])] = static_cast<std::uint8_t>(i);
  return values;
}();

}  // namespace

std::string to_base64(Bytes bytes) {
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t count = std::min<std::size_t>(3, bytes.size() - i);
    std::uint32_t group = 0;
    for (std::size_t b = 0; b < 3; ++b) group = group << 8 | (b < count ? std::to_integer<std::uint32_t>(bytes[i + b]) : 0);
    for (std::size_t d = 0; d < 4; ++d) out.push_back(d <= count ? kBase64Digits[group >> (18 - 6 * d) & 63] : '=');
  }
  return out;
}

Result<std::vector<std::byte>> from_base64(std::string_view text) {
  const auto wrong = [] { return fail(Errc::invalid_argument, "not base64"); };
  if (text.size() % 4 != 0) return wrong();
  const std::size_t padding = text.ends_with("==") ? 2 : text.ends_with("=") ? 1 : 0;
  std::vector<std::byte> out;
  out.reserve(text.size() / 4 * 3);
  for (std::size_t i = 0; i < text.size(); i += 4) {
    const std::size_t digits = i + 4 == text.size() ? 4 - padding : 4;
    std::uint32_t group = 0;
    for (std::size_t d = 0; d < 4; ++d) {
      const std::uint8_t digit = d < digits ? kBase64Values[static_cast<std::uint8_t>(text[i + d])] : std::uint8_t{0};
      if (digit == 0xff) return wrong();
      group = group << 6 | digit;
    }
    for (std::size_t b = 0; b + 1 < digits; ++b) out.push_back(static_cast<std::byte>(group >> (16 - 8 * b) & 0xff));
  }
  return out;
}

}  // namespace holdfast
