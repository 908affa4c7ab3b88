// etcd's JSON: what is understood, and that nothing else is believed.
#include "coord/etcd_messages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/base64.h"
#include "base/text.h"

namespace holdfast::coord::test {
namespace {

using testing::HasSubstr;

std::string encoded(const std::string& text) { return to_base64(as_bytes(text)); }

TEST(EtcdMessages, Txn_HasComparisonsAndBothBranches) {
  Txn txn;
  Comparison value, modified, version;
  value.target = Comparison::Target::value;
  value.key = "/h/cluster";
  value.value = "m";
  modified.key = "/h/x";
  modified.number = 7;
  version.target = Comparison::Target::version;
  version.key = "/h/";
  version.end = "/h0";
  txn.comparisons = {value, modified, version};
  Operation put, range, erase;
  put.kind = Operation::Kind::put;
  put.key = "/h/x";
  put.value = "v";
  range.key = "/h/";
  range.end = "/h0";
  range.limit = 3;
  range.revision = 9;
  erase.kind = Operation::Kind::erase;
  erase.key = "/h/x";
  txn.success = {put, erase};
  txn.failure = {range};
  const std::string x = encoded("/h/x"), h = encoded("/h/"), end = encoded("/h0");
  EXPECT_EQ(encode_txn(txn),
            concat("{\"compare\":[{\"result\":\"EQUAL\",\"key\":\"", encoded("/h/cluster"), "\",\"target\":\"VALUE\",\"value\":\"", encoded("m"), "\"},",
                   "{\"result\":\"EQUAL\",\"key\":\"", x, "\",\"target\":\"MOD\",\"mod_revision\":\"7\"},", "{\"result\":\"EQUAL\",\"key\":\"", h,
                   "\",\"range_end\":\"", end, "\",\"target\":\"VERSION\",\"version\":\"0\"}],", "\"success\":[{\"request_put\":{\"key\":\"", x, "\",\"value\":\"",
                   encoded("v"), "\"}},{\"request_delete_range\":{\"key\":\"", x, "\"}}],", "\"failure\":[{\"request_range\":{\"key\":\"", h,
                   "\",\"range_end\":\"", end, "\",\"limit\":\"3\",\"revision\":\"9\"}}]}"));
}

TEST(EtcdMessages, TxnAnswer_WhatIsLeftOutHasItsDefault) {
  const auto answer = decode_txn("here", concat(R"({"header":{"cluster_id":"12101053776118486841","member_id":"1","revision":"3"},"responses":[{"response_range":{"kvs":[{"key":")",
                                        encoded("/h/x"), R"(","mod_revision":"2","create_revision":"2"}],"more":true,"count":"2"}},{"response_range":{"header":{}}},)",
                                        R"({"response_put":{"header":{"revision":"3"}}}]})"));
  ASSERT_TRUE(answer) << answer.error().text();
  EXPECT_EQ(answer->header.cluster_id, 12101053776118486841u);
  EXPECT_EQ(answer->header.revision, 3u);
  EXPECT_FALSE(answer->succeeded);
  ASSERT_EQ(answer->ranges.size(), 3u);
  ASSERT_EQ(answer->ranges[0].entries.size(), 1u);
  EXPECT_TRUE(answer->ranges[0].more);
  EXPECT_EQ(answer->ranges[0].entries[0].key, "/h/x");
  EXPECT_EQ(answer->ranges[0].entries[0].value, "");
  EXPECT_EQ(answer->ranges[0].entries[0].modified, 2u);
}

TEST(EtcdMessages, TxnAnswer_OfAnythingElse_IsNonsense) {
  const std::string good = R"("header":{"cluster_id":"1","revision":"3"})";
  for (const std::string& body : {std::string(), std::string("x"), std::string("[]"), std::string("null"), std::string("{}"), std::string(R"({"header":[]})"),
                                  std::string(R"({"header":{"cluster_id":"1"}})"), std::string(R"({"header":{"cluster_id":"0","revision":"3"}})"),
                                  std::string(R"({"header":{"cluster_id":"1","revision":"-3"}})"), std::string(R"({"header":{"cluster_id":"1","revision":"3x"}})"),
                                  std::string(R"({"header":{"cluster_id":"1","revision":"99999999999999999999999"}})"), std::string(R"({"header":{"cluster_id":"1","revision":3.5}})"),
                                  "{" + good + R"(,"responses":[3]})", "{" + good + R"(,"responses":[{}]})", "{" + good + R"(,"responses":[{"response_range":3}]})",
                                  "{" + good + R"(,"responses":[{"response_range":{"kvs":[{}]}}]})",
                                  "{" + good + R"(,"responses":[{"response_range":{"kvs":[{"key":"YQ==","value":"?","mod_revision":"1"}]}}]})",
                                  "{" + good + R"(,"responses":[{"response_range":{"kvs":[{"key":"YQ==","value":3,"mod_revision":"1"}]}}]})",
                                  "{" + good + R"(,"responses":[{"response_range":{"kvs":[{"key":"YQ==","value":"YQ=="}]}}]})", "{" + good + "} x",
                                  std::string(200, '[')}) {
    const auto answer = decode_txn("here", body);
    ASSERT_FALSE(answer) << body;
    EXPECT_EQ(answer.error().code, Errc::protocol) << body;
  }
}

