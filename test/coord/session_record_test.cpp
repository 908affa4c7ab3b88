#include "coord/session_record.h"

#include <gtest/gtest.h>

#include "base/text.h"

namespace holdfast::coord::test {
namespace {

const SessionRecord kSessions{NodeId(2), {{"192.0.2.2", "02:42:c0:00:02:02"}}, {{"192.0.2.2:3260", "192.0.2.11:51234"}, {"192.0.2.2:3260", "192.0.2.12:40000"}}};

TEST(SessionRecord, ThereAndBack) {
  const auto back = decode_session_record(NodeId(2), encode_session_record(kSessions));
  ASSERT_TRUE(back) << back.error().text();
  EXPECT_EQ(*back, kSessions);
  EXPECT_EQ(session_key(NodeId(2)), "sessions/2");
  EXPECT_TRUE(coordinator_key_is_fine(session_key(NodeId(2))));
}

TEST(SessionRecord, Bytes_AreAsDocumented) {
  EXPECT_EQ(encode_session_record(kSessions),
            R"({"format":1,"portals":[{"address":"192.0.2.2","mac":"02:42:c0:00:02:02"}],)"
            R"("connections":[{"portal":"192.0.2.2:3260","initiator":"192.0.2.11:51234"},{"portal":"192.0.2.2:3260","initiator":"192.0.2.12:40000"}]})");
}

TEST(SessionRecord, LargestOne_FitsIntoAValue) {
  SessionRecord large;
  large.portals.assign(kSessionPortalsMax, {"255.255.255.255", "ff:ff:ff:ff:ff:ff"});
  large.connections.assign(kSessionConnectionsMax, {"255.255.255.255:65535", "255.255.255.255:65535"});
  const std::string text = encode_session_record(large);
  EXPECT_LE(text.size(), kCoordinatorValueBytesMax);
  EXPECT_TRUE(decode_session_record(NodeId(1), text));
  large.connections.push_back(large.connections.front());
  EXPECT_EQ(decode_session_record(NodeId(1), encode_session_record(large)).error().code, Errc::corrupt);
}

TEST(SessionRecord, Strangers_AreRefused) {
  const auto code = [](const std::string& text) { return decode_session_record(NodeId(2), text).error().code; };
  EXPECT_EQ(code(R"({"format":2,"anything":[]})"), Errc::version_too_new);
  for (const char* text : {"", "[]", "{", "{}", R"({"format":0,"portals":[],"connections":[]})", R"({"format":1,"portals":[]})", R"({"format":1,"connections":[]})",
                           R"({"format":1,"portals":{},"connections":[]})", R"({"format":1,"portals":[3],"connections":[]})",
                           R"({"format":1,"portals":[{"address":"192.0.2.2"}],"connections":[]})", R"({"format":1,"portals":[{"address":"a b","mac":"c"}],"connections":[]})",
                           R"({"format":1,"portals":[],"connections":[{"portal":"","initiator":"a"}]})", R"({"format":1,"portals":[],"connections":[{"portal":"a","initiator":7}]})"})
    EXPECT_EQ(code(text), Errc::corrupt) << text;
  EXPECT_EQ(code(std::string(kCoordinatorValueBytesMax + 1, ' ')), Errc::corrupt);
  EXPECT_TRUE(decode_session_record(NodeId(2), R"({"format":1,"portals":[],"connections":[],"more":"x"})"));
}

}  // namespace
}  // namespace holdfast::coord::test
