// What is believed, and in which order members are asked: without any etcd.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coord/cluster_guard.h"
#include "coord/endpoint_order.h"
#include "coord/options.h"

namespace holdfast::coord::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const std::string kId(32, 'a'), kOtherId(32, 'b');

KeyValue marker_of(const std::string& id, std::uint64_t etcd) { return {"/h/cluster", encode_marker({id, etcd}), 2}; }

struct ClusterGuardTest : testing::Test {
  ClusterGuard guard{"/h/cluster", ""};
  EtcdHeader header{77, 10};
  KeyValue marker = marker_of(kId, 77);
};

TEST_F(ClusterGuardTest, FirstMarker_IsBelievedAndRemembered) {
  EXPECT_TRUE(guard.accept_marker("here", header, &marker));
  EXPECT_EQ(guard.id(), kId);
  EXPECT_EQ(guard.marker(), marker.value);
}

TEST_F(ClusterGuardTest, NoMarker_IsRefused_WithOtherWordsOnceItWasKnown) {
  const auto never = guard.accept_marker("here", header, nullptr);
  EXPECT_EQ(never.error().code, Errc::foreign);
  EXPECT_THAT(never.error().message, HasSubstr("never set up"));
  ASSERT_TRUE(guard.accept_marker("here", header, &marker));
  const auto lost = guard.accept_marker("here", header, nullptr);
  EXPECT_EQ(lost.error().code, Errc::foreign);
  EXPECT_THAT(lost.error().message, AllOf(HasSubstr("here"), HasSubstr("lost"), HasSubstr(kId)));
}

TEST_F(ClusterGuardTest, AnotherClustersMarker_IsRefused) {
  ClusterGuard expecting{"/h/cluster", kOtherId};
  EXPECT_EQ(expecting.accept_marker("here", header, &marker).error().code, Errc::foreign);
  EXPECT_FALSE(expecting.knows_marker());
  ASSERT_TRUE(guard.accept_marker("here", header, &marker));
  const KeyValue other = marker_of(kOtherId, 77);
  EXPECT_THAT(guard.accept_marker("here", header, &other).error().message, AllOf(HasSubstr(kId), HasSubstr(kOtherId)));
}

// A snapshot that was restored into a new etcd, while the old one may be running.
TEST_F(ClusterGuardTest, CopyOfTheEtcd_IsRefused_UntilItsMarkerNamesIt) {
  ASSERT_TRUE(guard.accept_marker("here", header, &marker));
  const EtcdHeader copy{78, 10};
  EXPECT_THAT(guard.accept_marker("there", copy, &marker).error().message, HasSubstr("is a copy"));
  const KeyValue taken_over = marker_of(kId, 78);
  EXPECT_TRUE(guard.accept_marker("there", copy, &taken_over));
  EXPECT_EQ(guard.marker(), taken_over.value);
}

TEST_F(ClusterGuardTest, OlderRevision_IsRefused_UnlessItWasAskedForBeforeTheNewer) {
  const auto asked_first = guard.floor("x");
  guard.note({77, 20}, "x", 15);
  EXPECT_TRUE(guard.accept_revision("here", {77, 10}, asked_first));
  EXPECT_TRUE(guard.accept_key("here", "x", 5, asked_first));
  const auto asked_later = guard.floor("x");
  EXPECT_EQ(guard.accept_revision("here", {77, 19}, asked_later).error().code, Errc::foreign);
  EXPECT_EQ(guard.accept_key("here", "x", 14, asked_later).error().code, Errc::foreign);
  EXPECT_TRUE(guard.accept_revision("here", {77, 20}, asked_later));
  EXPECT_TRUE(guard.accept_key("here", "x", 15, asked_later));
  // It may have been erased: the etcd's revision has to prove that it is not an older state.
  EXPECT_TRUE(guard.accept_key("here", "x", 0, asked_later));
  // Answers that come in another order take nothing back.
  guard.note({77, 12}, "x", 11);
  EXPECT_EQ(guard.floor("x").revision, 20u);
  EXPECT_EQ(guard.floor("x").key_revision, 15u);
}

TEST(ClusterMarker, Text_ThereAndBack_AndNothingElse) {
  const auto back = decode_marker(encode_marker({kId, 12101053776118486841u}));
  ASSERT_TRUE(back);
  EXPECT_EQ(back->id, kId);
  EXPECT_EQ(back->etcd_id, 12101053776118486841u);
  EXPECT_EQ(decode_marker("holdfast-cluster 2\nwhat that may be").error().code, Errc::version_too_new);
  const std::string good = encode_marker({kId, 5});
  for (const std::string& text : {std::string(), std::string("x"), good + "x", good.substr(0, good.size() - 1), encode_marker({"short", 5}), encode_marker({std::string(32, 'A'), 5}),
                                  encode_marker({kId, 0}), std::string("holdfast-cluster 1\n")})
    EXPECT_EQ(decode_marker(text).error().code, Errc::foreign) << text;
}