TEST(EtcdMessages, Refusals_AreToldApart) {
  const auto kind = [](unsigned status, const char* body) { return decode_refusal(status, body).kind; };
  using enum Refusal::Kind;
  EXPECT_EQ(kind(503, R"({"error":"etcdserver: request timed out","message":"etcdserver: request timed out","code":14})"), not_now);
  EXPECT_EQ(kind(401, R"({"error":"etcdserver: invalid auth token","code":16})"), token);
  EXPECT_EQ(kind(400, R"({"message":"etcdserver: user name is empty","code":3})"), token);
  EXPECT_EQ(kind(403, R"({"message":"etcdserver: permission denied","code":7})"), permission);
  EXPECT_EQ(kind(400, R"({"message":"etcdserver: authentication failed, invalid user ID or password","code":3})"), permission);
  EXPECT_EQ(kind(412, R"({"message":"etcdserver: authentication is not enabled","code":9})"), auth_is_off);
  EXPECT_EQ(kind(400, R"({"message":"etcdserver: mvcc: required revision has been compacted","code":11})"), compacted);
  EXPECT_EQ(kind(429, R"({"message":"etcdserver: mvcc: database space exceeded","code":8})"), not_now);
  EXPECT_EQ(kind(404, "404 page not found"), other);
  // Somebody between us and etcd proves nothing about what etcd did.
  EXPECT_EQ(kind(401, "invalid auth token"), other);
  EXPECT_EQ(kind(503, "<html>"), not_now);
  EXPECT_THAT(decode_refusal(404, "a\nb\x01").message, HasSubstr("HTTP status 404: a b "));
}

// They go to logs and terminals.
TEST(EtcdMessages, TextsOfOthers_HaveNoControlCharacters) {
  EXPECT_EQ(decode_refusal(503, R"({"message":"a\nb\u001b[2J","code":14})").message, "a b [2J");
  const auto cancelled = decode_watch_line("here", R"({"result":{"header":{"revision":"9"},"canceled":true,"cancel_reason":"a\nb"}})");
  ASSERT_TRUE(cancelled);
  EXPECT_EQ(cancelled->reason, "a b");
  EXPECT_THAT(decode_watch_line("here", R"({"error":{"message":"a\r\nb"}})").error().message, HasSubstr("a  b"));
}

TEST(EtcdMessages, WatchLines_ChangesCancellationsAndErrors) {
  const auto events = decode_watch_line("here", concat(R"({"result":{"header":{"cluster_id":"1","revision":"9"},"fragment":true,"events":[{"kv":{"key":")", encoded("/h/a"),
                                               R"(","mod_revision":"8","value":"YQ=="}},{"type":"DELETE","kv":{"key":")", encoded("/h/b"), R"(","mod_revision":"9"}}]}})"));
  ASSERT_TRUE(events) << events.error().text();
  ASSERT_EQ(events->changes.size(), 2u);
  EXPECT_EQ(events->changes[0].key, "/h/a");
  EXPECT_EQ(events->changes[0].revision, 8u);
  EXPECT_FALSE(events->changes[0].erased);
  EXPECT_TRUE(events->changes[1].erased);
  EXPECT_TRUE(events->more_follows);
  const auto compacted = decode_watch_line("here", R"({"result":{"header":{"cluster_id":"1","raft_term":"2"},"canceled":true,"compact_revision":"7","cancel_reason":"gone"}})");
  ASSERT_TRUE(compacted);
  EXPECT_TRUE(compacted->cancelled);
  EXPECT_EQ(compacted->compact_revision, 7u);
  EXPECT_EQ(compacted->reason, "gone");
  EXPECT_EQ(decode_watch_line("here", R"({"error":{"grpc_code":14,"http_code":503,"message":"transport is closing"}})").error().code, Errc::io_error);
  for (const char* line : {"", "{}", "[]", R"({"result":{}})", R"({"result":{"header":{"cluster_id":"1","revision":"9"},"events":[{}]}})",
                           R"({"result":{"header":{"cluster_id":"1","revision":"9"},"compact_revision":"x"}})"})
    EXPECT_EQ(decode_watch_line("here", line).error().code, Errc::protocol) << line;
}

// It becomes a header's value.
TEST(EtcdMessages, Tokens_WithLineBreaks_AreRefused) {
  EXPECT_EQ(*decode_token("here", R"({"header":{},"token":"abc.123"})"), "abc.123");
  for (const char* body : {R"({"token":""})", R"({"token":"a\r\nX: y"})", R"({"token":"a b"})", R"({"token":3})", "{}", "x"}) EXPECT_FALSE(decode_token("here", body)) << body;
}

TEST(EtcdMessages, UsersAndPasswords_AreEscaped) {
  EXPECT_EQ(encode_authenticate("a\"b", "c\\\n"), R"({"name":"a\"b","password":"c\\\n"})");
}

}  // namespace
}  // namespace holdfast::coord::test
