// A block device for a test. Needs root and a kernel with loop devices.
#pragma once

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>

#include <string>
#include <utility>

#include "io/unique_fd.h"

namespace holdfast::io::test {

// A loop device on a file. The kernel detaches it by itself at its last close, also when the test dies.
class LoopDevice {
 public:
  explicit LoopDevice(const std::string& file) {
    const UniqueFd control(::open("/dev/loop-control", O_RDWR | O_CLOEXEC));
    const UniqueFd backing(::open(file.c_str(), O_RDWR | O_CLOEXEC));
    for (int attempt = 0; control && attempt < 5; ++attempt) {  // Another process may take the free one first.
      const int number = ::ioctl(control.get(), LOOP_CTL_GET_FREE);
      if (number < 0) return;
      const std::string path = "/dev/loop" + std::to_string(number);
      UniqueFd device(::open(path.c_str(), O_RDWR | O_CLOEXEC));
      loop_config config{};
      config.fd = static_cast<unsigned>(backing.get());
      config.info.lo_flags = LO_FLAGS_AUTOCLEAR;
      if (!device || ::ioctl(device.get(), LOOP_CONFIGURE, &config) != 0) continue;
      holder_ = std::move(device);
      path_ = path;
      return;
    }
  }
  bool usable() const { return static_cast<bool>(holder_); }
  const std::string& path() const { return path_; }

 private:
  UniqueFd holder_;
  std::string path_;
};

}  // namespace holdfast::io::test
