#include "coord/node_record.h"

#include <gtest/gtest.h>

namespace holdfast::coord::test {
namespace {

const NodeRecord kRecord{NodeId(2), "db2", {"192.0.2.2:7440", "[2001:db8::2]:7440"}, {"192.0.2.2:3260"}, "192.0.2.2:9440"};

TEST(NodeRecord, ThereAndBack) {
  const auto back = decode_node_record(NodeId(2), encode_node_record(kRecord));
  ASSERT_TRUE(back) << back.error().text();
  EXPECT_EQ(*back, kRecord);
  EXPECT_EQ(node_key(NodeId(2)), "nodes/2");
}

TEST(NodeRecord, Bytes_AreAsDocumented) {
  EXPECT_EQ(encode_node_record(kRecord), R"({"format":1,"name":"db2","links":["192.0.2.2:7440","[2001:db8::2]:7440"],"portals":["192.0.2.2:3260"],"admin":"192.0.2.2:9440"})");
}

TEST(NodeRecord, Strangers_AreRefusedWithTheField) {
  const auto code = [](const std::string& text) { return decode_node_record(NodeId(2), text).error().code; };
  EXPECT_EQ(code(R"({"format":2,"anything":[]})"), Errc::version_too_new);
  for (const char* text :
       {"", "[]", "{", "{}", R"({"format":"1"})", R"({"format":0,"name":"a","links":[],"portals":[],"admin":""})", R"({"format":1,"name":"","links":[],"portals":[],"admin":""})",
        R"({"format":1,"name":"a b","links":[],"portals":[],"admin":""})", R"({"format":1,"name":"a","links":{},"portals":[],"admin":""})",
        R"({"format":1,"name":"a","links":[""],"portals":[],"admin":""})", R"({"format":1,"name":"a","links":[3],"portals":[],"admin":""})",
        R"({"format":1,"name":"a","links":[],"portals":["x\u0001"],"admin":""})", R"({"format":1,"name":"a","links":[],"portals":[]})",
        R"({"format":1,"name":"a","links":["1","2","3","4","5","6","7","8","9","10","11","12","13","14","15","16","17"],"portals":[],"admin":""})"})
    EXPECT_EQ(code(text), Errc::corrupt) << text;
  EXPECT_EQ(code(std::string(20'000, ' ')), Errc::corrupt);
  // What a newer program of the same format adds does no harm.
  EXPECT_TRUE(decode_node_record(NodeId(2), R"({"format":1,"name":"a","links":[],"portals":[],"admin":"","zone":"b"})"));
}

}  // namespace
}  // namespace holdfast::coord::test
