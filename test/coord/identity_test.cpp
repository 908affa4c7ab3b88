// An etcd that lost its data, or has older ones, or is a copy, is refused: read as nothing, written to never.
#include "test/coord/support.h"

namespace holdfast::coord::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// Everything in it, as etcd tells it, without the header.
std::string content_of(EtcdMember& member) {
  const std::string all = post(member.port(), "/v3/kv/range", "{\"key\":\"AA==\",\"range_end\":\"AA==\"}");
  const std::size_t entries = all.find("\"kvs\"");
  return entries == all.npos ? std::string() : all.substr(entries);
}

std::string etcd_id_of(EtcdMember& member) {
  const std::string answer = post(member.port(), "/v3/kv/range", "{\"key\":\"AA==\"}");
  const std::size_t begin = answer.find("cluster_id");
  return answer.substr(begin, answer.find(',', begin) - begin);
}

struct IdentityTest : EtcdTest {
  void expect_foreign(EtcdClient& who, const char* words) {
    const auto entry = get(who, "group-1");
    ASSERT_FALSE(entry);
    EXPECT_EQ(entry.error().code, Errc::foreign) << entry.error().text();
    EXPECT_THAT(entry.error().message, HasSubstr(words));
    const auto entries = list(who, "groups");
    ASSERT_FALSE(entries);
    EXPECT_EQ(entries.error().code, Errc::foreign);
  }
  std::string save_snapshot() {
    const std::string file = cluster->directory().file("snapshot");
    const Ran ran = run_program({"etcdctl", "--endpoints", cluster->member(0).url(), "snapshot", "save", file});
    EXPECT_EQ(ran.status, 0) << ran.output;
    return file;
  }
  // Of a single member, which is stopped.
  void restore(const std::string& file, const std::string& token) {
    EtcdMember& member = cluster->member(0);
    member.wipe();
    member.options().token = token;
    const EtcdMemberOptions& o = member.options();
    const Ran ran = run_program({"etcdctl", "snapshot", "restore", file, "--name", o.name, "--data-dir", o.data_dir, "--initial-cluster", o.initial_cluster,
                                 "--initial-cluster-token", token, "--initial-advertise-peer-urls", "http://127.0.0.1:" + std::to_string(o.peer_port)});
    ASSERT_EQ(ran.status, 0) << ran.output;
  }
};

TEST_F(IdentityTest, EtcdThatWasNeverSetUp_IsRefusedAndLeftAlone) {
  cluster = std::make_unique<EtcdCluster>();
  ASSERT_NO_FATAL_FAILURE(cluster->start());
  client = start_client(options());
  expect_foreign(*client, "never set up");
  EXPECT_EQ(swap(*client, "group-1", 0, "one").status, CasStatus::unknown);
  EXPECT_EQ(erase(*client, "group-1", 0).status, CasStatus::unknown);
  EXPECT_EQ(client->cluster_id(), "");
  EXPECT_EQ(content_of(cluster->member(0)), "");
  EXPECT_GT(client->stats().refused_as_foreign.get(), 0u);
}

TEST_F(IdentityTest, SetUp_HappensOnce_AndOnlyOnAnEmptyPrefix) {
  ASSERT_NO_FATAL_FAILURE(start());
  const std::string marker = content_of(cluster->member(0));
  EXPECT_THAT(marker, HasSubstr(base64("/holdfast/cluster")));
  EXPECT_EQ(set_up(*client, 8).error().code, Errc::exists);
  auto other = start_client(options());
  EXPECT_EQ(set_up(*other, 9).error().code, Errc::exists);
  EXPECT_EQ(content_of(cluster->member(0)), marker);
  ASSERT_TRUE(get(*other, "group-1"));
  EXPECT_EQ(other->cluster_id(), "07070707070707070707070707070707");
  // Data without their marker: somebody has deleted it.
  ASSERT_EQ(swap(*client, "group-1", 0, "one").status, CasStatus::applied);
  post(cluster->member(0).port(), "/v3/kv/deleterange", "{\"key\":\"" + base64("/holdfast/cluster") + "\"}");
  expect_foreign(*client, "has lost the data");
  EXPECT_THAT(set_up(*start_client(options()), 9).error().message, HasSubstr("there are keys below"));
  // Another cluster may live beside it.
  auto beside = options();
  beside.prefix = "/other";
  EXPECT_TRUE(set_up(*start_client(beside), 9));
}

