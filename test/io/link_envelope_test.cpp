// What decides whether bytes from a network are a frame: the envelope, alone.
#include "io/link_envelope.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/checksum.h"

namespace holdfast::io {
namespace {

EnvelopeBytes envelope_of(std::size_t head, std::size_t payload) { return encode_envelope({Envelope::Kind::frame, head, payload}); }

// As a peer would make it that means harm: everything is right but what the caller changed.
EnvelopeBytes forged(void (*change)(EnvelopeOnWire&)) {
  EnvelopeOnWire wire;
  const EnvelopeBytes honest = envelope_of(100, 8192);
  std::memcpy(&wire, honest.data(), sizeof wire);
  change(wire);
  wire.check_xxh3 = xxh3(holdfast::bytes_of(wire).first(offsetof(EnvelopeOnWire, check_xxh3)));
  EnvelopeBytes out;
  std::memcpy(out.data(), &wire, sizeof wire);
  return out;
}

TEST(LinkEnvelope, Envelope_OfAnyAllowedLengths_IsReadAsItWasWritten) {
  for (const std::size_t head : {std::size_t{1}, std::size_t{32}, std::size_t{4097}, kLinkHeadBytesMax})
    for (const std::size_t payload : {std::size_t{0}, kBlockBytes, std::size_t{3} * kBlockBytes, kLinkPayloadBytesMax}) {
      const auto read = decode_envelope(envelope_of(head, payload));
      ASSERT_TRUE(read.has_value()) << read.error().text();
      EXPECT_EQ(read->kind, Envelope::Kind::frame);
      EXPECT_EQ(read->head_bytes, head);
      EXPECT_EQ(read->payload_bytes, payload);
    }
  const auto end = decode_envelope(encode_envelope({}));
  ASSERT_TRUE(end.has_value());
  EXPECT_EQ(end->kind, Envelope::Kind::end);
}

TEST(LinkEnvelope, Envelope_WithAnyBitFlipped_IsRefused) {
  const EnvelopeBytes honest = envelope_of(100, 8192);
  for (std::size_t bit = 0; bit < honest.size() * 8; ++bit) {
    EnvelopeBytes damaged = honest;
    damaged[bit / 8] ^= std::byte{1} << (bit % 8);
    const auto read = decode_envelope(damaged);
    ASSERT_FALSE(read.has_value()) << "bit " << bit;
    EXPECT_EQ(read.error().code, Errc::protocol);
    EXPECT_FALSE(read.error().message.empty());
  }
}

TEST(LinkEnvelope, Envelope_ThatIsWellFormedButNotAllowed_IsRefused) {
  const std::array<EnvelopeBytes, 8> bad{
      forged([](EnvelopeOnWire& w) { w.head_bytes = 0; }),
      forged([](EnvelopeOnWire& w) { w.head_bytes = kLinkHeadBytesMax + 1; }),
      forged([](EnvelopeOnWire& w) { w.head_bytes = 0xffffffff; }),
      forged([](EnvelopeOnWire& w) { w.payload_bytes = kLinkPayloadBytesMax + kBlockBytes; }),
      forged([](EnvelopeOnWire& w) { w.payload_bytes = 0xfffff000; }),
      forged([](EnvelopeOnWire& w) { w.payload_bytes = 4095; }),
      forged([](EnvelopeOnWire& w) { w.flags = 2; }),
      forged([](EnvelopeOnWire& w) { w.flags = kEnvelopeEnd; }),  // With lengths.
  };
  for (const EnvelopeBytes& bytes : bad) {
    const auto read = decode_envelope(bytes);
    ASSERT_FALSE(read.has_value());
    EXPECT_EQ(read.error().code, Errc::protocol);
  }
  EXPECT_FALSE(decode_envelope(forged([](EnvelopeOnWire& w) { w.version = 2; })).has_value());
  EXPECT_TRUE(decode_envelope(forged([](EnvelopeOnWire&) {})).has_value());
}

// The bytes of version 1, as nodes in the field have them.
TEST(LinkEnvelope, Layout_OfVersionOne_IsFrozen) {
  const EnvelopeBytes bytes = envelope_of(0x1234, 0x3000);
  const std::array<unsigned char, 16> expected{'H', 'F', 'E', '1', 1, 0, 0, 0, 0x34, 0x12, 0, 0, 0, 0x30, 0, 0};
  EXPECT_EQ(0, std::memcmp(bytes.data(), expected.data(), expected.size()));
  EXPECT_EQ(load_le<std::uint64_t>(bytes.data() + 16), xxh3(Bytes(bytes).first(16)));
}

}  // namespace
}  // namespace holdfast::io
