// Commands with data: immediate, unsolicited and solicited; Data-In in pieces; residuals.
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

}  // namespace
}  // namespace holdfast::test