TEST(EndpointOrder, WhoAnsweredLast_IsFirst_AndWhoFailed_IsLastForAWhile) {
  EndpointOrder order(3);
  const BootNs now{1'000'000'000};
  EXPECT_THAT(order.at(now), ElementsAre(0, 1, 2));
  order.failed(0, now);
  EXPECT_THAT(order.at(now), ElementsAre(1, 2, 0));
  order.answered(2);
  EXPECT_THAT(order.at(now), ElementsAre(2, 1, 0));
  EXPECT_THAT(order.at(now + milliseconds(1'000)), ElementsAre(2, 0, 1));
  // Each failure in a row counts for longer; an answer ends that.
  order.failed(0, now);
  EXPECT_THAT(order.at(now + milliseconds(1'000)), ElementsAre(2, 1, 0));
  order.answered(0);
  EXPECT_THAT(order.at(now), ElementsAre(0, 1, 2));
  // All failed: whoever failed first comes back first.
  order.failed(1, now);
  order.failed(0, now + milliseconds(1));
  order.failed(2, now + milliseconds(2));
  EXPECT_THAT(order.at(now + milliseconds(3)), ElementsAre(1, 0, 2));
}

TEST(EtcdOptions, Endpoints_AreReadAndNonsenseIsNamed) {
  const auto plain = parse_http_endpoint("http://192.0.2.1:2380");
  ASSERT_TRUE(plain);
  EXPECT_FALSE(plain->tls);
  EXPECT_EQ(plain->host, "192.0.2.1");
  EXPECT_EQ(plain->port, "2380");
  const auto v6 = parse_http_endpoint("https://[2001:db8::1]/");
  ASSERT_TRUE(v6);
  EXPECT_TRUE(v6->tls);
  EXPECT_EQ(v6->host, "2001:db8::1");
  EXPECT_EQ(v6->url(), "https://[2001:db8::1]:2379");
  for (const char* text : {"", "192.0.2.1:2379", "ftp://x", "http://", "http://:2379", "http://x:0", "http://x:70000", "http://x:", "http://x/path", "http://[::1", "http://[::1]x",
                           "http://user@x", "http://x y", "http://[]"}) {
    const auto endpoint = parse_http_endpoint(text);
    ASSERT_FALSE(endpoint) << text;
    EXPECT_THAT(endpoint.error().message, HasSubstr("endpoints")) << text;
  }
}

TEST(EtcdOptions, Mistakes_NameTheirField) {
  const auto message = [](auto change) {
    EtcdOptions options;
    options.endpoints = {"http://192.0.2.1:2379"};
    change(options);
    const auto checked = check(options);
    return checked ? std::string() : checked.error().message;
  };
  EXPECT_EQ(message([](EtcdOptions&) {}), "");
  EXPECT_THAT(message([](EtcdOptions& o) { o.endpoints.clear(); }), HasSubstr("endpoints"));
  EXPECT_THAT(message([](EtcdOptions& o) { o.endpoints.push_back("https://192.0.2.2:2379"); }), HasSubstr("all must be secured, or none"));
  EXPECT_THAT(message([](EtcdOptions& o) { o.prefix = "holdfast"; }), HasSubstr("prefix"));
  EXPECT_THAT(message([](EtcdOptions& o) { o.prefix = "/"; }), HasSubstr("prefix"));
  EXPECT_THAT(message([](EtcdOptions& o) { o.user = "x"; }), HasSubstr("password"));
  EXPECT_THAT(message([](EtcdOptions& o) { o.password = "x"; }), HasSubstr("user"));
  EXPECT_THAT(message([](EtcdOptions& o) { o.tls_ca_file = "x"; }), HasSubstr("https"));
  EXPECT_THAT(message([](EtcdOptions& o) { o.tls_key_file = "x"; }), HasSubstr("tls_certificate_file"));
  EXPECT_THAT(message([](EtcdOptions& o) { o.request_timeout_ms = 0; }), HasSubstr("request_timeout"));
  EXPECT_THAT(message([](EtcdOptions& o) { o.connect_timeout_ms = 3'000; }), HasSubstr("connect_timeout"));
  EXPECT_THAT(message([](EtcdOptions& o) { o.hedge_after_ms = 0; }), HasSubstr("hedge_after"));
  EXPECT_THAT(message([](EtcdOptions& o) { o.watch_timeout_ms = 0; }), HasSubstr("watch_timeout"));
  EXPECT_THAT(message([](EtcdOptions& o) { o.stream_life_ms = 0; }), HasSubstr("stream_life"));
}

}  // namespace
}  // namespace holdfast::coord::test
