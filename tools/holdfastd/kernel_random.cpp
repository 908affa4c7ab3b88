#include "tools/holdfastd/kernel_random.h"

#include <sys/random.h>

#include <cerrno>

#include "base/ensure.h"

namespace holdfast::daemon {

void KernelRandom::fill(MutableBytes bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::getrandom(bytes.data(), bytes.size(), 0);
    if (count < 0 && errno == EINTR) continue;
    ENSURE(count > 0);
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
}

}  // namespace holdfast::daemon
