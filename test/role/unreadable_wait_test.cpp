// A primary that cannot read its own tail waits for a copy that cannot take the lead yet, rather than have it leave the set.
#include "test/role/machine_bench.h"

namespace holdfast::role_test {
namespace {

// It opens; the other one is in sync, matched, and lacks the newest record, which nobody was told of. That one cannot be read here. The
// other one has just started, or the coordinator is away for a moment: it does not say yet that it reaches the coordinator.
TEST(Primary, Opening_OwnTailIsUnreadable_OtherReachesTheCoordinatorAMomentLater) {
  MachineBench bench;
  bench.append(4, 10);
  bench.lead(5);
  bench.connect();
  bench.receive(MachineBench::hello_of(copy_of(kOther), Bound{Epoch(5), bench.machine->bound().claim, false}, 9, {{Epoch(4), Lsn(1)}}));
  bench.receive(Ack{Epoch(5), Lsn(9)});
  bench.promise(kOther, kSession, false);
  ASSERT_FALSE(bench.machine->is_open());
  bench.machine->cannot_read_tail(bench.now, kOther, kSession);
  for (int i = 0; i < 4; ++i) {  // 40 ms.
    bench.pass_ms(10);
    if (const SwapRegister* swap = bench.asked<SwapRegister>()) {
      EXPECT_NE(swap->value.find_in_sync(kOther), nullptr) << "who has all that was acknowledged is taken out, for good";
    }
  }
  bench.promise();  // Now it reaches it.
  bench.pass_ms(50);
  EXPECT_NE(bench.sent<Release>(), nullptr) << "it keeps the lead with a tail that it cannot read";
}

// The coordinator is away for both for three seconds. When it is back, the other one is taken out at once.
TEST(Primary, Opening_OwnTailIsUnreadable_CoordinatorIsAwayForAWhile) {
  MachineBench bench;
  bench.append(4, 10);
  bench.lead(5);
  bench.connect();
  bench.receive(MachineBench::hello_of(copy_of(kOther), Bound{Epoch(5), bench.machine->bound().claim, false}, 9, {{Epoch(4), Lsn(1)}}));
  bench.receive(Ack{Epoch(5), Lsn(9)});
  const auto beat = [&](bool reached) {
    bench.promise(kOther, kSession, reached);
  };
  beat(false);
  bench.machine->cannot_read_tail(bench.now, kOther, kSession);
  bool swapped = false;
  for (int i = 0; i < 60 && bench.machine->role() == Role::primary; ++i) {
    bench.pass_ms(50);
    beat(i > 40);
    if (const SwapRegister* swap = bench.asked<SwapRegister>(); swap && !swapped) {
      swapped = true;
      EXPECT_NE(swap->value.find_in_sync(kOther), nullptr) << "after " << i * 50 << " ms";
      bench.forget();
      bench.machine->swap_done(bench.now, RoleMachine::SwapResult::unknown, 0, Register{});
    }
  }
  EXPECT_EQ(bench.machine->role(), Role::follower) << "it keeps the lead with a tail that it cannot read";
}

// Three copies, the third is down. It waits for that one to be out (as in Opening_OwnTailIsUnreadable_WaitsForTheSilentOneToBeOut), and meanwhile
// the coordinator is away for three seconds. Then both are taken out.
TEST(Primary, Opening_OwnTailIsUnreadable_WaitsForTheSilentOne_CoordinatorIsAwayForAWhile) {
  MachineBench bench;
  bench.append(4, 10);
  bench.lead(5, {kMe, kOther, kThird});
  bench.connect();
  bench.receive(MachineBench::hello_of(copy_of(kOther), Bound{Epoch(5), bench.machine->bound().claim, false}, 9, {{Epoch(4), Lsn(1)}}));
  bench.receive(Ack{Epoch(5), Lsn(9)});
  bench.promise();
  bench.machine->cannot_read_tail(bench.now, kOther, kSession);
  ASSERT_EQ(bench.sent<Release>(), nullptr);
  bool taken_out = false;
  for (int i = 0; i < 100 && bench.machine->role() == Role::primary && !taken_out; ++i) {
    bench.pass_ms(50);
    bench.promise(kOther, kSession, i < 5 || i > 60);
    const SwapRegister* swap = bench.asked<SwapRegister>();
    if (!swap) continue;
    const Register wanted = swap->value;
    bench.forget();
    if (i <= 60) {  // Unknown: it is tried again with the same content, and fails until another revision is seen.
      bench.machine->swap_done(bench.now, RoleMachine::SwapResult::unknown, 0, Register{});
      continue;
    }
    taken_out = taken_out || !wanted.find_in_sync(kOther);
    bench.view = wanted;
    bench.machine->swap_done(bench.now, RoleMachine::SwapResult::applied, static_cast<std::uint64_t>(10 + i), wanted);
  }
  EXPECT_FALSE(taken_out) << "who has all that was acknowledged";
  EXPECT_EQ(bench.machine->role(), Role::follower) << "it keeps the lead with a tail that it cannot read";
}

// Two copies, both in sync. The end of my log rotted while both were down: I have 8 of 10 acknowledged records. The other one has all ten, and has
// applied them: its hello says so. It reaches the coordinator two seconds late. It is the register's copy, fit, connected and speaks; its `applied` proves
// that what I lack was committed.
TEST(Primary, OtherHasAppliedWhatILack_ItIsNotTakenOut) {
  MachineBench bench;
  bench.append(4, 8);
  bench.lead(5);
  bench.connect();
  Hello hello = MachineBench::hello_of(copy_of(kOther), Bound{Epoch(5), bench.machine->bound().claim, false}, 10, {{Epoch(4), Lsn(1)}});
  hello.applied = Lsn(10);
  bench.receive(hello);
  bool taken_out = false;
  for (int i = 0; i < 40 && bench.machine->role() == Role::primary; ++i) {
    bench.promise(kOther, kSession, false);
    bench.pass_ms(50);
    const SwapRegister* swap = bench.asked<SwapRegister>();
    taken_out = taken_out || (swap && !swap->value.find_in_sync(kOther));
  }
  EXPECT_FALSE(taken_out) << "the only copy that has what was acknowledged is taken out of the set by one that can see that it lacks it";
}

}  // namespace
}  // namespace holdfast::role_test
