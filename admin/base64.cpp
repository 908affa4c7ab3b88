#include "admin/base64.h"

namespace holdfast::admin {
namespace {

constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

}  // namespace

std::string to_base64(Bytes bytes) {
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t count = std::min<std::size_t>(3, bytes.size() - i);
    std::uint32_t group = 0;
    for (std::size_t b = 0; b < 3; ++b) group = group << 8 | (b < count ? std::to_integer<std::uint32_t>(bytes[i + b]) : 0);
    for (std::size_t d = 0; d < 4; ++d) out.push_back(d <= count ? kDigits[group >> (18 - 6 * d) & 63] : '=');
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
      const std::size_t digit = d < digits ? kDigits.find(text[i + d]) : 0;
      if (digit == kDigits.npos) return wrong();
      group = group << 6 | static_cast<std::uint32_t>(digit);
    }
    for (std::size_t b = 0; b + 1 < digits; ++b) out.push_back(static_cast<std::byte>(group >> (16 - 8 * b) & 0xff));
  }
  return out;
}

}  // namespace holdfast::admin
