// A copy on its way into the set.
#include "test/role/machine_bench.h"

namespace holdfast::role_test {
namespace {

// What it got was superseded, so it may not lead before it has what came then. New records that it gets are superseded, too, as long as writers are
// as fast as they like: they have to be held up for it as for anybody else.
TEST(Learner, IsUnfitUntilItHasEverything_WritersAreHeldUpForIt) {
  for (const bool fit : {true, false}) {
    MachineBench bench;
    bench.append(4, 8);
    bench.lead(5, {kMe});
    bench.view.members = {kMe, kOther};
    ++bench.view.seq;
    bench.read(3, bench.view);
    ASSERT_TRUE(bench.machine->is_open());
    bench.append(5, 5);
    bench.connect();
    bench.receive(MachineBench::hello_of(copy_of(kOther), Bound{Epoch(5), bench.machine->bound().claim, false}, 10, {{Epoch(4), Lsn(1)}, {Epoch(5), Lsn(9)}}));
    Ack ack{Epoch(5), Lsn(10)};
    ack.fit = fit;
    bench.receive(ack);
    Beat answer;
    answer.epoch = Epoch(5);
    answer.claim = bench.machine->bound().claim;
    answer.sent = answer.echo = bench.now;
    answer.grants = answer.coordinator_reached = true;
    answer.fit = fit;
    answer.lease_ms = 600;
    bench.receive(answer);
    EXPECT_TRUE(bench.machine->only_lacks_records(kOther, bench.now)) << "fit: " << fit;
  }
}

}  // namespace
}  // namespace holdfast::role_test
