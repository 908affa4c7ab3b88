// holdfastd as its supervisor and its operator meet it: starts, refusals to start, stops and restarts.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <filesystem>

#include "test/cli/daemon.h"

namespace holdfast::cli {
namespace {

using ::testing::HasSubstr;

constexpr const char* kCreate64 = "64MiB";

class DaemonTest : public testing::Test {
 protected:
  std::unique_ptr<Daemon> start(DaemonOptions options = {}) {
    auto daemon = std::make_unique<Daemon>(folder_, std::move(options));
    EXPECT_TRUE(daemon->ready()) << daemon->program().err();
    return daemon;
  }
  // A node that must not start: its exit code and log.
  Ended refused(DaemonOptions options = {}) {
    Daemon daemon(folder_, std::move(options));
    EXPECT_FALSE(daemon.ready());
    return daemon.program().wait();
  }
  std::string store(const std::string& volume) const { return folder_.path() + "/data/volumes/" + volume + ".hf"; }
  void overwrite(const std::string& path, off_t offset, const void* bytes, std::size_t count) const {
    const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
    EXPECT_EQ(::pwrite(fd, bytes, count, offset), static_cast<ssize_t>(count));
    ::close(fd);
  }
  // A node with volumes a and b that was stopped in order.
  void prepare_two_volumes() {
    const auto daemon = start();
    for (const char* name : {"a", "b"}) {
      ASSERT_EQ(daemon->holdfast({"volume", "create", name, "--size", kCreate64}).code, 0);
    }
    ASSERT_EQ(daemon->stop().code, 0);
  }
  // Volume a cannot be served, which status tells, and b is.
  void expect_only_b_serves(const std::string& reason) {
    const auto daemon = start();
    const Ended status = daemon->holdfast({"status"});
    EXPECT_EQ(status.code, 4);
    EXPECT_THAT(status.out, HasSubstr(reason));
    EXPECT_THAT(daemon->holdfast({"volume", "show", "a"}).out, HasSubstr("failed"));
    EXPECT_THAT(daemon->holdfast({"volume", "show", "b"}).out, HasSubstr("serving"));
    EXPECT_EQ(daemon->stop().code, 0);
  }
  TemporaryFolder folder_;
};

TEST_F(DaemonTest, StartAndStop_AreToldToSystemd) {
  const auto daemon = start();
  daemon->program().signal(SIGTERM);
  EXPECT_TRUE(daemon->notified("STOPPING=1"));
  EXPECT_EQ(daemon->program().wait().code, 0);
}

TEST_F(DaemonTest, Interrupt_StopsInOrder) {
  const auto daemon = start();
  daemon->program().signal(SIGINT);
  const Ended ended = daemon->program().wait();
  EXPECT_EQ(ended.code, 0);
  EXPECT_THAT(ended.err, HasSubstr("stopped"));
}

TEST_F(DaemonTest, Watchdog_IsFed) {
  DaemonOptions options;
  options.program.environment["WATCHDOG_USEC"] = "20000";
  const auto daemon = start(options);
  EXPECT_TRUE(daemon->notified("WATCHDOG=1"));
  EXPECT_TRUE(daemon->notified("WATCHDOG=1"));
  EXPECT_EQ(daemon->stop().code, 0);
}

TEST_F(DaemonTest, Volumes_SurviveAStopAndAKill) {
  prepare_two_volumes();
  auto daemon = start();
  EXPECT_EQ(daemon->holdfast({"volume", "list", "--names"}).out, "a\nb\n");
  daemon->kill();
  daemon = start();
  const Ended status = daemon->holdfast({"status"});
  EXPECT_EQ(status.code, 0) << status.out;
  EXPECT_EQ(daemon->holdfast({"volume", "list", "--names"}).out, "a\nb\n");
}

TEST_F(DaemonTest, SecondNode_OnTheSameData_IsRefused) {
  const auto daemon = start();
  const Ended second = refused();
  EXPECT_EQ(second.code, 1);
  EXPECT_THAT(second.err, HasSubstr("in use by another holdfastd (process " + std::to_string(daemon->program().pid())));
}

TEST_F(DaemonTest, AdminPort_InUse_SaysSo) {
  const auto daemon = start();
  DaemonOptions options;
  options.data_dir = folder_.path() + "/other";
  options.admin_listen = "127.0.0.1:" + std::to_string(daemon->admin_port());
  const Ended second = refused(options);
  EXPECT_EQ(second.code, 1);
  EXPECT_THAT(second.err, HasSubstr("admin.listen"));
  EXPECT_THAT(second.err, HasSubstr("in use"));
}

TEST_F(DaemonTest, IscsiPort_InUse_SaysSo) {
  const auto daemon = start();
  DaemonOptions options;
  options.data_dir = folder_.path() + "/other";
  options.iscsi_listen = "127.0.0.1:" + std::to_string(daemon->iscsi_port());
  const Ended second = refused(options);
  EXPECT_EQ(second.code, 1);
  EXPECT_THAT(second.err, HasSubstr("iscsi.listen"));
  EXPECT_THAT(second.err, HasSubstr("another process uses this port"));
}

// As the kernel does with the ports of a process that was killed.
TEST_F(DaemonTest, IscsiPort_InUseAndThenFree_IsTaken) {
  const int held = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  ASSERT_EQ(::bind(held, reinterpret_cast<const sockaddr*>(&address), length), 0);
  ASSERT_EQ(::listen(held, 1), 0);
  ASSERT_EQ(::getsockname(held, reinterpret_cast<sockaddr*>(&address), &length), 0);
  DaemonOptions options;
  options.iscsi_listen = "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
  Daemon daemon(folder_, options);
  while (!daemon.program().ended_within(10) && daemon.program().err().find("waiting for it") == std::string::npos) {
  }
  ::close(held);
  EXPECT_TRUE(daemon.ready()) << daemon.program().err();
  EXPECT_EQ(daemon.stop().code, 0);
}

// The same with a volume's file, and longer than a start waits for it.
TEST_F(DaemonTest, VolumeInUse_IsServedOnceItIsFree) {
  prepare_two_volumes();
  const int held = ::open(store("a").c_str(), O_RDWR | O_CLOEXEC);
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  ASSERT_EQ(::fcntl(held, F_OFD_SETLK, &lock), 0);
  const auto daemon = start();
  EXPECT_THAT(daemon->holdfast({"volume", "show", "a"}).out, HasSubstr("in use by another process"));
  EXPECT_THAT(daemon->holdfast({"volume", "show", "b"}).out, HasSubstr("serving"));
  ::close(held);
  while (!daemon->program().ended_within(10) && daemon->program().err().find("volume a is served") == std::string::npos) {
  }
  EXPECT_THAT(daemon->holdfast({"volume", "show", "a"}).out, HasSubstr("serving"));
  EXPECT_EQ(daemon->stop().code, 0);
}

TEST_F(DaemonTest, Configuration_Wrong_NamesEveryMistakeAndChangesNothing) {
  DaemonOptions options;
  options.more_store = "map_cahce = \"1MiB\"\napply_backlog = \"0MiB\"";
  const Ended wrong = refused(options);
  EXPECT_EQ(wrong.code, 78);
  EXPECT_THAT(wrong.err, HasSubstr("store.map_cahce: unknown key; did you mean map_cache?"));
  EXPECT_THAT(wrong.err, HasSubstr("store.apply_backlog"));
  EXPECT_FALSE(std::filesystem::exists(folder_.path() + "/data"));
}

TEST_F(DaemonTest, DataDirectory_OfANewerFormat_IsRefusedAndUntouched) {
  std::filesystem::create_directories(folder_.path() + "/data");
  const std::string text = "{\"holdfast_registry\":3,\"volumes\":[]}";
  const std::string registry = folder_.write("data/registry.json", text);
  const Ended newer = refused();
  EXPECT_EQ(newer.code, 1);
  EXPECT_THAT(newer.err, HasSubstr("newer holdfastd"));
  EXPECT_EQ(read_text(registry), text);
}

TEST_F(DaemonTest, Registry_Damaged_IsRefusedAndUntouched) {
  std::filesystem::create_directories(folder_.path() + "/data");
  const std::string registry = folder_.write("data/registry.json", "{\"holdfast_reg");
  EXPECT_THAT(refused().err, HasSubstr("registry.json is not a JSON object"));
  EXPECT_EQ(read_text(registry), "{\"holdfast_reg");
}

TEST_F(DaemonTest, Registry_MissingBesideStores_IsRefused) {
  prepare_two_volumes();
  std::filesystem::remove(folder_.path() + "/data/registry.json");
  EXPECT_THAT(refused().err, HasSubstr("registry.json is missing, but there are stores"));
  EXPECT_TRUE(std::filesystem::exists(store("a")));
}

TEST_F(DaemonTest, Store_Truncated_FailsAlone) {
  prepare_two_volumes();
  std::filesystem::resize_file(store("a"), std::filesystem::file_size(store("a")) / 2 / 4096 * 4096);
  expect_only_b_serves("truncated");
}

TEST_F(DaemonTest, Store_Missing_FailsAlone) {
  prepare_two_volumes();
  std::filesystem::remove(store("a"));
  expect_only_b_serves("does not exist");
}

TEST_F(DaemonTest, Store_OfANewerFormat_FailsAlone) {
  prepare_two_volumes();
  const std::uint32_t newer = 99;
  const std::uint64_t checksum = 99;  // Of a kind that this program does not know.
  overwrite(store("a"), 16, &newer, sizeof newer);  // format_version of the first superblock.
  overwrite(store("a"), 8, &checksum, sizeof checksum);
  expect_only_b_serves("format version 99");
}

TEST_F(DaemonTest, Store_OfStrangers_FailsAlone) {
  prepare_two_volumes();
  const std::string noise(128 << 10, 'x');
  overwrite(store("a"), 0, noise.data(), noise.size());
  expect_only_b_serves("no holdfast store");
}

TEST_F(DaemonTest, Stores_Swapped_AreNoticed) {
  prepare_two_volumes();
  std::filesystem::rename(store("a"), store("c"));
  std::filesystem::copy_file(store("b"), store("a"));
  expect_only_b_serves("holds no volume a");
}

TEST_F(DaemonTest, FailedVolume_CanBeDeleted) {
  prepare_two_volumes();
  std::filesystem::resize_file(store("a"), 4096);
  const auto daemon = start();
  const Ended gone = daemon->holdfast({"volume", "delete", "a", "--yes"});
  EXPECT_EQ(gone.code, 0) << gone.err;
  EXPECT_FALSE(std::filesystem::exists(store("a")));
  EXPECT_EQ(daemon->holdfast({"status"}).code, 0);
}

TEST_F(DaemonTest, HalfMadeAndHalfDeletedVolumes_AreRemovedAtStart) {
  prepare_two_volumes();
  const std::string registry = folder_.path() + "/data/registry.json";
  std::string text = read_text(registry);
  text.replace(text.find("ready"), 5, "creating");
  text.replace(text.find("ready"), 5, "deleting");
  folder_.write("data/registry.json", text);
  const auto daemon = start();
  EXPECT_EQ(daemon->holdfast({"volume", "list", "--names"}).out, "");
  EXPECT_FALSE(std::filesystem::exists(store("a")));
  EXPECT_FALSE(std::filesystem::exists(store("b")));
  EXPECT_EQ(daemon->holdfast({"volume", "create", "a", "--size", kCreate64}).code, 0);
}

TEST_F(DaemonTest, DataDirectory_WithoutPermission_SaysSo) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to become somebody else";
  std::filesystem::create_directories(folder_.path() + "/data");
  std::filesystem::permissions(folder_.path() + "/data", std::filesystem::perms::owner_all);
  DaemonOptions options;
  options.program.before_exec = [] {
    if (::setgid(65534) != 0 || ::setuid(65534) != 0) ::_exit(126);
  };
  const Ended closed = refused(options);
  if (closed.code == 127) GTEST_SKIP() << "the program cannot be run by another user from where it is";
  EXPECT_EQ(closed.code, 1);
  EXPECT_THAT(closed.err, HasSubstr("node.data_dir"));
  EXPECT_THAT(closed.err, HasSubstr("ermission"));
}

TEST_F(DaemonTest, DataDirectory_WithoutAParent_SaysSo) {
  DaemonOptions options;
  options.data_dir = folder_.path() + "/no/such/folder";
  EXPECT_THAT(refused(options).err, HasSubstr("No such file or directory"));
}

// The file system is the daemon's own (a mount name space of its own), so that nothing stays mounted whatever happens.
TEST_F(DaemonTest, FileSystem_FullAtCreate_LeavesNothingBehind) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to mount a small file system";
  const std::string data = folder_.path() + "/data";
  std::filesystem::create_directories(data);
  DaemonOptions options;
  options.program.before_exec = [path = data.c_str()] {
    if (::unshare(CLONE_NEWNS) != 0) ::_exit(126);
    if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) ::_exit(126);
    if (::mount("tmpfs", path, "tmpfs", 0, "size=24m") != 0) ::_exit(126);
  };
  Daemon daemon(folder_, options);
  if (!daemon.ready()) GTEST_SKIP() << "no small file system here: " << daemon.program().err();
  const Ended small = daemon.holdfast({"volume", "create", "small", "--size", kCreate64, "--log-size", "4MiB"});
  if (small.err.find("O_DIRECT") != std::string::npos) GTEST_SKIP() << small.err;
  EXPECT_EQ(small.code, 0) << small.err;
  const Ended large = daemon.holdfast({"volume", "create", "large", "--size", kCreate64, "--log-size", "64MiB"});
  EXPECT_EQ(large.code, 1);
  EXPECT_THAT(large.err, HasSubstr("no room for a log of 64MiB"));
  const std::string inside = "/proc/" + std::to_string(daemon.program().pid()) + "/root" + data;
  EXPECT_TRUE(std::filesystem::exists(inside + "/volumes/small.hf"));
  EXPECT_FALSE(std::filesystem::exists(inside + "/volumes/large.hf"));
  EXPECT_EQ(read_text(inside + "/registry.json").find("large"), std::string::npos);
  EXPECT_EQ(daemon.holdfast({"volume", "list", "--names"}).out, "small\n");
  EXPECT_EQ(daemon.holdfast({"status"}).code, 0);
  EXPECT_EQ(daemon.stop().code, 0);
}

