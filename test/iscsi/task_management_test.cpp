// Task management: each function has its effect, and is answered when the effect is complete, not before.
#include "test/iscsi/fixture.h"

namespace holdfast::test {
namespace {

using scsi::TaskFunction;

class TaskManagement : public IscsiTest {
 protected:
  static std::uint8_t response(const Pdu& pdu) { return pdu.header.u8(2); }
  bool disk_is_blank() { return disk->disk().find_first_not_of('\0') == std::string::npos; }
  bool happened(const std::string& event) { return std::ranges::count(disk->events, event) > 0; }
};

TEST_F(TaskManagement, AbortTask_AtTheVolume_IsAnsweredAfterItsEndAndTheTaskSaysNothing) {
  auto& initiator = connect_and_login();
  disk->hold(true);
  initiator.send(initiator.write(1, 0, 1), std::string(512, 'x'));
  initiator.send(initiator.task_management(TaskFunction::abort_task, 2, 1));
  EXPECT_FALSE(initiator.has());  // Its end is awaited.
  disk->hold(false);
  executor.run();
  const auto pdus = initiator.take_all();
  ASSERT_EQ(pdus.size(), 1U);
  EXPECT_EQ(pdus[0].opcode(), Opcode::task_management_response);
  EXPECT_EQ(response(pdus[0]), 0);
  EXPECT_TRUE(disk_is_blank());
}

TEST_F(TaskManagement, AbortTask_WaitingForData_EndsAtOnceAndLateDataIsDropped) {
  auto& initiator = connect_and_login({"ImmediateData=No"});
  initiator.send(initiator.write(1, 0, 1));
  const Pdu r2t = initiator.take();
  initiator.send(initiator.task_management(TaskFunction::abort_task, 2, 1));
  EXPECT_EQ(response(initiator.take()), 0);
  initiator.send(initiator.data_out(1, r2t.header.u32(20), 0, 0, true), std::string(512, 'x'));
  EXPECT_FALSE(initiator.has());
  EXPECT_TRUE(disk_is_blank());
}

TEST_F(TaskManagement, AbortTask_InMidstOfItsData_DropsTheRest) {
  auto& victim = connect_and_login({"ImmediateData=No"});
  auto& other = connect_and_login();
  victim.send(victim.write(1, 0, 8));
  const Pdu r2t = victim.take();
  Header header = victim.data_out(1, r2t.header.u32(20), 0, 0, true);
  header.set_data_bytes(4096);
  victim.wire->send(as_text(header.raw));
  victim.wire->send(std::string(1000, 'x'));
  executor.run();
  other.send(other.task_management(TaskFunction::logical_unit_reset, 1));
  EXPECT_EQ(response(other.take()), 0);
  victim.wire->send(std::string(3096, 'x'));
  executor.run();
  EXPECT_FALSE(victim.has());
  victim.send(victim.test_unit_ready(2));
  EXPECT_EQ(victim.take().status(), 0);
  EXPECT_TRUE(disk_is_blank());
}

TEST_F(TaskManagement, AbortTask_UnknownFinishedOrOnAnotherLun_IsNoSuchTask) {
  auto& initiator = connect_and_login();
  initiator.send(initiator.task_management(TaskFunction::abort_task, 2, 99));
  EXPECT_EQ(response(initiator.take()), 1);
  initiator.send(initiator.test_unit_ready(1));
  initiator.take();
  initiator.send(initiator.task_management(TaskFunction::abort_task, 2, 1));
  EXPECT_EQ(response(initiator.take()), 1);
  disk->hold(true);
  initiator.send(initiator.test_unit_ready(3));
  initiator.send(initiator.task_management(TaskFunction::abort_task, 4, 3, 0x0001000000000000));
  EXPECT_EQ(response(initiator.take()), 1);
  disk->hold(false);
  executor.run();
  EXPECT_EQ(initiator.take().status(), 0);
}

// The answer is in the send queue already: it goes out, and the function says that there was no such task.
TEST_F(TaskManagement, AbortTask_WithItsAnswerQueued_LetsTheAnswerOutFirst) {
  auto& initiator = connect_and_login();
  initiator.wire->allow_writes(false);
  initiator.send(initiator.test_unit_ready(1));
  initiator.send(initiator.test_unit_ready(2));
  initiator.send(initiator.task_management(TaskFunction::abort_task, 3, 2));
  initiator.wire->allow_writes(true);
  executor.run();
  const auto pdus = initiator.take_all();
  ASSERT_EQ(pdus.size(), 3U);
  EXPECT_EQ(pdus[1].opcode(), Opcode::scsi_response);
  EXPECT_EQ(pdus[2].opcode(), Opcode::task_management_response);
  EXPECT_EQ(response(pdus[2]), 1);
}

TEST_F(TaskManagement, AbortTaskSet_AbortsOwnTasksOnly) {
  auto& initiator = connect_and_login();
  auto& other = connect_and_login();
  disk->hold(true);
  initiator.send(initiator.write(1, 0, 1), std::string(512, 'x'));
  initiator.send(initiator.write(2, 1, 1), std::string(512, 'x'));
  other.send(other.write(1, 2, 1), std::string(512, 'o'));
  initiator.send(initiator.task_management(TaskFunction::abort_task_set, 3));
  EXPECT_FALSE(initiator.has());
  disk->hold(false);
  executor.run();
  EXPECT_EQ(response(initiator.take()), 0);
  EXPECT_FALSE(initiator.has());
  EXPECT_EQ(other.take().status(), 0);
  EXPECT_EQ(disk->disk().find('x'), std::string::npos);
  EXPECT_EQ(disk->disk()[1024], 'o');
}

TEST_F(TaskManagement, ClearTaskSet_AbortsEverybodysTasksAndTellsTheVictims) {
  auto& initiator = connect_and_login();
  auto& other = connect_and_login();
  connect_and_login();  // Has no task: is not told.
  disk->hold(true);
  other.send(other.write(1, 2, 1), std::string(512, 'o'));
  initiator.send(initiator.task_management(TaskFunction::clear_task_set, 3));
  EXPECT_FALSE(initiator.has());
  disk->hold(false);
  executor.run();
  EXPECT_EQ(response(initiator.take()), 0);
  EXPECT_FALSE(other.has());
  EXPECT_TRUE(disk_is_blank());
  EXPECT_EQ(std::ranges::count(disk->events, "commands cleared"), 1);
}

TEST_F(TaskManagement, LogicalUnitReset_AbortsAllThenResets) {
  auto& initiator = connect_and_login();
  auto& other = connect_and_login();
  disk->hold(true);
  initiator.send(initiator.write(1, 0, 1), std::string(512, 'x'));
  other.send(other.write(1, 2, 1), std::string(512, 'o'));
  initiator.send(initiator.task_management(TaskFunction::logical_unit_reset, 3));
  EXPECT_FALSE(happened("lun reset"));
  disk->hold(false);
  executor.run();
  EXPECT_TRUE(happened("lun reset"));
  EXPECT_EQ(response(initiator.take()), 0);
  EXPECT_FALSE(initiator.has() || other.has());
  EXPECT_TRUE(disk_is_blank());
}

TEST_F(TaskManagement, LunFunctions_OnAnotherLun_AreNoSuchLun) {
  auto& initiator = connect_and_login();
  for (const TaskFunction function :
       {TaskFunction::abort_task_set, TaskFunction::clear_task_set, TaskFunction::logical_unit_reset}) {
    initiator.send(initiator.task_management(function, 3, kNoTag, 0x0001000000000000));
    EXPECT_EQ(response(initiator.take()), 2);
  }
  EXPECT_FALSE(happened("lun reset"));
}

// Commands may write LUN 0 in flat addressing; so may functions, whichever way the command did.
TEST_F(TaskManagement, LunFunctions_OnLunZeroInFlatAddressing_AreAboutLunZero) {
  constexpr std::uint64_t kFlatZero = 0x4000000000000000;
  auto& initiator = connect_and_login({"ImmediateData=No"});
  for (const TaskFunction function :
       {TaskFunction::abort_task_set, TaskFunction::clear_task_set, TaskFunction::logical_unit_reset}) {
    initiator.send(initiator.task_management(function, 3, kNoTag, kFlatZero));
    EXPECT_EQ(response(initiator.take()), 0);
  }
  EXPECT_TRUE(happened("lun reset"));
  initiator.send(initiator.write(1, 0, 1));
  initiator.take();  // R2T
  initiator.send(initiator.task_management(TaskFunction::abort_task, 3, 1, kFlatZero));
  EXPECT_EQ(response(initiator.take()), 0);
}

TEST_F(TaskManagement, TargetWarmReset_Resets) {
  auto& initiator = connect_and_login();
  initiator.send(initiator.task_management(TaskFunction::target_warm_reset, 3));
  EXPECT_EQ(response(initiator.take()), 0);
  EXPECT_TRUE(happened("warm reset"));
  EXPECT_FALSE(initiator.closed());
}

TEST_F(TaskManagement, TargetColdReset_AnswersThenDropsEverySession) {
  auto& initiator = connect_and_login();
  auto& other = connect_and_login();
  initiator.send(initiator.task_management(TaskFunction::target_cold_reset, 3));
  EXPECT_EQ(response(initiator.take()), 0);
  EXPECT_TRUE(happened("cold reset"));
  EXPECT_TRUE(initiator.closed());
  EXPECT_EQ(other.take().opcode(), Opcode::async_message);
  EXPECT_TRUE(other.closed());
  EXPECT_EQ(target->session_count(), 0U);
}

TEST_F(TaskManagement, UnsupportedFunctions_SaySo) {
  auto& initiator = connect_and_login();
  for (const auto& [function, answer] :
       {std::pair{3, 5}, std::pair{8, 4}, std::pair{9, 5}, std::pair{11, 5}, std::pair{0, 5}, std::pair{0x7f, 5}}) {
    initiator.send(initiator.task_management(static_cast<TaskFunction>(function), 3));
    EXPECT_EQ(response(initiator.take()), answer) << function;
  }
}

TEST_F(TaskManagement, PreemptAndAbort_OfAnotherNexus_AbortsItsTasksSilentlyAndTellsIt) {
  auto& victim = connect_and_login();
  disk->abort_nexus(disk->nexuses[0].get());
  EXPECT_FALSE(happened("commands cleared"));  // There was nothing to lose.
  disk->hold(true);
  victim.send(victim.write(1, 0, 1), std::string(512, 'x'));
  disk->abort_nexus(disk->nexuses[0].get());
  EXPECT_EQ(std::ranges::count(disk->events, "commands cleared"), 1);
  disk->hold(false);
  executor.run();
  EXPECT_FALSE(victim.has());
  EXPECT_TRUE(disk_is_blank());
}

TEST_F(TaskManagement, OrderedTask_WaitsForEarlierOnes_AndLaterOnesForIt) {
  auto& initiator = connect_and_login({"ImmediateData=No"});
  constexpr std::uint8_t kOrderedRead = 0xc2;
  constexpr std::uint8_t kHeadOfQueueRead = 0xc3;
  initiator.send(initiator.write(1, 1, 1));  // Waits for its data.
  const Pdu r2t = initiator.take();
  initiator.send(initiator.command(0x28, 2, 2, 1, kOrderedRead, 512));
  initiator.send(initiator.read(3, 3, 1));
  initiator.send(initiator.command(0x28, 4, 4, 1, kHeadOfQueueRead, 512));
  EXPECT_EQ(disk->order, (std::vector<unsigned>{0x28 << 16 | 4}));
  initiator.send(initiator.data_out(1, r2t.header.u32(20), 0, 0, true), std::string(512, 'x'));
  EXPECT_EQ(disk->order, (std::vector<unsigned>{0x28 << 16 | 4, 0x2a << 16 | 1, 0x28 << 16 | 2, 0x28 << 16 | 3}));
}

TEST_F(TaskManagement, AbortOfAnOrderedTask_LetsTheLaterOnesGo) {
  auto& initiator = connect_and_login({"ImmediateData=No"});
  initiator.send(initiator.command(0x2a, 1, 1, 1, 0xa2, 512));  // Ordered, waits for its data.
  initiator.take();
  initiator.send(initiator.read(2, 2, 1));
  EXPECT_FALSE(initiator.has());
  initiator.send(initiator.task_management(TaskFunction::abort_task, 3, 1));
  EXPECT_EQ(initiator.take_all().size(), 2U);
}

}  // namespace
}  // namespace holdfast::test
