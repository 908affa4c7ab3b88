#include "io/system_random.h"

#include <sys/random.h>

#include <cerrno>

#include "base/ensure.h"

namespace holdfast::io {

void SystemRandom::fill(MutableBytes bytes) {
  while (!bytes.empty()) {
    const ssize_t got = ::getrandom(bytes.data(), bytes.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    ENSURE(got > 0);  // Every kernel we run on has it; predictable ids and challenges would be worse than stopping.
    bytes = bytes.subspan(static_cast<std::size_t>(got));
  }
}

}  // namespace holdfast::io
