// Catch-up and rebuild within small bounds: no state is wrong, and each rule is there for a reason.
#include <gtest/gtest.h>

#include "test/model/rebuild_model.h"

namespace holdfast::model {
namespace {

TEST(RebuildModel, EveryState_IsRight) {
  const RebuildFound found = search_rebuild(4, BrokenRebuild::none);
  EXPECT_EQ(found.violation, "");
  EXPECT_EQ(found.states, 879'057u);  // Another number is another protocol: say why.
}

class BrokenRebuildRule : public testing::TestWithParam<BrokenRebuild> {};

TEST_P(BrokenRebuildRule, IsFound) { EXPECT_NE(search_rebuild(4, GetParam()).violation, ""); }

INSTANTIATE_TEST_SUITE_P(Rules, BrokenRebuildRule,
                         testing::Values(BrokenRebuild::base_is_log_end, BrokenRebuild::holes_not_mentioned, BrokenRebuild::fit_at_once,
                                         BrokenRebuild::superseded_and_fit, BrokenRebuild::unfit_not_durable,
                                         BrokenRebuild::image_without_log),
                         [](const auto& about) { return std::string(kBrokenRebuilds[static_cast<unsigned>(about.param)]); });

}  // namespace
}  // namespace holdfast::model
