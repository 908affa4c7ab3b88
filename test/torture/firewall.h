// What a machine lets through: nftables in its network namespace. Each rule counts what it hits, which proves that a fault
// happened. Only the outside (eth0) is filtered; loopback never.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "test/torture/net_namespace.h"

namespace holdfast::torture {

enum class CutHow : std::uint8_t { drop, reject };          // reject: a TCP reset.
enum class CutWay : std::uint8_t { both, incoming, outgoing };  // As the machine sees it.

struct Cut {
  CutHow how = CutHow::drop;
  CutWay way = CutWay::both;
  std::vector<std::string> peers;     // Addresses; empty: all.
  std::vector<std::uint16_t> ports;   // At either end of a connection; empty: everything, also what is not TCP.
};

class Firewall {
 public:
  explicit Firewall(const NetNamespace& where);
  // Its number, for hits().
  std::size_t cut(const Cut& cut);
  // Packets that it has hit so far.
  std::uint64_t hits(std::size_t number) const;
  // Everything passes again; numbers go on to answer with what they counted.
  void heal();

 private:
  struct Rule {
    std::string counter;
    std::uint64_t counted = 0;  // Until it was taken away.
  };
  void nft(const std::string& command) const;
  std::uint64_t count(const std::string& counter) const;

  const NetNamespace& where_;
  std::vector<std::vector<Rule>> cuts_;
  bool in_force_ = false;
};

}  // namespace holdfast::torture
