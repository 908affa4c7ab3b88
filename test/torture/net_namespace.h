// Network namespaces without names: they live as long as somebody holds them, so nothing is left behind, however this
// process ends.
#pragma once

#include <functional>
#include <string>

#include "io/unique_fd.h"

namespace holdfast::torture {

class NetNamespace {
 public:
  // A new one, with its loopback up.
  NetNamespace();
  NetNamespace(NetNamespace&&) = default;

  int fd() const { return fd_.get(); }
  // As `ip link set … netns PATH` wants it; valid while this process lives.
  std::string path() const;
  // Runs it on a thread of its own in there; what it throws is thrown here. Sockets made in there stay in there.
  void inside(const std::function<void()>& work) const;
  // For a thread of the caller's that is to stay in there.
  void enter() const;

 private:
  io::UniqueFd fd_;
};

}  // namespace holdfast::torture
