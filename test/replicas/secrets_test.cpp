// Secrets are replaced while all goes on: no daemon is started anew, and no session ends.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>
#include <signal.h>

#include <chrono>
#include <memory>
#include <thread>

#include "test/cli/daemon.h"
#include "test/replicas/cluster.h"

namespace holdfast::replicas {
namespace {

using ::testing::HasSubstr;

struct Logout {
  void operator()(iscsi_context* session) const { iscsi_destroy_context(session); }
};
using Session = std::unique_ptr<iscsi_context, Logout>;

Session log_in(int port, const std::string& secret) {
  Session out(iscsi_create_context("iqn.2026-11.io.holdfast:test-host"));
  iscsi_set_targetname(out.get(), "iqn.2026-11.io.holdfast:pg");
  iscsi_set_session_type(out.get(), ISCSI_SESSION_NORMAL);
  iscsi_set_noautoreconnect(out.get(), 1);
  iscsi_set_timeout(out.get(), 10);
  iscsi_set_initiator_username_pwd(out.get(), "host", secret.c_str());
  if (iscsi_full_connect_sync(out.get(), ("127.0.0.1:" + std::to_string(port)).c_str(), 0) != 0) out.reset();
  return out;
}

bool reads(const Session& session) {
  scsi_task* task = iscsi_read16_sync(session.get(), 0, 0, 4096, 4096, 0, 0, 0, 0, 0);
  const bool good = task && task->status == SCSI_STATUS_GOOD;
  if (task) scsi_free_scsi_task(task);
  return good;
}

// As the primary sees it.
bool all_are_there(Cluster& cluster) {
  const int leader = cluster.primary("pg");
  if (leader == 0) return false;
  const auto shown = cluster.volume(leader, "pg");
  for (const auto& member : shown.at("replication").at("members").as_array())
    if (!member.at("in_sync").as_bool() || !(member.at("self").as_bool() || member.at("connected").as_bool())) return false;
  return true;
}

class Secrets : public testing::Test {
 protected:
  void write(const std::string& name, const std::string& text) const { folder_.write(name, text + "\n", 0600); }
  // Each time it has something else to say.
  void hang_up(cli::Daemon& daemon, const std::string& answer) {
    const std::size_t before = daemon.program().err().size();
    daemon.program().signal(SIGHUP);
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (daemon.program().err().find(answer, before) == std::string::npos) {
      ASSERT_LT(std::chrono::steady_clock::now(), until) << "not said: " << answer << "\n" << daemon.program().err();
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  }
  int list(cli::Daemon& daemon, const std::string& token) const { return daemon.holdfast({"--token-file", folder_.path() + "/" + token, "volume", "list"}).code; }

  cli::TemporaryFolder folder_;
};

TEST_F(Secrets, TokenAndChap_AreReadAgainAtSighup_SessionsGoOn) {
  write("admin.token", "the-first-token-of-all");
  write("old.token", "the-first-token-of-all");
  write("new.token", "the-second-token-of-all");
  write("chap", "the first secret");
  const int port = coord::test::free_port();
  cli::DaemonOptions options;
  options.iscsi_listen = "127.0.0.1:" + std::to_string(port);
  options.more_admin = "token_file = \"admin.token\"\n";
  options.more_store = "[iscsi.auth]\nuser = \"host\"\nsecret_file = \"chap\"\n";
  cli::Daemon daemon(folder_, std::move(options));
  ASSERT_TRUE(daemon.ready()) << daemon.program().err();
  ASSERT_EQ(daemon.holdfast({"--token-file", folder_.path() + "/admin.token", "volume", "create", "pg", "--size", "16MiB"}).code, 0);
  const Session before = log_in(port, "the first secret");
  ASSERT_TRUE(before);
  EXPECT_FALSE(log_in(port, "the second secret"));
  EXPECT_EQ(list(daemon, "new.token"), 1);

  write("admin.token", "the-second-token-of-all");
  write("chap", "the second secret");
  hang_up(daemon, "was read again");
  EXPECT_EQ(list(daemon, "new.token"), 0);
  EXPECT_EQ(list(daemon, "old.token"), 1);
  EXPECT_FALSE(log_in(port, "the first secret"));
  EXPECT_TRUE(log_in(port, "the second secret"));
  EXPECT_TRUE(reads(before)) << "a session that exists goes on";

  write("chap", "short");
  write("admin.token", "the-third-token-of-all");
  hang_up(daemon, "everything stays as it was");
  EXPECT_THAT(daemon.program().err(), HasSubstr("iscsi.auth.secret_file"));
  EXPECT_EQ(list(daemon, "new.token"), 0) << "all of it, or nothing";
  EXPECT_TRUE(log_in(port, "the second secret"));
  EXPECT_EQ(daemon.stop().code, 0);
}

// In three steps (docs/operators.md): after each of them a node that comes back is let in by those that were there all the time.
TEST_F(Secrets, SecretOfTheLinks_IsReplaced_WhileNodesComeAndGo) {
  const std::string old = "a secret of thirty-two bytes or a few more", fresh = "another secret of thirty-two bytes or more";
  Cluster cluster({.nodes = 3, .keeps = Keeps::directory, .more_cluster = "lease = \"2s\"\n"});
  cluster.must(1, {"volume", "create", "pg", "--size", "64MiB", "--replicas", "3"});
  ASSERT_TRUE(cluster.await_in_sync("pg", 3));
  for (const std::string& lines : {old + "\n" + fresh, fresh + "\n" + old, fresh}) {
    cluster.write_secret(lines + "\n");
    for (const int node : {3, 1}) {
      cluster.stop(node);
      cluster.start(node);
      ASSERT_TRUE(cluster.await("all are connected and in sync", [&] { return all_are_there(cluster); })) << lines;
    }
  }
  EXPECT_THAT(cluster.log(2), HasSubstr("the links' credentials have changed"));
}

}  // namespace
}  // namespace holdfast::replicas
