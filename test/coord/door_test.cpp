// Who answers where an etcd should be, or what stands between: silence, garbage, floods, connections that break at the wrong moment.
#include <atomic>

#include "base/text.h"
#include "test/coord/fake_server.h"
#include "test/coord/support.h"

namespace holdfast::coord::test {
namespace {

using testing::HasSubstr;

EtcdOptions impatient(std::vector<std::string> endpoints) {
  EtcdOptions options = options_for(std::move(endpoints));
  options.request_timeout_ms = 500;
  options.connect_timeout_ms = 200;
  options.hedge_after_ms = 100;
  return options;
}

Error error_from(FakeServer::Behaviour behaviour) {
  FakeServer server(std::move(behaviour));
  auto client = start_client(impatient({server.url()}));
  EXPECT_EQ(swap(*client, "group-1", 0, "one").status, CasStatus::unknown);
  const auto entry = get(*client, "group-1");
  EXPECT_FALSE(entry);
  return entry ? Error(Errc::cancelled) : entry.error();
}

TEST(EtcdDoor, ServerThatNeverAnswers_TimesOut) {
  const Error error = error_from([](const auto&) { return silence(); });
  EXPECT_EQ(error.code, Errc::timed_out) << error.text();
}

TEST(EtcdDoor, ServerThatTalksNonsense_IsNamed) {
  for (const std::string& nonsense : {std::string("SSH-2.0-OpenSSH_9.2\r\n"), http_answer("<html>"), http_answer("{}"), http_answer(R"({"header":{"cluster_id":"1","revision":"1"}})"),
                                      http_answer("not here", "404 Not Found"), std::string("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n")}) {
    const Error error = error_from([&](const auto&) { return FakeServer::Reply{nonsense}; });
    EXPECT_EQ(error.code, Errc::protocol) << nonsense << ": " << error.text();
    EXPECT_THAT(error.message, HasSubstr("127.0.0.1:")) << error.text();
  }
}

TEST(EtcdDoor, AnswerToSomethingElse_IsRefused) {
  const std::string marker = R"({"key":")" + base64("/holdfast/cluster") + R"(","mod_revision":"2","value":")" + base64("holdfast-cluster 1\nid " + std::string(32, 'a') + "\netcd 1\n") + "\"}";
  const auto answer = [&](const std::string& key, const std::string& revision) {
    return http_answer(R"({"header":{"cluster_id":"1","revision":"9"},"succeeded":true,"responses":[{"response_range":{"kvs":[)" + marker +
                       R"(]}},{"response_range":{"kvs":[{"key":")" + base64(key) + R"(","mod_revision":")" + revision + R"(","value":""}]}}]})");
  };
  EXPECT_EQ(error_from([&](const auto&) { return FakeServer::Reply{answer("/holdfast/group-2", "5")}; }).code, Errc::protocol);
  // Newer than the etcd itself.
  EXPECT_EQ(error_from([&](const auto&) { return FakeServer::Reply{answer("/holdfast/group-1", "10")}; }).code, Errc::protocol);
  FakeServer right([&](const auto&) { return FakeServer::Reply{answer("/holdfast/group-1", "5")}; });
  const auto entry = get(*start_client(impatient({right.url()})), "group-1");
  ASSERT_TRUE(entry) << entry.error().text();
  EXPECT_EQ(entry->revision, 5u);
}

// Endpoints of two etcds in one list: the marker was made for one, and landed in the other.
TEST(EtcdDoor, MarkerThatLandsInAnotherEtcd_IsNoSuccess) {
  FakeServer both([](const FakeServer::Request& request) {
    const bool changes = request.body.find("request_put") != std::string::npos;
    return FakeServer::Reply{http_answer(concat(R"({"header":{"cluster_id":")", changes ? "2" : "1", R"(","revision":"3"},"succeeded":true,"responses":[{")",
                                                changes ? "response_put" : "response_range", R"(":{}}]})"))};
  });
  const auto done = set_up(*start_client(impatient({both.url()})));
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, Errc::foreign) << done.error().text();
  EXPECT_THAT(done.error().message, HasSubstr("members of one etcd"));
}

