// Members that die, freeze or return, under load: no success is lost, none counts twice, and what is not known is found out by reading.
#include <algorithm>
#include <atomic>
#include <set>
#include <sstream>

#include "test/coord/support.h"

namespace holdfast::coord::test {
namespace {

constexpr int kTriesMax = 2'000;

// A register in which each writer leaves unique words. What became of a word is known to its writer in the end: it reads until the
// revision that it built on is gone (rule 4).
class Writer {
 public:
  Writer(std::shared_ptr<EtcdClient> client, std::string name) : client_(std::move(client)), name_(std::move(name)) {}

  // False: no coordinator within reason.
  bool write_one() {
    const std::string word = name_ + "-" + std::to_string(++count_);
    for (int tries = 0; tries < kTriesMax; ++tries) {
      const auto now = get(*client_, "group-1");
      if (!now) continue;
      if (has(now->value, word)) return done(word);
      const CasOutcome outcome = swap(*client_, "group-1", now->revision, now->value + word + " ");
      if (outcome.status == CasStatus::applied) {
        applied_at_.insert(outcome.entry.revision);
        return done(word);
      }
      if (outcome.status == CasStatus::unknown) ++unknown_;
      if (outcome.status == CasStatus::unknown && !resolve(now->revision, word)) return false;
    }
    return false;
  }
  const std::vector<std::string>& words() const { return words_; }
  const std::set<std::uint64_t>& applied_at() const { return applied_at_; }
  int unknown() const { return unknown_; }

  static bool has(const std::string& value, const std::string& word) { return (" " + value).find(" " + word + " ") != std::string::npos; }

 private:
  bool done(const std::string& word) {
    words_.push_back(word);
    return true;
  }
  // As long as the revision is the same the swap may still land: it is sent again, with the same content.
  bool resolve(std::uint64_t base, const std::string& word) {
    for (int tries = 0; tries < kTriesMax; ++tries) {
      const auto now = get(*client_, "group-1");
      if (!now) continue;
      if (now->revision != base) return true;  // It is there, or never will be: write_one looks.
      const CasOutcome again = swap(*client_, "group-1", base, now->value + word + " ");
      if (again.status != CasStatus::unknown) return true;
    }
    return false;
  }

