#include "io/store_file.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>

#include "io/data_directory.h"
#include "test/io/support.h"

namespace holdfast::io {
namespace {

using test::make_store;
using test::TempDirectory;

// Runs in another process; what it returns is its exit code.
int in_child(const std::function<int()>& what) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(what());
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(StoreFile, Create_MakesAPrivateFileOfTheSize) {
  const TempDirectory directory;
  const std::string path = make_store(directory, 8 << 20);
  struct stat now{};
  ASSERT_EQ(0, ::stat(path.c_str(), &now));
  EXPECT_EQ(now.st_size, 8 << 20);
  EXPECT_EQ(now.st_mode & 0777, 0600u);
}

TEST(StoreFile, Create_OfWhatExists_IsRefusedAndLeavesIt) {
  const TempDirectory directory;
  const std::string path = make_store(directory);
  const auto again = create_store_file(path, 4096);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, Errc::exists);
  EXPECT_EQ(std::filesystem::file_size(path), 1u << 20);
}

TEST(StoreFile, Create_OfABadSize_IsRefusedAndLeavesNothing) {
  const TempDirectory directory;
  for (const std::uint64_t size : {std::uint64_t{0}, std::uint64_t{4095}, std::uint64_t{1} << 62}) {
    const auto created = create_store_file(directory.file("x"), size);
    ASSERT_FALSE(created) << size;
    EXPECT_EQ(created.error().code, Errc::invalid_argument);
    EXPECT_FALSE(std::filesystem::exists(directory.file("x")));
  }
}

TEST(StoreFile, Open_ByASecondProcess_IsLockedAndNamesThePath) {
  const TempDirectory directory;
  const std::string path = make_store(directory);
  const auto first = open_store_file(path, PageCache::bypass);
  ASSERT_TRUE(first);
  const int answer = in_child([&] {
    const auto second = open_store_file(path, PageCache::bypass);
    if (second) return 1;
    return second.error().code == Errc::locked && second.error().message.find(path) != std::string::npos ? 0 : 2;
  });
  EXPECT_EQ(answer, 0);
  const auto removed = remove_store_file(path);
  ASSERT_FALSE(removed);
  EXPECT_EQ(removed.error().code, Errc::locked);
}

TEST(StoreFile, Open_AfterTheFirstClosed_Succeeds) {
  const TempDirectory directory;
  const std::string path = make_store(directory);
  { const auto first = open_store_file(path, PageCache::bypass); }
  EXPECT_TRUE(open_store_file(path, PageCache::bypass));
  EXPECT_TRUE(remove_store_file(path));
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(StoreFile, Open_OfWhatCannotBeAStore_SaysWhy) {
  const TempDirectory directory;
  const auto open_code = [](const std::string& path) {
    const auto file = open_store_file(path, PageCache::bypass);
    EXPECT_FALSE(file) << path;
    if (file) return Errc::io_error;
    EXPECT_NE(file.error().message.find(path), std::string::npos) << file.error().text();
    return file.error().code;
  };
  EXPECT_EQ(open_code(directory.file("missing")), Errc::not_found);
  EXPECT_EQ(open_code(directory.path()), Errc::invalid_argument);
  EXPECT_EQ(open_code("/dev/null"), Errc::invalid_argument);
  ASSERT_EQ(0, ::mkfifo(directory.file("fifo").c_str(), 0600));
  EXPECT_EQ(open_code(directory.file("fifo")), Errc::invalid_argument);
  const std::string path = make_store(directory);
  ASSERT_EQ(0, ::truncate(path.c_str(), 5000));
  EXPECT_EQ(open_code(path), Errc::invalid_argument);
  ASSERT_EQ(0, ::truncate(path.c_str(), 0));
  EXPECT_EQ(open_code(path), Errc::invalid_argument);
}

TEST(StoreFile, Open_WithoutPermission_IsPermission) {
  const TempDirectory directory;
  const std::string path = make_store(directory);
  ASSERT_EQ(0, ::chmod(path.c_str(), 0400));
  const int answer = in_child([&] {
    if (::getuid() == 0 && (::chmod(directory.path().c_str(), 0755) != 0 || ::setuid(65534) != 0)) return 1;
    const auto file = open_store_file(path, PageCache::bypass);
    return !file && file.error().code == Errc::permission ? 0 : 2;
  });
  EXPECT_EQ(answer, 0);
}

// ramfs has no O_DIRECT. A mount of our own needs root.
TEST(StoreFile, Open_WhereODirectIsMissing_IsRefusedUnlessThePageCacheIsAllowed) {
  const TempDirectory directory;
  const int answer = in_child([&] {
    if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("none", directory.path().c_str(), "ramfs", 0, nullptr) != 0)
      return 77;
    const std::string path = directory.file("store");
    if (!create_store_file(path, 4096)) return 1;
    const auto direct = open_store_file(path, PageCache::bypass);
    if (direct || direct.error().code != Errc::unsupported) return 2;
    const auto cached = open_store_file(path, PageCache::allow);
    return cached && !cached->direct ? 0 : 3;
  });
  if (answer == 77) GTEST_SKIP() << "needs root for a mount namespace";
  EXPECT_EQ(answer, 0);
}

TEST(DataDirectory, SecondNode_IsLockedAndNamesTheFirst) {
  const TempDirectory parent;
  const std::string path = parent.file("node");
  const auto first = DataDirectory::open(path);
  ASSERT_TRUE(first) << first.error().text();
  const std::string pid = std::to_string(::getpid());
  const int answer = in_child([&] {
    const auto second = DataDirectory::open(path);
    if (second) return 1;
    return second.error().code == Errc::locked && second.error().message.find("process " + pid) != std::string::npos ? 0 : 2;
  });
  EXPECT_EQ(answer, 0);
}

// The lock goes with its process, however that ends; the file stays.
TEST(DataDirectory, AfterAKilledNode_OpensAgain) {
  const TempDirectory parent;
  const std::string path = parent.file("node");
  const pid_t child = ::fork();
  if (child == 0) {
    const auto first = DataDirectory::open(path);
    ::kill(::getpid(), SIGKILL);
  }
  ::waitpid(child, nullptr, 0);
  EXPECT_TRUE(std::filesystem::exists(path + "/LOCK"));
  EXPECT_TRUE(DataDirectory::open(path));
}

TEST(DataDirectory, OnAFile_IsRefused) {
  const TempDirectory parent;
  const std::string path = make_store(parent);
  const auto opened = DataDirectory::open(path);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, Errc::invalid_argument);
  const auto orphan = DataDirectory::open(parent.file("a/b"));
  ASSERT_FALSE(orphan);
  EXPECT_EQ(orphan.error().code, Errc::not_found);
}

}  // namespace
}  // namespace holdfast::io
