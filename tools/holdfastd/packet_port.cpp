#include "tools/holdfastd/packet_port.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <memory>
#include <set>

#include "base/text.h"
#include "io/system_error.h"
#include "io/unique_fd.h"
#include "tools/holdfastd/config_parts.h"

namespace holdfast::daemon {
namespace {

constexpr std::chrono::milliseconds kRound{50};
constexpr std::size_t kTableBytesMax = 16 << 20;
constexpr std::size_t kFrameBytesMax = 256;  // The headers.
constexpr std::size_t kFilteredAddressesMax = 64;
constexpr unsigned kEstablished = 1;  // TCP_ESTABLISHED, as /proc/net/tcp has it.

Ipv4 ipv4_of(const sockaddr* address) { return {ntohl(reinterpret_cast<const sockaddr_in*>(address)->sin_addr.s_addr)}; }

// Nothing else is copied to this socket: ARP, and TCP to one of the addresses.
std::vector<sock_filter> filter_for(const std::set<Ipv4>& addresses) {
  const auto count = static_cast<std::uint8_t>(addresses.size());
  std::vector<sock_filter> out;
  out.push_back(BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 12));
  out.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETH_P_ARP, static_cast<std::uint8_t>(count + 5), 0));
  out.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETH_P_IP, 0, static_cast<std::uint8_t>(count + 3)));
  out.push_back(BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 23));
  out.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_TCP, 0, static_cast<std::uint8_t>(count + 1)));
  out.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 30));
  std::uint8_t left = count;
  for (const Ipv4& address : addresses) {
    out.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, address.value, left, 0));
    --left;
  }
  out.push_back(BPF_STMT(BPF_RET | BPF_K, 0));
  out.push_back(BPF_STMT(BPF_RET | BPF_K, kFrameBytesMax));
  return out;
}

Result<io::UniqueFd> open_packet_socket(const std::set<Ipv4>& addresses) {
  io::UniqueFd fd(::socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));  // Without a protocol it receives nothing yet.
  if (!fd) return fail(io::system_error(errno, "cannot open a packet socket"));
  std::vector<sock_filter> filter = filter_for(addresses);
  const sock_fprog program{static_cast<unsigned short>(filter.size()), filter.data()};
  if (::setsockopt(fd.get(), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) != 0) return fail(io::system_error(errno, "cannot filter a packet socket"));
  sockaddr_ll everything{};
  everything.sll_family = AF_PACKET;
  everything.sll_protocol = htons(ETH_P_ALL);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&everything), sizeof everything) != 0)
    return fail(io::system_error(errno, "cannot receive on a packet socket"));
  return fd;
}

// What the kernel does not take now is sent again in the next round.
void send_all(int fd, const std::vector<Tickler::Outgoing>& frames) {
  for (const Tickler::Outgoing& out : frames) {
    sockaddr_ll to{};
    to.sll_family = AF_PACKET;
    to.sll_ifindex = out.interface;
    to.sll_halen = ETH_ALEN;
    std::memcpy(to.sll_addr, out.frame.data(), ETH_ALEN);
    ::sendto(fd, out.frame.data(), out.frame.size(), 0, reinterpret_cast<const sockaddr*>(&to), sizeof to);
  }
}

void receive_all(int fd, Tickler& tickler) {
  std::array<std::byte, kFrameBytesMax> bytes;
  sockaddr_ll from{};
  socklen_t size = sizeof from;
  ssize_t count = 0;
  while ((count = ::recvfrom(fd, bytes.data(), bytes.size(), 0, reinterpret_cast<sockaddr*>(&from), &size)) > 0) {
    std::vector<Tickler::Outgoing> out;
    if (from.sll_pkttype != PACKET_OUTGOING) tickler.receive(Bytes(bytes).first(static_cast<std::size_t>(count)), out);
    send_all(fd, out);
    size = sizeof from;
  }
}

// "0100004D:0CBC": the bytes of the address as they lie in memory, and the port.
std::optional<Ipv4Endpoint> end_in(std::string_view text) {
  Ipv4Endpoint out;
  if (text.size() != 13 || text[8] != ':') return std::nullopt;
  std::uint32_t in_memory = 0;
  const auto address = std::from_chars(text.data(), text.data() + 8, in_memory, 16);
  const auto port = std::from_chars(text.data() + 9, text.data() + 13, out.port, 16);
  if (address.ptr != text.data() + 8 || port.ptr != text.data() + 13) return std::nullopt;
  out.address.value = ntohl(in_memory);
  return out;
}

std::string_view next_word(std::string_view& line) {
  const std::size_t begin = std::min(line.find_first_not_of(' '), line.size());
  const std::size_t end = std::min(line.find(' ', begin), line.size());
  const std::string_view word = line.substr(begin, end - begin);
  line.remove_prefix(end);
  return word;
}

}  // namespace

