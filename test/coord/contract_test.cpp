// What the ports promise, whatever is behind them: the same cases over an etcd and over a directory.
#include <functional>

#include "coord/node_record.h"
#include "coord/session_record.h"
#include "io/directory_coordinator.h"
#include "test/coord/support.h"

namespace holdfast::coord::test {
namespace {

// A process of the cluster: the two ports, and the thread that its flows are on.
struct Process {
  std::unique_ptr<io::Reactor> reactor = std::move(*io::Reactor::create({.buffer_bytes = 1 << 20}));
  std::unique_ptr<EtcdCoordinator> etcd;
  std::unique_ptr<io::DirectoryCoordinator> single;
  Coordinator* coordinator = nullptr;
  ClusterDirectory* directory = nullptr;

  CoordinatorEntry get(const std::string& key) {
    auto entry = io::run_task(*reactor, coordinator->get(key));
    EXPECT_TRUE(entry) << entry.error().text();
    return entry ? *entry : CoordinatorEntry{};
  }
  CasOutcome swap(const std::string& key, std::uint64_t base, const std::string& value) {
    return io::run_task(*reactor, coordinator->compare_and_swap(key, base, value));
  }
  CasOutcome erase(const std::string& key, std::uint64_t base) { return io::run_task(*reactor, directory->erase(key, base)); }
  std::vector<std::string> keys(const std::string& folder) {
    auto entries = io::run_task(*reactor, directory->list(folder));
    EXPECT_TRUE(entries) << entries.error().text();
    std::vector<std::string> keys;
    if (entries)
      for (const DirectoryEntry& entry : *entries) keys.push_back(entry.key);
    return keys;
  }
};

struct Backend {
  virtual ~Backend() = default;
  virtual std::unique_ptr<Process> open() = 0;
};

struct EtcdBackend final : Backend {
  EtcdBackend() {
    cluster.start();
    EXPECT_TRUE(set_up(*start_client(options_for(cluster.urls()))));
  }
  std::unique_ptr<Process> open() override {
    auto process = std::make_unique<Process>();
    process->etcd = std::make_unique<EtcdCoordinator>(*process->reactor, start_client(options_for(cluster.urls())));
    process->coordinator = process->etcd.get();
    process->directory = process->etcd.get();
    return process;
  }
  EtcdCluster cluster;
};

struct DirectoryBackend final : Backend {
  std::unique_ptr<Process> open() override {
    auto process = std::make_unique<Process>();
    process->single = std::move(*io::DirectoryCoordinator::open(process->reactor->clock(), directory.file("coordinator")));
    process->coordinator = process->single.get();
    process->directory = process->single.get();
    return process;
  }
  TempDirectory directory;
};

struct Kind {
  const char* name;
  std::function<std::unique_ptr<Backend>()> make;
};

class CoordinatorContract : public testing::TestWithParam<Kind> {
 protected:
  std::unique_ptr<Backend> backend = GetParam().make();
  std::unique_ptr<Process> a = backend->open();
  std::unique_ptr<Process> b = backend->open();
};

TEST_P(CoordinatorContract, GetOfNothing_HasRevisionZero) {
  const CoordinatorEntry entry = a->get("group-1");
  EXPECT_EQ(entry.revision, 0u);
  EXPECT_EQ(entry.value, "");
}

TEST_P(CoordinatorContract, Create_IsSeenByTheOtherProcess) {
  const std::string value("line\nwith \xff and \0 in it", 23);
  const CasOutcome created = a->swap("group-1", 0, value);
  EXPECT_EQ(created.status, CasStatus::applied);
  EXPECT_GT(created.entry.revision, 0u);
  EXPECT_EQ(created.entry.value, value);
  const CoordinatorEntry seen = b->get("group-1");
  EXPECT_EQ(seen.revision, created.entry.revision);
  EXPECT_EQ(seen.value, value);
}

TEST_P(CoordinatorContract, CreateOfWhatIsThere_Conflicts) {
  const CasOutcome created = a->swap("group-1", 0, "one");
  const CasOutcome again = b->swap("group-1", 0, "two");
  EXPECT_EQ(again.status, CasStatus::conflict);
  EXPECT_EQ(again.entry.revision, created.entry.revision);
  EXPECT_EQ(again.entry.value, "one");
}

TEST_P(CoordinatorContract, SwapAtAnOldRevision_ConflictsAndTellsWhatIsThere) {
  const std::uint64_t first = a->swap("group-1", 0, "one").entry.revision;
  const std::uint64_t second = b->swap("group-1", first, "two").entry.revision;
  EXPECT_GT(second, first);
  // The value comes back, and yet it is not what it was (rule 1).
  const std::uint64_t third = b->swap("group-1", second, "one").entry.revision;
  const CasOutcome late = a->swap("group-1", first, "three");
  EXPECT_EQ(late.status, CasStatus::conflict);
  EXPECT_EQ(late.entry.revision, third);
  EXPECT_EQ(late.entry.value, "one");
}

TEST_P(CoordinatorContract, SwapOfNothing_Conflicts) {
  const CasOutcome outcome = a->swap("group-1", 5, "one");
  EXPECT_EQ(outcome.status, CasStatus::conflict);
  EXPECT_EQ(outcome.entry.revision, 0u);
}

TEST_P(CoordinatorContract, ErasedAndCreatedAnew_NeverHasARevisionAgain) {
  std::uint64_t newest = 0;
  for (int life = 0; life < 3; ++life) {
    const CasOutcome created = a->swap("groups/x", 0, "value");
    ASSERT_EQ(created.status, CasStatus::applied);
    EXPECT_GT(created.entry.revision, newest);
    newest = created.entry.revision;
    EXPECT_EQ(b->erase("groups/x", newest + 1).status, CasStatus::conflict);
    const CasOutcome erased = b->erase("groups/x", newest);
    EXPECT_EQ(erased.status, CasStatus::applied);
    EXPECT_EQ(erased.entry.revision, 0u);
    EXPECT_EQ(a->get("groups/x").revision, 0u);
    EXPECT_EQ(b->get("groups/x").revision, 0u);
    // A swap from before the erasure comes too late.
    EXPECT_EQ(a->swap("groups/x", newest, "late").status, CasStatus::conflict);
  }
}

TEST_P(CoordinatorContract, EraseOfNothing_ChangesNothing) {
  EXPECT_EQ(a->erase("groups/x", 0).status, CasStatus::applied);
  EXPECT_EQ(a->get("groups/x").revision, 0u);
  EXPECT_EQ(a->erase("groups/x", 3).status, CasStatus::conflict);
}

TEST_P(CoordinatorContract, ClusterId_IsTheSameForAllProcesses) {
  a->get("group-1");
  b->get("group-1");
  EXPECT_EQ(a->coordinator->cluster_id().size(), 32u);
  EXPECT_EQ(a->coordinator->cluster_id(), b->coordinator->cluster_id());
}

TEST_P(CoordinatorContract, KeysThatAreNoNames_AreRefused) {
  for (const char* key : {"", "../x", "a/../b", "a/", "/a", "a//b", "A", "a_b", ".x", "cluster"}) {
    auto entry = io::run_task(*a->reactor, a->coordinator->get(key));
    ASSERT_FALSE(entry) << key;
    EXPECT_EQ(entry.error().code, Errc::invalid_argument) << key;
    EXPECT_EQ(a->swap(key, 0, "x").status, CasStatus::unknown) << key;
  }
  EXPECT_EQ(a->swap("group-1", 0, std::string(kCoordinatorValueBytesMax + 1, 'x')).status, CasStatus::unknown);
  EXPECT_EQ(a->swap("group-1", 0, std::string(kCoordinatorValueBytesMax, 'x')).status, CasStatus::applied);
}

TEST_P(CoordinatorContract, List_HasTheFolderAndNothingElse_ByKey) {
  for (const char* key : {"groups/b", "groups/a", "groups-x", "group", "groups/c/d", "nodes/1"}) ASSERT_EQ(a->swap(key, 0, key).status, CasStatus::applied);
  a->erase("groups/b", a->get("groups/b").revision);
  EXPECT_EQ(b->keys("groups"), (std::vector<std::string>{"groups/a", "groups/c/d"}));
  EXPECT_EQ(b->keys("groups/c"), (std::vector<std::string>{"groups/c/d"}));
  EXPECT_EQ(b->keys("nothing"), std::vector<std::string>{});
}

TEST_P(CoordinatorContract, ListOfMany_IsWhole) {
  std::vector<std::string> wanted;
  for (int i = 100; i < 180; ++i) {
    wanted.push_back("groups/" + std::to_string(i));
    ASSERT_EQ(a->swap(wanted.back(), 0, std::to_string(i)).status, CasStatus::applied);
  }
  auto entries = io::run_task(*b->reactor, b->directory->list("groups"));
  ASSERT_TRUE(entries);
  ASSERT_EQ(entries->size(), wanted.size());
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    EXPECT_EQ((*entries)[i].key, wanted[i]);
    EXPECT_EQ((*entries)[i].entry.value, std::to_string(100 + i));
    EXPECT_EQ((*entries)[i].entry.revision, a->get(wanted[i]).revision);
  }
}

Task<void> note_when(Coordinator* coordinator, std::string key, std::uint64_t revision, bool* woken) {
  co_await coordinator->until_changed(key, revision);
  *woken = true;
}

// The watch ends by itself in any case; what is looked at is that a change by another process ends it.
TEST_P(CoordinatorContract, Watch_OfAKeyThatChanges_Ends) {
  const std::uint64_t revision = a->swap("group-1", 0, "one").entry.revision;
  a->get("group-1");
  bool woken = false;
  Scope scope(*a->reactor);
  scope.spawn(note_when(a->coordinator, "group-1", revision, &woken));
  a->reactor->turn(io::Reactor::Waiting::poll);
  b->swap("group-1", b->get("group-1").revision, "two");
  while (!woken) a->reactor->turn(io::Reactor::Waiting::block);
  EXPECT_EQ(a->get("group-1").value, "two");
}

// Who waits may be gone before the answer comes.
TEST_P(CoordinatorContract, FlowThatEndsFirst_IsNotResumed) {
  bool woken = false;
  {
    Scope scope(*a->reactor);
    scope.spawn(note_when(a->coordinator, "group-1", 0, &woken));
    a->reactor->turn(io::Reactor::Waiting::poll);
  }
  EXPECT_EQ(b->swap("group-1", 0, "one").status, CasStatus::applied);
  EXPECT_EQ(a->get("group-1").value, "one");
  EXPECT_FALSE(woken);
}

TEST_P(CoordinatorContract, Sessions_AreToldAndListed) {
  const SessionRecord none{NodeId(10), {}, {}};
  SessionRecord some{NodeId(2), {{"192.0.2.2", "02:42:c0:00:02:02"}}, {{"192.0.2.2:3260", "192.0.2.11:51234"}}};
  EXPECT_TRUE(io::run_task(*a->reactor, publish_sessions(a->coordinator, none)));
  EXPECT_TRUE(io::run_task(*b->reactor, publish_sessions(b->coordinator, some)));
  b->swap("sessions/nobody", 0, encode_session_record(some));
  const auto listed = io::run_task(*a->reactor, list_sessions(a->directory));
  ASSERT_TRUE(listed) << listed.error().text();
  EXPECT_EQ(*listed, (std::vector<SessionRecord>{some, none}));
  // The same again changes nothing.
  const std::uint64_t revision = a->get("sessions/2").revision;
  EXPECT_TRUE(io::run_task(*b->reactor, publish_sessions(b->coordinator, some)));
  EXPECT_EQ(a->get("sessions/2").revision, revision);
  some.connections.clear();
  EXPECT_TRUE(io::run_task(*b->reactor, publish_sessions(b->coordinator, some)));
  EXPECT_GT(a->get("sessions/2").revision, revision);
}

TEST_P(CoordinatorContract, Nodes_AnnounceThemselvesAndAreListed) {
  NodeRecord first{NodeId(2), "db2", {"192.0.2.2:7440", "198.51.100.2:7440"}, {"192.0.2.2:3260"}, "192.0.2.2:9440"};
  NodeRecord second{NodeId(10), "db10", {"192.0.2.10:7440"}, {}, ""};
  EXPECT_TRUE(io::run_task(*b->reactor, announce_node(b->coordinator, second)));
  EXPECT_TRUE(io::run_task(*a->reactor, announce_node(a->coordinator, first)));
  auto nodes = io::run_task(*a->reactor, list_nodes(a->directory));
  ASSERT_TRUE(nodes) << nodes.error().text();
  EXPECT_EQ(*nodes, (std::vector<NodeRecord>{first, second}));
  // The same again changes nothing; another address does.
  const std::uint64_t revision = a->get("nodes/2").revision;
  EXPECT_TRUE(io::run_task(*a->reactor, announce_node(a->coordinator, first)));
  EXPECT_EQ(a->get("nodes/2").revision, revision);
  first.portals = {"192.0.2.2:3261"};
  EXPECT_TRUE(io::run_task(*a->reactor, announce_node(a->coordinator, first)));
  EXPECT_GT(a->get("nodes/2").revision, revision);
  // Two nodes with one number: the second one is told.
  const auto refused = io::run_task(*b->reactor, announce_node(b->coordinator, NodeRecord{NodeId(2), "db3", {}, {}, ""}));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::exists);
  EXPECT_THAT(refused.error().message, testing::HasSubstr("db2"));
  // A newer program's record is not written over: it may be another node's.
  a->swap("nodes/4", 0, R"({"format":2,"title":"db4"})");
  const auto too_old = io::run_task(*b->reactor, announce_node(b->coordinator, NodeRecord{NodeId(4), "db4", {}, {}, ""}));
  ASSERT_FALSE(too_old);
  EXPECT_EQ(too_old.error().code, Errc::version_too_new);
  EXPECT_EQ(a->get("nodes/4").value, R"({"format":2,"title":"db4"})");
  // What is no record is left out.
  a->swap("nodes/3", 0, "{}");
  a->swap("nodes/x", 0, "");
  a->swap("nodes/010", 0, encode_node_record(second));
  EXPECT_EQ(io::run_task(*a->reactor, list_nodes(a->directory))->size(), 2u);
}

INSTANTIATE_TEST_SUITE_P(Over, CoordinatorContract,
                         testing::Values(Kind{"Etcd", [] { return std::unique_ptr<Backend>(new EtcdBackend); }},
                                         Kind{"Directory", [] { return std::unique_ptr<Backend>(new DirectoryBackend); }}),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace holdfast::coord::test