TEST_F(DaemonTest, CheckConfig_SaysFineOrWhatIsWrong) {
  const std::string good = folder_.write("good.toml", "[node]\ndata_dir = \"/nonexistent\"\n");
  const std::string bad = folder_.write("bad.toml", "[node]\ndata_dir = 3\n");
  EXPECT_EQ(Program(folder_.path(), {HOLDFASTD, "--config", good, "--check-config"}).wait().code, 0);
  const Ended wrong = Program(folder_.path(), {HOLDFASTD, "--config", bad, "--check-config"}).wait();
  EXPECT_EQ(wrong.code, 78);
  EXPECT_THAT(wrong.err, HasSubstr("bad.toml:2: node.data_dir: is a number"));
  EXPECT_EQ(Program(folder_.path(), {HOLDFASTD}).wait().code, 2);
}

// What the node would refuse when it starts.
TEST_F(DaemonTest, CheckConfig_SecretIsTooShort_IsRefused) {
  folder_.write("links.secret", "short\n", 0600);
  const std::string config = folder_.write("cluster.toml", "[node]\nname = \"n1\"\ndata_dir = \"" + folder_.path() + "/data\"\n[iscsi]\nlisten = [\"127.0.0.1:0\"]\n"
                                           "[cluster]\nname = \"test\"\nnode = 1\nlisten = [\"127.0.0.1:0\"]\nsecret_file = \"links.secret\"\ndirectory = \"" +
                                               folder_.path() + "/coordinator\"\n");
  const Ended checked = Program(folder_.path(), {HOLDFASTD, "--config", config, "--check-config"}).wait();
  EXPECT_EQ(checked.code, 78) << checked.out;
  EXPECT_THAT(checked.err, HasSubstr("links.secret"));
  folder_.write("links.secret", "a secret of thirty-two bytes or a few more\n", 0600);
  EXPECT_EQ(Program(folder_.path(), {HOLDFASTD, "--config", config, "--check-config"}).wait().code, 0);
}

}  // namespace
}  // namespace holdfast::cli
