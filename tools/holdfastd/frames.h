// Ethernet frames that this node writes itself: ARP, and bare TCP segments over IPv4; and what it reads of those that come back.
// No I/O here. Addresses are numbers in the machine's own order, so that they compare as they are written.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"

namespace holdfast::daemon {

using Mac = std::array<std::uint8_t, 6>;
using Frame = std::vector<std::byte>;

inline constexpr Mac kBroadcast{0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

// "02:42:0a:4d:00:01".
std::string mac_text(const Mac& mac);
std::optional<Mac> parse_mac(std::string_view text);

struct Ipv4 {
  std::uint32_t value = 0;  // 192.0.2.1: 0xc0000201.
  friend auto operator<=>(const Ipv4&, const Ipv4&) = default;
  std::string text() const;
};
std::optional<Ipv4> parse_ipv4(std::string_view text);

// One end of a connection.
struct Ipv4Endpoint {
  Ipv4 address;
  std::uint16_t port = 0;
  friend auto operator<=>(const Ipv4Endpoint&, const Ipv4Endpoint&) = default;
  std::string text() const;
};
// "192.0.2.1:3260".
std::optional<Ipv4Endpoint> parse_ipv4_endpoint(std::string_view text);

// "Who has `wanted`? Tell `asker`", to everybody.
Frame arp_question(const Mac& own_mac, Ipv4 asker, Ipv4 wanted);
// "`address` is at `mac`", to one machine (a gratuitous ARP: every kernel believes it at once). The frame itself comes from own_mac, so
// that no switch learns anything new.
Frame arp_statement(const Mac& own_mac, const Mac& to, Ipv4 address, const Mac& mac);

struct Segment {
  Ipv4Endpoint from, to;
  std::uint32_t sequence = 0, acknowledged = 0;
  bool is_ack = false, is_reset = false;
  friend bool operator==(const Segment&, const Segment&) = default;
};
// Without data and options; both checksums are right.
Frame tcp_frame(const Mac& own_mac, const Mac& to, const Segment& segment);

struct ArpAnswer {
  Ipv4 address;
  Mac mac{};
};
// What a frame says, if it is one of ours to read. Checksums are not looked at: between network namespaces and behind offloading cards they
// are not filled in.
std::optional<ArpAnswer> read_arp_answer(Bytes frame);
std::optional<Segment> read_segment(Bytes frame);

}  // namespace holdfast::daemon
