// The protocol within small bounds: no state is wrong, and each rule is there for a reason.
#include <gtest/gtest.h>

#include "test/model/search.h"

namespace holdfast::model {
namespace {

Rules without(Broken rule) { return Rules{std::uint64_t{1} << static_cast<unsigned>(rule)}; }

// Two nodes, one write, one crash, three epochs: every state there is.
TEST(Model, TwoNodes_EveryState_IsSafe) {
  const Found found = search(Model(Bounds{}, Rules{}), 2'000'000);
  EXPECT_TRUE(found.complete);
  EXPECT_EQ(found.violation, "");
  EXPECT_EQ(found.states, 1'287'529u);  // Another number is another protocol: say why.
}

TEST(Model, ThreeNodes_LongWalks_AreSafe) {
  Bounds bounds{.nodes = 3, .writes = 2, .crashes = 3, .epochs = 6, .cas_in_flight = 3, .wipes = 0};
  for (const int disks : {0, 1}) {
    bounds.wipes = disks;
    const Found found = walk(Model(bounds, Rules{}), 7, 4'000, 120);
    EXPECT_EQ(found.violation, "") << found.trace.size() << " steps";
  }
}

class BrokenRule : public testing::TestWithParam<Broken> {};

TEST_P(BrokenRule, IsFound_AmongTheStatesOfTwoNodes) {
  const Found found = search(Model(Bounds{}, without(GetParam())), 400'000);
  EXPECT_NE(found.violation, "");
  EXPECT_FALSE(found.trace.empty());
}

INSTANTIATE_TEST_SUITE_P(
    Rules, BrokenRule,
    testing::Values(Broken::promote_outside, Broken::commit_own_only, Broken::remove_no_cas, Broken::skip_restart_wait,
                    Broken::apply_before_commit, Broken::accept_stale, Broken::join_no_ack, Broken::no_lease_wait,
                    Broken::unknown_join_by_read, Broken::unknown_claim_by_read, Broken::readopt_same_epoch, Broken::reclaim_no_wait,
                    Broken::own_not_durable, Broken::open_early, Broken::match_by_length, Broken::release_resume,
                    Broken::bound_not_durable, Broken::join_no_promise, Broken::value_cas, Broken::remove_at_send,
                    Broken::apply_unmatched, Broken::read_no_lease, Broken::grant_while_claiming, Broken::adopt_any_claim,
                    Broken::reclaim_wait_skip_alone, Broken::join_not_caught_up),
    [](const auto& about) { return std::string(kBrokenNames[static_cast<unsigned>(about.param)]); });

// A disk is replaced: its new life answers for the old one.
TEST(Model, ReplacedDisk_ThatKeepsItsMembership_IsFound) {
  Bounds bounds{.nodes = 2, .writes = 1, .crashes = 1, .epochs = 2, .cas_in_flight = 2, .wipes = 1};
  EXPECT_NE(search(Model(bounds, without(Broken::wipe_keeps_membership)), 400'000).violation, "");
}

// A fresh primary's commit lags what its predecessor acknowledged: only with three nodes does somebody join too early.
TEST(Model, JoinAtALaggingCommit_OnWalksOfThreeNodes_IsFound) {
  const Bounds bounds{.nodes = 3, .writes = 2, .crashes = 3, .epochs = 6, .cas_in_flight = 3, .wipes = 1};
  EXPECT_NE(walk(Model(bounds, without(Broken::join_at_commit)), 1, 60'000, 100).violation, "");
}

}  // namespace
}  // namespace holdfast::model
