#include "tools/holdfastd/frames.h"

#include <algorithm>
#include <charconv>

#include "base/text.h"

namespace holdfast::daemon {
namespace {

constexpr std::size_t kEthernetBytes = 14, kArpBytes = 28, kIpBytes = 20, kTcpBytes = 20;
constexpr std::size_t kFrameBytesMin = 60;  // Shorter ones are padded: not every card does it.
constexpr std::uint16_t kTypeIpv4 = 0x0800, kTypeArp = 0x0806;
constexpr std::uint16_t kArpRequest = 1, kArpReply = 2;
constexpr std::uint8_t kProtocolTcp = 6, kHops = 64;
constexpr std::uint8_t kFlagReset = 0x04, kFlagAck = 0x10;
constexpr std::uint16_t kWindow = 1024;

void put_mac(std::byte* at, const Mac& mac) { std::ranges::transform(mac, at, [](std::uint8_t b) { return std::byte{b}; }); }

Frame begin_frame(const Mac& from, const Mac& to, std::uint16_t type) {
  Frame out(kFrameBytesMin);
  put_mac(out.data(), to);
  put_mac(out.data() + 6, from);
  store_be<std::uint16_t>(out.data() + 12, type);
  return out;
}

Frame arp_request(const Mac& own_mac, const Mac& to, const Mac& sender, Ipv4 sender_address, Ipv4 target_address) {
  Frame out = begin_frame(own_mac, to, kTypeArp);
  std::byte* arp = out.data() + kEthernetBytes;
  store_be<std::uint16_t>(arp, 1);  // Ethernet.
  store_be<std::uint16_t>(arp + 2, kTypeIpv4);
  arp[4] = std::byte{6};
  arp[5] = std::byte{4};
  store_be<std::uint16_t>(arp + 6, kArpRequest);
  put_mac(arp + 8, sender);
  store_be<std::uint32_t>(arp + 14, sender_address.value);
  store_be<std::uint32_t>(arp + 24, target_address.value);
  return out;
}

// RFC 1071, over big-endian words of an even number of bytes.
std::uint32_t sum_words(Bytes bytes) {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i + 1 < bytes.size(); i += 2) sum += load_be<std::uint16_t>(bytes.data() + i);
  return sum;
}

std::uint16_t checksum_of(std::uint32_t sum) {
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(~sum);
}

std::uint16_t type_of(Bytes frame) { return frame.size() < kEthernetBytes ? 0 : load_be<std::uint16_t>(frame.data() + 12); }

}  // namespace

std::string mac_text(const Mac& mac) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out;
  for (const std::uint8_t b : mac) {
    if (!out.empty()) out += ':';
    out += kDigits[b >> 4];
    out += kDigits[b & 15];
  }
  return out;
}

std::optional<Mac> parse_mac(std::string_view text) {
  Mac out{};
  if (text.size() != 17) return std::nullopt;
  for (std::size_t i = 0; i < out.size(); ++i) {
    const char* at = text.data() + 3 * i;
    const auto [end, error] = std::from_chars(at, at + 2, out[i], 16);
    if (error != std::errc{} || end != at + 2 || (i < 5 && *end != ':')) return std::nullopt;
  }
  return out;
}

std::string Ipv4::text() const { return concat(value >> 24, '.', value >> 16 & 255, '.', value >> 8 & 255, '.', value & 255); }

std::optional<Ipv4> parse_ipv4(std::string_view text) {
  Ipv4 out;
  const char* at = text.data();
  const char* const end = at + text.size();
  for (int part = 0; part < 4; ++part) {
    if (part > 0 && (at == end || *at++ != '.')) return std::nullopt;
    std::uint8_t number = 0;
    const auto [rest, error] = std::from_chars(at, end, number);
    if (error != std::errc{} || rest - at > 3) return std::nullopt;
    out.value = out.value << 8 | number;
    at = rest;
  }
  if (at != end) return std::nullopt;
  return out;
}

std::string Ipv4Endpoint::text() const { return concat(address.text(), ':', port); }

std::optional<Ipv4Endpoint> parse_ipv4_endpoint(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon == text.npos) return std::nullopt;
  const auto address = parse_ipv4(text.substr(0, colon));
  Ipv4Endpoint out;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data() + colon + 1, end, out.port);
  if (!address || error != std::errc{} || rest != end || out.port == 0) return std::nullopt;
  out.address = *address;
  return out;
}

Frame arp_question(const Mac& own_mac, Ipv4 asker, Ipv4 wanted) { return arp_request(own_mac, kBroadcast, own_mac, asker, wanted); }

