// What operators do with a cluster, and what they are told: the command line against three real daemons.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "test/io/loop_device.h"
#include "test/replicas/cluster.h"
#include "test/replicas/host.h"

namespace holdfast::replicas {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

namespace json = boost::json;

class Operators : public testing::Test {
 protected:
  void create(const std::vector<std::string>& more = {"--replicas", "3"}, std::size_t copies = 3) {
    std::vector<std::string> words{"volume", "create", "pg", "--size", "64MiB"};
    words.insert(words.end(), more.begin(), more.end());
    cluster_.must(1, words);
    ASSERT_TRUE(cluster_.await_in_sync("pg", copies));
  }
  int other_than(int a, int b = 0) const {
    for (int node = 1; node <= 3; ++node)
      if (node != a && node != b) return node;
    return 0;
  }
  std::vector<std::string> all_portals() const { return {cluster_.portal(1), cluster_.portal(2), cluster_.portal(3)}; }
  void write_some(Host& host, std::uint64_t blocks = 50) {
    for (std::uint64_t block = 0; block < blocks; ++block) host.write_ms(block, ++stamp_);
  }
  json::object member(int leader, int node) {
    const json::object shown = cluster_.volume(leader, "pg");
    for (const json::value& each : shown.at("replication").at("members").as_array())
      if (each.at("node").to_number<int>() == node) return each.as_object();
    return {};
  }

