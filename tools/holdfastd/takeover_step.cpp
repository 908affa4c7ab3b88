#include "tools/holdfastd/takeover_step.h"

namespace holdfast::daemon {

TakeoverMove next_move(const TakeoverFacts& facts) {
  using Facts = TakeoverFacts;
  if (facts.standing == Facts::Standing::in_step || facts.sessions == Facts::Sessions::none) return TakeoverMove::leave;
  if (facts.knock == Facts::Knock::answered) return TakeoverMove::leave;
  if (facts.knock == Facts::Knock::unknown) return TakeoverMove::knock;
  if (facts.leads == Facts::Leads::unknown) return TakeoverMove::look;
  if (facts.leads == Facts::Leads::nothing) return TakeoverMove::tickle;
  return facts.waited < kTakeoverPatience ? TakeoverMove::wait : TakeoverMove::leave;
}

}  // namespace holdfast::daemon
