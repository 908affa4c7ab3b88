// The register's text, and what logs share.
#include <gtest/gtest.h>

#include "engine/register.h"
#include "wal/history.h"

namespace holdfast::role_test {
namespace {

using engine::decode_register;
using engine::encode_register;
using engine::Register;

Register example() {
  Register r;
  r.group[0] = 0xab;
  r.seq = 7;
  r.epoch = Epoch(3);
  r.primary = NodeId(2);
  r.claim = ~std::uint64_t{0};
  r.members = {NodeId(1), NodeId(2), NodeId(3)};
  r.add_in_sync({NodeId(2), {1}});
  r.add_in_sync({NodeId(1), {2}});
  r.min_in_sync = 2;
  r.lease_ms = 600;
  r.previous_lease_ms = 300;
  r.floor_epoch = Epoch(2);
  r.floor_commit = Lsn(99);
  r.floor_content_epoch = Epoch(1);
  r.floor_content_end = Lsn(97);
  return r;
}

TEST(RegisterText, EncodedAndDecoded_IsTheSame) {
  const auto back = decode_register(encode_register(example()));
  ASSERT_TRUE(back.has_value()) << back.error().text();
  EXPECT_EQ(*back, example());
}

TEST(RegisterText, EveryCut_IsRefused) {
  const std::string text = encode_register(example());
  for (std::size_t length = 0; length < text.size(); ++length) EXPECT_FALSE(decode_register(text.substr(0, length))) << length;
}

TEST(RegisterText, NewerOrForeignText_IsNamedAsSuch) {
  EXPECT_EQ(decode_register("holdfast-register 2\nseq 1\n").error().code, Errc::version_too_new);
  EXPECT_EQ(decode_register("{}\n").error().code, Errc::foreign);
}

TEST(RegisterText, LinesThatMakeNoSense_AreRefused) {
  const std::string text = encode_register(example());
  for (const std::string more : {"seq 8\n", "colour red\n", "member 3\n", "in_sync 9 12\n", "member x\n"})
    EXPECT_FALSE(decode_register(text.substr(0, text.size() - 4) + more + "end\n")) << more;
}

using wal::EpochBegin;
using wal::EpochHistory;
using wal::common_end;

EpochHistory history(std::vector<EpochBegin> epochs) { return EpochHistory(std::move(epochs)); }

struct Pair {
  std::vector<EpochBegin> a;
  std::uint64_t a_end;
  std::vector<EpochBegin> b;
  std::uint64_t b_end;
  std::optional<std::uint64_t> shared;
};

TEST(EpochHistory, CommonEnd_IsTheLastPlaceWithTheSameEpoch) {
  const EpochBegin e1{Epoch(1), Lsn(1)};
  const std::vector<Pair> table{
      {{e1}, 10, {e1}, 7, 7},
      {{e1, {Epoch(2), Lsn(6)}}, 9, {e1}, 8, 5},                              // 6 to 8 are another epoch's.
      {{e1, {Epoch(3), Lsn(6)}}, 9, {e1, {Epoch(2), Lsn(4)}}, 8, 3},
      {{e1, {Epoch(2), Lsn(6)}}, 9, {e1, {Epoch(2), Lsn(6)}}, 20, 9},
      {{{Epoch(1), Lsn(1)}}, 5, {{Epoch(2), Lsn(1)}}, 5, 0},                  // Nothing but the beginning.
      {{e1}, 10, {}, 0, 0},
      {{{Epoch(4), Lsn(50)}}, 60, {{Epoch(2), Lsn(20)}}, 40, std::nullopt},   // Too old to say.
  };
  for (std::size_t i = 0; i < table.size(); ++i) {
    const Pair& p = table[i];
    const auto there = common_end(history(p.a), Lsn(p.a_end), history(p.b), Lsn(p.b_end));
    const auto back = common_end(history(p.b), Lsn(p.b_end), history(p.a), Lsn(p.a_end));
    EXPECT_EQ(there.has_value() ? std::optional(there->value) : std::nullopt, p.shared) << i;
    EXPECT_EQ(there, back) << i;
  }
}

TEST(EpochHistory, Cut_ForgetsTheEpochsThatBeganLater) {
  EpochHistory h;
  h.note(Epoch(1), Lsn(1));
  h.note(Epoch(3), Lsn(5));
  h.note(Epoch(3), Lsn(6));
  EXPECT_EQ(h.at(Lsn(4)), Epoch(1));
  EXPECT_EQ(h.at(Lsn(5)), Epoch(3));
  h.cut(Lsn(4));
  EXPECT_EQ(h.last(), Epoch(1));
  h.note(Epoch(2), Lsn(5));
  EXPECT_EQ(h.at(Lsn(9)), Epoch(2));
}

// Cut to the end of what it has forgotten, it knows that record's epoch, and behind that it knows what the log has; cut to before that,
// nothing is known.
TEST(EpochHistory, CutIntoWhatIsForgotten_NoneOfItIsInvented) {
  for (const std::uint64_t last : {10, 9, 30}) {
    EpochHistory h;
    h.note(Epoch(4), Lsn(1));
    for (std::uint64_t e = 5; e < 205; ++e) h.note(Epoch(e), Lsn(e + 6));
    h.keep_newest(128);
    ASSERT_EQ(h.forgotten(), (EpochHistory::Content{Epoch(4), Lsn(10)}));
    h.cut(Lsn(last));
    EXPECT_EQ(h.at(Lsn(last)), last == 10 ? Epoch(4) : Epoch());
    EXPECT_EQ(h.content(Lsn(last)), last == 10 || last == 30 ? (EpochHistory::Content{Epoch(4), Lsn(10)}) : (EpochHistory::Content{Epoch(), Lsn(last)}));
    h.note(Epoch(300), Lsn(last + 1));
    EXPECT_EQ(h.last(), Epoch(300));
  }
}

}  // namespace
}  // namespace holdfast::role_test
