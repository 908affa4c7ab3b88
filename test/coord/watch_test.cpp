// Hints of changes: one stream for all who wait, which goes on after whatever happens to it.
#include "test/coord/fake_server.h"
#include "test/coord/support.h"

namespace holdfast::coord::test {
namespace {

struct WatchTest : EtcdTest {
  // Nothing ends by itself while a test looks at it.
  EtcdOptions patient(std::vector<std::string> endpoints) const {
    EtcdOptions o = options_for(std::move(endpoints));
    o.watch_timeout_ms = 60'000;
    o.request_timeout_ms = 1'000;
    return o;
  }
  static bool ends(std::future<void>& wait) { return wait.wait_for(std::chrono::seconds(20)) == std::future_status::ready; }
  static bool has_ended(std::future<void>& wait) { return wait.wait_for(std::chrono::seconds(0)) == std::future_status::ready; }
  // The stream is there: a change of a key that nobody else uses is told.
  void await_stream(EtcdClient& node) {
    const auto now = get(node, "group-probe");
    ASSERT_TRUE(now) << now.error().text();
    auto wait = until_changed(node, "group-probe", now->revision);
    ASSERT_NE(swap(*client, "group-probe", now->revision, "x").status, CasStatus::unknown);
    ASSERT_TRUE(ends(wait));
  }
};

TEST_F(WatchTest, ManyWaiters_ShareOneStream_AndEachHearsOfItsKey) {
  ASSERT_NO_FATAL_FAILURE(start());
  auto node = start_client(patient(cluster->urls()));
  std::vector<std::future<void>> waits;
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(get(*node, "group-" + std::to_string(i)));
    waits.push_back(until_changed(*node, "group-" + std::to_string(i), 0));
  }
  ASSERT_NO_FATAL_FAILURE(await_stream(*node));
  for (auto& wait : waits) EXPECT_FALSE(has_ended(wait));
  ASSERT_EQ(swap(*client, "group-7", 0, "one").status, CasStatus::applied);
  EXPECT_TRUE(ends(waits[7]));
  ASSERT_NO_FATAL_FAILURE(await_stream(*node));
  for (std::size_t i = 0; i < waits.size(); ++i) EXPECT_EQ(has_ended(waits[i]), i == 7) << i;
  EXPECT_EQ(node->stats().streams.get(), 1u);
}

TEST_F(WatchTest, ChangeBetweenReadAndWait_IsTold) {
  ASSERT_NO_FATAL_FAILURE(start());
  auto node = start_client(patient(cluster->urls()));
  const auto seen = get(*node, "group-1");
  ASSERT_TRUE(seen);
  ASSERT_EQ(swap(*client, "group-1", 0, "one").status, CasStatus::applied);
  auto wait = until_changed(*node, "group-1", seen->revision);
  EXPECT_TRUE(ends(wait));
  // The same question again ends again, but not at once: it would be asked for ever.
  auto again = until_changed(*node, "group-1", seen->revision);
  EXPECT_TRUE(ends(again));
}

TEST_F(WatchTest, Erasure_IsAChange) {
  ASSERT_NO_FATAL_FAILURE(start());
  auto node = start_client(patient(cluster->urls()));
  const std::uint64_t revision = swap(*node, "group-1", 0, "one").entry.revision;
  auto wait = until_changed(*node, "group-1", revision);
  ASSERT_EQ(erase(*client, "group-1", revision).status, CasStatus::applied);
  EXPECT_TRUE(ends(wait));
  auto gone = until_changed(*node, "group-1", 0);
  ASSERT_NO_FATAL_FAILURE(await_stream(*node));
  EXPECT_FALSE(has_ended(gone));
}

TEST_F(WatchTest, WithoutAnyChange_ItEndsByItself_AlsoWithoutAnEtcd) {
  ASSERT_NO_FATAL_FAILURE(start());
  EtcdOptions o = options();
  o.watch_timeout_ms = 100;
  auto node = start_client(o);
  auto wait = until_changed(*node, "group-1", 0);
  EXPECT_TRUE(ends(wait));
  cluster->member(0).kill();
  auto alone = until_changed(*node, "group-1", 0);
  EXPECT_TRUE(ends(alone));
}

TEST_F(WatchTest, MemberThatDies_TheStreamGoesOnElsewhere) {
  ASSERT_NO_FATAL_FAILURE(start(3));
  auto node = start_client(patient(cluster->urls()));
  ASSERT_NO_FATAL_FAILURE(await_stream(*node));
  const std::size_t with_stream = node->stats().preferred.get();
  client = start_client(options_for({cluster->member((with_stream + 1) % 3).url(), cluster->member((with_stream + 2) % 3).url()}));
  auto wait = until_changed(*node, "group-1", 0);
  cluster->member(with_stream).kill();
  // In an election nobody knows for a moment.
  CasOutcome outcome;
  for (int tries = 0; tries < 20 && outcome.status == CasStatus::unknown; ++tries) outcome = swap(*client, "group-1", 0, "one");
  EXPECT_TRUE(ends(wait));
  EXPECT_GE(node->stats().streams.get(), 2u);
}

// It goes on where it was, and what was between is not there any more: whoever waits is woken, and it goes on from what is left.
TEST_F(WatchTest, HistoryThatWasCompacted_WakesEverybody) {
  ASSERT_NO_FATAL_FAILURE(start(3));
  const std::size_t leader = cluster->leader(), follower = (leader + 1) % 3;
  auto node = start_client(patient({cluster->member(follower).url()}));
  client = start_client(options_for({cluster->member(leader).url()}));
  ASSERT_NO_FATAL_FAILURE(await_stream(*node));
  auto wait = until_changed(*node, "group-1", 0), other = until_changed(*node, "group-2", 0);
  cluster->member(follower).kill();
  std::uint64_t revision = swap(*client, "group-2", 0, "0").entry.revision;
  for (int i = 1; i < 10; ++i) revision = swap(*client, "group-2", revision, std::to_string(i)).entry.revision;
  ASSERT_GT(revision, 0u);
  post(cluster->member(leader).port(), "/v3/kv/compaction", "{\"revision\":\"" + std::to_string(revision) + "\",\"physical\":true}");
  ASSERT_TRUE(cluster->member(follower).start());
  EXPECT_TRUE(ends(wait));
  EXPECT_TRUE(ends(other));
  EXPECT_GE(node->stats().streams_compacted.get(), 1u);
  ASSERT_TRUE(get(*node, "group-2"));
  auto after = until_changed(*node, "group-2", revision);
  ASSERT_EQ(swap(*client, "group-2", revision, "after").status, CasStatus::applied);
  EXPECT_TRUE(ends(after));
}

// The member with the stream says nothing more, and its connection stays. Reads, which go elsewhere, tell that it is behind.
TEST_F(WatchTest, StreamThatFallsSilent_IsGivenUp_WhenReadsAreAheadOfIt) {
  ASSERT_NO_FATAL_FAILURE(start(3));
  const std::size_t follower = (cluster->leader() + 1) % 3;
  std::vector<std::string> urls = cluster->urls();
  std::swap(urls[0], urls[follower]);
  auto node = start_client(patient(urls));
  client = start_client(options_for({urls[1], urls[2]}));
  ASSERT_NO_FATAL_FAILURE(await_stream(*node));
  ASSERT_EQ(node->stats().preferred.get(), 0u);
  auto wait = until_changed(*node, "group-1", 0);
  cluster->member(follower).freeze();
  ASSERT_EQ(swap(*client, "group-1", 0, "one").status, CasStatus::applied);
  ASSERT_EQ(get(*node, "group-1")->value, "one");
  EXPECT_TRUE(ends(wait));
  EXPECT_EQ(node->stats().streams_behind.get(), 1u);
  cluster->member(follower).thaw();
}

// Streams of nonsense, of endless lines, and refusals cost nothing but the hint.
TEST_F(WatchTest, StreamOfNonsense_IsGivenUp) {
  ASSERT_NO_FATAL_FAILURE(start());
  const std::string much(1 << 20, 'x'), head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
  const std::string created = R"({"result":{"header":{"cluster_id":"1","revision":"9"},"created":true}})";
  const std::vector<FakeServer::Reply> streams{{http_answer("no", "503 Service Unavailable")},
                                               {head + "8\r\nnonsense\r\n1\r\n\n\r\n"},
                                               {"HTTP/1.1 200 OK\r\n\r\n" + created + "\n" + much, true},
                                               {"", false, false}};
  for (std::size_t i = 0; i < streams.size(); ++i) {
    const FakeServer::Reply& stream = streams[i];
    FakeServer relay([&](const FakeServer::Request& request) { return request.path == "/v3/watch" ? stream : pass_on(cluster->member(0).port(), request); });
    EtcdOptions o = patient({relay.url()});
    o.watch_timeout_ms = 700;
    auto node = start_client(o);
    const auto entry = get(*node, "group-1");
    ASSERT_TRUE(entry) << entry.error().text();
    for (int tries = 0; tries < 5 && node->stats().streams.get() < 2; ++tries) {
      auto wait = until_changed(*node, "group-1", entry->revision);
      ASSERT_TRUE(ends(wait));
    }
    EXPECT_GE(node->stats().streams.get(), 2u) << i << " was not tried again";
    EXPECT_TRUE(get(*node, "group-1"));
  }
}

}  // namespace
}  // namespace holdfast::coord::test
