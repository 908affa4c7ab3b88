// The clocks of one process, which can be wrong: its wall clock jumps, and its BOOTTIME runs faster or slower. A library that is
// loaded before the C library (preload/wrong_clock.cpp) answers it; a page of memory is shared with it. Programs that ask the
// kernel past the C library, as those in Go do, are not deceived.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <string>

#include "base/types.h"

namespace holdfast::torture {

struct WrongClockPage {
  std::atomic<std::int64_t> wall_offset_ns;
  std::atomic<std::int64_t> boot_rate_ppm;   // Set before the process starts: a rate counts from the machine's start.
  std::atomic<std::uint64_t> wall_answers;   // That were wrong.
  std::atomic<std::uint64_t> boot_answers;
};

class WrongClock {
 public:
  // The file is made, and stays until the process that has loaded it is gone.
  WrongClock(std::string file, std::int64_t boot_rate_ppm);
  ~WrongClock();
  WrongClock(const WrongClock&) = delete;

  // For the process that is to believe it.
  std::map<std::string, std::string> environment() const;
  void set_wall(DurationNs offset) { page_->wall_offset_ns = offset.value; }
  std::uint64_t wrong_wall_answers() const { return page_->wall_answers; }
  std::uint64_t wrong_boot_answers() const { return page_->boot_answers; }

 private:
  std::string file_;
  WrongClockPage* page_ = nullptr;
};

}  // namespace holdfast::torture
