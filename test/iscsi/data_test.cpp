// Commands with data: immediate, unsolicited and solicited; Data-In in pieces; residuals; what is out of order.
#include "test/iscsi/fixture.h"

namespace holdfast::test {
namespace {

class Data : public IscsiTest {};

std::string pattern(std::size_t bytes) {
  std::string text(bytes, '\0');
  for (std::size_t i = 0; i < bytes; ++i) text[i] = static_cast<char>(i * 7 + i / 251);
  return text;
}

TEST_F(Data, Write_WithImmediateData_IsOnDiskAndAnswered) {
  auto& initiator = connect_and_login();
  const std::string data = pattern(4096);
  initiator.send(initiator.write(1, 8, 8), data);
  const Pdu reply = initiator.take();
  EXPECT_EQ(reply.opcode(), Opcode::scsi_response);
  EXPECT_EQ(reply.status(), 0);
  EXPECT_FALSE(reply.overflow() || reply.underflow());
  EXPECT_EQ(disk->disk().substr(4096, 4096), data);
}

TEST_F(Data, Read_OfSeveralSegments_CarriesStatusInTheLastDataIn) {
  auto& initiator = connect_and_login({"MaxRecvDataSegmentLength=1024", "MaxBurstLength=2048"});
  disk->disk().replace(0, 5120, pattern(5120));
  initiator.send(initiator.read(1, 0, 10));
  std::string got;
  const auto pdus = initiator.take_all();
  ASSERT_EQ(pdus.size(), 5U);
  for (std::size_t i = 0; i < pdus.size(); ++i) {
    EXPECT_EQ(pdus[i].opcode(), Opcode::data_in);
    EXPECT_EQ(pdus[i].header.u32(36), i);           // DataSN
    EXPECT_EQ(pdus[i].header.u32(40), got.size());  // Buffer offset
    const bool burst_end = i % 2 == 1 || i == 4;
    EXPECT_EQ(pdus[i].header.final(), burst_end);
    EXPECT_EQ(pdus[i].header.flags() & 1, i == 4 ? 1 : 0);
    got += pdus[i].data;
  }
  EXPECT_EQ(got, pattern(5120));
}

TEST_F(Data, ReadAndWrite_BeyondOnePiece_GoThroughAllPieces) {
  auto& initiator = connect_and_login({"MaxRecvDataSegmentLength=262144", "MaxBurstLength=1048576"});
  constexpr std::uint16_t kBlocks = 5000;  // 2.4 MiB: three pieces of memory.
  const std::string data = pattern(kBlocks * 512U);
  initiator.send(initiator.write(1, 3, kBlocks), data.substr(0, 1000 * 4));  // A crooked beginning.
  std::size_t sent = 4000;
  while (sent < data.size()) {
    const Pdu r2t = initiator.take();
    ASSERT_EQ(r2t.opcode(), Opcode::r2t);
    ASSERT_EQ(r2t.header.u32(40), sent);
    const std::size_t end = sent + r2t.header.u32(44);
    for (std::uint32_t sn = 0; sent < end; ++sn) {
      const std::size_t bytes = std::min<std::size_t>(end - sent, 200'000);
      initiator.send(initiator.data_out(1, r2t.header.u32(20), sn, static_cast<std::uint32_t>(sent), sent + bytes == end),
                     data.substr(sent, bytes));
      sent += bytes;
    }
  }
  EXPECT_EQ(initiator.take().status(), 0);
  EXPECT_EQ(disk->disk().substr(3 * 512, data.size()), data);

  initiator.send(initiator.read(2, 3, kBlocks));
  std::string got;
  for (const Pdu& pdu : initiator.take_all()) {
    EXPECT_EQ(pdu.header.u32(40), got.size());
    got += pdu.data;
  }
  EXPECT_EQ(got, data);
}

TEST_F(Data, Write_WithUnsolicitedData_NeedsNoR2tForTheFirstBurst) {
  auto& initiator = connect_and_login({"InitialR2T=No", "FirstBurstLength=4096", "MaxBurstLength=4096"});
  const std::string data = pattern(8192);
  initiator.send(initiator.command(0x2a, 1, 0, 16, Initiator::kWriteMore, 8192), data.substr(0, 1024));
  EXPECT_FALSE(initiator.has());
  initiator.send(initiator.data_out(1, kNoTag, 0, 1024, false), data.substr(1024, 1024));
  initiator.send(initiator.data_out(1, kNoTag, 1, 2048, true), data.substr(2048, 2048));
  const Pdu r2t = initiator.take();
  ASSERT_EQ(r2t.opcode(), Opcode::r2t);
  EXPECT_EQ(r2t.header.u32(36), 0U);
  EXPECT_EQ(r2t.header.u32(40), 4096U);
  EXPECT_EQ(r2t.header.u32(44), 4096U);
  initiator.send(initiator.data_out(1, r2t.header.u32(20), 0, 4096, true), data.substr(4096));
  const Pdu reply = initiator.take();
  EXPECT_EQ(reply.opcode(), Opcode::scsi_response);
  EXPECT_EQ(reply.status(), 0);
  EXPECT_EQ(disk->disk().substr(0, 8192), data);
}

TEST_F(Data, Write_WithSeveralR2tsAllowed_GetsThemAtOnceAndInOrder) {
  auto& initiator = connect_and_login({"MaxOutstandingR2T=2", "MaxBurstLength=1024", "ImmediateData=No"});
  const std::string data = pattern(4096);
  initiator.send(initiator.write(1, 0, 8));
  auto r2ts = initiator.take_all();
  ASSERT_EQ(r2ts.size(), 2U);
  for (std::uint32_t burst = 0; burst < 4; ++burst) {
    const Pdu r2t = r2ts[burst];
    EXPECT_EQ(r2t.header.u32(36), burst);
    EXPECT_EQ(r2t.header.u32(40), burst * 1024);
    initiator.send(initiator.data_out(1, r2t.header.u32(20), 0, burst * 1024, true), data.substr(burst * 1024, 1024));
    for (Pdu& pdu : initiator.take_all()) r2ts.push_back(std::move(pdu));
  }
  EXPECT_EQ(r2ts.back().opcode(), Opcode::scsi_response);
  EXPECT_EQ(r2ts.back().header.u32(36), 4U);  // ExpDataSN counts the R2Ts.
  EXPECT_EQ(disk->disk().substr(0, 4096), data);
}

// CDB and expected length disagree: both directions, both ways.
struct ResidualCase {
  unsigned opcode;
  std::uint16_t blocks;
  std::uint32_t expected;
  bool over;
  std::uint32_t residual;
};
TEST_F(Data, Residual_CdbAndExpectedLengthDisagree_IsCounted) {
  auto& initiator = connect_and_login();
  std::uint32_t itt = 1;
  for (const auto& [opcode, blocks, expected, over, residual] : {
           ResidualCase{0x28, 1, 0, true, 512}, ResidualCase{0x28, 1, 10000, false, 9488},
           ResidualCase{0x28, 1, 200, true, 312}, ResidualCase{0x28, 2, 512, true, 512},
           ResidualCase{0x2a, 1, 0, true, 512}, ResidualCase{0x2a, 1, 1024, false, 512},
           ResidualCase{0x2a, 2, 512, true, 512}, ResidualCase{0x2a, 1, 10000, false, 9488}}) {
    const bool reading = opcode == 0x28;
    initiator.send(initiator.command(opcode, itt++, 0, blocks, reading ? Initiator::kRead : Initiator::kWrite, expected),
                   reading ? std::string() : pattern(expected));
    const auto pdus = initiator.take_all();
    ASSERT_EQ(pdus.size(), 1U) << opcode << " " << expected;
    EXPECT_EQ(pdus[0].status(), 0);
    EXPECT_EQ(pdus[0].overflow(), over);
    EXPECT_EQ(pdus[0].underflow(), !over);
    EXPECT_EQ(pdus[0].residual(), residual);
    if (reading) {
      EXPECT_EQ(pdus[0].data.size(), std::min<std::size_t>(expected, blocks * 512U));
    }
  }
}

TEST_F(Data, RefusedCommand_WithDataStillToCome_IsAnsweredAfterTheLastOfIt) {
  auto& initiator = connect_and_login({"InitialR2T=No"});
  initiator.send(initiator.command(0xff, 1, 0, 8, Initiator::kWriteMore, 4096), pattern(1024));
  EXPECT_FALSE(initiator.has());
  initiator.send(initiator.data_out(1, kNoTag, 0, 1024, true), pattern(3072));
  const Pdu reply = initiator.take();
  EXPECT_EQ(reply.status(), 2);
  EXPECT_EQ(reply.sense(), "05/20/00");
}

// What is wrong with a Data-Out, and that nothing of it is written.
TEST_F(Data, DataOut_OutOfSequence_FailsTheTaskAndWritesNothing) {
  struct Case {
    const char* what;
    std::uint32_t data_sn, offset;
    std::size_t bytes;
    const char* sense;
  };
  auto& initiator = connect_and_login({"ImmediateData=No"});
  std::uint32_t itt = 1;
  for (const auto& [what, data_sn, offset, bytes, sense] : {
           Case{"wrong DataSN", 27, 0, 1024, "0b/47/05"}, Case{"DataSN -1", 0xffffffff, 0, 1024, "0b/47/05"},
           Case{"offset beyond the burst", 0, 4096, 1024, "0b/47/05"}, Case{"offset wraps", 0, 0xfffffe00, 1024, "0b/47/05"},
           Case{"more than asked for", 0, 0, 2048, "0b/47/05"}, Case{"less than asked for", 0, 0, 512, "0b/0c/0d"}}) {
    initiator.send(initiator.write(itt, 0, 2));
    const Pdu r2t = initiator.take();
    initiator.send(initiator.data_out(itt, r2t.header.u32(20), data_sn, offset, true), pattern(bytes));
    const Pdu reply = initiator.take();
    EXPECT_EQ(reply.opcode(), Opcode::scsi_response) << what;
    EXPECT_EQ(reply.status(), 2) << what;
    EXPECT_EQ(reply.sense(), sense) << what;
    ++itt;
  }
  EXPECT_EQ(disk->disk().find_first_not_of('\0'), std::string::npos);
  EXPECT_FALSE(initiator.closed());
}

TEST_F(Data, DataOut_SameDataSnTwice_FailsTheTask) {
  auto& initiator = connect_and_login({"ImmediateData=No"});
  initiator.send(initiator.write(1, 0, 2));
  const Pdu r2t = initiator.take();
  initiator.send(initiator.data_out(1, r2t.header.u32(20), 0, 0, false), pattern(512));
  initiator.send(initiator.data_out(1, r2t.header.u32(20), 0, 512, true), pattern(512));
  EXPECT_EQ(initiator.take().sense(), "0b/47/05");
}

TEST_F(Data, DataOut_WithAWrongTransferTag_IsRejectedAndTheTaskGoesOn) {
  auto& initiator = connect_and_login({"ImmediateData=No"});
  initiator.send(initiator.write(1, 0, 2));
  const Pdu r2t = initiator.take();
  for (const std::uint32_t tag : {r2t.header.u32(20) + 1, 0U, kNoTag}) {
    initiator.send(initiator.data_out(1, tag, 0, 0, true), std::string(1024, 'x'));
    const Pdu reject = initiator.take();
    EXPECT_EQ(reject.opcode(), Opcode::reject);
    EXPECT_EQ(reject.header.u8(2), 0x09);
    EXPECT_EQ(reject.data.size(), 48U);
  }
  initiator.send(initiator.data_out(1, r2t.header.u32(20), 0, 0, true), pattern(1024));
  EXPECT_EQ(initiator.take().status(), 0);
  EXPECT_EQ(disk->disk().substr(0, 1024), pattern(1024));
}

TEST_F(Data, DataOut_OfAnUnknownTask_RunsOutSilently) {
  auto& initiator = connect_and_login();
  initiator.send(initiator.data_out(77, kNoTag, 0, 0, true), pattern(1024));
  initiator.send(initiator.data_out(77, 0x10000, 0, 0, true), pattern(1024));
  EXPECT_FALSE(initiator.has());
  initiator.send(initiator.test_unit_ready(1));
  EXPECT_EQ(initiator.take().status(), 0);
}

TEST_F(Data, UnaskedData_WhereNotAgreed_FailsTheTask) {
  auto& no_immediate = connect_and_login({"ImmediateData=No"});
  no_immediate.send(no_immediate.write(1, 0, 2), pattern(1024));
  EXPECT_EQ(no_immediate.take().sense(), "0b/0c/0c");

  auto& with_r2t = connect_and_login({"InitialR2T=Yes"});
  with_r2t.send(with_r2t.command(0x2a, 1, 0, 2, Initiator::kWriteMore, 1024));
  with_r2t.send(with_r2t.data_out(1, kNoTag, 0, 0, true), pattern(1024));
  EXPECT_EQ(with_r2t.take().sense(), "0b/0c/0c");

  auto& too_long = connect_and_login({"FirstBurstLength=512"});
  too_long.send(too_long.write(1, 0, 2), pattern(1024));
  EXPECT_EQ(too_long.take().sense(), "0b/0c/0c");

  auto& on_a_read = connect_and_login();
  on_a_read.send(on_a_read.read(1, 0, 2), pattern(1024));
  EXPECT_EQ(on_a_read.take().sense(), "0b/0c/0c");

  auto& beyond_expected = connect_and_login();
  beyond_expected.send(beyond_expected.command(0x2a, 1, 0, 2, Initiator::kWrite, 512), pattern(1024));
  EXPECT_EQ(beyond_expected.take().sense(), "0b/0c/0c");
  EXPECT_EQ(disk->disk().find_first_not_of('\0'), std::string::npos);
}

// Cut anywhere: the bytes of a session in reads of one, then of a few.
TEST_F(Data, Stream_CutIntoSmallReads_GivesTheSameResult) {
  for (const std::size_t cut : {1U, 7U, 47U, 49U, 1000U}) {
    auto& initiator = connect_and_login({"HeaderDigest=CRC32C", "DataDigest=CRC32C"});
    initiator.wire->read_bytes_max = cut;
    initiator.queue(initiator.write(1, 0, 4), pattern(2048));
    initiator.queue(initiator.read(2, 0, 4));
    initiator.send(initiator.write(3, 100, 1), pattern(512));
    const auto pdus = initiator.take_all();
    ASSERT_EQ(pdus.size(), 3U) << cut;
    for (const Pdu& pdu : pdus) EXPECT_EQ(pdu.status(), 0);
    EXPECT_EQ(disk->disk().substr(0, 2048), pattern(2048));
  }
}

TEST_F(Data, ManyCommandsInOneRead_AreAnsweredInFewWrites) {
  auto& initiator = connect_and_login();
  const unsigned reads_before = initiator.wire->reads;
  const unsigned writes_before = initiator.wire->writes;
  for (std::uint32_t itt = 1; itt <= 100; ++itt) initiator.queue(initiator.read(itt, itt, 1));
  executor.run();
  EXPECT_EQ(initiator.take_all().size(), 100U);
  EXPECT_LE(initiator.wire->reads - reads_before, 2U);
  EXPECT_LE(initiator.wire->writes - writes_before, 4U);
}

TEST_F(Data, LargePayload_IsReadStraightIntoItsBuffer) {
  auto& initiator = connect_and_login({"FirstBurstLength=262144"});
  const unsigned reads_before = initiator.wire->reads;
  initiator.send(initiator.write(1, 0, 512), pattern(262144));
  EXPECT_EQ(initiator.take().status(), 0);
  EXPECT_EQ(disk->disk().substr(0, 262144), pattern(262144));
  EXPECT_LE(initiator.wire->reads - reads_before, 2U);  // The header and what was staged with it; the rest at once.
}

// The 64th PDU of a batch is an R2T, and its data comes before the transmitter looks again: the write is at the volume and
// must not be taken for one that has its answer.
//   1. 64 R2Ts are on their way to the socket.
//   2. The data of the last one comes: the write goes to the volume, which takes its time.
//   3. The socket takes the batch, and the transmitter looks for more to send.
TEST_F(Data, R2tThatFillsABatch_DataComesBeforeTheNextLook_IsNotAnsweredBeforeItIsWritten) {
  auto& initiator = connect_and_login({"ImmediateData=No"});
  initiator.wire->allow_writes(false);
  for (std::uint32_t itt = 1; itt <= 64; ++itt) initiator.queue(initiator.write(itt, itt, 1));
  executor.run();
  constexpr std::uint32_t kTtt = 64U << 16;  // Slot 63, first tag: what the R2T of the 64th write says.
  disk->hold(true);
  initiator.send(initiator.data_out(64, kTtt, 0, 0, true), std::string(512, 'x'));
  EXPECT_EQ(disk->waiting(), 1U);
  initiator.wire->allow_writes(true);
  executor.run();
  const auto pdus = initiator.take_all();
  EXPECT_EQ(std::ranges::count(pdus, Opcode::r2t, &Pdu::opcode), 64);
  EXPECT_EQ(pdus.back().header.u32(20), kTtt);
  EXPECT_EQ(std::ranges::count(pdus, Opcode::scsi_response, &Pdu::opcode), 0) << "GOOD for a write still at the volume";
  EXPECT_EQ(disk->disk()[64 * 512], '\0');
  disk->hold(false);
  executor.run();
  EXPECT_EQ(initiator.take().status(), 0);
  EXPECT_EQ(disk->disk()[64 * 512], 'x');
}

// The same with an honest initiator, which answers an R2T that it has really got: the receiver merely runs first.
TEST_F(Data, R2tThatFillsABatch_QuickInitiator_IsNotAnsweredBeforeItIsWritten) {
  auto& initiator = connect_and_login({"ImmediateData=No"});
  for (std::uint32_t itt = 1; itt <= 64; ++itt) initiator.queue(initiator.write(itt, itt, 1));
  disk->hold(true);
  while (!initiator.wire->inbound.empty()) ASSERT_TRUE(executor.run_one());
  ASSERT_TRUE(executor.run_one());  // The transmitter is awake and has yielded: it sends at its next turn.
  initiator.queue(initiator.request(Opcode::nop_out, 0x80, kNoTag, true));  // The receiver is ready, too.
  while (!initiator.has()) ASSERT_TRUE(executor.run_one());
  const Pdu last = initiator.take_all().back();
  ASSERT_EQ(last.opcode(), Opcode::r2t);
  ASSERT_EQ(last.header.itt(), 64U);
  initiator.send(initiator.data_out(64, last.header.u32(20), 0, 0, true), std::string(512, 'x'));
  EXPECT_EQ(disk->waiting(), 1U);
  EXPECT_EQ(std::ranges::count(initiator.take_all(), Opcode::scsi_response, &Pdu::opcode), 0);
  EXPECT_EQ(disk->disk()[64 * 512], '\0');
  disk->hold(false);
  executor.run();
}

// What followed from it: the next command got the task that was still at the volume, and the old one's end answered it.
TEST_F(Data, R2tThatFillsABatch_NextWrite_IsNotAnsweredWithoutItsData) {
  auto& initiator = connect_and_login({"ImmediateData=No"});
  initiator.wire->allow_writes(false);
  for (std::uint32_t itt = 1; itt <= 64; ++itt) initiator.queue(initiator.write(itt, itt, 1));
  executor.run();
  disk->hold(true);
  initiator.send(initiator.data_out(64, 64U << 16, 0, 0, true), std::string(512, 'x'));
  initiator.wire->allow_writes(true);
  executor.run();
  initiator.take_all();
  initiator.send(initiator.write(65, 200, 1));  // Its data will not come.
  disk->hold(false);
  executor.run();
  std::vector<std::uint32_t> answered;
  for (const Pdu& pdu : initiator.take_all())
    if (pdu.opcode() == Opcode::scsi_response) answered.push_back(pdu.header.itt());
  EXPECT_EQ(answered, std::vector<std::uint32_t>{64});
  EXPECT_EQ(disk->disk()[64 * 512], 'x');
}

}  // namespace
}  // namespace holdfast::test
