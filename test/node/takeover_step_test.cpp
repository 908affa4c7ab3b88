// Whose initiators are told, and when.
#include "tools/holdfastd/takeover_step.h"

#include <gtest/gtest.h>

namespace holdfast::daemon {
namespace {

using StepFacts = TakeoverFacts;

// Silent, and leads nothing any more.
StepFacts facts_of_dead_node() {
  StepFacts out;
  out.knock = StepFacts::Knock::silent;
  out.leads = StepFacts::Leads::nothing;
  return out;
}

TEST(TakeoverStep, NodeIsSilentAndLeadsNothing_ItsInitiatorsAreTold) { EXPECT_EQ(next_move(facts_of_dead_node()), TakeoverMove::tickle); }

TEST(TakeoverStep, BeforeAnything_ItKnocks_ThenLooks) {
  StepFacts facts;
  EXPECT_EQ(next_move(facts), TakeoverMove::knock);
  facts.knock = StepFacts::Knock::silent;
  EXPECT_EQ(next_move(facts), TakeoverMove::look);
}

// A planned change: the one that led before follows now.
TEST(TakeoverStep, NodeIsInStep_NothingIsDone) {
  StepFacts facts = facts_of_dead_node();
  facts.standing = StepFacts::Standing::in_step;
  EXPECT_EQ(next_move(facts), TakeoverMove::leave);
}

// It is slow, or it was restarted and is there again, or its process is gone and its kernel has told everybody.
TEST(TakeoverStep, NodeAnswers_NothingIsDone) {
  for (const auto leads : {StepFacts::Leads::unknown, StepFacts::Leads::unreadable, StepFacts::Leads::something, StepFacts::Leads::nothing}) {
    StepFacts facts = facts_of_dead_node();
    facts.knock = StepFacts::Knock::answered;
    facts.leads = leads;
    EXPECT_EQ(next_move(facts), TakeoverMove::leave);
  }
}

TEST(TakeoverStep, NobodyIsConnectedToIt_NothingIsDone) {
  StepFacts facts;
  facts.sessions = StepFacts::Sessions::none;
  EXPECT_EQ(next_move(facts), TakeoverMove::leave);
}

// A thread of it may stand while another one serves: only when all of its volumes are served elsewhere nobody needs it.
TEST(TakeoverStep, NodeStillLeadsAnotherVolume_OrItIsNotKnown_ItWaitsForAWhile) {
  for (const auto leads : {StepFacts::Leads::unreadable, StepFacts::Leads::something}) {
    StepFacts facts = facts_of_dead_node();
    facts.leads = leads;
    facts.waited = DurationNs{kTakeoverPatience.value - 1};
    EXPECT_EQ(next_move(facts), TakeoverMove::wait);
    facts.waited = kTakeoverPatience;
    EXPECT_EQ(next_move(facts), TakeoverMove::leave);
  }
}

}  // namespace
}  // namespace holdfast::daemon
