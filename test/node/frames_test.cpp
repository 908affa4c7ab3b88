// Frames that this node writes: byte for byte, and with checksums that come out as they must.
#include "tools/holdfastd/frames.h"

#include <gtest/gtest.h>

namespace holdfast::daemon {
namespace {

constexpr Mac kOwnMac{2, 0, 0, 0, 0, 1}, kOtherMac{2, 0, 0, 0, 0, 2}, kThirdMac{2, 0, 0, 0, 0, 3};
constexpr Ipv4 kFramePortal{0x0a4d0001}, kFrameHost{0x0a4d000b};

std::string hex(const Frame& frame, std::size_t from, std::size_t bytes) {
  std::string out;
  for (std::size_t i = from; i < from + bytes; ++i) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    out += kDigits[std::to_integer<unsigned>(frame[i]) >> 4];
    out += kDigits[std::to_integer<unsigned>(frame[i]) & 15];
  }
  return out;
}

// What a receiver does: all words together, the checksum among them, are ones.
std::uint16_t sum_of(const Frame& frame, std::size_t from, std::size_t bytes, std::uint32_t sum = 0) {
  for (std::size_t i = from; i < from + bytes; i += 2) sum += load_be<std::uint16_t>(frame.data() + i);
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(sum);
}

TEST(Frames, ArpQuestion_IsForEverybody) {
  const Frame frame = arp_question(kOwnMac, kFramePortal, kFrameHost);
  EXPECT_EQ(hex(frame, 0, 42), "ffffffffffff" "020000000001" "0806" "0001080006040001" "020000000001" "0a4d0001" "000000000000" "0a4d000b");
  EXPECT_EQ(frame.size(), 60U);
}

TEST(Frames, ArpStatement_IsGratuitousForOneMachine_FromTheOwnAddress) {
  EXPECT_EQ(hex(arp_statement(kOwnMac, kOtherMac, kFramePortal, kThirdMac), 0, 42),
            "020000000002" "020000000001" "0806" "0001080006040001" "020000000003" "0a4d0001" "000000000000" "0a4d0001");
}

TEST(Frames, TcpFrame_HasBothChecksums_AndIsReadBack) {
  for (const Segment& segment : {Segment{{kFramePortal, 3260}, {kFrameHost, 51234}, 0, 0, true, false}, Segment{{kFramePortal, 3260}, {kFrameHost, 51234}, 0xfedcba98, 0, false, true},
                                 Segment{{kFrameHost, 1}, {kFramePortal, 65535}, 0xffffffff, 0xffffffff, true, true}}) {
    const Frame frame = tcp_frame(kOwnMac, kOtherMac, segment);
    EXPECT_EQ(sum_of(frame, 14, 20), 0xffff);
    const std::uint32_t pseudo = 6 + 20;  // Protocol and length; the addresses are summed with the segment.
    EXPECT_EQ(sum_of(frame, 26, 8 + 20, pseudo), 0xffff);
    const auto back = read_segment(frame);
    ASSERT_TRUE(back);
    EXPECT_EQ(*back, segment);
    EXPECT_FALSE(read_arp_answer(frame));
  }
}

TEST(Frames, TcpFrame_Bytes_AreThoseOfAKnownOne) {
  EXPECT_EQ(hex(tcp_frame(kOwnMac, kOtherMac, {{kFramePortal, 3260}, {kFrameHost, 51234}, 0, 0, true, false}), 0, 54),
            "020000000002" "020000000001" "0800" "45000028000040004006262b" "0a4d0001" "0a4d000b" "0cbcc822" "0000000000000000" "50100400" "c2500000");
}

TEST(Frames, OptionsOfIpAndTcp_AreSteppedOver) {
  Frame frame = tcp_frame(kOwnMac, kOtherMac, {{kFrameHost, 51234}, {kFramePortal, 3260}, 7, 9, true, false});
  frame.insert(frame.begin() + 34, 4, std::byte{1});  // Four bytes of options behind the IP header.
  frame[14] = std::byte{0x46};
  const auto back = read_segment(frame);
  ASSERT_TRUE(back);
  EXPECT_EQ(back->acknowledged, 9U);
}

TEST(Frames, ShortAndForeignFrames_AreNothing) {
  const Frame good = tcp_frame(kOwnMac, kOtherMac, {{kFrameHost, 51234}, {kFramePortal, 3260}, 7, 9, true, false});
  for (std::size_t size = 0; size < 54; ++size) EXPECT_FALSE(read_segment(Bytes(good).first(size))) << size;
  const Frame arp = arp_question(kOwnMac, kFramePortal, kFrameHost);
  for (std::size_t size = 0; size <= arp.size(); ++size) EXPECT_FALSE(read_arp_answer(Bytes(arp).first(size))) << "a question is no answer";
  Frame fragment = good;
  fragment[21] = std::byte{1};
  EXPECT_FALSE(read_segment(fragment));
  Frame udp = good;
  udp[23] = std::byte{17};
  EXPECT_FALSE(read_segment(udp));
  Frame long_header = good;
  long_header[14] = std::byte{0x4f};
  EXPECT_FALSE(read_segment(long_header));
}

TEST(Frames, Texts_ThereAndBack) {
  EXPECT_EQ(mac_text(kThirdMac), "02:00:00:00:00:03");
  EXPECT_EQ(parse_mac("02:00:00:00:00:03"), kThirdMac);
  for (const char* text : {"", "02:00:00:00:00:0", "02:00:00:00:00:033", "02-00-00-00-00-03", "02:00:00:00:00:0g", "2:0:0:0:0:3:000000"}) EXPECT_FALSE(parse_mac(text)) << text;
  EXPECT_EQ(parse_ipv4("10.77.0.1"), kFramePortal);
  for (const char* text : {"", "10.77.0", "10.77.0.1.", "10.77.0.256", "10.77..1", "10.77.0.1 ", "::1"}) EXPECT_FALSE(parse_ipv4(text)) << text;
  EXPECT_EQ(parse_ipv4_endpoint("10.77.0.11:51234"), (Ipv4Endpoint{kFrameHost, 51234}));
  EXPECT_EQ((Ipv4Endpoint{kFrameHost, 51234}).text(), "10.77.0.11:51234");
  for (const char* text : {"10.77.0.11", "10.77.0.11:", "10.77.0.11:0", "10.77.0.11:65536", ":3260", "[::1]:3260"}) EXPECT_FALSE(parse_ipv4_endpoint(text)) << text;
}

}  // namespace
}  // namespace holdfast::daemon
