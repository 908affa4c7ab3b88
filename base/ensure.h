// ENSURE: an invariant of our own. Always on, also in release: a process that is wrong about itself must not go on writing.
#pragma once

namespace holdfast {
[[noreturn]] void ensure_failed(const char* condition, const char* file, int line) noexcept;
}

#define ENSURE(condition) \
  (static_cast<bool>(condition) ? void(0) : ::holdfast::ensure_failed(#condition, __FILE__, __LINE__))
