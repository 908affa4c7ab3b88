#include "admin/api.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>

#include "test/admin/fake_node.h"

namespace holdfast::admin {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
namespace json = boost::json;

class ApiTest : public testing::Test {
 protected:
  Response call(Request request) {
    std::optional<Response> answer;
    Api(node_, {token_}).handle(std::move(request), [&](Response r) { answer = std::move(r); });
    EXPECT_TRUE(answer.has_value());
    return answer.value_or(Response{});
  }
  Response call(std::string method, std::string target, std::string body = {}) {
    Request request;
    request.method = std::move(method);
    request.target = std::move(target);
    request.content_type = body.empty() ? "" : "application/json";
    request.body = std::move(body);
    return call(std::move(request));
  }
  static json::object document(const Response& response) { return json::parse(response.body).as_object(); }
  static std::string header(const Response& response, std::string_view name) {
    for (const auto& [key, value] : response.headers) {
      if (key == name) return value;
    }
    return {};
  }
  FakeNode node_;
  std::string token_;
};

TEST_F(ApiTest, CreateVolume_WithUnits_IsCreatedWithItsLocation) {
  const Response made = call("POST", "/v1/volumes", R"({"name":"pg","size":"10GiB","log_size":"64MiB"})");
  EXPECT_EQ(made.status, 201u);
  EXPECT_EQ(header(made, "Location"), "/v1/volumes/pg");
  EXPECT_EQ(document(made).at("size_bytes").to_number<std::uint64_t>(), 10ULL << 30);
  EXPECT_EQ(document(made).at("target").as_string(), "iqn.2026-11.io.holdfast:pg");
}

TEST_F(ApiTest, CreateVolume_SizeInBytes_IsCreated) {
  EXPECT_EQ(call("POST", "/v1/volumes", R"({"name":"pg","size":1048576})").status, 201u);
}

TEST_F(ApiTest, CreateVolume_Twice_IsAConflict) {
  call("POST", "/v1/volumes", R"({"name":"pg","size":"1GiB"})");
  const Response again = call("POST", "/v1/volumes", R"({"name":"pg","size":"1GiB"})");
  EXPECT_EQ(again.status, 409u);
  EXPECT_EQ(document(again).at("field").as_string(), "name");
}

TEST_F(ApiTest, CreateVolume_NoSpace_Is507) {
  node_.full = true;
  EXPECT_EQ(call("POST", "/v1/volumes", R"({"name":"pg","size":"1GiB"})").status, 507u);
}

struct BadBody {
  const char* name;
  std::string body;
  const char* field;
  const char* says;
};
void PrintTo(const BadBody& row, std::ostream* out) { *out << row.name; }

class BadBodyTest : public ApiTest, public testing::WithParamInterface<BadBody> {};

// Every wrong body is a problem document (RFC 9457) that names the field; nothing is created.
TEST_P(BadBodyTest, CreateVolume_WrongBody_NamesTheField) {
  const Response refused = call("POST", "/v1/volumes", GetParam().body);
  EXPECT_EQ(refused.status, 400u) << refused.body;
  EXPECT_EQ(refused.content_type, "application/problem+json");
  EXPECT_EQ(document(refused).at("field").as_string(), GetParam().field);
  EXPECT_EQ(document(refused).at("status").as_int64(), 400);
  EXPECT_THAT(std::string(document(refused).at("detail").as_string()), HasSubstr(GetParam().says));
  EXPECT_EQ(document(call("GET", "/v1/volumes")).at("volumes").as_array().size(), 0u);
}

INSTANTIATE_TEST_SUITE_P(
    All, BadBodyTest,
    testing::Values(BadBody{"Slash", R"({"name":"a/b","size":"1GiB"})", "name", "contains '/'"},
                    BadBody{"DotDot", R"({"name":"..","size":"1GiB"})", "name", "starts or ends"},
                    BadBody{"UpperCase", R"({"name":"PG","size":"1GiB"})", "name", "a-z, 0-9"},
                    BadBody{"EmptyName", R"({"name":"","size":"1GiB"})", "name", "is empty"},
                    BadBody{"LongName", R"({"name":")" + std::string(64, 'a') + R"(","size":"1GiB"})", "name", "too many"},
                    BadBody{"ZeroByte", R"({"name":"a\u0000b","size":"1GiB"})", "name", "\\x00"},
                    BadBody{"NameNumber", R"({"name":3,"size":"1GiB"})", "name", "must be a string"},
                    BadBody{"NoName", R"({"size":"1GiB"})", "name", "is missing"},
                    BadBody{"NoSize", R"({"name":"pg"})", "size", "is missing"},
                    BadBody{"ZeroSize", R"({"name":"pg","size":0})", "size", "is no size"},
                    BadBody{"ZeroSizeUnit", R"({"name":"pg","size":"0GiB"})", "size", "is no size"},
                    BadBody{"Negative", R"({"name":"pg","size":-5})", "size", "is negative"},
                    BadBody{"NegativeText", R"({"name":"pg","size":"-5GiB"})", "size", "is negative"},
                    BadBody{"WrongUnit", R"({"name":"pg","size":"5GB"})", "size", "did you mean GiB"},
                    BadBody{"Small", R"({"name":"pg","size":"64KiB"})", "size", "too small"},
                    BadBody{"Odd", R"({"name":"pg","size":1048577})", "size", "multiple of 64KiB"},
                    BadBody{"Huge", R"({"name":"pg","size":"2PiB"})", "size", "too large"},
                    BadBody{"Max", R"({"name":"pg","size":18446744073709551615})", "size", "too large"},
                    BadBody{"Wraps", R"({"name":"pg","size":"16384PiB"})", "size", "beyond"},
                    BadBody{"Fraction", R"({"name":"pg","size":1.5e9})", "size", "whole number"},
                    BadBody{"LogSmall", R"({"name":"pg","size":"1GiB","log_size":"1MiB"})", "log_size", "too small"},
                    BadBody{"LogZero", R"({"name":"pg","size":"1GiB","log_size":0})", "log_size", "is no size"},
                    BadBody{"DeviceRelative", R"({"name":"pg","size":"1GiB","device":"sdb"})", "device", "absolute path"},
                    BadBody{"Unknown", R"({"name":"pg","size":"1GiB","colour":1})", "body", "unknown field"},
                    BadBody{"Array", "[]", "body", "must be a JSON object"}, BadBody{"Torn", "{\"name\":", "body", "not valid JSON"},
                    BadBody{"Trailing", "{} {}", "body", "not valid JSON"},
                    BadBody{"Deep", std::string(5000, '['), "body", "not valid JSON"}),
    [](const auto& row) { return row.param.name; });

TEST_F(ApiTest, CreateVolume_WithoutAJsonContentType_Is415) {
  Request request;
  request.method = "POST";
  request.target = "/v1/volumes";
  request.content_type = "text/plain";
  request.body = R"({"name":"pg","size":"1GiB"})";
  EXPECT_EQ(call(request).status, 415u);
  request.content_type = "Application/JSON; charset=utf-8";
  EXPECT_EQ(call(request).status, 201u);
}

TEST_F(ApiTest, ShowVolume_Unknown_Is404WithTheField) {
  const Response missing = call("GET", "/v1/volumes/pg");
  EXPECT_EQ(missing.status, 404u);
  EXPECT_EQ(document(missing).at("field").as_string(), "name");
}

TEST_F(ApiTest, DeleteVolume_WithSessions_IsRefusedUnlessForced) {
  node_.volume("pg");
  node_.sessions = 1;
  EXPECT_EQ(call("DELETE", "/v1/volumes/pg").status, 409u);
  EXPECT_EQ(call("DELETE", "/v1/volumes/pg?force=perhaps").status, 400u);
  EXPECT_EQ(call("DELETE", "/v1/volumes/pg?force=true").status, 204u);
  EXPECT_EQ(call("GET", "/v1/volumes/pg").status, 404u);
}

TEST_F(ApiTest, Status_ListsTheVolumes) {
  node_.volume("a").health = VolumeHealth::failed;
  node_.volume("a").reason = "damaged: record 7";
  const json::object status = document(call("GET", "/v1/status"));
  EXPECT_EQ(status.at("name").as_string(), "n1");
  EXPECT_EQ(status.at("volumes").as_array().at(0).at("health").as_string(), "failed");
  EXPECT_EQ(status.at("volumes").as_array().at(0).at("reason").as_string(), "damaged: record 7");
}

TEST_F(ApiTest, Router_UnknownPath_Is404AndWrongMethod_Is405WithAllow) {
  EXPECT_EQ(call("GET", "/v2/volumes").status, 404u);
  EXPECT_EQ(call("GET", "/v1/volumes/a/b").status, 404u);
  EXPECT_EQ(call("GET", "/").status, 404u);
  const Response wrong = call("PUT", "/v1/volumes");
  EXPECT_EQ(wrong.status, 405u);
  EXPECT_EQ(header(wrong, "Allow"), "GET, HEAD, POST");
  EXPECT_EQ(header(call("POST", "/v1/volumes/pg", "{}"), "Allow"), "GET, HEAD, DELETE, PATCH");
}

TEST_F(ApiTest, Router_OddTargets_AreRefusedOrDecoded) {
  node_.volume("pg");
  EXPECT_EQ(call("GET", "/v1/volumes/").status, 200u);
  EXPECT_EQ(call("GET", "/v1//volumes").status, 404u);
  EXPECT_EQ(call("GET", "v1/volumes").status, 400u);
  EXPECT_EQ(call("GET", "/v1/volumes/%zz").status, 400u);
  EXPECT_EQ(call("GET", "/v1/volumes/p%67").status, 200u);
  EXPECT_EQ(call("GET", "/v1/volumes/..%2f..").status, 404u);
  EXPECT_EQ(call("GET", "/v1/volumes?colour=red").status, 400u);
  EXPECT_EQ(call("GET", "/a/b/c/d/e/f/g/h/i/j").status, 400u);
}

TEST_F(ApiTest, Token_Configured_GuardsAllButTheProbes) {
  token_ = "0123456789abcdef";
  Request request;
  request.method = "GET";
  request.target = "/v1/volumes";
  const Response refused = call(request);
  EXPECT_EQ(refused.status, 401u);
  EXPECT_THAT(header(refused, "WWW-Authenticate"), HasSubstr("Bearer"));
  for (const char* wrong : {"Bearer ", "Bearer 0123456789abcde", "Bearer 0123456789abcdeg", "Bearer 0123456789abcdef0",
                            "Basic 0123456789abcdef", "0123456789abcdef"}) {
    request.authorization = wrong;
    EXPECT_EQ(call(request).status, 401u) << wrong;
  }
  request.authorization = "Bearer 0123456789abcdef";
  EXPECT_EQ(call(request).status, 200u);
  EXPECT_EQ(call("GET", "/healthz").status, 200u);
  EXPECT_EQ(call("GET", "/metrics").status, 401u);
  EXPECT_EQ(call("GET", "/nothing").status, 401u);  // Not even which paths there are.
}

TEST_F(ApiTest, Probes_AFailedVolume_IsNotReadyButAlive) {
  node_.volume("a");
  node_.volume("b");
  for (const char* probe : {"/healthz", "/readyz", "/primary"}) EXPECT_EQ(call("GET", probe).status, 200u) << probe;
  EXPECT_EQ(call("GET", "/replica").status, 503u);
  node_.volume("b").health = VolumeHealth::failed;
  node_.volume("b").reason = "truncated";
  EXPECT_EQ(call("GET", "/healthz").status, 200u);
  EXPECT_EQ(call("GET", "/readyz").status, 503u);
  EXPECT_THAT(call("GET", "/readyz").body, HasSubstr("truncated"));
  EXPECT_EQ(call("GET", "/primary").status, 503u);
  EXPECT_EQ(call("GET", "/primary?volume=a").status, 200u);
  EXPECT_EQ(call("GET", "/primary?volume=b").status, 503u);
  EXPECT_EQ(call("GET", "/primary?volume=c").status, 404u);
}

TEST_F(ApiTest, Probes_ACopyAmongOthers_TellWhoServesAndWhoStandsBy) {
  VolumeStatus& pg = node_.volume("pg");
  pg.replication = ReplicationStatus{};
  pg.replication->primary_node = 2;
  pg.replication->hears_primary = true;
  pg.health = VolumeHealth::standby;
  EXPECT_EQ(call("GET", "/primary").status, 503u);
  EXPECT_THAT(call("GET", "/primary").body, HasSubstr("node 2 leads it"));
  EXPECT_EQ(call("GET", "/replica").status, 200u);
  EXPECT_EQ(call("GET", "/readyz").status, 200u);
  pg.replication->hears_primary = false;
  pg.health = VolumeHealth::waiting;
  EXPECT_EQ(call("GET", "/replica").status, 503u);
  pg.replication->serving = true;
  pg.health = VolumeHealth::degraded;
  EXPECT_EQ(call("GET", "/primary").status, 200u);
  EXPECT_EQ(call("GET", "/replica").status, 503u);
}

// 412 is for a candidate that is not fit, and for nothing else.
TEST_F(ApiTest, Switchover_EachRefusal_HasItsStatus) {
  const auto post = [this](const char* body) { return call("POST", "/v1/volumes/pg/switchover", body); };
  EXPECT_EQ(post(R"({"candidate": 2})").status, 204u);
  EXPECT_EQ(node_.last_switchover.candidate, 2u);
  node_.switch_over_answer = fail(Errc::invalid_argument, "candidate: node 2 is not in sync: it is still catching up");
  const Response unfit = post(R"({"candidate": 2})");
  EXPECT_EQ(unfit.status, 412u);
  EXPECT_EQ(document(unfit).at("field"), "candidate");
  EXPECT_THAT(unfit.body, HasSubstr("still catching up"));
  node_.switch_over_answer = fail(Errc::busy, "name: node 2 leads this volume: ask it");
  EXPECT_EQ(post("{}").status, 409u);
  node_.switch_over_answer = fail(Errc::invalid_argument, "name: is odd");
  EXPECT_EQ(post("{}").status, 400u);
  for (const char* body : {R"({"candidate": 0})", R"({"candidate": "2"})", R"({"candidate": 70000})", R"({"to": 2})", "[]"}) EXPECT_EQ(post(body).status, 400u) << body;
}

// Who is told that a member of the body is wrong is told which one, also of requests that name no volume's properties.
TEST_F(ApiTest, BadMember_OfEveryRequest_IsNamed) {
  const auto field = [this](const char* method, const char* path, const char* body) {
    const json::object problem = document(call(method, path, body));
    return problem.contains("field") ? std::string(problem.at("field").as_string()) : std::string("none");
  };
  EXPECT_EQ(field("POST", "/v1/volumes/pg/failover", R"({"accept_data_loss": "perhaps"})"), "accept_data_loss");
  EXPECT_EQ(field("POST", "/v1/volumes/pg/failover", R"({"others_fenced": 1})"), "others_fenced");
  EXPECT_EQ(field("PUT", "/v1/volumes/pg/members/2", R"({"renew": "yes"})"), "renew");
  EXPECT_EQ(field("POST", "/v1/volumes/pg/consumers", R"({"name": "backup", "from": "tomorrow"})"), "from");
  EXPECT_EQ(field("PUT", "/v1/volumes/pg/consumers/backup", R"({"confirmed": "x"})"), "confirmed");
  EXPECT_EQ(field("PUT", "/v1/volumes/pg/consumers/backup", R"({"confirmed": 1, "durably": 1})"), "durably");
}

TEST_F(ApiTest, Volume_AMemberWhoseLagNobodyKnows_HasNone) {
  VolumeStatus& pg = node_.volume("pg");
  pg.replication = ReplicationStatus{};
  pg.replication->members.push_back({.node = 2, .lag_known = true, .lag_bytes = 4096, .lag_ms = 7});
  pg.replication->members.push_back({.node = 3, .lag_bytes = 1});
  const json::array members = document(call("GET", "/v1/volumes/pg")).at("replication").at("members").as_array();
  EXPECT_EQ(members[0].at("lag_bytes").to_number<int>(), 4096);
  EXPECT_EQ(members[0].at("lag_ms").to_number<int>(), 7);
  EXPECT_TRUE(members[1].at("lag_bytes").is_null());
}

TEST_F(ApiTest, Metrics_OfACluster_TellOfCopiesAndOfMembersTheirPrimaryAlone) {
  VolumeStatus& pg = node_.volume("pg");
  pg.replication = ReplicationStatus{};
  pg.replication->serving = true;
  pg.replication->members.push_back({.node = 1, .is_self = true, .connected = true, .in_sync = true});
  pg.replication->members.push_back({.node = 2, .connected = true, .lag_known = true, .lag_bytes = 4096, .lag_ms = 1500});
  EXPECT_THAT(call("GET", "/metrics").body, Not(HasSubstr("holdfast_coordinator_up"))) << "a node by itself";
  node_.cluster_status = ClusterStatus{.name = "test", .id = {}, .node = 1, .trouble = {}, .nodes = {}};
  std::string text = call("GET", "/metrics").body;
  EXPECT_THAT(text, HasSubstr("holdfast_coordinator_up 1"));
  EXPECT_THAT(text, HasSubstr("holdfast_volume_copies_in_sync{volume=\"pg\"} 1"));
  EXPECT_THAT(text, HasSubstr("holdfast_replica_lag_seconds{volume=\"pg\",member=\"2\"} 1.5"));
  EXPECT_THAT(text, Not(HasSubstr("member=\"1\"")));
  pg.replication->serving = false;
  EXPECT_THAT(call("GET", "/metrics").body, Not(HasSubstr("holdfast_replica_lag_seconds{")));
}

TEST_F(ApiTest, Metrics_AreInPrometheusText) {
  VolumeStatus& volume = node_.volume("pg");
  volume.writes = 7;
  volume.sync_latency_us = 119;
  const Response metrics = call("GET", "/metrics");
  EXPECT_THAT(metrics.content_type, HasSubstr("version=0.0.4"));
  EXPECT_THAT(metrics.body, HasSubstr("# TYPE holdfast_volume_writes_total counter"));
  EXPECT_THAT(metrics.body, HasSubstr("holdfast_volume_writes_total{volume=\"pg\"} 7\n"));
  EXPECT_THAT(metrics.body, HasSubstr("holdfast_volume_health{volume=\"pg\",state=\"serving\"} 1\n"));
  EXPECT_THAT(metrics.body, HasSubstr("holdfast_store_sync_latency_seconds{volume=\"pg\"} 0.000119"));
}

}  // namespace
}  // namespace holdfast::admin
