// The log and its consumers over HTTP.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>

#include "admin/api.h"
#include "test/admin/fake_node.h"

namespace holdfast::admin {
namespace {

using ::testing::HasSubstr;

class LogApiTest : public testing::Test {
 protected:
  LogApiTest() { node_.volume("pg"); }
  Response call(std::string method, std::string target, std::string body = {}) {
    Request request;
    request.method = std::move(method);
    request.target = std::move(target);
    request.content_type = body.empty() ? "" : "application/json";
    request.body = std::move(body);
    std::optional<Response> answer;
    Api(node_, {}).handle(std::move(request), [&](Response r) { answer = std::move(r); });
    EXPECT_TRUE(answer.has_value());
    return answer.value_or(Response{});
  }
  FakeNode node_;
};

TEST_F(LogApiTest, Consumer_CreatedConfirmedAndDropped) {
  EXPECT_EQ(call("POST", "/v1/volumes/pg/consumers", R"({"name":"backup","from":"now"})").status, 201u);
  EXPECT_EQ(call("PUT", "/v1/volumes/pg/consumers/backup", R"({"confirmed":12,"durably":true})").status, 204u);
  EXPECT_THAT(call("GET", "/v1/volumes/pg/consumers").body, HasSubstr(R"("confirmed":12)"));
  EXPECT_EQ(call("DELETE", "/v1/volumes/pg/consumers/backup").status, 204u);
  EXPECT_EQ(call("DELETE", "/v1/volumes/pg/consumers/backup").status, 404u);
}

TEST_F(LogApiTest, Read_PassesItsLimitsOnAndShowsRecordsAndGap) {
  LogEntry entry;
  entry.lsn = Lsn(7);
  entry.epoch = Epoch(2);
  entry.volume = VolumeId(1);
  entry.first = Lba(16);
  entry.count = 2;
  entry.payload = {std::byte{'a'}, std::byte{'b'}};
  entry.superseded.push_back(BlockRange{Lba(17), BlockCount(1)});
  node_.log.entries.push_back(entry);
  node_.log.gap = LogGap{Lsn(3), Lsn(7), std::nullopt};
  node_.log.next = Lsn(8);
  const Response answer = call("GET", "/v1/volumes/pg/log?from=3&limit=5&wait_ms=100&payload=base64");
  EXPECT_EQ(answer.status, 200u);
  EXPECT_THAT(answer.body, HasSubstr(R"("payload":"YWI=")"));
  EXPECT_THAT(answer.body, HasSubstr(R"("superseded":[{"first_block":17,"blocks":1}])"));
  EXPECT_THAT(answer.body, HasSubstr(R"("gap":{"start":3,"end":7,"bytes":null})"));
  EXPECT_EQ(node_.last_read.from, Lsn(3));
  EXPECT_EQ(node_.last_read.limits.entries_max, 5u);
  EXPECT_EQ(node_.last_read.limits.wait_ms, 100);
}

TEST_F(LogApiTest, BadRequests_AreRefusedWithTheirField) {
  for (const char* query : {"", "?from=0", "?from=x", "?from=1&consumer=b", "?from=1&wait_ms=9999999", "?from=1&payload=raw", "?from=1&limit=-1"})
    EXPECT_EQ(call("GET", std::string("/v1/volumes/pg/log") + query).status, 400u) << query;
  for (const char* body : {R"({})", R"({"name":1})", R"({"name":"b","from":"middle"})", R"({"name":"b","more":"x"})", "[", "[]"})
    EXPECT_EQ(call("POST", "/v1/volumes/pg/consumers", body).status, 400u) << body;
  for (const char* body : {R"({})", R"({"confirmed":-1})", R"({"confirmed":"1"})", R"({"confirmed":1,"durably":1})"})
    EXPECT_EQ(call("PUT", "/v1/volumes/pg/consumers/b", body).status, 400u) << body;
  EXPECT_EQ(call("GET", "/v1/volumes/none/consumers").status, 404u);
}

}  // namespace
}  // namespace holdfast::admin