TEST(EtcdDoor, EndlessBodiesAndHeaders_AreCutOff) {
  const std::string much(1 << 20, 'x');
  const auto endless = [&](const std::string& begin) {
    return [&much, begin](const auto&) { return FakeServer::Reply{begin + much, true}; };
  };
  auto patient = [](FakeServer& server) {
    EtcdOptions options = options_for({server.url()});
    options.request_timeout_ms = 20'000;
    options.hedge_after_ms = 20'000;
    return start_client(options);
  };
  FakeServer bodies(endless("HTTP/1.1 200 OK\r\n\r\n"));
  const auto body = get(*patient(bodies), "group-1");
  EXPECT_EQ(body.error().code, Errc::protocol) << body.error().text();
  EXPECT_THAT(body.error().message, HasSubstr("longer than"));
  FakeServer lengths(endless("HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n"));
  EXPECT_THAT(get(*patient(lengths), "group-1").error().message, HasSubstr("longer than"));
  FakeServer headers(endless("HTTP/1.1 200 OK\r\nX-Much: "));
  EXPECT_EQ(get(*patient(headers), "group-1").error().code, Errc::protocol);
}

// A drip keeps a connection alive, not a call.
TEST(EtcdDoor, AnswerThatDrips_TimesOut) {
  EXPECT_EQ(error_from([](const auto&) { return FakeServer::Reply{"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{"}; }).code, Errc::timed_out);
}

struct EtcdBehindADoor : EtcdTest {
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(start());
    port = cluster->member(0).port();
  }
  std::uint64_t create() {
    const CasOutcome outcome = swap(*client, "group-1", 0, "one");
    EXPECT_EQ(outcome.status, CasStatus::applied);
    return outcome.entry.revision;
  }
  int port = 0;
};

TEST_F(EtcdBehindADoor, DeafOrFoolishMembersFirst_TheGoodOneIsFound) {
  const std::uint64_t revision = create();
  FakeServer deaf([](const auto&) { return silence(); });
  FakeServer fool([](const auto&) { return FakeServer::Reply{http_answer("{}")}; });
  const std::string nobody = "http://127.0.0.1:" + std::to_string(free_port());
  auto node = start_client(impatient({nobody, fool.url(), deaf.url(), cluster->member(0).url()}));
  const auto entry = get(*node, "group-1");
  ASSERT_TRUE(entry) << entry.error().text();
  EXPECT_EQ(entry->revision, revision);
  const int asked = deaf.requests() + fool.requests();
  // From now on it is asked first.
  EXPECT_EQ(node->stats().preferred.get(), 3u);
  EXPECT_EQ(swap(*node, "group-1", revision, "two").status, CasStatus::applied);
  EXPECT_TRUE(get(*node, "group-1"));
  EXPECT_EQ(deaf.requests() + fool.requests(), asked);
}

// Nobody heard it there, so it may be tried elsewhere.
TEST_F(EtcdBehindADoor, ChangeWhoseMemberRefusesConnections_GoesToAnother) {
  const std::uint64_t revision = create();
  auto relay = std::make_unique<FakeServer>([&](const auto& request) {
    FakeServer::Reply reply = pass_on(port, request);
    reply.stays_open = false;
    return reply;
  });
  auto node = start_client(impatient({relay->url(), cluster->member(0).url()}));
  ASSERT_TRUE(get(*node, "group-1"));
  ASSERT_EQ(node->stats().preferred.get(), 0u);
  relay.reset();
  EXPECT_EQ(swap(*node, "group-1", revision, "two").status, CasStatus::applied);
  EXPECT_EQ(node->stats().preferred.get(), 1u);
}

// The trap: etcd did it, and the connection broke before it could say so. It is not tried again, here or elsewhere.
TEST_F(EtcdBehindADoor, ChangeWhoseAnswerIsLost_IsUnknown_AndWasHandedOverOnce) {
  const std::uint64_t revision = create();
  std::atomic<bool> loses = false;
  FakeServer relay([&](const FakeServer::Request& request) {
    FakeServer::Reply reply = pass_on(port, request);
    if (loses) return FakeServer::Reply{"", false, false};
    return reply;
  });
  auto node = start_client(impatient({relay.url(), cluster->member(0).url()}));
  ASSERT_TRUE(get(*node, "group-1"));
  const int before = relay.requests();
  loses = true;
  EXPECT_EQ(swap(*node, "group-1", revision, "two").status, CasStatus::unknown);
  EXPECT_EQ(relay.requests(), before + 1);
  EXPECT_EQ(node->stats().endpoints[1].questions.get(), 0u);
  const auto entry = get(*node, "group-1");
  ASSERT_TRUE(entry) << entry.error().text();
  EXPECT_EQ(entry->value, "two");
  EXPECT_GT(entry->revision, revision);
  // To insist is the caller's business (rule 4), and does no harm.
  const CasOutcome again = swap(*node, "group-1", revision, "two");
  EXPECT_EQ(again.status, CasStatus::conflict);
  EXPECT_EQ(again.entry.revision, entry->revision);
}