TEST_F(IdentityTest, WipedDataDirectory_WithTheSameConfiguration_IsForeign) {
  ASSERT_NO_FATAL_FAILURE(start());
  ASSERT_EQ(swap(*client, "group-1", 0, "one").status, CasStatus::applied);
  EtcdMember& member = cluster->member(0);
  const std::string etcd_id = etcd_id_of(member);
  member.kill();
  member.wipe();
  ASSERT_TRUE(member.start());
  ASSERT_EQ(etcd_id_of(member), etcd_id) << "etcd itself does not tell that it is another one";
  expect_foreign(*client, "has lost the data of cluster");
  EXPECT_EQ(swap(*client, "group-1", 0, "anew").status, CasStatus::unknown);
  EXPECT_EQ(set_up(*client).error().code, Errc::exists);
  EXPECT_EQ(take_over(*client).error().code, Errc::not_found);
  // A process that has just started, knowing the cluster or not.
  auto pinned = options();
  pinned.cluster_id = client->cluster_id();
  expect_foreign(*start_client(pinned), "has lost the data of cluster");
  EXPECT_EQ(set_up(*start_client(pinned)).error().code, Errc::exists);
  expect_foreign(*start_client(options()), "lost its data");
  EXPECT_EQ(content_of(member), "");
  // An operator who sets it up all the same has made another cluster.
  ASSERT_TRUE(set_up(*start_client(options()), 9));
  expect_foreign(*client, "has the data of cluster 0909");
  expect_foreign(*start_client(pinned), "has the data of cluster 0909");
}

// The same names and addresses: etcd gives the restored one the same identity. Whoever has seen newer data does not believe it.
TEST_F(IdentityTest, OlderSnapshot_RestoredInPlace_IsForeign) {
  ASSERT_NO_FATAL_FAILURE(start());
  const std::uint64_t untouched = swap(*client, "group-1", 0, "same before and after").entry.revision;
  const std::uint64_t first = swap(*client, "group-2", 0, "one").entry.revision;
  const std::string file = save_snapshot();
  EtcdMember& member = cluster->member(0);
  const std::string etcd_id = etcd_id_of(member);
  std::uint64_t revision = first;
  for (int i = 0; i < 5; ++i) revision = swap(*client, "group-2", revision, "newer").entry.revision;
  member.kill();
  restore(file, "holdfast-test");
  ASSERT_TRUE(member.start());
  ASSERT_EQ(etcd_id_of(member), etcd_id);
  expect_foreign(*client, "went back in time");
  // etcd carries it out, for the key is as it was; but it was not the register that did so.
  EXPECT_EQ(swap(*client, "group-1", untouched, "in an older world").status, CasStatus::unknown);
  EXPECT_EQ(swap(*client, "group-2", revision, "in an older world").status, CasStatus::unknown);
  // Others have written so much that only the key tells.
  const auto put = [&](const std::string& key) { post(member.port(), "/v3/kv/put", "{\"key\":\"" + base64(key) + "\",\"value\":\"\"}"); };
  for (int i = 0; i < 20; ++i) put("/elsewhere");
  const auto entry = get(*client, "group-2");
  ASSERT_FALSE(entry);
  EXPECT_EQ(entry.error().code, Errc::foreign);
  EXPECT_THAT(entry.error().message, AllOf(HasSubstr("the key group-2"), HasSubstr("went back in time")));
  EXPECT_EQ(swap(*client, "group-2", first, "in an older world").status, CasStatus::unknown);
}

