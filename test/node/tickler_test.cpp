// The tickler among initiators that answer as kernels do.
#include "tools/holdfastd/tickler.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tools/holdfastd/packet_port.h"

namespace holdfast::daemon {
namespace {

constexpr Mac kHereMac{2, 0, 0, 0, 0, 2}, kDeadMac{2, 0, 0, 0, 0, 1}, kHostMac{2, 0, 0, 0, 0, 11};
constexpr Ipv4 kPortal{0x0a4d0001}, kOwnAddress{0x0a4d0002}, kHost{0x0a4d000b}, kNetmask{0xffff0000};
constexpr std::uint32_t kExpected = 0x12345678;
const Connection kConnection{{kPortal, 3260}, {kHost, 51234}};
const std::vector<Wire> kWires{{7, kHereMac, kOwnAddress, kNetmask}};

Ipv4 statement_address(const Frame& frame) { return {load_be<std::uint32_t>(frame.data() + 28)}; }
Mac statement_mac(const Frame& frame) {
  Mac out{};
  std::transform(frame.data() + 22, frame.data() + 28, out.begin(), [](std::byte b) { return std::to_integer<std::uint8_t>(b); });
  return out;
}
bool is_arp(const Frame& frame) { return load_be<std::uint16_t>(frame.data() + 12) == 0x0806; }

// A host with one connection, as Linux has it.
struct Initiator {
  bool is_open = true, answers_arp = true, answers_strange_acks = true, believes_resets = true;
  Mac portal_is_at = kDeadMac;
  unsigned resets_ignored = 0;

