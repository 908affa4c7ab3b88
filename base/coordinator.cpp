#include "base/coordinator.h"

#include <algorithm>

namespace holdfast {

bool coordinator_key_is_fine(std::string_view key) {
  const auto fine = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '/'; };
  if (key.empty() || key.size() > kCoordinatorKeyBytesMax || key == "cluster" || !std::all_of(key.begin(), key.end(), fine)) return false;
  // Each name, the first and the last among them, begins with something else than a dot and is not empty.
  return key.front() != '/' && key.back() != '/' && key.front() != '.' && key.find("//") == key.npos && key.find("/.") == key.npos;
}

}  // namespace holdfast