// As a request: Linux believes a gratuitous one in either form, and of a reply only if it also repeats the sender's hardware address.
Frame arp_statement(const Mac& own_mac, const Mac& to, Ipv4 address, const Mac& mac) { return arp_request(own_mac, to, mac, address, address); }

Frame tcp_frame(const Mac& own_mac, const Mac& to, const Segment& segment) {
  Frame out = begin_frame(own_mac, to, kTypeIpv4);
  std::byte* const ip = out.data() + kEthernetBytes;
  ip[0] = std::byte{0x45};
  store_be<std::uint16_t>(ip + 2, kIpBytes + kTcpBytes);
  store_be<std::uint16_t>(ip + 6, 0x4000);  // Not to be fragmented.
  ip[8] = std::byte{kHops};
  ip[9] = std::byte{kProtocolTcp};
  store_be<std::uint32_t>(ip + 12, segment.from.address.value);
  store_be<std::uint32_t>(ip + 16, segment.to.address.value);
  store_be<std::uint16_t>(ip + 10, checksum_of(sum_words({ip, kIpBytes})));
  std::byte* const tcp = ip + kIpBytes;
  store_be<std::uint16_t>(tcp, segment.from.port);
  store_be<std::uint16_t>(tcp + 2, segment.to.port);
  store_be<std::uint32_t>(tcp + 4, segment.sequence);
  store_be<std::uint32_t>(tcp + 8, segment.acknowledged);
  tcp[12] = std::byte{kTcpBytes / 4 << 4};
  tcp[13] = std::byte(static_cast<std::uint8_t>((segment.is_ack ? kFlagAck : 0) | (segment.is_reset ? kFlagReset : 0)));
  store_be<std::uint16_t>(tcp + 14, kWindow);
  // The pseudo header: both addresses, the protocol, the length.
  const std::uint32_t pseudo = sum_words({ip + 12, 8}) + kProtocolTcp + kTcpBytes;
  store_be<std::uint16_t>(tcp + 16, checksum_of(pseudo + sum_words({tcp, kTcpBytes})));
  return out;
}

std::optional<ArpAnswer> read_arp_answer(Bytes frame) {
  if (type_of(frame) != kTypeArp || frame.size() < kEthernetBytes + kArpBytes) return std::nullopt;
  const std::byte* const arp = frame.data() + kEthernetBytes;
  const bool is_ipv4 = load_be<std::uint16_t>(arp) == 1 && load_be<std::uint16_t>(arp + 2) == kTypeIpv4;
  if (!is_ipv4 || load_be<std::uint16_t>(arp + 6) != kArpReply) return std::nullopt;
  ArpAnswer out;
  out.address.value = load_be<std::uint32_t>(arp + 14);
  std::transform(arp + 8, arp + 14, out.mac.begin(), [](std::byte b) { return std::to_integer<std::uint8_t>(b); });
  return out;
}

std::optional<Segment> read_segment(Bytes frame) {
  if (type_of(frame) != kTypeIpv4 || frame.size() < kEthernetBytes + kIpBytes) return std::nullopt;
  const std::byte* const ip = frame.data() + kEthernetBytes;
  const std::size_t ip_bytes = (std::to_integer<std::size_t>(ip[0]) & 15) * 4;
  const bool is_tcp = std::to_integer<unsigned>(ip[0]) >> 4 == 4 && std::to_integer<std::uint8_t>(ip[9]) == kProtocolTcp;
  const bool is_first = (load_be<std::uint16_t>(ip + 6) & 0x1fff) == 0;
  if (!is_tcp || !is_first || ip_bytes < kIpBytes || frame.size() < kEthernetBytes + ip_bytes + kTcpBytes) return std::nullopt;
  const std::byte* const tcp = ip + ip_bytes;
  const auto flags = std::to_integer<std::uint8_t>(tcp[13]);
  Segment out;
  out.from = {{load_be<std::uint32_t>(ip + 12)}, load_be<std::uint16_t>(tcp)};
  out.to = {{load_be<std::uint32_t>(ip + 16)}, load_be<std::uint16_t>(tcp + 2)};
  out.sequence = load_be<std::uint32_t>(tcp + 4);
  out.acknowledged = load_be<std::uint32_t>(tcp + 8);
  out.is_ack = (flags & kFlagAck) != 0;
  out.is_reset = (flags & kFlagReset) != 0;
  return out;
}

}  // namespace holdfast::daemon
