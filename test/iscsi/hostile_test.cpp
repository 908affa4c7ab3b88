// Bytes that no honest initiator sends: answered, rejected or hung up on; never taken at their word.
#include "test/iscsi/fixture.h"

namespace holdfast::test {
namespace {

class Hostile : public IscsiTest {
 protected:
  bool disk_is_blank() { return disk->disk().find_first_not_of('\0') == std::string::npos; }
  // It is still there and in step.
  void expect_alive(Initiator& initiator) {
    initiator.send(initiator.test_unit_ready(4711));
    ASSERT_TRUE(initiator.has());
    const Pdu reply = initiator.take();
    EXPECT_EQ(reply.opcode(), Opcode::scsi_response);
    EXPECT_EQ(reply.header.itt(), 4711U);
  }
};

TEST_F(Hostile, UnknownOpcodes_AreRejected) {
  auto& initiator = connect_and_login();
  for (unsigned opcode = 0; opcode < 0x40; ++opcode) {
    if (opcode <= 0x06) continue;
    Header header;
    header.set8(0, static_cast<std::uint8_t>(opcode | 0x40)).set8(1, 0x80).set32(16, 9);
    initiator.send(header, "some data");
    const Pdu reject = initiator.take();
    EXPECT_EQ(reject.opcode(), Opcode::reject) << opcode;
    EXPECT_EQ(reject.header.u8(2), opcode == 0x10 ? 0x03 : opcode >= 0x20 ? 0x04 : 0x05) << opcode;
    EXPECT_EQ(reject.data.size(), 48U);
  }
  expect_alive(initiator);
}

TEST_F(Hostile, LoginInFullFeaturePhase_ClosesTheConnection) {
  auto& initiator = connect_and_login();
  initiator.send(initiator.login_header(Initiator::kOperationalToFull), text_of(initiator.identity()));
  EXPECT_TRUE(initiator.closed());
}

TEST_F(Hostile, SegmentLongerThanDeclared_ClosesTheConnection) {
  auto& initiator = connect_and_login();
  Header header = initiator.write(1, 0, 1024);
  header.set_data_bytes(256 * 1024 + 1);
  initiator.wire->send(as_text(header.raw));
  executor.run();
  EXPECT_TRUE(initiator.closed());
}

TEST_F(Hostile, LoginSegmentTooLong_ClosesTheConnection) {
  auto& initiator = connect();
  Header header = initiator.login_header(Initiator::kOperationalToFull);
  header.set_data_bytes(8193);
  initiator.wire->send(as_text(header.raw));
  executor.run();
  EXPECT_TRUE(initiator.closed());
}

TEST_F(Hostile, FirstPduIsNoLogin_IsRefused) {
  auto& initiator = connect();
  initiator.send(initiator.read(1, 0, 1));
  EXPECT_EQ(Initiator::login_status(initiator.take()), 0x020b);
  EXPECT_TRUE(initiator.closed());
}

TEST_F(Hostile, AdditionalHeaderSegments_MalformedOnes_AreRejected) {
  auto& initiator = connect_and_login();
  for (const std::string& ahs : {
           std::string("\0\0\1\0", 4),                  // Nothing in it.
           std::string("\xff\xff\1\0", 4),              // Longer than there is.
           std::string("\0\5\1\0", 4),                  // The same, by a little.
           std::string("\0\1\7\0", 4),                  // An unknown type.
           std::string("\0\4\2\0\0\0\0\0", 8),          // A wrong length for its type.
           std::string("\3\xf1\1\0", 4) + std::string(1008, 'c'),                               // A CDB beyond 260.
           std::string("\0\2\1\0\0\0\0\0", 8) + std::string("\0\2\1\0\0\0\0\0", 8),             // Two of a kind.
       }) {
    initiator.send(initiator.test_unit_ready(1), {}, ahs);
    const Pdu reject = initiator.take();
    EXPECT_EQ(reject.opcode(), Opcode::reject);
    EXPECT_EQ(reject.header.u8(2), 0x09);
    --initiator.cmd_sn;  // A rejected command's number is not used up (§11.17.1).
    EXPECT_EQ(initiator.exp_cmd_sn, initiator.cmd_sn);
  }
  initiator.send(initiator.test_unit_ready(2), {}, std::string("\0\5\2\0\0\0\2\0", 8));  // A proper one.
  EXPECT_EQ(initiator.take().status(), 0);
  expect_alive(initiator);
}

TEST_F(Hostile, ReservedTaskTag_IsRejected) {
  auto& initiator = connect_and_login();
  initiator.send(initiator.test_unit_ready(kNoTag));
  EXPECT_EQ(initiator.take().header.u8(2), 0x09);
  --initiator.cmd_sn;
  expect_alive(initiator);
}

TEST_F(Hostile, ExpectedLengthOfFourGigabytes_CostsNothing) {
  auto& initiator = connect_and_login();
  initiator.send(initiator.command(0x28, 1, 0, 1, Initiator::kRead, 0xffffffff));
  Pdu reply = initiator.take();
  EXPECT_EQ(reply.data.size(), 512U);
  EXPECT_EQ(reply.residual(), 0xffffffffU - 512);
  initiator.send(initiator.command(0x2a, 2, 0, 1, Initiator::kWrite, 0xffffffff), std::string(512, 'x'));
  EXPECT_EQ(initiator.take().residual(), 0xffffffffU - 512);
  EXPECT_EQ(pool.free_bytes(), kPoolBytes);
}

TEST_F(Hostile, TextRequests_MalformedOrEndless_AreRejected) {
  auto& initiator = connect_and_login();
  initiator.send(initiator.request(Opcode::text, 0x80, 1, true), "no equals sign and no end");
  EXPECT_EQ(initiator.take().opcode(), Opcode::reject);
  initiator.send(initiator.request(Opcode::text, 0xc0, 1, true), text_of({"a=b"}));  // F and C.
  EXPECT_EQ(initiator.take().opcode(), Opcode::reject);
  initiator.send(initiator.request(Opcode::text, 0x80, 1, true).set32(20, 1234), text_of({"SendTargets=All"}));
  EXPECT_EQ(initiator.take().opcode(), Opcode::reject);  // Goes on with nothing.
  std::uint32_t ttt = kNoTag;
  bool rejected = false;
  for (int i = 0; i < 100 && !rejected; ++i) {
    initiator.send(initiator.request(Opcode::text, 0x40, 1, true).set32(20, ttt), std::string(8192, 'k'));
    const Pdu reply = initiator.take();
    rejected = reply.opcode() == Opcode::reject;
    ttt = reply.header.u32(20);
  }
  EXPECT_TRUE(rejected);
  expect_alive(initiator);
}

TEST_F(Hostile, EveryPrefixOfASession_IsSurvived) {
  // A recorded session, cut off at every byte.
  std::string session;
  {
    auto& recorder = connect();
    recorder.isid[5] = std::byte{200};
    recorder.queue(recorder.login_header(Initiator::kOperationalToFull),
                   text_of(recorder.identity()) + text_of({"InitialR2T=No"}));
    recorder.queue(recorder.command(0x2a, 1, 0, 2, Initiator::kWriteMore, 1024), std::string(512, 'x'));
    recorder.queue(recorder.data_out(1, kNoTag, 0, 512, true), std::string(512, 'x'));
    recorder.queue(recorder.request(Opcode::nop_out, 0x80, 2), "ping");
    recorder.queue(recorder.read(3, 0, 2));
    recorder.queue(recorder.request(Opcode::logout, 0x80, 4, true));
    session = recorder.wire->inbound;
    recorder.wire->inbound.clear();
    recorder.wire->hang_up();
    executor.run();
  }
  for (std::size_t cut = 0; cut < session.size(); cut += 3) {
    auto& victim = connect();
    victim.wire->send(session.substr(0, cut));
    executor.run();
    victim.wire->hang_up();
    executor.run();
  }
  EXPECT_EQ(target->session_count(), 0U);
}

TEST_F(Hostile, RandomHeaders_AfterLogin_WriteNothing) {
  CountingRandom noise;
  for (int round = 0; round < 300; ++round) {
    auto& initiator = connect_and_login();
    for (int i = 0; i < 20 && !initiator.closed(); ++i) {
      Header header;
      noise.fill(header.raw);
      header.set8(0, static_cast<std::uint8_t>(header.u8(0) & 0x47)).set8(4, 0);
      header.set32(24, initiator.cmd_sn + (i % 2)).set8(32, 0x28);  // Reads only: any write is our fault.
      initiator.send(header, std::string(header.u8(7), 'h'));
      initiator.take_all();
    }
    initiator.wire->hang_up();
    executor.run();
  }
  EXPECT_TRUE(disk_is_blank());
}

}  // namespace
}  // namespace holdfast::test