Result<std::vector<Wire>> find_wires() {
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) != 0) return fail(io::system_error(errno, "cannot ask for this machine's addresses"));
  const std::unique_ptr<ifaddrs, void (*)(ifaddrs*)> owned(list, ::freeifaddrs);
  std::map<std::string, std::pair<int, Mac>> cards;
  for (const ifaddrs* one = list; one; one = one->ifa_next) {
    if (!one->ifa_addr || one->ifa_addr->sa_family != AF_PACKET) continue;
    const auto* card = reinterpret_cast<const sockaddr_ll*>(one->ifa_addr);
    if (card->sll_hatype != ARPHRD_ETHER || card->sll_halen != ETH_ALEN) continue;
    auto& [index, mac] = cards[one->ifa_name];
    index = card->sll_ifindex;
    std::copy_n(card->sll_addr, mac.size(), mac.begin());
  }
  std::vector<Wire> out;
  for (const ifaddrs* one = list; one; one = one->ifa_next) {
    const bool is_ipv4 = one->ifa_addr && one->ifa_addr->sa_family == AF_INET && one->ifa_netmask;
    const auto card = cards.find(one->ifa_name);
    if (!is_ipv4 || card == cards.end() || !(one->ifa_flags & IFF_UP)) continue;
    out.push_back({card->second.first, card->second.second, ipv4_of(one->ifa_addr), ipv4_of(one->ifa_netmask)});
  }
  return out;
}

std::vector<Connection> connections_in(std::string_view table, const std::vector<Ipv4Endpoint>& listeners) {
  std::vector<Connection> out;
  while (!table.empty()) {
    const std::size_t end = std::min(table.find('\n'), table.size());
    std::string_view line = table.substr(0, end);
    table.remove_prefix(std::min(end + 1, table.size()));
    next_word(line);
    const auto here = end_in(next_word(line)), there = end_in(next_word(line));
    const std::string_view state = next_word(line);
    unsigned number = 0;
    std::from_chars(state.data(), state.data() + state.size(), number, 16);
    if (!here || !there || number != kEstablished || here->address == there->address) continue;
    const bool is_ours = std::ranges::any_of(listeners, [&](const Ipv4Endpoint& l) { return l.port == here->port && (l.address == Ipv4{} || l.address == here->address); });
    if (is_ours) out.push_back({*here, *there});
  }
  std::ranges::sort(out);
  return out;
}

Result<std::vector<Connection>> find_connections(const std::vector<Ipv4Endpoint>& listeners) {
  auto table = read_file("/proc/thread-self/net/tcp", kTableBytesMax);
  if (!table) return fail(table.error());
  return connections_in(table->text, listeners);
}

Result<void> check_may_write_frames() {
  const io::UniqueFd fd(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
  if (fd) return {};
  if (errno == EPERM || errno == EACCES || errno == EAFNOSUPPORT) {
    return fail(Errc::permission, "needs CAP_NET_RAW and packet sockets; with systemd: systemctl edit holdfastd, and add under [Service] "
                                  "the lines AmbientCapabilities=CAP_NET_RAW and RestrictAddressFamilies=AF_PACKET AF_NETLINK");
  }
  return fail(io::system_error(errno, "cannot open a packet socket"));
}

Result<Tickled> tickle(std::vector<Wire> wires, std::map<Ipv4, Mac> homes, std::vector<Connection> connections) {
  using SteadyClock = std::chrono::steady_clock;
  std::set<Ipv4> portals;
  for (const auto& [portal, mac] : homes)
    if (portals.size() < kFilteredAddressesMax) portals.insert(portal);
  auto socket = open_packet_socket(portals);
  if (!socket) return fail(socket.error());
  const SteadyClock::time_point began = SteadyClock::now();
  Tickler tickler(wires, homes, connections);
  for (auto due = began; !tickler.is_done();) {
    std::vector<Tickler::Outgoing> out;
    tickler.next_round(out);
    send_all(socket->get(), out);
    due += kRound;
    while (!tickler.is_done()) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(due - SteadyClock::now());
      if (left.count() <= 0) break;
      pollfd arrival{socket->get(), POLLIN, 0};
      if (::poll(&arrival, 1, static_cast<int>(left.count())) > 0) receive_all(socket->get(), tickler);
    }
  }
  std::vector<Tickler::Outgoing> last;
  tickler.finish(last);
  send_all(socket->get(), last);
  const auto elapsed = std::chrono::duration_cast<std::chrono::milliseconds>(SteadyClock::now() - began);
  return Tickled{tickler.reached(), tickler.ended(), elapsed.count()};
}

}  // namespace holdfast::daemon
