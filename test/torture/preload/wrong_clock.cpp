// Loaded before the C library into a process whose clocks are to be wrong (../wrong_clock.h). Wall time is moved by an offset.
// BOOTTIME runs at another rate, counted from the machine's start, and timers on it with it: to the process all is of one piece.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <ctime>

#include "test/torture/wrong_clock.h"

namespace {

using holdfast::torture::WrongClockPage;

constexpr std::int64_t kSecond = 1'000'000'000, kMillion = 1'000'000;
constexpr std::size_t kDescriptorsMax = 4'096;

std::array<std::atomic<bool>, kDescriptorsMax> boot_timers;

WrongClockPage* page() {
  static WrongClockPage* const mapped = [] {
    const char* file = std::getenv("HOLDFAST_WRONG_CLOCK");
    if (!file) std::abort();
    const int fd = ::open(file, O_RDWR | O_CLOEXEC);
    void* at = ::mmap(nullptr, sizeof(WrongClockPage), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) std::abort();  // It would run with right clocks, and the test would prove nothing.
    ::close(fd);
    return static_cast<WrongClockPage*>(at);
  }();
  return mapped;
}

template <class Function>
Function original(const char* name) {
  return reinterpret_cast<Function>(::dlsym(RTLD_NEXT, name));
}

std::int64_t ns_of(const timespec& t) { return std::int64_t{t.tv_sec} * kSecond + t.tv_nsec; }
timespec time_of(std::int64_t ns) { return {ns / kSecond, ns % kSecond}; }

// In 128 bits: nanoseconds times a million do not fit otherwise.
std::int64_t told(std::int64_t real) { return static_cast<std::int64_t>(static_cast<__int128>(real) * (kMillion + page()->boot_rate_ppm) / kMillion); }
std::int64_t real(std::int64_t told) {
  const std::int64_t rate = kMillion + page()->boot_rate_ppm;
  return static_cast<std::int64_t>((static_cast<__int128>(told) * kMillion + rate - 1) / rate);  // Never early.
}

timespec moved_wall(const timespec& right) {
  const std::int64_t offset = page()->wall_offset_ns;
  if (offset != 0) ++page()->wall_answers;
  return time_of(ns_of(right) + offset);
}

}  // namespace

extern "C" {

int clock_gettime(clockid_t clock, timespec* out) {
  static const auto right = original<int (*)(clockid_t, timespec*)>("clock_gettime");
  const int result = right(clock, out);
  if (result != 0) return result;
  if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) *out = moved_wall(*out);
  if (clock == CLOCK_BOOTTIME && page()->boot_rate_ppm != 0) {
    *out = time_of(told(ns_of(*out)));
    ++page()->boot_answers;
  }
  return 0;
}

int gettimeofday(timeval* out, void*) {
  timespec now{};
  if (clock_gettime(CLOCK_REALTIME, &now) != 0) return -1;
  *out = {now.tv_sec, now.tv_nsec / 1'000};
  return 0;
}

std::time_t time(std::time_t* out) {
  timespec now{};
  if (clock_gettime(CLOCK_REALTIME, &now) != 0) return -1;
  if (out) *out = now.tv_sec;
  return now.tv_sec;
}

int timerfd_create(clockid_t clock, int flags) {
  static const auto right = original<int (*)(clockid_t, int)>("timerfd_create");
  const int fd = right(clock, flags);
  if (fd >= 0 && static_cast<std::size_t>(fd) < kDescriptorsMax) boot_timers[static_cast<std::size_t>(fd)] = clock == CLOCK_BOOTTIME;
  return fd;
}

int timerfd_settime(int fd, int flags, const itimerspec* wanted, itimerspec* before) {
  static const auto right = original<int (*)(int, int, const itimerspec*, itimerspec*)>("timerfd_settime");
  const bool deceived = fd >= 0 && static_cast<std::size_t>(fd) < kDescriptorsMax && boot_timers[static_cast<std::size_t>(fd)];
  if (!deceived) return right(fd, flags, wanted, before);
  const itimerspec moved{time_of(real(ns_of(wanted->it_interval))), time_of(real(ns_of(wanted->it_value)))};
  return right(fd, flags, &moved, before);
}

}
