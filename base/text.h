// Messages from parts: concat("size: ", 3, " is not …"). GCC 12 has no <format>, and fmt is too heavy for every file.
#pragma once

#include <concepts>
#include <string>
#include <string_view>

namespace holdfast {

inline void append_text(std::string& out, std::string_view part) { out.append(part); }
inline void append_text(std::string& out, char part) { out.push_back(part); }
template <std::integral T>
void append_text(std::string& out, T part) { out.append(std::to_string(part)); }

template <class... Parts>
std::string concat(const Parts&... parts) {
  std::string out;
  (append_text(out, parts), ...);
  return out;
}

}  // namespace holdfast
