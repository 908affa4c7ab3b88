// An initiator's connection to a node that is silent, among real kernels: it ends when another machine tells the initiator, and nothing of
// that stays behind.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>

#include <future>

#include "test/torture/clock.h"
#include "test/torture/failure.h"
#include "test/torture/machine.h"
#include "test/torture/process.h"
#include "tools/holdfastd/packet_port.h"

namespace holdfast::torture {
namespace {

using daemon::Connection;
using daemon::Ipv4;
using daemon::Ipv4Endpoint;
using daemon::Mac;
using daemon::Wire;

constexpr std::uint16_t kPort = 3260;
constexpr int kConnections = 3;
constexpr int kPatienceMs = 2'000;
constexpr DurationNs kPromptly = milliseconds(1'000);  // A few milliseconds, unless the machine is busy. Without it: minutes.

sockaddr_in address_of(const Machine& machine) {
  sockaddr_in out{};
  out.sin_family = AF_INET;
  out.sin_port = htons(kPort);
  ::inet_pton(AF_INET, machine.address().c_str(), &out.sin_addr);
  return out;
}

// A node that listens and never says a word, a host that is connected to it, and a node that survives.
class Tickle : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "network namespaces need root";
    hub = std::make_unique<Switch>();
    node = std::make_unique<Machine>(*hub, 1);
    survivor = std::make_unique<Machine>(*hub, 2);
    host = std::make_unique<Machine>(*hub, 11);
    const sockaddr_in there = address_of(*node);
    node->net().inside([&] {
      listener = io::UniqueFd(::socket(AF_INET, SOCK_STREAM, 0));
      require_call(::bind(listener.get(), reinterpret_cast<const sockaddr*>(&there), sizeof there) == 0 && ::listen(listener.get(), 8) == 0, "listen");
    });
    for (int i = 0; i < kConnections; ++i) sockets.push_back(connect_from(*host));
    node->net().inside([&] {
      const std::vector<Wire> wires = *daemon::find_wires();
      for (const Wire& wire : wires) homes[wire.address] = wire.mac;
      connections = *daemon::find_connections({{*daemon::parse_ipv4(node->address()), kPort}});
    });
    ASSERT_EQ(connections.size(), static_cast<std::size_t>(kConnections));
    ASSERT_EQ(homes.size(), 1U);
  }

  io::UniqueFd connect_from(const Machine& from) {
    io::UniqueFd out;
    const sockaddr_in there = address_of(*node);
    from.net().inside([&] {
      out = io::UniqueFd(::socket(AF_INET, SOCK_STREAM, 0));
      require_call(::connect(out.get(), reinterpret_cast<const sockaddr*>(&there), sizeof there) == 0, "connect");
    });
    return out;
  }

  // The longest time until the host's kernel gave each of the connections up; those that it did not give up count in `left`.
  DurationNs tickle_from(const Machine& from) {
    Result<daemon::Tickled> done;
    const BootNs began = now();
    auto running = std::async(std::launch::async, [&] {
      from.net().inside([&] { done = daemon::tickle(*daemon::find_wires(), homes, connections); });
    });
    DurationNs longest{};
    for (const io::UniqueFd& one : sockets) {
      pollfd end{one.get(), POLLIN, 0};
      const bool ended = ::poll(&end, 1, kPatienceMs) == 1;
      char byte = 0;
      if (!ended || ::recv(one.get(), &byte, 1, MSG_DONTWAIT) != -1 || errno != ECONNRESET) ++left;
      longest = std::max(longest, now() - began);
    }
    running.get();
    EXPECT_TRUE(done) << done.error().text();
    if (done) told = *done;
    return longest;
  }

  std::string neighbour() { return must_run({"ip", "neighbour", "show", node->address()}, &host->net()); }

  std::unique_ptr<Switch> hub;
  std::unique_ptr<Machine> node, survivor, host;
  io::UniqueFd listener;
  std::vector<io::UniqueFd> sockets;
  std::map<Ipv4, Mac> homes;
  std::vector<Connection> connections;
  daemon::Tickled told;
  int left = 0;
};

TEST_F(Tickle, NodeIsUnplugged_HostsConnectionsEndAtOnce) {
  node->unplug();
  EXPECT_LT(tickle_from(*survivor), kPromptly);
  EXPECT_EQ(left, 0);
  EXPECT_EQ(told.ended, sockets.size());
}

// As with a process that is stopped: its kernel still answers ARP, and acknowledges what comes.
TEST_F(Tickle, NodesKernelStillAnswers_HostsConnectionsEndAtOnce_AndItIsReachedAsBefore) {
  EXPECT_LT(tickle_from(*survivor), kPromptly);
  EXPECT_EQ(left, 0);
  EXPECT_EQ(told.ended, sockets.size());
  EXPECT_THAT(neighbour(), testing::HasSubstr(daemon::mac_text(homes.begin()->second)));
  const io::UniqueFd again = connect_from(*host);
  EXPECT_GE(again.get(), 0);
}

TEST_F(Tickle, BytesAreUnderWay_HostsConnectionsEndAtOnce) {
  node->unplug();
  const std::string bytes(100'000, 'x');
  for (const io::UniqueFd& one : sockets) ASSERT_GT(::send(one.get(), bytes.data(), bytes.size(), MSG_DONTWAIT), 0);
  EXPECT_LT(tickle_from(*survivor), kPromptly);
  EXPECT_EQ(left, 0);
}

TEST_F(Tickle, WithoutIt_ConnectionsStay) {
  node->unplug();
  pollfd end{sockets.front().get(), POLLIN, 0};
  EXPECT_EQ(::poll(&end, 1, 300), 0);
}

// Two nodes lead volumes that the dead one led before: both tell its initiators.
TEST_F(Tickle, TwoSurvivorsAtOnce_ConnectionsEnd_AndTheAddressIsPutRight) {
  const Machine third(*hub, 3);
  auto other = std::async(std::launch::async, [&] { third.net().inside([&] { EXPECT_TRUE(daemon::tickle(*daemon::find_wires(), homes, connections)); }); });
  tickle_from(*survivor);
  other.get();
  EXPECT_EQ(left, 0);
  EXPECT_THAT(neighbour(), testing::HasSubstr(daemon::mac_text(homes.begin()->second)));
}

TEST_F(Tickle, AddressesOfTheSurvivor_StayAsTheyWere) {
  const auto addresses = [&] { return must_run({"ip", "-4", "-oneline", "address", "show"}, &survivor->net()); };
  const std::string before = addresses();
  tickle_from(*survivor);
  EXPECT_EQ(addresses(), before);
}

}  // namespace
}  // namespace holdfast::torture
