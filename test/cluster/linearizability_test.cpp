#include "test/cluster/history.h"
#include "test/cluster/linearizability.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "test/sim/random.h"

namespace holdfast::cluster {
namespace {

using Kind = RegisterOp::Kind;

RegisterOp write(std::uint64_t value, Tick from, Tick to) { return {Kind::write, value, 0, from, to, 0}; }
RegisterOp read(std::uint64_t value, Tick from, Tick to) { return {Kind::read, value, 0, from, to, 0}; }
RegisterOp swap(std::uint64_t expected, std::uint64_t value, Tick from, Tick to) { return {Kind::swap, value, expected, from, to, 0}; }
RegisterOp differs(std::uint64_t expected, Tick from, Tick to) { return {Kind::differs, 0, expected, from, to, 0}; }
Verdict judge(std::vector<RegisterOp> ops) { return judge_register(std::move(ops)).verdict; }

TEST(Linearizability, Sequential_NewestIsRead_Fits) { EXPECT_EQ(judge({write(1, 0, 1), read(1, 2, 3), write(2, 4, 5), read(2, 6, 7)}), Verdict::fits); }
TEST(Linearizability, OlderValueRead_AfterNewerWasAcknowledged_IsViolated) {
  EXPECT_EQ(judge({write(1, 0, 1), write(2, 2, 3), read(1, 4, 5)}), Verdict::violated);
}
TEST(Linearizability, AcknowledgedWrite_Lost_IsViolated) { EXPECT_EQ(judge({write(1, 0, 1), read(kZeros, 2, 3)}), Verdict::violated); }
TEST(Linearizability, ConcurrentWrites_EitherOrder_Fits) {
  EXPECT_EQ(judge({write(1, 0, 10), write(2, 1, 9), read(1, 11, 12)}), Verdict::fits);
  EXPECT_EQ(judge({write(1, 0, 10), write(2, 1, 9), read(2, 11, 12)}), Verdict::fits);
  EXPECT_EQ(judge({write(1, 0, 10), write(2, 1, 9), read(2, 11, 12), read(1, 13, 14)}), Verdict::violated);
}
TEST(Linearizability, ReadsOfOneWriteUnderWay_NewThenOld_IsViolated) {
  EXPECT_EQ(judge({write(1, 0, 1), write(2, 2, 20), read(2, 3, 4), read(1, 5, 6)}), Verdict::violated);
}
TEST(Linearizability, UnknownWrite_SeenOrNot_Fits) {
  EXPECT_EQ(judge({write(1, 0, 1), write(2, 2, kNever), read(1, 3, 4)}), Verdict::fits);
  EXPECT_EQ(judge({write(1, 0, 1), write(2, 2, kNever), read(1, 3, 4), read(2, 5, 6)}), Verdict::fits);
}
TEST(Linearizability, UnknownWrite_SeenAndThenGone_IsViolated) {
  EXPECT_EQ(judge({write(1, 0, 1), write(2, 2, kNever), read(2, 3, 4), read(1, 5, 6)}), Verdict::violated);
}
TEST(Linearizability, ValueNobodyWrote_IsViolated) { EXPECT_EQ(judge({read(7, 0, 1)}), Verdict::violated); }
TEST(Linearizability, ValueReadBeforeItsWriteBegan_IsViolated) { EXPECT_EQ(judge({read(1, 0, 1), write(1, 2, 3)}), Verdict::violated); }
TEST(Linearizability, Zeros_WrittenAgain_MayComeBack) {
  EXPECT_EQ(judge({write(1, 0, 1), write(kZeros, 2, 3), read(kZeros, 4, 5)}), Verdict::fits);
  EXPECT_EQ(judge({write(1, 0, 1), write(kZeros, 2, 3), read(1, 4, 5)}), Verdict::violated);
  EXPECT_EQ(judge({write(1, 0, 1), write(kZeros, 2, kNever), read(1, 3, 4), read(kZeros, 5, 6)}), Verdict::fits);
  EXPECT_EQ(judge({write(1, 0, 1), write(kZeros, 2, kNever), read(kZeros, 3, 4), read(1, 5, 6)}), Verdict::violated);
}
// One unknown unmap explains zeros once, not twice.
TEST(Linearizability, OneUnknownUnmap_ZerosTwice_IsViolated) {
  EXPECT_EQ(judge({write(1, 0, 1), write(kZeros, 2, kNever), read(kZeros, 3, 4), write(2, 5, 6), read(kZeros, 7, 8)}), Verdict::violated);
  EXPECT_EQ(judge({write(1, 0, 1), write(kZeros, 2, kNever), write(kZeros, 2, kNever), read(kZeros, 3, 4), write(2, 5, 6), read(kZeros, 7, 8)}),
            Verdict::fits);
}
// Zones alone would let a write slip in between the comparing and the writing.
TEST(Linearizability, CompareAndWrite_WithAWriteInBetween_IsViolated) {
  EXPECT_EQ(judge({write(1, 0, 1), swap(1, 2, 2, 3), read(2, 4, 5)}), Verdict::fits);
  EXPECT_EQ(judge({write(1, 0, 1), swap(1, 2, 2, 7), swap(1, 3, 3, 6), read(3, 8, 9)}), Verdict::violated);
}
TEST(Linearizability, UnknownCompareAndWrite_SeenLater_HasReadWhatItExpected) {
  EXPECT_EQ(judge({write(1, 0, 1), swap(1, 2, 2, kNever), read(2, 3, 4)}), Verdict::fits);
  EXPECT_EQ(judge({write(1, 0, 1), swap(1, 2, 2, kNever), write(3, 3, 4), read(3, 5, 6), read(2, 7, 8)}), Verdict::violated);
}

// MISCOMPARE says that something else was there at some instant.
TEST(Linearizability, MiscompareOfWhatWasThereAllTheTime_IsViolated) {
  EXPECT_EQ(judge({write(1, 0, 1), differs(1, 2, 3)}), Verdict::violated);
  EXPECT_EQ(judge({write(1, 0, 1), differs(kZeros, 2, 3)}), Verdict::fits);
  EXPECT_EQ(judge({write(1, 0, 1), write(2, 2, 5), differs(1, 3, 4), read(1, 6, 7)}), Verdict::violated);
  EXPECT_EQ(judge({write(1, 0, 1), write(2, 2, 5), differs(1, 3, 4), read(2, 6, 7)}), Verdict::fits);
}
// What nobody read, and nobody knows to have happened, may be what was found.
TEST(Linearizability, MiscompareExplainedByAnUnknownWrite_Fits) {
  EXPECT_EQ(judge({write(1, 0, 1), write(2, 2, kNever), differs(1, 3, 4), write(3, 5, 6), read(3, 7, 8)}), Verdict::fits);
  EXPECT_EQ(judge({write(1, 0, 1), differs(1, 3, 4), write(2, 5, kNever), write(3, 6, 7), read(3, 8, 9)}), Verdict::violated);
  EXPECT_EQ(judge({write(1, 0, 1), swap(1, 2, 2, kNever), differs(1, 3, 4), write(3, 5, 6)}), Verdict::fits);
  EXPECT_EQ(judge({write(1, 0, 1), write(2, 2, kNever), differs(1, 3, 4), read(1, 5, 6)}), Verdict::violated);
}

BitsOp sets(std::uint64_t bit, Tick from, Tick to) { return {BitsOp::Kind::set, bit, {}, from, to, 0}; }
BitsOp sees(std::uint64_t bits, Tick from, Tick to) { return {BitsOp::Kind::read, 0, {bits}, from, to, 0}; }
Verdict judge_sets(std::vector<BitsOp> ops) { return judge_bits(ops).verdict; }

TEST(Linearizability, BitsThatWereSet_AreSeenFromThenOn) {
  EXPECT_EQ(judge_sets({sets(0, 0, 1), sets(1, 2, kNever), sees(1, 3, 4), sees(3, 5, 6)}), Verdict::fits);
  EXPECT_EQ(judge_sets({sets(0, 0, 1), sees(0, 2, 3)}), Verdict::violated);
  EXPECT_EQ(judge_sets({sets(0, 0, 1), sees(3, 2, 3)}), Verdict::violated);
  EXPECT_EQ(judge_sets({sees(1, 0, 1), sets(0, 2, 3)}), Verdict::violated);
  EXPECT_EQ(judge_sets({sets(0, 0, kNever), sees(1, 1, 2), sees(0, 3, 4)}), Verdict::violated);
  EXPECT_EQ(judge_sets({sets(0, 0, 10), sets(1, 0, 10), sees(1, 1, 9), sees(2, 1, 9)}), Verdict::violated);
  EXPECT_EQ(judge_sets({sets(0, 0, 1), sets(1, 2, 10), sees(2, 0, 9)}), Verdict::violated);
}

// Every order, and every choice of the unknown ones: slow, and plainly right.
bool explained(const std::vector<RegisterOp>& ops) {
  std::vector<std::size_t> order(ops.size());
  for (std::uint64_t chosen = 0; chosen < (1u << ops.size()); ++chosen) {
    std::vector<std::size_t> in;
    bool all_certain = true;
    for (std::size_t i = 0; i < ops.size(); ++i) {
      if (chosen >> i & 1) in.push_back(i);
      else all_certain = all_certain && ops[i].responded == kNever;
    }
    if (!all_certain) continue;
    do {
      std::uint64_t value = kZeros;
      bool fits = true;
      for (std::size_t a = 0; fits && a < in.size(); ++a) {
        for (std::size_t b = a + 1; fits && b < in.size(); ++b) fits = ops[in[b]].responded > ops[in[a]].invoked;
        const RegisterOp& op = ops[in[a]];
        if (op.kind == Kind::read) fits = fits && op.value == value;
        if (op.kind == Kind::swap) fits = fits && op.expected == value;
        if (op.kind == Kind::differs) fits = fits && op.expected != value;
        if (op.kind == Kind::write || op.kind == Kind::swap) value = op.value;
      }
      if (fits) return true;
    } while (std::next_permutation(in.begin(), in.end()));
  }
  return false;
}

std::vector<RegisterOp> random_history(sim::SimRandom& random, bool unique_only) {
  const std::size_t count = 2 + random.below(4);
  std::vector<Tick> ticks(count * 2);
  std::iota(ticks.begin(), ticks.end(), 0);
  for (std::size_t i = ticks.size(); i > 1; --i) std::swap(ticks[i - 1], ticks[random.below(i)]);
  std::vector<RegisterOp> ops;
  std::uint64_t next_value = 1;
  for (std::size_t i = 0; i < count; ++i) {
    RegisterOp op;
    op.invoked = std::min(ticks[2 * i], ticks[2 * i + 1]);
    op.responded = std::max(ticks[2 * i], ticks[2 * i + 1]);
    const std::uint64_t draw = random.below(unique_only ? 4 : 7);
    op.kind = draw < 2 ? Kind::write : draw < 4 || draw == 5 ? Kind::read : draw == 6 ? Kind::differs : Kind::swap;
    if (op.kind == Kind::read) op.value = random.below(3);
    else if (op.kind != Kind::differs) op.value = !unique_only && op.kind == Kind::write && random.one_in(3) ? kZeros : next_value++;
    if (op.kind == Kind::swap || op.kind == Kind::differs) op.expected = random.below(3);
    if (op.kind != Kind::read && op.kind != Kind::differs && random.one_in(4)) op.responded = kNever;
    ops.push_back(op);
  }
  return ops;
}

std::string story(const std::vector<RegisterOp>& ops) {
  std::string text;
  for (const RegisterOp& op : ops)
    text += "\n  " + std::string(op.kind == Kind::read ? "read " : op.kind == Kind::write ? "write " : op.kind == Kind::swap ? "swap " : "differs ") + std::to_string(op.expected) + " " +
            std::to_string(op.value) + " [" + std::to_string(op.invoked) + ", " + (op.responded == kNever ? "never" : std::to_string(op.responded)) + "]";
  return text;
}

TEST(Linearizability, RandomHistories_AgainstEveryOrder_Agree) {
  sim::SimRandom random(7);
  int violations = 0;
  for (int i = 0; i < 30'000; ++i) {
    const auto ops = random_history(random, i % 2 == 0);
    const bool expected = explained(ops);
    violations += !expected;
    ASSERT_EQ(judge(ops) == Verdict::fits, expected) << "history " << i << story(ops);
    auto prepared = ops;
    if (prepare(prepared)) continue;
    ASSERT_EQ(judge_by_search(prepared).verdict == Verdict::fits, expected) << "history " << i;
  }
  EXPECT_GT(violations, 1'000);
  EXPECT_LT(violations, 29'000);
}

// Operations on one volume, one after another.
class WholeWrites : public testing::Test {
 protected:
  OpId ends(OpKind kind, std::uint64_t first, std::uint64_t count, Outcome outcome) {
    ClientOp op;
    op.kind = kind;
    op.range = BlockRange{Lba(first), BlockCount(count)};
    const OpId id = history.begin(std::move(op));
    history.end(id, outcome, BootNs{});
    return id;
  }
  bool whole(const std::vector<OpId>& stamps) const { return !history.judge_whole(0, stamps).has_value(); }

  History history;
};

TEST_F(WholeWrites, PartBesideWhatWasThereBefore_IsTorn) {
  const OpId before = ends(OpKind::write, 0, 4, Outcome::done), crashed = ends(OpKind::write, 1, 3, Outcome::unknown);
  EXPECT_TRUE(whole({before, crashed, crashed, crashed}));
  EXPECT_TRUE(whole({before, before, before, before}));
  EXPECT_FALSE(whole({before, crashed, before, crashed}));
  EXPECT_FALSE(whole({before, crashed, crashed, 0}));
}

TEST_F(WholeWrites, PartBesideWhatCameLater_IsWhole) {
  const OpId write = ends(OpKind::write, 0, 4, Outcome::unknown), later = ends(OpKind::write, 2, 1, Outcome::done);
  EXPECT_TRUE(whole({write, write, later, write}));
  EXPECT_FALSE(whole({write, write, later, 0}));
  ends(OpKind::unmap, 3, 1, Outcome::unknown);
  EXPECT_TRUE(whole({write, write, later, 0}));
}

}  // namespace
}  // namespace holdfast::cluster