// The way of etcd's manual: a restored cluster has another identity. No process at all believes it, until an operator vouches.
TEST_F(IdentityTest, SnapshotInANewEtcd_IsForeignForAll_UntilItTakesOver) {
  ASSERT_NO_FATAL_FAILURE(start());
  const std::uint64_t revision = swap(*client, "group-1", 0, "one").entry.revision;
  const std::string file = save_snapshot();
  EtcdMember& member = cluster->member(0);
  member.kill();
  restore(file, "another-token");
  ASSERT_TRUE(member.start());
  expect_foreign(*client, "is a copy");
  auto fresh = start_client(options());
  expect_foreign(*fresh, "is a copy");
  // The comparison with the marker's bytes holds on a copy, too.
  EXPECT_EQ(swap(*client, "group-1", revision, "on a copy").status, CasStatus::unknown);
  EXPECT_EQ(swap(*fresh, "group-2", 0, "on a copy").status, CasStatus::unknown);
  const auto taken = take_over(*fresh);
  ASSERT_TRUE(taken) << taken.error().text();
  EXPECT_EQ(*taken, client->cluster_id());
  EXPECT_EQ(*take_over(*fresh), *taken) << "a second time changes nothing";
  EXPECT_TRUE(get(*fresh, "group-1"));
  EXPECT_EQ(swap(*fresh, "group-3", 0, "after it").status, CasStatus::applied);
  EXPECT_TRUE(get(*client, "group-1")) << "it has all that this process has seen";
}

// Endpoints of two clusters in one configuration: the wrong one never answers for the right one.
TEST_F(IdentityTest, AnotherClustersEndpoint_IsNeverBelieved) {
  ASSERT_NO_FATAL_FAILURE(start());
  EtcdCluster stranger;
  ASSERT_NO_FATAL_FAILURE(stranger.start());
  auto there = start_client(options_for(stranger.urls()));
  ASSERT_TRUE(set_up(*there, 9));
  ASSERT_EQ(swap(*there, "group-1", 0, "theirs").status, CasStatus::applied);
  ASSERT_EQ(swap(*client, "group-1", 0, "ours").status, CasStatus::applied);
  auto both = options_for({stranger.urls()[0], cluster->urls()[0]});
  both.cluster_id = client->cluster_id();
  auto mixed = start_client(both);
  const auto entry = get(*mixed, "group-1");
  ASSERT_TRUE(entry) << entry.error().text();
  EXPECT_EQ(entry->value, "ours");
  EXPECT_EQ(swap(*mixed, "group-1", entry->revision, "ours, too").status, CasStatus::applied);
  const std::string theirs = content_of(stranger.member(0));
  cluster->member(0).kill();
  const auto left = get(*mixed, "group-1");
  ASSERT_FALSE(left);
  EXPECT_EQ(left.error().code, Errc::foreign);
  EXPECT_EQ(swap(*mixed, "group-1", 0, "x").status, CasStatus::unknown);
  EXPECT_EQ(swap(*mixed, "group-2", 0, "x").status, CasStatus::unknown);
  EXPECT_EQ(content_of(stranger.member(0)), theirs);
}

// A follower that was away does not tell what it knew, and is not taken for an older state: reads wait until it has caught up.
TEST_F(IdentityTest, MemberThatLags_TellsTheNewest) {
  ASSERT_NO_FATAL_FAILURE(start(3));
  const std::size_t follower = (cluster->leader() + 1) % 3;
  auto of_follower = start_client(options_for({cluster->member(follower).url()}));
  auto of_others = start_client(options_for({cluster->member((follower + 1) % 3).url(), cluster->member((follower + 2) % 3).url()}));
  std::uint64_t revision = swap(*of_follower, "group-1", 0, "0").entry.revision;
  ASSERT_GT(revision, 0u);
  cluster->member(follower).freeze();
  for (int i = 1; i <= 30; ++i) {
    const CasOutcome outcome = swap(*of_others, "group-1", revision, std::to_string(i));
    ASSERT_EQ(outcome.status, CasStatus::applied);
    revision = outcome.entry.revision;
  }
  cluster->member(follower).thaw();
  Result<CoordinatorEntry> entry = fail(Errc::timed_out);
  for (int tries = 0; tries < 20 && !entry; ++tries) {
    entry = get(*of_follower, "group-1");
    EXPECT_TRUE(entry || entry.error().code != Errc::foreign);
  }
  ASSERT_TRUE(entry) << entry.error().text();
  EXPECT_EQ(entry->value, "30");
  EXPECT_EQ(entry->revision, revision);
}

}  // namespace
}  // namespace holdfast::coord::test
