#include "test/torture/clock.h"

#include <cerrno>
#include <cstring>
#include <ctime>

#include "test/torture/failure.h"

namespace holdfast::torture {

std::string system_text() { return std::strerror(errno); }

BootNs now() {
  timespec t{};
  ::clock_gettime(CLOCK_BOOTTIME, &t);
  return BootNs{std::int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec};
}

double to_ms(DurationNs d) { return static_cast<double>(d.value) / 1e6; }

void pause_for(DurationNs d) {
  timespec left{d.value / 1'000'000'000, d.value % 1'000'000'000};
  while (::clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR) {
  }
}

bool eventually(DurationNs patience, const std::function<bool()>& holds, DurationNs interval) {
  const BootNs deadline = now() + patience;
  for (;;) {
    if (holds()) return true;
    if (is_over(deadline)) return false;
    pause_for(interval);
  }
}

}  // namespace holdfast::torture
