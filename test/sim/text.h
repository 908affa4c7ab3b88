// format("{} of {}", a, b): GCC 12 has no <format> yet. For stories, not for hot paths.
#pragma once

#include <sstream>
#include <string>
#include <string_view>

namespace holdfast::sim {

template <class... Args>
std::string format(std::string_view pattern, const Args&... args) {
  std::ostringstream out;
  const auto put = [&](const auto& value) {
    const std::size_t at = pattern.find("{}");
    out << pattern.substr(0, at) << value;
    pattern.remove_prefix(at == std::string_view::npos ? pattern.size() : at + 2);
  };
  (put(args), ...);
  out << pattern;
  return out.str();
}

}  // namespace holdfast::sim
