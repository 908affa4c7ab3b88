#include "test/torture/net_namespace.h"

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <exception>
#include <thread>

#include "test/torture/failure.h"

namespace holdfast::torture {
namespace {

void on_a_thread(const std::function<void()>& work) {
  std::exception_ptr thrown;
  std::thread([&] {
    try {
      work();
    } catch (...) {
      thrown = std::current_exception();
    }
  }).join();
  if (thrown) std::rethrow_exception(thrown);
}

void raise_loopback() {
  const io::UniqueFd any(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  std::strncpy(request.ifr_name, "lo", IFNAMSIZ - 1);
  request.ifr_flags = IFF_UP;
  require_call(::ioctl(any.get(), SIOCSIFFLAGS, &request) == 0, "the loopback of a network namespace does not come up");
}

}  // namespace

NetNamespace::NetNamespace() {
  on_a_thread([this] {
    require_call(::unshare(CLONE_NEWNET) == 0, "no network namespace (this needs root)");
    fd_ = io::UniqueFd(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
    require_call(fd_.get() >= 0, "/proc/thread-self/ns/net");
    raise_loopback();
  });
}

std::string NetNamespace::path() const { return "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(fd()); }

void NetNamespace::enter() const { require_call(::setns(fd(), CLONE_NEWNET) == 0, "cannot enter a network namespace"); }

void NetNamespace::inside(const std::function<void()>& work) const {
  on_a_thread([&] {
    enter();
    work();
  });
}

}  // namespace holdfast::torture
