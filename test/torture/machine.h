// Machines on one switch: each a network namespace with an address, a firewall and a cable.
#pragma once

#include <memory>
#include <string>

#include "test/torture/cable.h"
#include "test/torture/firewall.h"
#include "test/torture/net_namespace.h"

namespace holdfast::torture {

// A bridge in a namespace of its own.
class Switch {
 public:
  Switch();
  const NetNamespace& net() const { return net_; }

 private:
  NetNamespace net_;
};

enum class CableKind : std::uint8_t { short_one, long_one };  // A veth pair, or a Cable, which can be lengthened.

class Machine {
 public:
  // number: 1 … 250, the last part of its address.
  Machine(const Switch& hub, unsigned number, CableKind cable = CableKind::short_one);

  const NetNamespace& net() const { return net_; }
  const std::string& address() const { return address_; }
  Firewall& firewall() { return firewall_; }
  Cable& cable();
  // Off: nothing goes in or out, and nobody is told.
  void unplug();
  void plug_in();

  static std::string address_of(unsigned number) { return "10.77.0." + std::to_string(number); }

 private:
  NetNamespace net_;
  std::string address_;
  std::unique_ptr<Cable> cable_;
  Firewall firewall_;
};

}  // namespace holdfast::torture
