#include "test/torture/metronome.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include "test/torture/clock.h"
#include "test/torture/failure.h"

namespace holdfast::torture {
namespace {

constexpr DurationNs kBeat = milliseconds(20);

}  // namespace

Metronome::Metronome(const std::string& folder) : file_(::open((folder + "/metronome").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600)) {
  require_call(file_.get() >= 0, folder + "/metronome");
  thread_ = std::thread([this] { beat(); });
}

Metronome::~Metronome() {
  stopping_ = true;
  thread_.join();
}

void Metronome::beat() {
  char block[4096] = {};
  while (!stopping_) {
    const BootNs began = now();
    pause_for(kBeat);
    // A disk that is full or broken is no stall.
    if (::pwrite(file_.get(), block, sizeof block, 0) == static_cast<ssize_t>(sizeof block)) ::fdatasync(file_.get());
    longest_ = std::max(longest_.load(), (now() - began).value - kBeat.value);
  }
}

}  // namespace holdfast::torture
