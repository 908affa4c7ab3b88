// Whom a primary still serves when the other copies fall silent: hosts are asked, and their answers grow old.
#include <gtest/gtest.h>

#include "test/role/machine_bench.h"

namespace holdfast::role_test {
namespace {

// Without any host there is nobody to be cut off from.
TEST(Primary, TheOtherIsDead_NobodyIsLoggedIn_GoesOnAlone) {
  for (const std::size_t attached : {std::size_t{0}, std::size_t{1}}) {
    MachineBench bench;
    bench.lead(5, {kMe, kOther});
    bench.bring_up();
    bench.machine->initiators_attached(attached);
    bench.forget();
    bench.machine->disconnected(bench.now, kOther, kSession, RoleMachine::LinkEnd::reset);
    bench.pass_ms(3'000);
    EXPECT_EQ(bench.asked<SwapRegister>() != nullptr, attached == 0) << "attached: " << attached;
  }
}

// Both others die, of which two are needed. The only host has all its commands under way: it says nothing of its own accord, and
// answers each question at once. The primary gives the others time, and then goes on.
TEST(Primary, BothOthersDead_HostThatOnlyAnswers_TheyAreTakenOutInTheEnd) {
  MachineBench bench;
  bench.lead(5, {kMe, kOther, kThird});
  Register two = bench.view;
  two.min_in_sync = 2;
  ++two.seq;
  bench.read(3, two);
  bench.bring_up();
  bench.bring_up(kThird, kThirdSession);
  bench.machine->initiators_attached(1);
  bench.forget();
  int questions = 0;
  bool removed = false;
  for (int i = 0; i < 6'000 && !removed; ++i) {
    bench.pass_ms(10);
    if (bench.asked<AskInitiators>()) {
      ++questions;
      bench.machine->initiator_heard(bench.now);
    }
    removed = bench.asked<SwapRegister>() != nullptr;
    bench.forget();
  }
  EXPECT_TRUE(removed) << "after a minute nobody is taken out, and nothing is served; the host was asked " << questions << " times";
}

// The same with two copies, and a process that does not run for 800 ms after the host's answer.
TEST(Primary, HostAnswered_ThenTheProcessStalls_HostIsAskedAgain) {
  MachineBench bench;
  bench.lead(5);
  bench.bring_up();
  bench.machine->initiators_attached(1);
  bench.forget();
  int questions = 0;
  bool removed = false;
  for (int i = 0; i < 6'000 && !removed; ++i) {
    bench.pass_ms(10);
    if (bench.asked<AskInitiators>()) {
      bench.machine->initiator_heard(bench.now);
      if (++questions == 1) bench.now = bench.now + milliseconds(800);
    }
    removed = bench.asked<SwapRegister>() != nullptr;
    bench.forget();
  }
  EXPECT_TRUE(removed) << "after a minute nobody is taken out, and nothing is served; the host was asked " << questions << " times";
}

}  // namespace
}  // namespace holdfast::role_test