  Cluster cluster_{{.nodes = 3, .keeps = Keeps::directory, .more_cluster = "lease = \"2s\"\n"}};  // No pause is measured here, and machines are busy.
  std::uint64_t stamp_ = 0;
};

TEST_F(Operators, Probes_TellOfEachNodeWhatItIs) {
  create();
  const int leader = cluster_.await_primary("pg");
  for (int node = 1; node <= 3; ++node) {
    const bool leads = node == leader;
    ASSERT_TRUE(cluster_.await("the probes of node " + std::to_string(node), [&] {
      return cluster_.http_status(node, "/primary") == (leads ? 200u : 503u) && cluster_.http_status(node, "/replica?volume=pg") == (leads ? 503u : 200u);
    }));
    EXPECT_EQ(cluster_.http_status(node, "/readyz"), 200u);
  }
  const std::string metrics = cluster_.http_body(leader, "/metrics");
  EXPECT_THAT(metrics, HasSubstr("holdfast_volume_primary{volume=\"pg\"} 1"));
  EXPECT_THAT(metrics, HasSubstr("holdfast_volume_copies_in_sync{volume=\"pg\"} 3"));
  EXPECT_THAT(metrics, HasSubstr("holdfast_coordinator_up 1"));
  EXPECT_THAT(metrics, HasSubstr("holdfast_replica_lag_bytes{volume=\"pg\",member=\"" + std::to_string(other_than(leader)) + "\"} 0"));
  EXPECT_THAT(cluster_.http_body(other_than(leader), "/metrics"), HasSubstr("holdfast_volume_primary{volume=\"pg\"} 0"));
}

// A volume that is led, as every node tells it; then a copy is lost, and the word is which, how far it is behind, and what to do.
TEST_F(Operators, CopyIsLost_StatusSaysWhichAndHowFarItIsBehind) {
  create();
  const int leader = cluster_.await_primary("pg");
  for (int node = 1; node <= 3; ++node) {
    Ended calm;
    ASSERT_TRUE(cluster_.await("all is well", [&] { return (calm = cluster_.holdfast(node, {"status"})).code == 0; }));
    EXPECT_THAT(calm.out, HasSubstr("primary"));
    EXPECT_THAT(calm.out, Not(HasSubstr("not connected")));
  }
  Host host(all_portals(), "pg");
  write_some(host);
  const int lost = other_than(leader);
  cluster_.kill(lost);
  write_some(host);
  ASSERT_TRUE(cluster_.await("the lost copy is out of the set", [&] { return cluster_.in_sync("pg").size() == 2; }));
  const json::object away = member(leader, lost);
  EXPECT_FALSE(away.at("connected").as_bool());
  ASSERT_FALSE(away.at("lag_bytes").is_null());
  EXPECT_GT(away.at("lag_bytes").to_number<std::uint64_t>(), 40u * 4096);
  EXPECT_LT(away.at("lag_bytes").to_number<std::uint64_t>(), 110u * 4096);
  EXPECT_GT(away.at("lag_ms").to_number<std::uint64_t>(), 0u);
  for (const int node : {leader, other_than(leader, lost)}) {
    const Ended told = cluster_.holdfast(node, {"status"});
    EXPECT_EQ(told.code, 0) << told.out;
    EXPECT_THAT(told.out, HasSubstr("node " + std::to_string(lost) + " is not connected"));
    EXPECT_THAT(told.out, HasSubstr("Node " + std::to_string(lost) + " (n" + std::to_string(lost) + ") does not answer"));
  }
  cluster_.start(lost);
  ASSERT_TRUE(cluster_.await_in_sync("pg", 3));
  ASSERT_TRUE(cluster_.await("nothing is said any more", [&] { return cluster_.volume(leader, "pg").at("reason").as_string().empty(); }));
  host.expect_ledger();
}

// All nodes publish the address of the first: its word is its own, and counts for nobody else.
TEST(OperatorsAlone, AdminAddressesLeadToOneNode_StatusSaysSo) {
  Cluster cluster({.nodes = 3, .keeps = Keeps::directory, .more_cluster = "lease = \"2s\"\n", .publish_first_admin = true});
  cluster.must(1, {"volume", "create", "pg", "--size", "64MiB", "--members", "1,2"});
  ASSERT_TRUE(cluster.await_in_sync("pg", 2));
  for (int asked = 1; asked <= 3; ++asked) {
    const Ended told = cluster.holdfast(asked, {"status"});
    EXPECT_THAT(told.out, Not(HasSubstr("Node 1 (n1) is not asked")));
    for (int other = 2; other <= 3; ++other) {
      const std::string complaint = "Node " + std::to_string(other) + " (n" + std::to_string(other) + ") is not asked: the admin address that it publishes, ";
      if (other == asked) {
        EXPECT_THAT(told.out, Not(HasSubstr(complaint)));
      } else {
        EXPECT_THAT(told.out, AllOf(HasSubstr(complaint), HasSubstr("leads from here to node 1 of cluster test"), HasSubstr("[cluster] admin")));
      }
    }
  }
}

TEST_F(Operators, Switchover_ToAnyNode_FromAnyNode) {
  create();
  Host host(all_portals(), "pg");
  write_some(host);
  for (int candidate = 1; candidate <= 3; ++candidate) {
    cluster_.must(other_than(candidate), {"switchover", "pg", "--candidate", std::to_string(candidate)});
    ASSERT_TRUE(cluster_.await("the candidate serves", [&] { return cluster_.primary("pg") == candidate; }));
    host.expect_ledger();
    write_some(host);
  }
  cluster_.must(1, {"switchover", "pg"});
  ASSERT_TRUE(cluster_.await("another node serves", [&] { return cluster_.primary("pg") != 0 && cluster_.primary("pg") != 3; }));
}

TEST_F(Operators, Switchover_ToACopyThatIsNotFit_IsRefusedWith412AndTheReason) {
  create();
  const int leader = cluster_.await_primary("pg");
  const int lost = other_than(leader);
  cluster_.kill(lost);
  ASSERT_TRUE(cluster_.await("the lost copy is out of the set", [&] { return cluster_.in_sync("pg").size() == 2; }));
  const Ended refused = cluster_.holdfast(leader, {"--json", "switchover", "pg", "--candidate", std::to_string(lost)});
  EXPECT_EQ(refused.code, 1);
  const json::object problem = json::parse(refused.out).as_object();
  EXPECT_EQ(problem.at("status").to_number<int>(), 412);
  EXPECT_EQ(problem.at("field"), "candidate");
  EXPECT_THAT(std::string(problem.at("detail").as_string()), HasSubstr("not connected"));
  EXPECT_EQ(cluster_.http_post(other_than(leader, lost), "/v1/volumes/pg/switchover", "{}"), 409u) << "it does not lead";
  // Healed, it is fit at once.
  cluster_.start(lost);
  ASSERT_TRUE(cluster_.await_in_sync("pg", 3));
  cluster_.must(lost, {"switchover", "pg", "--candidate", std::to_string(lost)});
  EXPECT_EQ(cluster_.await_primary("pg"), lost);
}

TEST_F(Operators, Drain_HandsOverWhatTheNodeLeads) {
  create();
  const int leader = cluster_.await_primary("pg");
  const Ended drained = cluster_.holdfast(other_than(leader), {"drain", std::to_string(leader)});
  EXPECT_EQ(drained.code, 0) << drained.err;
  EXPECT_THAT(drained.out, HasSubstr("pg"));
  ASSERT_TRUE(cluster_.await("another node serves", [&] { return cluster_.primary("pg") != 0 && cluster_.primary("pg") != leader; }));
  EXPECT_EQ(cluster_.stop(leader).code, 0);
  EXPECT_NE(cluster_.await_primary("pg"), leader);
}

TEST_F(Operators, Members_AddedReplacedRemoved_FollowTheWord) {
  create({"--members", "1,2"}, 2);
  Host host({cluster_.portal(1), cluster_.portal(2), cluster_.portal(3)}, "pg");
  write_some(host);
  EXPECT_THAT(cluster_.in_sync("pg"), ElementsAre(1, 2));
  cluster_.must(3, {"member", "add", "pg", "3"});
  ASSERT_TRUE(cluster_.await_in_sync("pg", 3));
  cluster_.must(3, {"member", "remove", "pg", "1"});
  ASSERT_TRUE(cluster_.await("node 1 has nothing of it", [&] { return !std::filesystem::exists(cluster_.folder(1) + "/data/volumes/pg.hf"); }));
  ASSERT_TRUE(cluster_.await("two copies are left", [&] { return cluster_.in_sync("pg") == std::vector<int>({2, 3}); }));
  host.expect_ledger();
  cluster_.must(2, {"member", "replace", "pg", "2", "1"});
  ASSERT_TRUE(cluster_.await("node 1 took node 2's place", [&] { return cluster_.in_sync("pg") == std::vector<int>({1, 3}); }));
  ASSERT_TRUE(cluster_.await("node 2 has nothing of it", [&] { return !std::filesystem::exists(cluster_.folder(2) + "/data/volumes/pg.hf"); }));
  host.expect_ledger();
  EXPECT_EQ(cluster_.holdfast(1, {"member", "add", "pg", "9"}).code, 1);
  EXPECT_EQ(cluster_.holdfast(1, {"member", "remove", "pg", "2"}).code, 1);
}

// A disk is replaced: the store is gone. Nothing is made anew before the operator says so; then it is rebuilt.
TEST_F(Operators, StoreIsGone_MemberRenew_MakesItAnew) {
  create();
  Host host(all_portals(), "pg");
  write_some(host);
  const int lost = other_than(cluster_.await_primary("pg"));
  cluster_.kill(lost);
  ASSERT_TRUE(cluster_.await("the lost copy is out of the set", [&] { return cluster_.in_sync("pg").size() == 2; }));
  std::filesystem::remove(cluster_.folder(lost) + "/data/volumes/pg.hf");
  cluster_.start(lost);
  ASSERT_TRUE(cluster_.await("the node says what is missing", [&] {
    return cluster_.holdfast(lost, {"status"}).out.find("member renew pg " + std::to_string(lost)) != std::string::npos;
  }));
  EXPECT_EQ(cluster_.in_sync("pg").size(), 2u);
  cluster_.must(lost, {"member", "renew", "pg", std::to_string(lost)});
  ASSERT_TRUE(cluster_.await_in_sync("pg", 3));
  cluster_.must(lost, {"switchover", "pg", "--candidate", std::to_string(lost)});
  ASSERT_TRUE(cluster_.await("it serves", [&] { return cluster_.primary("pg") == lost; }));
  host.expect_ledger();
}

// The same for all that the node had: a fresh machine with the old one's number.
TEST_F(Operators, MachineIsReplaced_StatusSaysWhatIsMissing_MemberRenew_MakesItAnew) {
  create();
  Host host(all_portals(), "pg");
  write_some(host);
  const int lost = other_than(cluster_.await_primary("pg"));
  cluster_.kill(lost);
  ASSERT_TRUE(cluster_.await("the lost copy is out of the set", [&] { return cluster_.in_sync("pg").size() == 2; }));
  std::filesystem::remove_all(cluster_.folder(lost) + "/data");
  cluster_.start(lost);
  ASSERT_TRUE(cluster_.await("each node says what is missing", [&] {
    for (int node = 1; node <= 3; ++node)
      if (cluster_.holdfast(node, {"status"}).out.find("member renew pg " + std::to_string(lost)) == std::string::npos) return false;
    return true;
  }));
  EXPECT_EQ(cluster_.http_status(lost, "/readyz"), 503u);
  cluster_.must(lost, {"member", "renew", "pg", std::to_string(lost)});
  ASSERT_TRUE(cluster_.await_in_sync("pg", 3));
  cluster_.must(lost, {"switchover", "pg", "--candidate", std::to_string(lost)});
  ASSERT_TRUE(cluster_.await("it serves", [&] { return cluster_.primary("pg") == lost; }));
  host.expect_ledger();
}

// Two of three machines are gone for good. The one that is left may not lead by itself; an operator can have it lead.
TEST_F(Operators, TwoCopiesAreGone_FailOver_ServesWithWhatIsLeft) {
  create();
  Host host(all_portals(), "pg");
  write_some(host);
  const int leader = cluster_.await_primary("pg");
  const int left = other_than(leader), third = other_than(leader, left);
  // Killed first, so that what is left lacks nothing when the others go.
  cluster_.kill(third);
  cluster_.kill(leader);
  ASSERT_TRUE(cluster_.await("status says that nobody serves", [&] { return cluster_.holdfast(left, {"status"}).code == 4; }));
  EXPECT_EQ(cluster_.holdfast(left, {"failover", "pg"}).code, 2) << "without the word there is none";
  cluster_.must(left, {"failover", "pg", "--accept-data-loss", "--others-fenced"});
  ASSERT_TRUE(cluster_.await("it serves", [&] { return cluster_.primary("pg") == left; }));
  host.expect_ledger();
}

TEST_F(Operators, FailOver_ToWhoServesAlready_IsAnsweredOnceItServesAgain) {
  create();
  Host host(all_portals(), "pg");
  write_some(host);
  const int leader = cluster_.await_primary("pg");
  cluster_.must(leader, {"volume", "set", "pg", "--min-in-sync", "1"});
  for (int node = 1; node <= 3; ++node)
    if (node != leader) cluster_.kill(node);
  write_some(host);  // It serves alone: a copy that serves nobody gives way to the others instead.
  ASSERT_EQ(cluster_.in_sync("pg"), std::vector<int>{leader});
  // Without the command, which takes longer than what is looked at.
  const auto epoch = [&] { return json::parse(cluster_.http_body(leader, "/v1/volumes/pg")).at("epoch").to_number<std::uint64_t>(); };
  const std::uint64_t before = epoch();
  EXPECT_EQ(cluster_.http_post(leader, "/v1/volumes/pg/failover", R"({"accept_data_loss":true,"others_fenced":true})"), 204u);
  EXPECT_EQ(epoch(), before + 2) << "the forced one, and its own claim after that";
  EXPECT_EQ(cluster_.primary("pg"), leader);
  host.expect_ledger();
}

// A host takes "no such target" for the last word. So there is a door at each member by the time the creation is answered.
TEST_F(Operators, Create_IsAnswered_WhenEveryMembersDoorIsOpen) {
  for (int round = 1; round <= 6; ++round) {
    const std::string name = "pg" + std::to_string(round);
    cluster_.must(1 + round % 3, {"volume", "create", name, "--size", "64MiB", "--replicas", "3"});
    Host host(all_portals(), name);
    for (std::size_t path = 0; path < 3; ++path) EXPECT_TRUE(host.logs_in(path)) << name << " at node " << path + 1;
  }
}

TEST_F(Operators, Create_WithAMemberThatIsAway_IsAnsweredAfterAWhile_AndSaysSo) {
  cluster_.kill(3);
  const Ended made = cluster_.holdfast(1, {"volume", "create", "pg", "--size", "64MiB", "--replicas", "3"});
  EXPECT_EQ(made.code, 0) << made.err;
  EXPECT_THAT(made.out, HasSubstr("hosts do not find it on node 3 yet"));
  Host host({cluster_.portal(1), cluster_.portal(2)}, "pg");
  for (std::size_t path = 0; path < 2; ++path) EXPECT_TRUE(host.logs_in(path));
  write_some(host);
  cluster_.start(3);
  ASSERT_TRUE(cluster_.await_in_sync("pg", 3));
  ASSERT_TRUE(cluster_.await("it is found there, too", [&] { return Host({cluster_.portal(3)}, "pg").logs_in(0); }));
}

TEST_F(Operators, Delete_IsAskedOfAnyNode_AndLeavesNothingAnywhere) {
  create();
  cluster_.must(other_than(cluster_.await_primary("pg")), {"volume", "delete", "pg", "--yes"});
  for (int node = 1; node <= 3; ++node) {
    EXPECT_FALSE(std::filesystem::exists(cluster_.folder(node) + "/data/volumes/pg.hf")) << node;
    EXPECT_TRUE(cluster_.await("nobody tells of it", [&] { return cluster_.holdfast(node, {"volume", "list", "--names"}).out.empty(); }));
  }
  create();  // The name is free again.
}

// A node without a copy knows the volume all the same.
TEST_F(Operators, NodeWithoutACopy_CreatesShowsAndDeletes) {
  cluster_.must(3, {"volume", "create", "pg", "--size", "64MiB", "--members", "1,2"});
  ASSERT_TRUE(cluster_.await_in_sync("pg", 2));
  EXPECT_EQ(cluster_.volume(3, "pg").at("replication").at("state"), "ready");
  cluster_.must(3, {"switchover", "pg"});
  EXPECT_THAT(cluster_.holdfast(3, {"status"}).out, HasSubstr("secondary"));
  cluster_.must(3, {"volume", "delete", "pg", "--yes"});
}

// A device that holds a store is nobody's to format; one that was given back is free.
TEST_F(Operators, Volume_OnABlockDevice_IsMadeServedAndGivenBack) {
  const std::string file = cluster_.folder(1) + "/device";
  std::ofstream(file).close();
  std::filesystem::resize_file(file, 64 << 20);
  const io::test::LoopDevice device(file);
  if (!device.usable()) GTEST_SKIP() << "needs root and loop devices";
  const std::vector<std::string> words{"volume", "create", "pg", "--size", "64MiB", "--members", "2", "--device", device.path()};
  cluster_.must(1, words);
  ASSERT_TRUE(cluster_.await_in_sync("pg", 1));
  {
    Host host({cluster_.portal(2)}, "pg");
    write_some(host);
    cluster_.kill(2);
    cluster_.start(2);
    host.expect_ledger();
  }
  const Ended second = cluster_.holdfast(1, {"volume", "create", "other", "--size", "64MiB", "--members", "2", "--device", device.path()});
  EXPECT_EQ(second.code, 1);
  EXPECT_THAT(second.err, HasSubstr("is the store of volume pg"));
  const Ended elsewhere = cluster_.holdfast(1, {"volume", "create", "other", "--size", "64MiB", "--members", "3", "--device", device.path()});
  EXPECT_EQ(elsewhere.code, 1);
  EXPECT_THAT(elsewhere.err, HasSubstr("is in use"));
  ASSERT_TRUE(cluster_.await("it is undamaged", [&] { return cluster_.primary("pg") == 2; }));
  cluster_.must(1, {"volume", "delete", "pg", "--yes", "--force"});
  cluster_.must(1, words);
}

}  // namespace
}  // namespace holdfast::replicas