  Frame arp_reply() const {
    Frame out = arp_statement(kHostMac, kHereMac, kHost, kHostMac);
    out[21] = std::byte{2};
    return out;
  }
  // What comes back to the tickler for a frame.
  std::vector<Frame> take(const Frame& frame) {
    if (is_arp(frame)) {
      const bool asks_for_us = load_be<std::uint32_t>(frame.data() + 38) == kHost.value;
      if (asks_for_us) return answers_arp ? std::vector<Frame>{arp_reply()} : std::vector<Frame>();
      if (statement_address(frame) == kPortal) portal_is_at = statement_mac(frame);
      return {};
    }
    const auto segment = read_segment(frame);
    if (!segment || segment->to != kConnection.initiator || segment->from != kConnection.portal) return {};
    Segment back{segment->to, segment->from, 1000, kExpected, true, false};
    if (segment->is_reset) {
      if (segment->sequence == kExpected && believes_resets) is_open = false;
      else ++resets_ignored;
      return {};
    }
    if (is_open && !answers_strange_acks) return {};
    if (!is_open) back = {segment->to, segment->from, segment->acknowledged, 0, false, true};
    if (portal_is_at != kHereMac) return {};  // It goes to the dead node.
    return std::vector<Frame>{tcp_frame(kHostMac, portal_is_at, back)};
  }
};

// Frames go back and forth until nobody says anything more; bounded, for nobody may be kept talking.
std::size_t talk(Tickler& tickler, Initiator& host, std::vector<Tickler::Outgoing> out) {
  std::size_t sent = 0;
  for (std::size_t turn = 0; !out.empty(); ++turn) {
    EXPECT_LT(turn, 50U) << "they talk for ever";
    if (turn >= 50) break;
    std::vector<Tickler::Outgoing> next;
    for (const auto& one : out) {
      ++sent;
      EXPECT_EQ(one.interface, 7);
      for (const Frame& answer : host.take(one.frame)) tickler.receive(answer, next);
    }
    out = std::move(next);
  }
  return sent;
}

std::size_t round_with(Tickler& tickler, Initiator& host) {
  std::vector<Tickler::Outgoing> out;
  tickler.next_round(out);
  return talk(tickler, host, std::move(out));
}

void end_rounds(Tickler& tickler, Initiator& host) {
  std::vector<Tickler::Outgoing> out;
  tickler.finish(out);
  talk(tickler, host, std::move(out));
}

TEST(Tickler, HostAnswers_ConnectionEndsInOneRound_AndTheAddressIsPutRight) {
  Tickler tickler(kWires, {{kPortal, kDeadMac}}, {kConnection});
  Initiator host;
  round_with(tickler, host);
  EXPECT_FALSE(host.is_open);
  EXPECT_EQ(host.resets_ignored, 0U);
  EXPECT_TRUE(tickler.is_done());
  EXPECT_EQ(tickler.ended(), 1U);
  EXPECT_EQ(host.portal_is_at, kDeadMac);
}

TEST(Tickler, HostIsSilent_ItGivesUpAfterItsRounds) {
  Tickler tickler(kWires, {{kPortal, kDeadMac}}, {kConnection});
  Initiator host;
  host.answers_arp = false;
  for (unsigned i = 0; i < Tickler::kRoundsMax; ++i) {
    EXPECT_FALSE(tickler.is_done());
    EXPECT_EQ(round_with(tickler, host), 1U);
  }
  EXPECT_TRUE(tickler.is_done());
  EXPECT_EQ(tickler.ended(), 0U);
}

// A firewall there, say, swallows what fits nothing. Whatever the host sends of its own will do.
TEST(Tickler, HostSwallowsStrangeAcks_ItsOwnSegmentTellsWhatItExpects) {
  Tickler tickler(kWires, {{kPortal, kDeadMac}}, {kConnection});
  Initiator host;
  host.answers_strange_acks = false;
  round_with(tickler, host);
  EXPECT_TRUE(host.is_open);
  ASSERT_EQ(host.portal_is_at, kHereMac);
  std::vector<Tickler::Outgoing> out;
  tickler.receive(tcp_frame(kHostMac, kHereMac, {kConnection.initiator, kConnection.portal, 1000, kExpected, true, false}), out);
  talk(tickler, host, std::move(out));
  EXPECT_FALSE(host.is_open);
  EXPECT_EQ(tickler.ended(), 1U);
}

TEST(Tickler, HostBelievesNoReset_NobodyIsKeptTalking_AndTheAddressIsPutRight) {
  Tickler tickler(kWires, {{kPortal, kDeadMac}}, {kConnection});
  Initiator host;
  host.believes_resets = false;
  while (!tickler.is_done()) EXPECT_LT(round_with(tickler, host), 20U);
  EXPECT_EQ(tickler.ended(), 0U);
  EXPECT_EQ(host.portal_is_at, kHereMac);
  end_rounds(tickler, host);
  EXPECT_EQ(host.portal_is_at, kDeadMac);
}

TEST(Tickler, ConnectionIsGoneAlready_CountsAsEnded) {
  Tickler tickler(kWires, {{kPortal, kDeadMac}}, {kConnection});
  Initiator host;
  host.is_open = false;
  round_with(tickler, host);
  EXPECT_TRUE(tickler.is_done());
  EXPECT_EQ(host.portal_is_at, kDeadMac);
}

TEST(Tickler, OthersConnections_AreNotTouched) {
  Tickler tickler(kWires, {{kPortal, kDeadMac}}, {kConnection});
  Initiator host;
  host.answers_strange_acks = false;
  round_with(tickler, host);
  std::vector<Tickler::Outgoing> out;
  Segment other{{kHost, 40000}, {kPortal, 3260}, 1, 2, true, false};  // The host connects again, or to another service.
  tickler.receive(tcp_frame(kHostMac, kHereMac, other), out);
  other = {kConnection.initiator, {kPortal, 22}, 1, 2, true, false};
  tickler.receive(tcp_frame(kHostMac, kHereMac, other), out);
  EXPECT_TRUE(out.empty());
}

TEST(Tickler, WhoIsElsewhere_OrOnThisMachine_IsLeftAlone) {
  const Connection routed{{kPortal, 3260}, {{0x0b000001}, 51234}}, own_host{{kPortal, 3260}, {kOwnAddress, 51234}}, own_portal{{kOwnAddress, 3260}, {kHost, 51234}},
      homeless{{{0x0a4d0003}, 3260}, {kHost, 51234}};
  Tickler tickler(kWires, {{kPortal, kDeadMac}, {kOwnAddress, kHereMac}}, {routed, own_host, own_portal, homeless});
  EXPECT_EQ(tickler.reached(), 0U);
  EXPECT_TRUE(tickler.is_done());
}

TEST(KernelsTable, OnlyEstablishedConnectionsToTheListeners) {
  constexpr std::string_view kTable =
      "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
      "   0: 01004D0A:0CBC 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0\n"
      "   1: 01004D0A:0CBC 0B004D0A:C822 01 00000000:00000000 02:000003E8 00000000     0        0 2 2 0 20 4 30 10 -1\n"
      "   2: 01004D0A:0CBC 0C004D0A:C823 06 00000000:00000000 02:000003E8 00000000     0        0 3 2 0 20 4 30 10 -1\n"
      "   3: 01004D0A:0016 0B004D0A:C824 01 00000000:00000000 02:000003E8 00000000     0        0 4 2 0 20 4 30 10 -1\n"
      "   4: 01004D0A:0CBC 01004D0A:C825 01 00000000:00000000 02:000003E8 00000000     0        0 5 2 0 20 4 30 10 -1\n"
      "   5: nonsense\n"
      "\n";
  EXPECT_EQ(connections_in(kTable, {{kPortal, 3260}}), std::vector{kConnection});
  EXPECT_EQ(connections_in(kTable, {{{}, 3260}}), std::vector{kConnection});
  EXPECT_TRUE(connections_in(kTable, {{kOwnAddress, 3260}}).empty());
  EXPECT_TRUE(connections_in(kTable, {}).empty());
  EXPECT_TRUE(connections_in("", {{kPortal, 3260}}).empty());
}

}  // namespace
}  // namespace holdfast::daemon
