#include "test/torture/machine.h"

#include "test/torture/failure.h"
#include "test/torture/process.h"

namespace holdfast::torture {

Switch::Switch() {
  must_run({"ip", "link", "add", "br0", "type", "bridge"}, &net_);
  must_run({"ip", "link", "set", "br0", "up"}, &net_);
}

Machine::Machine(const Switch& hub, unsigned number, CableKind cable) : address_(address_of(number)), firewall_(net_) {
  const std::string port = "port" + std::to_string(number);
  if (cable == CableKind::long_one) {
    cable_ = std::make_unique<Cable>(net_, "eth0", hub.net(), port);
  } else {
    must_run({"ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", net_.path()}, &hub.net());
  }
  must_run({"ip", "link", "set", port, "master", "br0", "up"}, &hub.net());
  must_run({"ip", "address", "add", address_ + "/24", "dev", "eth0"}, &net_);
  must_run({"ip", "link", "set", "eth0", "up"}, &net_);
}

Cable& Machine::cable() {
  require(cable_ != nullptr, "this machine's cable cannot be lengthened");
  return *cable_;
}

void Machine::unplug() { must_run({"ip", "link", "set", "eth0", "down"}, &net_); }
void Machine::plug_in() { must_run({"ip", "link", "set", "eth0", "up"}, &net_); }

}  // namespace holdfast::torture
