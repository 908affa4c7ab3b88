// The register of a single machine: linearizable among processes, and never fooled by an older or another directory.
#include "io/directory_coordinator.h"

#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "test/io/support.h"

namespace holdfast::io::test {
namespace {

struct RegisterDirectoryTest : testing::Test {
  RegisterDirectory open() {
    auto opened = RegisterDirectory::open(directory.file("coordinator"));
    EXPECT_TRUE(opened.has_value()) << opened.error().text();
    return std::move(*opened);
  }
  std::string file(const std::string& name) { return directory.file("coordinator/" + name); }
  TempDirectory directory;
};

TEST_F(RegisterDirectoryTest, KeyThatWasNeverWritten_HasRevisionZero) {
  auto coordinator = open();
  const auto entry = coordinator.get("pg");
  ASSERT_TRUE(entry.has_value());
  EXPECT_EQ(entry->revision, 0u);
}

TEST_F(RegisterDirectoryTest, Swap_AtTheRevision_IsAppliedAndOutlivesTheProcess) {
  auto coordinator = open();
  EXPECT_EQ(coordinator.compare_and_swap("pg", 0, "one").status, CasStatus::applied);
  EXPECT_EQ(coordinator.compare_and_swap("pg", 1, "two\n").entry.revision, 2u);
  auto again = open();
  const auto entry = again.get("pg");
  ASSERT_TRUE(entry.has_value());
  EXPECT_EQ(entry->revision, 2u);
  EXPECT_EQ(entry->value, "two\n");
  EXPECT_EQ(again.cluster_id(), coordinator.cluster_id());
}

TEST_F(RegisterDirectoryTest, Swap_AtAnotherRevision_ConflictsAndTellsWhatIsThere) {
  auto coordinator = open();
  coordinator.compare_and_swap("pg", 0, "one");
  const CasOutcome outcome = coordinator.compare_and_swap("pg", 0, "other");
  EXPECT_EQ(outcome.status, CasStatus::conflict);
  EXPECT_EQ(outcome.entry.revision, 1u);
  EXPECT_EQ(outcome.entry.value, "one");
}

// Every process adds to one number by compare-and-swap: none of the additions is lost, whoever wins.
TEST_F(RegisterDirectoryTest, SeveralProcesses_EachSwap_IsOneStep) {
  constexpr int kProcesses = 4, kSteps = 25;
  for (int p = 0; p < kProcesses; ++p) {
    if (::fork() != 0) continue;
    auto mine = RegisterDirectory::open(file(""));
    if (!mine) ::_exit(1);
    for (int step = 0; step < kSteps;) {
      const auto now = mine->get("counter");
      if (!now) ::_exit(2);
      const int value = now->value.empty() ? 0 : std::stoi(now->value);
      const CasOutcome outcome = mine->compare_and_swap("counter", now->revision, std::to_string(value + 1));
      if (outcome.status == CasStatus::unknown) ::_exit(3);
      step += outcome.status == CasStatus::applied;
    }
    ::_exit(0);
  }
  for (int p = 0; p < kProcesses; ++p) {
    int status = 0;
    ASSERT_GT(::wait(&status), 0);
    EXPECT_EQ(status, 0);
  }
  auto coordinator = open();
  const auto end = coordinator.get("counter");
  ASSERT_TRUE(end.has_value());
  EXPECT_EQ(end->value, std::to_string(kProcesses * kSteps));
  EXPECT_EQ(end->revision, static_cast<std::uint64_t>(kProcesses * kSteps));
}

TEST_F(RegisterDirectoryTest, DirectoryThatWentBackInTime_IsRefused) {
  auto coordinator = open();
  coordinator.compare_and_swap("pg", 0, "one");
  std::filesystem::copy_file(file("pg.register"), directory.file("copy"));
  coordinator.compare_and_swap("pg", 1, "two");
  std::filesystem::copy_file(directory.file("copy"), file("pg.register"), std::filesystem::copy_options::overwrite_existing);
  const auto entry = coordinator.get("pg");
  ASSERT_FALSE(entry.has_value());
  EXPECT_EQ(entry.error().code, Errc::foreign);
  EXPECT_EQ(coordinator.compare_and_swap("pg", 1, "three").status, CasStatus::unknown);
}

TEST_F(RegisterDirectoryTest, EmptiedDirectory_IsRefused_NotBootstrappedOver) {
  auto coordinator = open();
  coordinator.compare_and_swap("pg", 0, "one");
  std::filesystem::remove(file("pg.register"));
  EXPECT_EQ(coordinator.get("pg").error().code, Errc::foreign);
  std::filesystem::remove(file("cluster"));
  EXPECT_EQ(coordinator.get("pg").error().code, Errc::foreign);
  open();  // Another process finds it empty and names it anew …
  EXPECT_EQ(coordinator.get("pg").error().code, Errc::foreign) << "… which does not make it ours";
}

TEST_F(RegisterDirectoryTest, DamagedEntry_IsNamed) {
  auto coordinator = open();
  coordinator.compare_and_swap("pg", 0, "one");
  std::ofstream(file("pg.register"), std::ios::app) << "x";
  const auto entry = coordinator.get("pg");
  ASSERT_FALSE(entry.has_value());
  EXPECT_EQ(entry.error().code, Errc::corrupt);
  EXPECT_NE(entry.error().message.find("pg.register"), std::string::npos);
}

TEST_F(RegisterDirectoryTest, KeysThatAreNoNames_AreRefused) {
  auto coordinator = open();
  for (const char* key : {"", "../x", "a/../b", "a/", "/a", "a//b", "a/.b", "A", "a_b", ".x", "cluster"}) EXPECT_EQ(coordinator.get(key).error().code, Errc::invalid_argument) << key;
}

Task<int> count_to_ten(Coordinator* coordinator) {
  int applied = 0;
  for (int i = 0; i < 10; ++i) {
    auto now = co_await coordinator->get("pg");
    auto outcome = co_await coordinator->compare_and_swap("pg", now->revision, std::to_string(i));
    applied += outcome.status == CasStatus::applied;
  }
  co_return applied;
}

TEST_F(RegisterDirectoryTest, OnAReactor_ItBlocksNobody) {
  auto reactor = make_reactor();
  auto coordinator = DirectoryCoordinator::open(reactor->clock(), file(""));
  ASSERT_TRUE(coordinator.has_value()) << coordinator.error().text();
  EXPECT_EQ(run_task(*reactor, count_to_ten(coordinator->get())), 10);
}

}  // namespace
}  // namespace holdfast::io::test