  std::shared_ptr<EtcdClient> client_;
  std::string name_;
  int count_ = 0, unknown_ = 0;
  std::vector<std::string> words_;
  std::set<std::uint64_t> applied_at_;
};

struct FaultTest : EtcdTest {
  // Every word that counts is there once, and no other one.
  void expect_exactly(const std::vector<std::unique_ptr<Writer>>& writers) {
    const auto end = get(*client, "group-1");
    ASSERT_TRUE(end) << end.error().text();
    std::multiset<std::string> there, wanted;
    std::istringstream text(end->value);
    for (std::string word; text >> word;) there.insert(word);
    std::set<std::uint64_t> revisions;
    std::size_t applied = 0;
    for (const auto& writer : writers) {
      wanted.insert(writer->words().begin(), writer->words().end());
      revisions.insert(writer->applied_at().begin(), writer->applied_at().end());
      applied += writer->applied_at().size();
    }
    EXPECT_EQ(there, wanted);
    EXPECT_EQ(revisions.size(), applied) << "two were told that they wrote the same revision";
  }
  EtcdOptions quick() const {
    EtcdOptions o = options();
    o.request_timeout_ms = 1'000;
    return o;
  }
};

TEST_F(FaultTest, Contention_EachSuccessIsThereOnce) {
  ASSERT_NO_FATAL_FAILURE(start(3));
  std::vector<std::unique_ptr<Writer>> writers;
  auto shared = start_client(options());
  for (int i = 0; i < 4; ++i) writers.push_back(std::make_unique<Writer>(i < 2 ? shared : start_client(options()), "w" + std::to_string(i)));
  std::vector<std::thread> threads;
  for (auto& writer : writers)
    threads.emplace_back([w = writer.get()] {
      for (int i = 0; i < 20; ++i) EXPECT_TRUE(w->write_one());
    });
  for (auto& thread : threads) thread.join();
  expect_exactly(writers);
  EXPECT_GE(shared->stats().swaps_applied.get(), 40u);
  EXPECT_EQ(shared->stats().swaps.count(), shared->stats().swaps_applied.get() + shared->stats().swaps_in_conflict.get());
}

TEST_F(FaultTest, LeaderKilledUnderLoad_NothingIsLostNorDoubled) {
  ASSERT_NO_FATAL_FAILURE(start(3));
  std::vector<std::unique_ptr<Writer>> writers;
  std::atomic<bool> enough = false;
  std::atomic<int> written = 0;
  for (int i = 0; i < 3; ++i) {
    EtcdOptions o = quick();
    std::rotate(o.endpoints.begin(), o.endpoints.begin() + i, o.endpoints.end());  // Each has another one for the nearest.
    writers.push_back(std::make_unique<Writer>(start_client(o), "w" + std::to_string(i)));
  }
  std::vector<std::thread> threads;
  for (auto& writer : writers)
    threads.emplace_back([&, w = writer.get()] {
      while (!enough) {
        EXPECT_TRUE(w->write_one());
        ++written;
        written.notify_all();
      }
    });
  const auto await_more = [&](int more) {
    for (int now = written, until = now + more; now < until; now = written) written.wait(now);
  };
  for (int round = 0; round < 2; ++round) {
    await_more(30);
    const std::size_t leader = cluster->leader();
    cluster->member(leader).kill();
    await_more(15);  // Without it.
    EXPECT_TRUE(cluster->member(leader).start());
  }
  await_more(10);
  enough = true;
  for (auto& thread : threads) thread.join();
  expect_exactly(writers);
  int unknown = 0;
  for (const auto& writer : writers) unknown += writer->unknown();
  RecordProperty("unknown", unknown);
}

// A member that is frozen takes connections and requests, and says nothing.
TEST_F(FaultTest, FrozenMember_ReadsGoOnElsewhere_AndChangesFollow) {
  ASSERT_NO_FATAL_FAILURE(start(3));
  const std::size_t follower = (cluster->leader() + 1) % 3;
  EtcdOptions o = options();
  std::swap(o.endpoints[0], o.endpoints[follower]);
  auto node = start_client(o);
  const std::uint64_t revision = swap(*node, "group-1", 0, "one").entry.revision;
  ASSERT_EQ(node->stats().preferred.get(), 0u);
  cluster->member(follower).freeze();
  const auto begun = std::chrono::steady_clock::now();
  const auto entry = get(*node, "group-1");
  const auto took = std::chrono::steady_clock::now() - begun;
  ASSERT_TRUE(entry) << entry.error().text();
  EXPECT_EQ(entry->revision, revision);
  EXPECT_LT(took, std::chrono::milliseconds(1'500));
  EXPECT_EQ(node->stats().hedges.get(), 1u);
  EXPECT_NE(node->stats().preferred.get(), 0u);
  EXPECT_EQ(node->stats().endpoints[0].failures.get(), 1u);
  EXPECT_EQ(swap(*node, "group-1", revision, "two").status, CasStatus::applied);
  cluster->member(follower).thaw();
}

// A change that was handed to a frozen etcd: nobody knows. After it thaws, it has happened, happens, or never will, but once.
TEST_F(FaultTest, ChangeHandedToAFrozenEtcd_IsUnknown_AndReadingTells) {
  ASSERT_NO_FATAL_FAILURE(start());
  auto node = start_client(quick());
  const std::uint64_t revision = swap(*node, "group-1", 0, "one").entry.revision;
  cluster->member(0).freeze();
  const CasOutcome outcome = swap(*node, "group-1", revision, "two");
  EXPECT_EQ(outcome.status, CasStatus::unknown);
  EXPECT_EQ(get(*node, "group-1").error().code, Errc::timed_out);
  cluster->member(0).thaw();
  CasOutcome again;
  for (int tries = 0; tries < 20 && again.status == CasStatus::unknown; ++tries) again = swap(*node, "group-1", revision, "two");
  EXPECT_NE(again.status, CasStatus::unknown);
  EXPECT_EQ(again.entry.value, "two");
  const std::string versions = post(cluster->member(0).port(), "/v3/kv/range", "{\"key\":\"" + base64("/holdfast/group-1") + "\"}");
  EXPECT_THAT(versions, testing::HasSubstr("\"version\":\"2\"")) << "it was written more than once";
}

TEST_F(FaultTest, AllMembersDown_ThenBack) {
  ASSERT_NO_FATAL_FAILURE(start(3));
  auto node = start_client(quick());
  const std::uint64_t revision = swap(*node, "group-1", 0, "one").entry.revision;
  for (std::size_t i = 0; i < 3; ++i) cluster->member(i).kill();
  const auto gone = get(*node, "group-1");
  ASSERT_FALSE(gone);
  EXPECT_EQ(gone.error().code, Errc::io_error) << gone.error().text();
  EXPECT_EQ(swap(*node, "group-1", revision, "two").status, CasStatus::unknown);
  EXPECT_FALSE(list(*node, "groups"));
  EXPECT_GT(node->stats().gets_failed.get(), 0u);
  EXPECT_THAT(node->trouble(), testing::HasSubstr("Connection refused"));
  ASSERT_NO_FATAL_FAILURE(cluster->start());
  Result<CoordinatorEntry> entry = fail(Errc::timed_out);
  for (int tries = 0; tries < 20 && !entry; ++tries) entry = get(*node, "group-1");
  ASSERT_TRUE(entry) << entry.error().text();
  // Nobody could hear that change.
  EXPECT_EQ(entry->revision, revision);
  EXPECT_EQ(swap(*node, "group-1", revision, "two").status, CasStatus::applied);
  EXPECT_EQ(node->trouble(), "");
}

// Two of three are gone: no quorum. Nobody tells what may be old.
TEST_F(FaultTest, WithoutAQuorum_NothingIsRead) {
  ASSERT_NO_FATAL_FAILURE(start(3));
  EtcdOptions o = options();
  o.request_timeout_ms = 500;
  auto node = start_client(o);
  const std::uint64_t revision = swap(*node, "group-1", 0, "one").entry.revision;
  const std::size_t left = (cluster->leader() + 1) % 3;
  for (std::size_t i = 0; i < 3; ++i)
    if (i != left) cluster->member(i).kill();
  EXPECT_FALSE(get(*node, "group-1"));
  EXPECT_EQ(swap(*node, "group-1", revision, "two").status, CasStatus::unknown);
}

// Three writers and a reader whose client is destroyed while calls are under way.
TEST_F(FaultTest, ClientThatGoes_WithCallsUnderWay_HarmsNobody) {
  ASSERT_NO_FATAL_FAILURE(start());
  for (int round = 0; round < 8; ++round) {
    auto node = start_client(options());
    for (int i = 0; i < 50; ++i) {
      node->get("group-1", [](auto) {});
      node->compare_and_swap("group-1", 0, "one", [](auto) {});
      node->until_changed("group-1", 0, [](auto) {});
    }
    if (round % 2 == 0) get(*node, "group-1");
  }
  EXPECT_EQ(get(*client, "group-1")->value, "one");
}

}  // namespace
}  // namespace holdfast::coord::test
