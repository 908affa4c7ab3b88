// Sequence numbers and bounds: the command window, memory that is short, initiators that do not read, digests.
#include "test/iscsi/fixture.h"

namespace holdfast::test {
namespace {

class Flow : public IscsiTest {};

TEST_F(Flow, CommandOutsideTheWindow_IsIgnoredSilently) {
  auto& initiator = connect_and_login();
  initiator.send(initiator.test_unit_ready(1));
  initiator.take();
  const std::uint32_t next = initiator.cmd_sn;
  for (const std::uint32_t cmd_sn : {initiator.max_cmd_sn + 1, next - 1, next + 0x80000000, next - 1000}) {
    initiator.send(initiator.test_unit_ready(2).set32(24, cmd_sn));
    EXPECT_FALSE(initiator.has()) << cmd_sn - next;
  }
  initiator.cmd_sn = next;
  initiator.send(initiator.test_unit_ready(3));
  EXPECT_EQ(initiator.take().status(), 0);
  EXPECT_FALSE(initiator.closed());
}

TEST_F(Flow, IgnoredWrite_TakesItsDataAlong) {
  auto& initiator = connect_and_login();
  initiator.send(initiator.write(1, 0, 1).set32(24, initiator.cmd_sn + 1000), std::string(512, 'x'));
  initiator.cmd_sn -= 1;
  EXPECT_FALSE(initiator.has());
  initiator.send(initiator.read(2, 0, 1));
  EXPECT_EQ(initiator.take().data, std::string(512, '\0'));
}

TEST_F(Flow, CommandNumberThatLeavesAGap_EndsTheSession) {
  auto& initiator = connect_and_login();
  initiator.cmd_sn += 1;
  initiator.send(initiator.test_unit_ready(1));
  EXPECT_FALSE(initiator.has());
  EXPECT_TRUE(initiator.closed());
}

TEST_F(Flow, ImmediateCommand_RunsAheadAndUsesNoNumber) {
  auto& initiator = connect_and_login();
  disk->hold(true);
  initiator.send(initiator.test_unit_ready(1));
  initiator.send(initiator.command(0, 2, 0, 0, 0x81, 0, true));
  disk->hold(false);
  initiator.send(initiator.test_unit_ready(3));
  const auto pdus = initiator.take_all();
  ASSERT_EQ(pdus.size(), 3U);
  EXPECT_EQ(initiator.exp_cmd_sn, initiator.cmd_sn);
}

TEST_F(Flow, TooManyImmediateCommands_AreRejected) {
  auto& initiator = connect_and_login();
  disk->hold(true);
  for (std::uint32_t itt = 1; itt <= 8; ++itt) initiator.send(initiator.command(0, itt, 0, 0, 0x81, 0, true));
  EXPECT_FALSE(initiator.has());
  initiator.send(initiator.command(0, 9, 0, 0, 0x81, 0, true));
  const Pdu reject = initiator.take();
  EXPECT_EQ(reject.opcode(), Opcode::reject);
  EXPECT_EQ(reject.header.u8(2), 0x06);
  disk->hold(false);
  executor.run();
  EXPECT_EQ(initiator.take_all().size(), 8U);
}

TEST_F(Flow, TagInUse_IsRejected) {
  auto& initiator = connect_and_login();
  disk->hold(true);
  initiator.send(initiator.test_unit_ready(1));
  initiator.send(initiator.test_unit_ready(1));
  const Pdu reject = initiator.take();
  EXPECT_EQ(reject.header.u8(2), 0x07);
}

// 128 commands wait at the volume: the window is closed, and opens again with the answers, all at once.
TEST_F(Flow, WindowFull_ClosesAndOpensAgain) {
  auto& initiator = connect_and_login();
  disk->hold(true);
  for (std::uint32_t itt = 1; itt <= 128; ++itt) initiator.queue(initiator.test_unit_ready(itt));
  initiator.send(initiator.test_unit_ready(129));  // One too many.
  EXPECT_EQ(disk->waiting(), 128U);
  initiator.cmd_sn -= 1;
  disk->hold(false);
  executor.run();
  EXPECT_EQ(initiator.take_all().size(), 128U);
  EXPECT_EQ(initiator.exp_cmd_sn, initiator.cmd_sn);
  EXPECT_EQ(initiator.max_cmd_sn - initiator.exp_cmd_sn + 1, 128U);
  for (std::uint32_t itt = 1; itt <= 128; ++itt) initiator.queue(initiator.test_unit_ready(itt));
  executor.run();
  EXPECT_EQ(initiator.take_all().size(), 128U);
}

TEST_F(Flow, StatSn_CountsResponsesInTheOrderOfTheWire) {
  auto& initiator = connect_and_login();
  for (std::uint32_t itt = 1; itt <= 50; ++itt)
    initiator.queue(itt % 2 ? initiator.test_unit_ready(itt) : initiator.read(itt, 0, 1));
  executor.run();
  std::uint32_t expected = 2;
  for (const Pdu& pdu : initiator.take_all()) EXPECT_EQ(pdu.header.u32(24), expected++);
}

// Everything is lent out: writes that bring their data are told TASK SET FULL, those that wait for R2Ts wait.
TEST_F(Flow, NoMemory_ImmediateWriteIsTaskSetFull_SolicitedOneWaits) {
  auto& immediate = connect_and_login();
  auto& solicited = connect_and_login({"ImmediateData=No"});
  std::vector<Buffer> lent;
  while (Buffer buffer = pool.try_acquire(1 << 20)) lent.push_back(std::move(buffer));
  while (Buffer buffer = pool.try_acquire(4096)) lent.push_back(std::move(buffer));
  immediate.send(immediate.write(1, 0, 8), std::string(4096, 'x'));
  EXPECT_EQ(immediate.take().status(), 0x28);
  solicited.send(solicited.write(1, 0, 8));
  EXPECT_FALSE(solicited.has());
  EXPECT_LE(immediate.max_cmd_sn - immediate.exp_cmd_sn + 1, 128U);
  lent.clear();
  clock.advance(milliseconds(1));
  const Pdu r2t = solicited.take();
  ASSERT_EQ(r2t.opcode(), Opcode::r2t);
  solicited.send(solicited.data_out(1, r2t.header.u32(20), 0, 0, true), std::string(4096, 's'));
  EXPECT_EQ(solicited.take().status(), 0);
  EXPECT_EQ(disk->disk()[0], 's');
}

TEST_F(Flow, MemoryShort_WindowShrinksButKeepsItsPromise) {
  auto& initiator = connect_and_login();
  initiator.send(initiator.test_unit_ready(1));
  initiator.take();
  const std::uint32_t promised = initiator.max_cmd_sn;
  std::vector<Buffer> lent;
  while (pool.free_bytes() > (4 << 20)) lent.push_back(pool.try_acquire(1 << 20));
  for (std::uint32_t itt = 2; itt <= 100; ++itt) {
    initiator.send(initiator.test_unit_ready(itt));
    initiator.take();
    EXPECT_EQ(initiator.max_cmd_sn, promised);  // Neither taken back nor extended.
  }
  for (std::uint32_t itt = 101; itt <= 300; ++itt) {
    initiator.send(initiator.test_unit_ready(itt));
    EXPECT_EQ(initiator.take().status(), 0);
    EXPECT_GE(initiator.max_cmd_sn - initiator.exp_cmd_sn + 1, 8U);
  }
}

// An initiator that asks and never reads: what is kept for it has a bound, and then it is closed.
TEST_F(Flow, InitiatorThatDoesNotRead_IsBoundedThenClosed) {
  auto& initiator = connect_and_login();
  initiator.wire->allow_writes(false);
  for (std::uint32_t itt = 1; itt <= 120; ++itt) initiator.queue(initiator.read(itt, 0, 8192));  // 4 MiB each.
  executor.run();
  EXPECT_GE(pool.free_bytes(), kPoolBytes - (48 << 20));
  for (int i = 0; i < 8; ++i) clock.advance(milliseconds(5'000));
  EXPECT_TRUE(initiator.closed());
  EXPECT_EQ(pool.free_bytes(), kPoolBytes);
}

TEST_F(Flow, FloodOfPings_WithoutReading_IsBounded) {
  auto& initiator = connect_and_login();
  initiator.wire->allow_writes(false);
  for (std::uint32_t itt = 1; itt <= 500; ++itt)
    initiator.queue(initiator.request(Opcode::nop_out, 0x80, itt, true), std::string(8192, 'x'));
  executor.run();
  EXPECT_FALSE(initiator.wire->inbound.empty());
  EXPECT_GE(pool.free_bytes(), kPoolBytes - (64 + 41) * 8192);
  initiator.wire->allow_writes(true);
  executor.run();
  EXPECT_EQ(initiator.take_all().size(), 500U);
}

// Many writes that wait for R2Ts: their memory has a bound, and each gets its turn.
TEST_F(Flow, ManySolicitedWrites_ShareTheirBudgetAndAllFinish) {
  auto& initiator = connect_and_login({"ImmediateData=No", "MaxBurstLength=1048576"});
  for (std::uint32_t itt = 1; itt <= 60; ++itt) initiator.queue(initiator.write(itt, 0, 2048));  // 1 MiB each.
  executor.run();
  EXPECT_GE(pool.free_bytes(), kPoolBytes - data_out_share(1));
  const std::string data(262144, 'x');
  int good = 0;
  while (initiator.has()) {
    for (const Pdu& pdu : initiator.take_all()) {
      if (pdu.opcode() == Opcode::scsi_response) {
        EXPECT_EQ(pdu.status(), 0);
        ++good;
        continue;
      }
      for (std::uint32_t sn = 0; sn < 4; ++sn)
        initiator.queue(initiator.data_out(pdu.header.itt(), pdu.header.u32(20), sn, sn * 262144, sn == 3), data);
    }
    executor.run();
  }
  EXPECT_EQ(good, 60);
}

// An ordered write without data, and many behind it that have theirs: they wait for the same initiator as it does.
TEST_F(Flow, WritesBehindAnOrderedOne_CountToo) {
  auto& initiator = connect_and_login({"FirstBurstLength=262144"});
  initiator.send(initiator.command(0x2a, 1, 0, 1, 0xa2, 512));  // Ordered: its data does not come.
  const std::string data(262144, 'x');
  for (std::uint32_t itt = 2; itt <= 101; ++itt) initiator.queue(initiator.write(itt, 0, 512), data);
  executor.run();
  EXPECT_GE(pool.free_bytes(), kPoolBytes - data_out_share(1) - (1 << 20));
}

TEST_F(Flow, HeaderDigest_Broken_EndsTheSession) {
  auto& initiator = connect_and_login({"HeaderDigest=CRC32C"});
  initiator.send(initiator.test_unit_ready(1));
  EXPECT_EQ(initiator.take().status(), 0);
  initiator.break_header_digest = true;
  initiator.send(initiator.test_unit_ready(2));
  EXPECT_FALSE(initiator.has());
  EXPECT_TRUE(initiator.closed());
}

TEST_F(Flow, DataDigest_BrokenInImmediateData_FailsTheTaskAndRejectsThePdu) {
  auto& initiator = connect_and_login({"DataDigest=CRC32C"});
  initiator.break_data_digest = true;
  initiator.send(initiator.write(1, 0, 1), std::string(512, 'x'));
  const auto pdus = initiator.take_all();
  ASSERT_EQ(pdus.size(), 2U);
  for (const Pdu& pdu : pdus) {
    if (pdu.opcode() == Opcode::reject) EXPECT_EQ(pdu.header.u8(2), 0x02);
    else EXPECT_EQ(pdu.sense(), "0b/47/05");
  }
  EXPECT_EQ(disk->disk()[0], '\0');
  initiator.break_data_digest = false;
  initiator.send(initiator.write(2, 0, 1), std::string(512, 'y'));  // Its number counted as received.
  EXPECT_EQ(initiator.take().status(), 0);
}

TEST_F(Flow, DataDigest_BrokenInSolicitedData_FailsTheTask) {
  auto& initiator = connect_and_login({"DataDigest=CRC32C", "ImmediateData=No"});
  initiator.send(initiator.write(1, 0, 1));
  const Pdu r2t = initiator.take();
  initiator.break_data_digest = true;
  initiator.send(initiator.data_out(1, r2t.header.u32(20), 0, 0, true), std::string(512, 'x'));
  EXPECT_EQ(initiator.take_all().size(), 2U);
  EXPECT_EQ(disk->disk()[0], '\0');
  EXPECT_FALSE(initiator.closed());
}

TEST_F(Flow, BothDigests_OnOddLengths_Match) {
  auto& initiator = connect_and_login({"HeaderDigest=CRC32C", "DataDigest=CRC32C"});
  for (std::uint32_t bytes = 1; bytes < 10; ++bytes) {
    initiator.send(initiator.command(0x28, bytes, 0, 1, Initiator::kRead, bytes));
    EXPECT_EQ(initiator.take().data.size(), bytes);
    initiator.send(initiator.request(Opcode::nop_out, 0x80, 100, true), std::string(bytes, 'n'));
    EXPECT_EQ(initiator.take().data, std::string(bytes, 'n'));
  }
}

// The reads cannot start before the write, whose data comes behind them: what the connection waits for never waits for it.
TEST_F(Flow, ReadsBehindAnOrderedWrite_DoNotKeepItsDataOut) {
  auto& initiator = connect_and_login({"ImmediateData=No", "MaxRecvDataSegmentLength=262144"});
  initiator.send(initiator.command(0x2a, 1, 0, 1, 0xa2, 512));  // Ordered.
  const Pdu r2t = initiator.take();
  ASSERT_EQ(r2t.opcode(), Opcode::r2t);
  for (std::uint32_t itt = 2; itt <= 11; ++itt) initiator.queue(initiator.read(itt, 0, 8192));  // 4 MiB each.
  executor.run();
  initiator.send(initiator.data_out(1, r2t.header.u32(20), 0, 0, true), std::string(512, 'x'));
  EXPECT_TRUE(initiator.wire->inbound.empty()) << "the data is not read";
  ASSERT_TRUE(initiator.has());
  EXPECT_EQ(initiator.take().status(), 0);
}

// Four honest initiators: their writes have the memory, their reads wait for some, and the data that frees it is read.
TEST_F(Flow, ReadsThatWaitForMemory_DoNotKeepTheDataOutThatFreesIt) {
  const std::string data(262144, 'x');
  std::vector<Initiator*> all;
  std::vector<std::vector<Pdu>> r2ts;
  for (int i = 0; i < 4; ++i) {
    auto& one = connect_and_login({"ImmediateData=No", "MaxBurstLength=1048576", "MaxRecvDataSegmentLength=262144"});
    for (std::uint32_t itt = 1; itt <= 16; ++itt) one.queue(one.write(itt, 0, 2048));  // 1 MiB each.
    executor.run();
    all.push_back(&one);
    r2ts.push_back(one.take_all());
  }
  for (Initiator* one : all)
    for (std::uint32_t itt = 101; itt <= 133; ++itt) one->queue(one->read(itt, 0, 2048));
  executor.run();
  int written = 0;
  for (int round = 0; round < 8; ++round) {
    for (std::size_t i = 0; i < all.size(); ++i) {
      for (const Pdu& pdu : all[i]->take_all()) {
        if (pdu.opcode() == Opcode::r2t) r2ts[i].push_back(pdu);
        if (pdu.opcode() == Opcode::scsi_response) ++written;
      }
      for (const Pdu& r2t : std::exchange(r2ts[i], {}))
        for (std::uint32_t sn = 0; sn < 4; ++sn)
          all[i]->queue(all[i]->data_out(r2t.header.itt(), r2t.header.u32(20), sn, sn * 262144, sn == 3), data);
    }
    executor.run();
  }
  EXPECT_EQ(written, 64);
}

}  // namespace
}  // namespace holdfast::test
