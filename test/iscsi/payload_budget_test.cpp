// Memory that waits for data which initiators have announced: it has a bound for all of them together, and a time.
#include <list>

#include "test/iscsi/fixture.h"

namespace holdfast::test {
namespace {

using scsi::PayloadBudget;

class PayloadShares : public IscsiTest {
 protected:
  static constexpr std::size_t kDataOutPoolBytes = 256 << 20;
  static constexpr std::uint32_t kWriteBlocks = 2048;
  static constexpr std::uint64_t kWriteBytes = 1 << 20;
  const std::vector<std::string> kLargeBursts{"ImmediateData=No", "MaxBurstLength=1048576"};

  PayloadShares() : IscsiTest(default_options(), kDataOutPoolBytes) {}
  // It announces 100 writes of 1 MiB, more than a connection may have.
  void announce(Initiator& one) {
    for (std::uint32_t itt = 1; itt <= 100; ++itt) one.queue(one.write(itt, 0, kWriteBlocks));
    executor.run();
  }
  // It is there, and says so.
  void pass_five_seconds() {
    clock.advance(milliseconds(5'000));
    for (auto& one : initiators)
      if (!one->closed()) one->send(one->request(Opcode::nop_out, 0x80, kNoTag, true));
  }
  static std::uint64_t r2ts(Initiator& initiator) {
    return static_cast<std::uint64_t>(std::ranges::count(initiator.take_all(), Opcode::r2t, &Pdu::opcode));
  }
};

// Four initiators announce all they may and then only answer pings.
//   1. Each of them has its share, and a stranger writes and reads as if nothing were.
//   2. After a minute they are closed.
TEST_F(PayloadShares, WritesWhoseDataNeverComes_HaveTheirSharesForAMinute) {
  Initiator* silent[4];
  for (auto& one : silent) one = &connect_and_login(kLargeBursts);
  auto& stranger = connect_and_login({"ImmediateData=No"});
  for (auto& one : silent) announce(*one);
  const std::uint64_t each = data_out_share(5) / kWriteBytes;
  EXPECT_EQ(pool.free_bytes(), kDataOutPoolBytes - 4 * each * kWriteBytes);
  for (auto& one : silent) EXPECT_EQ(r2ts(*one), each);
  stranger.send(stranger.read(1, 0, 1));
  EXPECT_EQ(stranger.take().opcode(), Opcode::data_in);
  stranger.send(stranger.write(2, 0, 1));
  const Pdu r2t = stranger.take();
  ASSERT_EQ(r2t.opcode(), Opcode::r2t);
  stranger.send(stranger.data_out(2, r2t.header.u32(20), 0, 0, true), std::string(512, 'x'));
  EXPECT_EQ(stranger.take().status(), 0);
  for (int i = 0; i < 11; ++i) pass_five_seconds();
  for (Initiator* one : silent) EXPECT_FALSE(one->closed());
  pass_five_seconds();
  for (Initiator* one : silent) EXPECT_TRUE(one->closed());
  EXPECT_FALSE(stranger.closed());
}

// A little data now and then does not begin the minute anew.
TEST_F(PayloadShares, DataThatTricklesIn_IsNotEnough) {
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
TEST_F(PayloadShares, SlowWritesThatEnd_GoOnForEver) {
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
TEST_F(PayloadShares, AbortOfAWriteInLine_IsAnsweredAtOnce) {
  announce(connect_and_login(kLargeBursts));
  announce(connect_and_login(kLargeBursts));  // Between them they have all that the volume may have.
  auto& third = connect_and_login({"ImmediateData=No"});
  third.send(third.write(1, 0, kWriteBlocks));
  EXPECT_FALSE(third.has());
  third.send(third.task_management(scsi::TaskFunction::abort_task, 2, 1));
  ASSERT_TRUE(third.has());
  EXPECT_EQ(third.take().header.u8(2), 0);
  third.send(third.write(3, 0, kWriteBlocks));
  third.wire->hang_up();
  executor.run();
  EXPECT_EQ(target->session_count(), 2U);
}

// What the account does, without a target: letters are claims that have got what they want, a dash is one that was given up.
class PayloadLines : public ::testing::Test {
 protected:
  using Claim = PayloadBudget::Claim;
  using Line = PayloadBudget::Line;
  static constexpr std::uint64_t kMiB = 1 << 20;

  static Task<void> await(PayloadLines* test, PayloadBudget::ConnectionShare* connection, Claim* claim, std::uint64_t bytes, char name) {
    test->budget.stand_in_line(*connection, *claim, bytes);
    co_await PayloadBudget::turn_of(*claim);
    test->order.push_back(claim->bytes > 0 ? name : '-');
  }
  void take(PayloadBudget::ConnectionShare& connection, Claim& claim, std::uint64_t mib, char name) {
    scope.spawn(await(this, &connection, &claim, mib * kMiB, name));
    executor.run();
  }
  // As many claims of a MiB as it may have.
  std::vector<std::unique_ptr<Claim>> fill(PayloadBudget::ConnectionShare& connection) {
    std::vector<std::unique_ptr<Claim>> held;
    do held.push_back(std::make_unique<Claim>());
    while (budget.try_take(connection, *held.back(), kMiB, Line::behind));
    held.pop_back();
    return held;
  }
  void release(std::vector<std::unique_ptr<Claim>>& claims, std::size_t count = ~std::size_t{0}) {
    for (; count > 0 && !claims.empty(); --count) {
      budget.release(*claims.back());
      claims.pop_back();
    }
    executor.run();
  }

  ManualExecutor executor;
  BufferPool pool{executor, 256 << 20};
  PayloadBudget budget{executor, pool.memory().size() / 2};  // 128 MiB, 96 for a single volume, 72 for its single connection.
  std::string order;
  Scope scope{executor};
};

TEST_F(PayloadLines, Line_IsServedInItsOrder_AndLetsTheNextGoWhenOneGivesUp) {
  PayloadBudget::VolumeShare volume(budget);
  PayloadBudget::ConnectionShare connection(volume);
  Claim large, small;
  auto held = fill(connection);
  EXPECT_EQ(held.size(), 72U);
  release(held, 3);
  take(connection, large, 8, 'L');  // 3 MiB are left.
  take(connection, small, 1, 's');
  EXPECT_EQ(order, "") << "the small one overtakes";
  budget.give_up(large);
  executor.run();
  EXPECT_EQ(order, "-s");
  take(connection, large, 8, 'L');
  release(held, 6);
  EXPECT_EQ(order, "-sL");
  release(held);
  for (Claim* claim : {&large, &small}) budget.release(*claim);
  EXPECT_EQ(budget.held_bytes(), 0U);
}

// Small writes that keep coming take what they find, but never what a large one waits for.
TEST_F(PayloadLines, BesideTheLine_LeavesRoomForTheFirst) {
  PayloadBudget::VolumeShare volume(budget);
  PayloadBudget::ConnectionShare connection(volume);
  Claim large, small;
  auto held = fill(connection);
  take(connection, large, 8, 'L');
  for (int i = 0; i < 8; ++i) {
    EXPECT_EQ(order, "");
    release(held, 1);
    EXPECT_FALSE(budget.try_take(connection, small, kMiB, Line::beside));
  }
  EXPECT_EQ(order, "L");
  release(held, 1);
  EXPECT_FALSE(budget.try_take(connection, small, 2 * kMiB, Line::beside));
  EXPECT_TRUE(budget.try_take(connection, small, kMiB, Line::beside));
  release(held);
  for (Claim* claim : {&large, &small}) budget.release(*claim);
}

// Each connection has its line. One that has all of its share keeps nobody waiting; one for which there is nothing left in the share of the
// volume comes before those who came later.
TEST_F(PayloadLines, LinesOfAVolume_AreServedInTurn) {
  PayloadBudget::VolumeShare volume(budget);
  PayloadBudget::ConnectionShare one(volume);
  auto of_one = fill(one);
  PayloadBudget::ConnectionShare two(volume), three(volume);
  auto of_two = fill(two);
  EXPECT_EQ(of_one.size() + of_two.size(), 96U);
  Claim a, b, c, d, e;
  take(one, e, 1, 'e');  // It has more than its share by now.
  take(three, a, 8, 'a');
  take(three, b, 1, 'b');
  take(two, c, 1, 'c');
  take(two, d, 1, 'd');
  release(of_two, 7);
  EXPECT_EQ(order, "") << "less than the first wants, and others overtake it";
  release(of_one, 1);
  EXPECT_EQ(order, "a");
  for (int i = 0; i < 3; ++i) release(of_one, 1);
  EXPECT_EQ(order, "acbd");
  release(of_one);
  EXPECT_EQ(order, "acbde");
  release(of_two);
  for (Claim* claim : {&a, &b, &c, &d, &e}) budget.release(*claim);
  EXPECT_EQ(budget.held_bytes(), 0U);
}

// All volumes of a thread but one stand, with all that they may have and more in line: the last one has its share. And the largest command
// finds its room in the end.
TEST_F(PayloadLines, Volumes_HaveTheirShares) {
  std::list<PayloadBudget::VolumeShare> volumes;
  std::list<PayloadBudget::ConnectionShare> connections;
  std::vector<std::vector<std::unique_ptr<Claim>>> held;
  std::array<Claim, 12> large;
  for (std::size_t i = 0; i < large.size(); ++i) connections.emplace_back(volumes.emplace_back(budget));
  std::size_t i = 0;
  for (auto& connection : connections) {
    held.push_back(fill(connection));
    EXPECT_GE(held.back().size(), 8U) << i;
    take(connection, large[i++], 8, 'L');
  }
  EXPECT_LE(budget.held_bytes(), budget.bytes_max());
  for (auto& claims : held) release(claims);
  EXPECT_EQ(order, std::string(large.size(), 'L'));
  for (Claim& claim : large) budget.release(claim);
  EXPECT_EQ(budget.held_bytes(), 0U);
}

// Two hosts of one of sixteen volumes. One keeps writing 64 KiB with as much under way as it may have, one of which ends at a time. The other one
// has a write of 1 MiB that brings its data along, so that it cannot wait, and sends it again when it is told TASK SET FULL.
TEST_F(PayloadLines, SmallWritesKeepComing_LargeOneThatCannotWaitIsLetIn) {
  std::list<PayloadBudget::VolumeShare> volumes;
  for (int i = 0; i < 16; ++i) volumes.emplace_back(budget);
  PayloadBudget::ConnectionShare busy(volumes.front()), other(volumes.front());
  constexpr std::uint64_t kSmall = 64 << 10;
  std::vector<Claim> small(128);
  Claim large;
  for (Claim& claim : small) ASSERT_TRUE(budget.try_take(busy, claim, kSmall, Line::beside));
  int tries = 0;
  for (; tries < 1000 && large.bytes == 0; ++tries) {
    for (Claim& claim : small) {
      if (claim.bytes == 0 && !budget.try_take(busy, claim, kSmall, Line::beside)) budget.refuse(busy, kSmall);
    }
    budget.release(small[static_cast<std::size_t>(tries) % small.size()]);
    if (!budget.try_take(other, large, kMiB, Line::beside)) budget.refuse(other, kMiB);
  }
  EXPECT_EQ(tries, 16);
  for (Claim& claim : small) budget.release(claim);
  budget.release(large);
}

// Who was refused and does not come again keeps the room for a while only, and no longer than its connection is there.
TEST_F(PayloadLines, WhoWasRefusedDoesNotComeAgain_OthersGoOn) {
  std::list<PayloadBudget::VolumeShare> volumes;
  for (int i = 0; i < 16; ++i) volumes.emplace_back(budget);  // 8 MiB each.
  PayloadBudget::ConnectionShare one(volumes.front());
  Claim small;
  {
    PayloadBudget::ConnectionShare other(volumes.front());
    budget.refuse(other, 8 * kMiB);
    EXPECT_FALSE(budget.try_take(one, small, kMiB, Line::beside));
  }
  EXPECT_TRUE(budget.try_take(one, small, kMiB, Line::beside));
  budget.release(small);
  PayloadBudget::ConnectionShare other(volumes.front());
  budget.refuse(other, 8 * kMiB);
  int tries = 0;
  while (tries < 1000 && !budget.try_take(one, small, kMiB, Line::beside)) ++tries;
  EXPECT_EQ(tries, 256);
  budget.release(small);
}

// A volume stands with all that it may have as the only one; then others come, and stand with what they find. There is the largest command's
// room for each of the next four.
TEST_F(PayloadLines, VolumeStandsSinceItWasTheOnlyOne_ThoseThatComeHaveTheirFloor) {
  PayloadBudget::VolumeShare first(budget);
  PayloadBudget::ConnectionShare one(first);
  auto of_one = fill(one);
  PayloadBudget::ConnectionShare two(first);
  auto of_two = fill(two);
  EXPECT_EQ(of_one.size() + of_two.size(), 96U);
  std::list<PayloadBudget::VolumeShare> later;
  std::list<PayloadBudget::ConnectionShare> connections;
  std::vector<std::vector<std::unique_ptr<Claim>>> held;
  for (int i = 0; i < 4; ++i) {
    held.push_back(fill(connections.emplace_back(later.emplace_back(budget))));
    EXPECT_EQ(held.back().size(), 8U) << i;
  }
  release(of_one);
  release(of_two);
  held.push_back(fill(connections.front()));
  EXPECT_EQ(held.back().size(), 6U) << "what has come back is for all: 14 for one connection of one volume of five";
  for (auto& claims : held) release(claims);
  EXPECT_EQ(budget.held_bytes(), 0U);
}

}  // namespace
}  // namespace holdfast::test
