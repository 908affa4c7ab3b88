// How reservations are kept: every state comes back, and no bytes whatever do harm.
#include "scsi/reservation_format.h"

#include <gtest/gtest.h>

#include <string>

#include "base/checksum.h"

namespace holdfast::scsi {
namespace {

ReservationState full_state() {
  ReservationState state;
  state.generation = 0x01020304;
  state.aptpl = true;
  for (std::size_t i = 0; i < kRegistrationsMax; ++i) {
    std::string name = std::to_string(i);
    name.resize(kInitiatorNameBytesMax, 'x');
    state.registrations.push_back({{name, {std::byte{1}, {}, {}, {}, {}, std::byte(i)}, 2}, i + 1});
  }
  state.type = ReservationType::exclusive_access;
  state.holder = state.registrations[63].ports;
  return state;
}

ReservationState small_state() {
  ReservationState state = full_state();
  state.registrations.resize(2);
  state.registrations[0].ports.initiator = "iqn.a";
  state.registrations[1].ports.initiator = "iqn.b";
  state.holder = state.registrations[1].ports;
  return state;
}

void reseal(std::vector<std::byte>& blob) { store_le<std::uint64_t>(blob.data(), xxh3(Bytes(blob).subspan(8))); }

TEST(ReservationFormat, EveryKindOfState_ComesBack) {
  ReservationState all = full_state();
  all.type = ReservationType::write_exclusive_all_registrants;
  all.holder.reset();
  for (const ReservationState& state : {ReservationState{}, small_state(), full_state(), all}) {
    const std::vector<std::byte> blob = encode_reservations(state);
    EXPECT_LE(blob.size(), Volume::kReservationBytesMax);
    const auto back = decode_reservations(blob);
    ASSERT_TRUE(back.has_value()) << back.error().text();
    EXPECT_EQ(*back, state);
  }
}

TEST(ReservationFormat, NoBytes_AreAFreshState) { EXPECT_EQ(*decode_reservations({}), ReservationState{}); }

// Frozen: what one release writes the next must read.
TEST(ReservationFormat, Layout_IsFrozen) {
  const std::vector<std::byte> blob = encode_reservations(small_state());
  ASSERT_EQ(blob.size(), 24u + 2 * (24 + 5));
  EXPECT_EQ(as_text(Bytes(blob).subspan(8, 4)), "HFPR");
  EXPECT_EQ(load_le<std::uint16_t>(&blob[12]), 1u);
  EXPECT_EQ(blob[14], std::byte{3});
  EXPECT_EQ(blob[15], std::byte{1});
  EXPECT_EQ(load_le<std::uint32_t>(&blob[16]), 0x01020304u);
  EXPECT_EQ(load_le<std::uint16_t>(&blob[20]), 2u);
  EXPECT_EQ(load_le<std::uint16_t>(&blob[22]), 1u);
  EXPECT_EQ(load_le<std::uint64_t>(&blob[24]), 1u);
  EXPECT_EQ(load_le<std::uint16_t>(&blob[32]), 2u);
  EXPECT_EQ(load_le<std::uint16_t>(&blob[40]), 5u);
  EXPECT_EQ(as_text(Bytes(blob).subspan(48, 5)), "iqn.a");
}

TEST(ReservationFormat, AnyFlippedBit_IsNoticed) {
  const std::vector<std::byte> blob = encode_reservations(small_state());
  for (std::size_t bit = 0; bit < blob.size() * 8; ++bit) {
    std::vector<std::byte> damaged = blob;
    damaged[bit / 8] ^= std::byte(1 << bit % 8);
    EXPECT_FALSE(decode_reservations(damaged).has_value()) << bit;
  }
}

TEST(ReservationFormat, AnyTruncation_IsNoticed) {
  const std::vector<std::byte> blob = encode_reservations(small_state());
  for (std::size_t length = 1; length < blob.size(); ++length)
    EXPECT_FALSE(decode_reservations(Bytes(blob).first(length)).has_value()) << length;
}

// Hostile bytes with a good checksum: each field out of its bounds.
TEST(ReservationFormat, SealedNonsense_IsRefused) {
  const std::vector<std::byte> blob = encode_reservations(small_state());
  const auto refused = [&](std::size_t at, int value) {
    std::vector<std::byte> bad = blob;
    bad[at] = std::byte(value);
    reseal(bad);
    return !decode_reservations(bad).has_value();
  };
  EXPECT_TRUE(refused(14, 2));     // An unknown type.
  EXPECT_TRUE(refused(14, 0));     // A holder without a reservation.
  EXPECT_TRUE(refused(14, 7));     // A holder of a shared one.
  EXPECT_TRUE(refused(15, 2));     // Unknown flags.
  EXPECT_TRUE(refused(20, 3));     // More registrations than there are.
  EXPECT_TRUE(refused(20, 1));     // Fewer.
  EXPECT_TRUE(refused(21, 0xff));  // Very many.
  EXPECT_TRUE(refused(22, 2));     // A holder beyond the end.
  EXPECT_TRUE(refused(24, 0));     // Key zero.
  EXPECT_TRUE(refused(41, 0xff));  // A very long name.
  EXPECT_TRUE(refused(40, 0));     // None.
  EXPECT_TRUE(refused(42, 1));     // Reserved bytes.
}

TEST(ReservationFormat, NewerVersion_IsNamedAsSuch) {
  std::vector<std::byte> blob = encode_reservations(small_state());
  blob[12] = std::byte{2};
  reseal(blob);
  EXPECT_EQ(decode_reservations(blob).error().code, Errc::version_too_new);
}

}  // namespace
}  // namespace holdfast::scsi
