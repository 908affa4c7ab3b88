// Frames: what is sent is what arrives, and nothing else is taken for one.
#include "engine/wire.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstring>

#include "base/checksum.h"
#include "test/role/machine_bench.h"

namespace holdfast::role_test {
namespace {

std::vector<Message> examples() {
  Beat leading;
  leading.epoch = Epoch(4);
  leading.claim = ~std::uint64_t{0};
  leading.sent = BootNs{123};
  leading.leads = true;
  leading.lease_ms = 600;
  leading.commit = Lsn(17);
  Beat promising = leading;
  promising.leads = false;
  promising.grants = promising.coordinator_reached = true;
  promising.echo = BootNs{99};
  promising.free_chunks = 17;
  Hello in_need = MachineBench::hello_of(copy_of(kOther, 3), Bound{Epoch(4), 9, false}, 12, {{Epoch(1), Lsn(1)}});
  in_need.needs_rebuild = true;
  Hello forgetful = MachineBench::hello_of(copy_of(kOther, 3), Bound{Epoch(4), 9, false}, 12, {});
  forgetful.history = wal::EpochHistory({{Epoch(3), Lsn(6)}, {Epoch(4), Lsn(7)}}, {Epoch(2), Lsn(5)});
  return {in_need, forgetful, MachineBench::hello_of(copy_of(kOther, 3), Bound{Epoch(4), 9, false}, 12, {{Epoch(1), Lsn(1)}, {Epoch(4), Lsn(7)}}),
          leading, promising, MatchAt{Epoch(4), Lsn(7), Lsn(9)}, Ack{Epoch(4), Lsn(8)}, Release{Epoch(4)}, Fenced{Epoch(5)},
          Lagging{Epoch(4), Lsn(3)}, Leaving{Epoch(4)}, AskView{Epoch(4), 9, 3},
          TellView{Epoch(4), 9, 3, {NodeId(2), {{NodeId(1), true}, {NodeId(2), true}, {NodeId(3), false}}}}};
}

std::vector<std::byte> frame_of(const Message& message) {
  std::vector<std::byte> out;
  encode_message(message, out);
  return out;
}

TEST(Wire, EveryMessage_EncodedAndDecoded_EncodesTheSame) {
  for (const Message& message : examples()) {
    const auto frame = frame_of(message);
    const auto back = decode_message(frame);
    ASSERT_TRUE(back.has_value()) << back.error().text();
    EXPECT_EQ(back->index(), message.index());
    EXPECT_EQ(frame_of(*back), frame);
  }
}

TEST(Wire, EveryCutAndEveryFlippedBit_IsRefused) {
  for (const Message& message : examples()) {
    const auto frame = frame_of(message);
    for (std::size_t length = 0; length < frame.size(); ++length)
      EXPECT_FALSE(decode_message(Bytes(frame).first(length)).has_value()) << length;
    for (std::size_t bit = 0; bit < frame.size() * 8; ++bit) {
      auto rotten = frame;
      rotten[bit / 8] ^= std::byte{1} << (bit % 8);
      EXPECT_FALSE(decode_message(rotten).has_value()) << bit;
    }
  }
}

TEST(Wire, NewerProtocol_IsNamedAsSuch) {
  auto frame = frame_of(Ack{Epoch(1), Lsn(1)});
  frame[4] = std::byte{wal::kFrameVersion + 1};
  EXPECT_EQ(decode_message(frame).error().code, Errc::version_too_new);
}

TellView view_of(NodeId primary, std::vector<GroupView::Member> members) { return {Epoch(4), 9, 3, {primary, std::move(members)}}; }

TEST(Wire, ViewThatNoPrimaryTells_IsRefused) {
  const GroupView::Member first{NodeId(1), true}, second{NodeId(2), false};
  EXPECT_TRUE(decode_message(frame_of(view_of(NodeId(1), {first, second}))).has_value());
  EXPECT_FALSE(decode_message(frame_of(view_of(NodeId(1), {second, first}))).has_value());
  EXPECT_FALSE(decode_message(frame_of(view_of(NodeId(1), {first, first}))).has_value());
  EXPECT_FALSE(decode_message(frame_of(view_of(NodeId(3), {first, second}))).has_value());
  EXPECT_FALSE(decode_message(frame_of(view_of(NodeId(3), {}))).has_value());
  EXPECT_FALSE(decode_message(frame_of(AskView{Epoch(4), 9, 0})).has_value());
}

// One frame, one meaning: what a primary that refuses a follower leaves empty is empty.
TEST(Wire, RefusalThatNoPrimarySends_IsRefused) {
  EXPECT_TRUE(decode_message(frame_of(Lagging{Epoch(4), Lsn(3)})).has_value());
  auto frame = frame_of(Lagging{Epoch(4), Lsn(3)});
  frame[sizeof(wal::FrameHeader) + offsetof(wal::MatchBody, end_lsn)] = std::byte{0x38};
  const std::uint64_t sum = xxh3(Bytes(frame).subspan(16));
  std::memcpy(frame.data() + offsetof(wal::FrameHeader, head_xxh3), &sum, sizeof sum);
  EXPECT_FALSE(decode_message(frame).has_value());
}

struct Records {
  wal::AppendBody body{Epoch(5).value, 10, 4, 9, 2};
  std::vector<wal::RecordOnWire> records{{1, 4, 1, 64, 2, 1, 2, 0}, {2, 5, 0, 0, 0, 3, 0, 0}};
  std::vector<std::uint64_t> checksums{11, 12};
  std::vector<std::byte> frame() const {
    std::vector<std::byte> out;
    encode_append(body, records, checksums, out);
    return out;
  }
};

TEST(Wire, Append_EncodedAndDecoded_IsTheSame) {
  const Records sent;
  const auto frame = sent.frame();
  const auto back = decode_append(frame);
  ASSERT_TRUE(back.has_value()) << back.error().text();
  EXPECT_EQ(back->checksums, sent.checksums);
  ASSERT_EQ(back->records.size(), 2u);
  EXPECT_EQ(back->records[0].first_block, 64u);
  EXPECT_FALSE(decode_message(frame).has_value());
}

// A primary of epoch 5 has no records of epoch 6, none older than what is before them, and never a gap in its sums.
TEST(Wire, AppendThatNoPrimarySends_IsRefused) {
  for (int what = 0; what < 4; ++what) {
    Records sent;
    if (what == 0) sent.records[1].epoch = 6;
    if (what == 1) sent.records[0].epoch = 3;
    if (what == 2) sent.body.previous_lsn = ~std::uint64_t{0};
    if (what == 3) sent.records[1].flags = 2;
    EXPECT_FALSE(decode_append(sent.frame()).has_value()) << what;
  }
}

}  // namespace
}  // namespace holdfast::role_test