// It never reached etcd; only reading tells that, too.
TEST_F(EtcdBehindADoor, ChangeThatIsSwallowed_IsUnknown_AndWasHandedOverOnce) {
  const std::uint64_t revision = create();
  std::atomic<bool> swallows = false;
  FakeServer relay([&](const FakeServer::Request& request) { return swallows ? silence() : pass_on(port, request); });
  auto node = start_client(impatient({relay.url(), cluster->member(0).url()}));
  ASSERT_TRUE(get(*node, "group-1"));
  const int before = relay.requests();
  swallows = true;
  EXPECT_EQ(swap(*node, "group-1", revision, "two").status, CasStatus::unknown);
  EXPECT_EQ(relay.requests(), before + 1);
  EXPECT_EQ(node->stats().endpoints[1].questions.get(), 0u);
  EXPECT_EQ(get(*node, "group-1")->revision, revision);
  EXPECT_EQ(swap(*node, "group-1", revision, "two").status, CasStatus::applied) << "the member that said nothing is not asked first again";
}

// An answer that is no answer: etcd may have done it, somebody else speaks.
TEST_F(EtcdBehindADoor, ChangeThatAProxyAnswers_IsUnknown) {
  const std::uint64_t revision = create();
  std::atomic<const char*> status = nullptr;
  FakeServer relay([&](const FakeServer::Request& request) {
    FakeServer::Reply reply = pass_on(port, request);
    if (status) reply.bytes = http_answer("<html>", status.load());
    return reply;
  });
  std::uint64_t at = revision;
  for (const char* text : {"502 Bad Gateway", "401 Unauthorized", "200 OK", "307 Temporary Redirect"}) {
    auto node = start_client(impatient({relay.url(), cluster->member(0).url()}));
    status = nullptr;
    ASSERT_TRUE(get(*node, "group-1"));
    status = text;
    EXPECT_EQ(swap(*node, "group-1", at, text).status, CasStatus::unknown) << text;
    EXPECT_EQ(node->stats().endpoints[0].failures.get(), 1u);
    EXPECT_EQ(node->stats().endpoints[1].questions.get(), 0u);
    const auto entry = get(*client, "group-1");
    EXPECT_EQ(entry->value, text);
    at = entry->revision;
  }
}

// A server may close connections that nobody uses: that costs no change its certainty.
TEST_F(EtcdBehindADoor, KeptConnectionThatWasClosed_IsNoticedBeforeAChangeIsSent) {
  std::uint64_t revision = create();
  FakeServer relay([&](const FakeServer::Request& request) {
    FakeServer::Reply reply = pass_on(port, request);
    reply.stays_open = false;
    return reply;
  });
  auto node = start_client(impatient({relay.url()}));
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(get(*node, "group-1"));
    relay.await_no_connection();
    const CasOutcome outcome = swap(*node, "group-1", revision, std::to_string(i));
    ASSERT_EQ(outcome.status, CasStatus::applied) << i;
    revision = outcome.entry.revision;
    relay.await_no_connection();
  }
}

TEST_F(EtcdBehindADoor, Connections_AreKept) {
  create();
  FakeServer relay([&](const FakeServer::Request& request) { return pass_on(port, request); });
  auto node = start_client(impatient({relay.url()}));
  for (int i = 0; i < 30; ++i) ASSERT_TRUE(get(*node, "group-1"));
  EXPECT_EQ(relay.connections(), 1);
  EXPECT_EQ(relay.requests(), 30);
}

// More at once than are let through: the others wait, and all are answered.
TEST_F(EtcdBehindADoor, ManyCallsAtOnce_AreAllAnswered) {
  create();
  FakeServer relay([&](const FakeServer::Request& request) { return pass_on(port, request); });
  EtcdOptions options = options_for({relay.url()});
  options.request_timeout_ms = options.hedge_after_ms = options.connect_timeout_ms = 20'000;
  auto node = start_client(options);
  std::atomic<int> left = 300, good = 0;
  for (int i = 0; i < 300; ++i)
    node->get("group-1", [&](Result<CoordinatorEntry> entry) {
      good += entry.has_value();
      --left;
      left.notify_all();
    });
  for (int now = left; now > 0; now = left) left.wait(now);
  EXPECT_EQ(good, 300);
  EXPECT_LE(relay.connections(), 32);
}

TEST(EtcdDoor, NameThatCannotBeResolved_IsNamed) {
  auto node = start_client(options_for({"http://no-such-host.invalid:2379"}));
  const auto entry = get(*node, "group-1");
  ASSERT_FALSE(entry);
  EXPECT_THAT(entry.error().message, HasSubstr("no-such-host.invalid")) << entry.error().text();
}

}  // namespace
}  // namespace holdfast::coord::test
