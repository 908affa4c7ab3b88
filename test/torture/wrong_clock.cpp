#include "test/torture/wrong_clock.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "io/unique_fd.h"
#include "test/torture/failure.h"

namespace holdfast::torture {

WrongClock::WrongClock(std::string file, std::int64_t boot_rate_ppm) : file_(std::move(file)) {
  const io::UniqueFd fd(::open(file_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  require_call(fd.get() >= 0 && ::ftruncate(fd.get(), sizeof(WrongClockPage)) == 0, file_);
  void* page = ::mmap(nullptr, sizeof(WrongClockPage), PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  require_call(page != MAP_FAILED, file_);
  page_ = static_cast<WrongClockPage*>(page);  // A new file is zeros: right clocks.
  page_->boot_rate_ppm = boot_rate_ppm;
}

WrongClock::~WrongClock() { ::munmap(page_, sizeof(WrongClockPage)); }

std::map<std::string, std::string> WrongClock::environment() const { return {{"LD_PRELOAD", WRONG_CLOCK_LIBRARY}, {"HOLDFAST_WRONG_CLOCK", file_}}; }

}  // namespace holdfast::torture
