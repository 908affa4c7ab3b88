// Memory that waits for data which initiators have announced: it has a bound for all of them together, and a time.
#include "test/iscsi/fixture.h"

namespace holdfast::test {
namespace {

using scsi::DataOutBudget;

class DataOutShares : public IscsiTest {
 protected:
  static constexpr std::uint32_t kWriteBlocks = 2048;  // 1 MiB.

  // An initiator that announces 16 writes of 1 MiB, all that a connection may have waiting.
  Initiator& announce() {
    auto& one = connect_and_login({"ImmediateData=No", "MaxBurstLength=1048576"});
    for (std::uint32_t itt = 1; itt <= 16; ++itt) one.queue(one.write(itt, 0, kWriteBlocks));
    executor.run();
    return one;
  }
  // It is there, and says so.
  void pass_five_seconds() {
    clock.advance(milliseconds(5'000));
    for (auto& one : initiators)
      if (!one->closed()) one->send(one->request(Opcode::nop_out, 0x80, kNoTag, true));
  }
  static std::ptrdiff_t r2ts(Initiator& initiator) {
    return std::ranges::count(initiator.take_all(), Opcode::r2t, &Pdu::opcode);
  }
};

// Four initiators announce all they may and then only answer pings.
//   1. Two of them have half of the memory, two wait for their turn; a stranger reads as if nothing were.
//   2. After a minute the two are closed, after another the other two: the stranger's own write comes to its turn.
TEST_F(DataOutShares, WritesWhoseDataNeverComes_HaveHalfTheMemoryForAMinute) {
  Initiator* silent[4];
  for (auto& one : silent) one = &announce();
  EXPECT_EQ(pool.free_bytes(), kPoolBytes / 2);
  EXPECT_EQ(r2ts(*silent[0]) + r2ts(*silent[1]), 32);
  EXPECT_EQ(r2ts(*silent[2]) + r2ts(*silent[3]), 0);
  auto& stranger = connect_and_login({"ImmediateData=No"});
  stranger.send(stranger.read(1, 0, 1));
  EXPECT_EQ(stranger.take().opcode(), Opcode::data_in);
  stranger.send(stranger.write(2, 0, 1));
  for (int i = 0; i < 11; ++i) pass_five_seconds();
  for (Initiator* one : silent) EXPECT_FALSE(one->closed());
  EXPECT_EQ(r2ts(stranger), 0);
  pass_five_seconds();
  EXPECT_TRUE(silent[0]->closed() && silent[1]->closed());
  EXPECT_EQ(r2ts(*silent[2]) + r2ts(*silent[3]), 32);
  for (int i = 0; i < 12; ++i) pass_five_seconds();
  EXPECT_TRUE(silent[2]->closed() && silent[3]->closed());
  EXPECT_EQ(r2ts(stranger), 1);
  EXPECT_FALSE(stranger.closed());
}

// A little data now and then does not begin the minute anew.
TEST_F(DataOutShares, DataThatTricklesIn_IsNotEnough) {
  auto& initiator = connect_and_login({"ImmediateData=No"});
  initiator.send(initiator.write(1, 0, 16));
  const std::uint32_t ttt = initiator.take().header.u32(20);
  for (std::uint32_t sn = 0; sn < 11; ++sn) {
    initiator.send(initiator.data_out(1, ttt, sn, sn * 512, false), std::string(512, 'x'));
    clock.advance(milliseconds(5'000));
    ASSERT_FALSE(initiator.closed());
  }
  clock.advance(milliseconds(5'000));
  EXPECT_TRUE(initiator.closed());
  EXPECT_EQ(disk->disk()[0], '\0');
}

// One write after another, each in time: the minute is each command's own.
TEST_F(DataOutShares, SlowWritesThatEnd_GoOnForEver) {
  auto& initiator = connect_and_login({"ImmediateData=No"});
  for (std::uint32_t itt = 1; itt <= 10; ++itt) {
    initiator.send(initiator.write(itt, 0, 1));
    const Pdu r2t = initiator.take();
    for (int i = 0; i < 6; ++i) pass_five_seconds();
    initiator.take_all();
    initiator.send(initiator.data_out(itt, r2t.header.u32(20), 0, 0, true), std::string(512, 'x'));
    ASSERT_TRUE(initiator.has());
    EXPECT_EQ(initiator.take().status(), 0);
  }
}

// What waits for other initiators is not waited for when it is given up.
TEST_F(DataOutShares, AbortOfAWriteInLine_IsAnsweredAtOnce) {
  announce();
  announce();
  auto& third = connect_and_login({"ImmediateData=No"});
  third.send(third.write(1, 0, kWriteBlocks));
  third.send(third.task_management(scsi::TaskFunction::abort_task, 2, 1));
  ASSERT_TRUE(third.has());
  EXPECT_EQ(third.take().header.u8(2), 0);
  third.send(third.write(3, 0, kWriteBlocks));
  third.wire->hang_up();
  executor.run();
  EXPECT_EQ(target->session_count(), 2U);
}

// An ordered write without data, and many behind it that have theirs: they wait for the same initiator as it does.
TEST_F(DataOutShares, WritesBehindAnOrderedOne_CountToo) {
  auto& initiator = connect_and_login({"FirstBurstLength=262144"});
  initiator.send(initiator.command(0x2a, 1, 0, 1, 0xa2, 512));  // Ordered: its data does not come.
  const std::string data(262144, 'x');
  for (std::uint32_t itt = 2; itt <= 101; ++itt) initiator.queue(initiator.write(itt, 0, 512), data);
  executor.run();
  EXPECT_GE(pool.free_bytes(), kPoolBytes - (17 << 20));
}

Task<void> take(DataOutBudget* budget, DataOutBudget::Share* share, std::uint64_t bytes, std::string* order, char name) {
  co_await budget->take(*share, bytes);
  order->push_back(share->bytes > 0 ? name : '-');
}

TEST_F(DataOutShares, Line_IsServedInItsOrderAndLetsTheNextGoWhenOneGivesUp) {
  DataOutBudget budget(executor, pool);
  DataOutBudget::Share first, large, small;
  std::string order;
  Scope scope(executor);
  constexpr std::uint64_t kMiB = 1 << 20;
  ASSERT_TRUE(budget.try_take(first, 8 * kMiB));
  std::array<DataOutBudget::Share, 3> more;
  for (auto& share : more) ASSERT_TRUE(budget.try_take(share, 7 * kMiB));
  scope.spawn(take(&budget, &large, 8 * kMiB, &order, 'L'));  // 3 MiB are left.
  scope.spawn(take(&budget, &small, kMiB, &order, 's'));
  executor.run();
  EXPECT_EQ(order, "");  // The small one does not overtake.
  budget.give_up(large);
  executor.run();
  EXPECT_EQ(order, "-s");
  scope.spawn(take(&budget, &large, 8 * kMiB, &order, 'L'));
  executor.run();
  budget.release(first);
  executor.run();
  EXPECT_EQ(order, "-sL");
  for (auto* share : {&large, &small}) budget.release(*share);
  for (auto& share : more) budget.release(share);
  EXPECT_EQ(budget.free_bytes(), kPoolBytes / 2);
}

}  // namespace
}  // namespace holdfast::test
