// The role comes and goes while sessions stay.
#include "test/iscsi/fixture.h"

namespace holdfast::test {
namespace {

using scsi::ServiceChange;

class RoleOfTheNode : public IscsiTest {
 protected:
  // The answer to a ping of the target.
  static void answer(Initiator& initiator, const Pdu& ping) {
    EXPECT_EQ(ping.opcode(), Opcode::nop_in);
    Header h = initiator.request(Opcode::nop_out, 0x80, kNoTag, true);
    h.set32(20, ping.header.u32(20));
    initiator.send(h);
  }
};

// A planned switch, with writes under way and a read to come.
//   1. What is under way fails as "standby"; so does what comes later.
//   2. No connection is dropped.
TEST_F(RoleOfTheNode, Goes_CommandsFailAndSessionsStay) {
  auto& initiator = connect_and_login();
  disk->hold(true);
  initiator.send(initiator.write(1, 0, 1), std::string(512, 'x'));
  disk->standby = true;
  disk->change_service(ServiceChange::ceases);
  disk->hold(false);
  executor.run();
  EXPECT_EQ(initiator.take().sense(), "02/04/0b");
  clock.advance(milliseconds(200));
  executor.run();
  initiator.send(initiator.read(2, 0, 1));
  EXPECT_EQ(initiator.take().sense(), "02/04/0b");
  EXPECT_FALSE(initiator.closed());
  EXPECT_FALSE(initiator.has());
}

// A disk that does not answer holds a command for as long as it likes: its host must look elsewhere meanwhile.
TEST_F(RoleOfTheNode, Goes_WhoseCommandDoesNotEnd_LosesItsSession) {
  auto& stuck = connect_and_login();
  auto& other = connect_and_login();
  disk->hold(true);
  stuck.send(stuck.read(1, 0, 1));
  disk->change_service(ServiceChange::ceases);
  clock.advance(milliseconds(40));
  executor.run();
  EXPECT_FALSE(stuck.closed());
  clock.advance(milliseconds(20));
  executor.run();
  EXPECT_TRUE(stuck.closed());
  EXPECT_FALSE(other.closed());
}

// What asks, or says, who is active waits for the next primary: that is what it is for.
TEST_F(RoleOfTheNode, Goes_SetTargetPortGroupsIsHeld_KeepsItsSession) {
  auto& initiator = connect_and_login();
  disk->hold(true);
  initiator.send(initiator.command(0xa4, 1, 0, 0, 0x81, 0));
  ASSERT_EQ(disk->waiting(), 1U);
  disk->change_service(ServiceChange::ceases);
  clock.advance(milliseconds(1'000));
  executor.run();
  EXPECT_FALSE(initiator.closed());
  disk->hold(false);
  executor.run();
  EXPECT_EQ(initiator.take().status(), 0);
}

// Ghost writes: what an initiator sent, gave up, and did again on another node must not happen here when the role comes back.
//   1. The node serves again; a write lies in its buffers whose initiator is gone without a word.
//   2. It waits for a proof that never comes, and ends with its session.
TEST_F(RoleOfTheNode, Comes_WriteOfASessionThatProvesNothing_NeverHappens) {
  auto& initiator = connect_and_login();
  disk->change_service(ServiceChange::begins);
  initiator.send(initiator.write(1, 0, 1), std::string(512, 'x'));
  EXPECT_TRUE(disk->order.empty());
  for (int i = 0; i < 4; ++i) {
    clock.advance(milliseconds(5'000));
    executor.run();
  }
  EXPECT_TRUE(initiator.closed());
  EXPECT_TRUE(disk->order.empty());
  EXPECT_EQ(disk->disk()[0], '\0');
}

TEST_F(RoleOfTheNode, Comes_WritesGoOnWithTheProof_AndReadsNeedNone) {
  auto& initiator = connect_and_login();
  disk->change_service(ServiceChange::begins);
  executor.run();
  const Pdu ping = initiator.take();
  initiator.send(initiator.write(1, 0, 1), std::string(512, 'x'));
  initiator.send(initiator.read(2, 8, 1));
  EXPECT_EQ(initiator.take().opcode(), Opcode::data_in);
  EXPECT_EQ(disk->order.size(), 1U);
  answer(initiator, ping);
  EXPECT_EQ(initiator.take().status(), 0);
  EXPECT_EQ(disk->disk()[0], 'x');
}

// An answer to an earlier ping may be as old as the write before it.
TEST_F(RoleOfTheNode, Comes_AnswerToAnEarlierPing_ProvesNothing) {
  auto& initiator = connect_and_login();
  disk->change_service(ServiceChange::ask_initiators);
  executor.run();
  const Pdu early = initiator.take();
  disk->change_service(ServiceChange::begins);
  executor.run();
  const Pdu late = initiator.take();
  initiator.send(initiator.write(1, 0, 1), std::string(512, 'x'));
  answer(initiator, early);
  EXPECT_TRUE(disk->order.empty());
  answer(initiator, late);
  EXPECT_EQ(disk->order.size(), 1U);
  EXPECT_EQ(initiator.take().status(), 0);
}

TEST_F(RoleOfTheNode, GoesAgainBeforeTheProof_WhatWaitedIsToldSo) {
  auto& initiator = connect_and_login();
  disk->change_service(ServiceChange::begins);
  executor.run();
  initiator.take();
  initiator.send(initiator.write(1, 0, 1), std::string(512, 'x'));
  disk->standby = true;
  disk->change_service(ServiceChange::ceases);
  executor.run();
  EXPECT_EQ(initiator.take().sense(), "02/04/0b");
}

// A host with all its commands under way says nothing: it is asked, and what it answers is its word. It is not asked without end.
TEST_F(RoleOfTheNode, AskedForAWord_EachInitiatorIsPinged_AndItsAnswerTold) {
  auto& initiator = connect_and_login();
  const unsigned login = disk->heard;
  EXPECT_GT(login, 0U);
  for (int i = 0; i < 10; ++i) disk->change_service(ServiceChange::ask_initiators);
  executor.run();
  const auto pings = initiator.take_all();
  ASSERT_EQ(pings.size(), 3U);
  EXPECT_NE(pings[0].header.u32(20), kNoTag);
  answer(initiator, pings[0]);
  EXPECT_EQ(disk->heard, login + 1);
  disk->change_service(ServiceChange::ask_initiators);
  executor.run();
  EXPECT_EQ(initiator.take_all().size(), 1U);
}

// A ghost write. A session that is being told goodbye takes nothing new, but what it has begun to take goes on, and is not held.
//   1. A read is at a disk that does not answer, and half of a write's data has come.
//   2. The role goes: after its patience the target announces the end of the session, to a host that reads no more.
//   3. The role comes back before send_timeout (30 s) has judged that. The rest of the data comes.
TEST_F(RoleOfTheNode, Ghost_DataInPiecesOverTheChange_OfASessionThatIsBeingEnded_NeverHappens) {
  auto& initiator = connect_and_login();
  disk->hold(true);
  initiator.send(initiator.read(1, 0, 1));
  Header write = initiator.write(2, 8, 1);
  write.set_data_bytes(512);
  initiator.wire->send(std::string(reinterpret_cast<const char*>(write.raw.data()), 48) + std::string(256, 'g'));
  executor.run();
  initiator.wire->allow_writes(false);
  disk->change_service(ServiceChange::ask_initiators);  // Something is on its way out, and stays so.
  executor.run();
  disk->standby = true;
  disk->change_service(ServiceChange::ceases);
  clock.advance(milliseconds(100));
  executor.run();
  ASSERT_FALSE(initiator.closed());
  disk->standby = false;
  disk->change_service(ServiceChange::begins);
  clock.advance(milliseconds(1'000));
  disk->hold(false);
  initiator.wire->send(std::string(256, 'g'));
  executor.run();
  EXPECT_EQ(disk->disk()[8 * 512], '\0') << "a write of an earlier reign, never proved, took effect";
}

// The same without data on its way: an ordered command is at the disk, and a write waits for its turn.
TEST_F(RoleOfTheNode, Ghost_WhatWaitsForItsTurn_InASessionThatIsBeingEnded_NeverHappens) {
  auto& initiator = connect_and_login();
  disk->hold(true);
  constexpr std::uint8_t kOrderedWrite = 0xa2;
  initiator.send(initiator.command(0x2a, 1, 0, 1, kOrderedWrite, 512), std::string(512, 'o'));
  initiator.send(initiator.write(2, 8, 1), std::string(512, 'g'));
  ASSERT_EQ(disk->waiting(), 1U);
  initiator.wire->allow_writes(false);
  disk->change_service(ServiceChange::ask_initiators);  // Something is on its way out, and stays so.
  executor.run();
  disk->change_service(ServiceChange::ceases);
  clock.advance(milliseconds(100));
  executor.run();
  ASSERT_FALSE(initiator.closed());
  clock.advance(milliseconds(1'000));
  disk->change_service(ServiceChange::begins);
  disk->hold(false);
  executor.run();
  EXPECT_EQ(disk->disk()[8 * 512], '\0') << "a write of an earlier reign, never proved, took effect";
}

// Payload memory that waits for an initiator counts against the budgets, so that nobody takes all of it: also what waits for its proof.
TEST_F(RoleOfTheNode, Memory_WritesThatWaitForTheProof_CountAgainstTheBudget) {
  auto& initiator = connect_and_login({"ImmediateData=Yes", "FirstBurstLength=262144", "MaxBurstLength=1048576"});
  disk->change_service(ServiceChange::begins);
  executor.run();
  const std::size_t before = pool.free_bytes();
  const std::size_t budget = data_out_share(1);
  for (std::uint32_t i = 0; i < 120; ++i) {
    initiator.send(initiator.write(100 + i, 0, 512), std::string(256 << 10, 'x'));
    if (initiator.closed()) break;
  }
  EXPECT_LE(before - pool.free_bytes(), budget + (1 << 20)) << "held: " << (before - pool.free_bytes());
}

}  // namespace
}  // namespace holdfast::test
