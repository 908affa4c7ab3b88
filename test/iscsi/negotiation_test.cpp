// Operational keys: an offer, the answer and what then holds (RFC 7143 §13).
#include "scsi/negotiation.h"

#include <gtest/gtest.h>

#include "test/iscsi/initiator.h"

namespace holdfast::test {
namespace {

using scsi::Negotiator;
using scsi::SessionType;
using scsi::TextBuilder;

std::string answer_to(Negotiator& negotiator, const std::string& offer) {
  const auto equals = offer.find('=');
  TextBuilder answer;
  const auto done = negotiator.offer({std::string_view(offer).substr(0, equals), std::string_view(offer).substr(equals + 1)}, answer);
  if (!done) return "(protocol error)";
  return value_in(answer.take(), offer.substr(0, equals));
}
std::string answer_to(const std::string& offer, SessionType type = SessionType::normal) {
  Negotiator negotiator(type);
  return answer_to(negotiator, offer);
}

TEST(Negotiation, EachKey_IsAnsweredByItsRule) {
  for (const auto& [offer, answer] : std::vector<std::pair<const char*, const char*>>{
           {"HeaderDigest=CRC32C,None", "CRC32C"},
           {"HeaderDigest=None,CRC32C", "None"},
           {"HeaderDigest=X-odd,CRC32C", "CRC32C"},
           {"HeaderDigest=X-odd", "Reject"},
           {"HeaderDigest=", "Reject"},
           {"HeaderDigest=crc32c", "Reject"},
           {"DataDigest=CRC32C", "CRC32C"},
           {"MaxConnections=8", "1"},
           {"MaxConnections=0", "Reject"},
           {"MaxConnections=65536", "Reject"},
           {"InitialR2T=No", "No"},
           {"InitialR2T=Yes", "Yes"},
           {"InitialR2T=yes", "Reject"},
           {"ImmediateData=Yes", "Yes"},
           {"ImmediateData=No", "No"},
           {"MaxRecvDataSegmentLength=512", "(absent)"},
           {"MaxRecvDataSegmentLength=511", "Reject"},
           {"MaxRecvDataSegmentLength=16777215", "(absent)"},
           {"MaxRecvDataSegmentLength=16777216", "Reject"},
           {"MaxRecvDataSegmentLength=-1", "Reject"},
           {"MaxRecvDataSegmentLength=99999999999999999999", "Reject"},
           {"MaxBurstLength=262144", "262144"},
           {"MaxBurstLength=16776192", "1048576"},
           {"MaxBurstLength=0x10000", "65536"},
           {"MaxBurstLength=0x", "Reject"},
           {"MaxBurstLength=1k", "Reject"},
           {"FirstBurstLength=65536", "65536"},
           {"FirstBurstLength=16777215", "262144"},
           {"MaxOutstandingR2T=1", "1"},
           {"MaxOutstandingR2T=100", "8"},
           {"MaxOutstandingR2T=0", "Reject"},
           {"DefaultTime2Wait=2", "0"},
           {"DefaultTime2Wait=3601", "Reject"},
           {"DefaultTime2Retain=20", "0"},
           {"DataPDUInOrder=No", "Yes"},
           {"DataSequenceInOrder=No", "Yes"},
           {"ErrorRecoveryLevel=2", "0"},
           {"ErrorRecoveryLevel=3", "Reject"},
           {"iSCSIProtocolLevel=2", "1"},
           {"iSCSIProtocolLevel=0", "0"},
           {"TaskReporting=FastAbort,RFC3720", "RFC3720"},
           {"TaskReporting=FastAbort", "Reject"},
           {"IFMarker=No", "No"},
           {"OFMarker=Yes", "No"},
           {"IFMarkInt=2048~8192", "Irrelevant"},
           {"InitiatorAlias=a host", "(absent)"},
           {"TargetAlias=x", "Reject"},
           {"TargetAddress=x", "Reject"},
           {"TargetPortalGroupTag=1", "Reject"},
           {"SendTargets=All", "Reject"},
           {"X-com.example.what=ever", "NotUnderstood"},
           {"X#NodeArchitecture=z", "NotUnderstood"},
           {"headerdigest=None", "NotUnderstood"},
       })
    EXPECT_EQ(answer_to(offer), answer) << offer;
}

TEST(Negotiation, DiscoverySession_SaysIrrelevantToDataKeys) {
  for (const char* offer : {"MaxConnections=1", "InitialR2T=No", "ImmediateData=Yes", "MaxBurstLength=65536",
                            "FirstBurstLength=65536", "MaxOutstandingR2T=1", "DataPDUInOrder=Yes",
                            "DataSequenceInOrder=Yes", "TaskReporting=RFC3720"})
    EXPECT_EQ(answer_to(offer, SessionType::discovery), "Irrelevant") << offer;
  EXPECT_EQ(answer_to("HeaderDigest=CRC32C,None", SessionType::discovery), "None");
  EXPECT_EQ(answer_to("HeaderDigest=CRC32C", SessionType::discovery), "Reject");
  EXPECT_EQ(answer_to("DefaultTime2Wait=2", SessionType::discovery), "0");
}

TEST(Negotiation, KeyOfferedTwice_IsAProtocolError) {
  Negotiator negotiator;
  EXPECT_EQ(answer_to(negotiator, "ImmediateData=Yes"), "Yes");
  EXPECT_EQ(answer_to(negotiator, "ImmediateData=No"), "(protocol error)");
  EXPECT_TRUE(negotiator.parameters().immediate_data);
}

TEST(Negotiation, FirstBurst_NeverExceedsABurst) {
  Negotiator negotiator;
  EXPECT_EQ(answer_to(negotiator, "MaxBurstLength=8192"), "8192");
  EXPECT_EQ(answer_to(negotiator, "FirstBurstLength=65536"), "8192");
  Negotiator other_order;
  EXPECT_EQ(answer_to(other_order, "FirstBurstLength=65536"), "65536");
  EXPECT_EQ(answer_to(other_order, "MaxBurstLength=8192"), "8192");
  other_order.settle();
  EXPECT_EQ(other_order.parameters().first_burst_bytes, 8192U);
}

TEST(Negotiation, RejectedOffer_LeavesTheDefault) {
  Negotiator negotiator;
  answer_to(negotiator, "MaxRecvDataSegmentLength=1");
  answer_to(negotiator, "MaxBurstLength=1");
  EXPECT_EQ(negotiator.parameters().send_segment_bytes, 8192U);
  EXPECT_EQ(negotiator.parameters().max_burst_bytes, 262144U);
}

}  // namespace
}  // namespace holdfast::test
