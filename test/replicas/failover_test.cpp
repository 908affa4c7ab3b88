// What a host lives through when nodes die: it goes on, and nothing that was acknowledged is gone.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/replicas/cluster.h"
#include "test/replicas/host.h"

namespace holdfast::replicas {
namespace {

std::vector<std::string> all_portals(const Cluster& cluster, int nodes = 3) {
  std::vector<std::string> out;
  for (int i = 1; i <= nodes; ++i) out.push_back(cluster.portal(i));
  return out;
}

std::uint64_t rebuilt_bytes(Cluster& cluster, int node) {
  const auto shown = cluster.volume(node, "pg");
  return shown.at("replication").at("rebuild").at("fetched_bytes").to_number<std::uint64_t>();
}

class Failover : public testing::TestWithParam<Keeps> {};

// The primary is killed in the middle of a host's writes. Another copy serves within a moment; the killed node comes back, catches up
// from the log, and leads again on the operator's word.
TEST_P(Failover, PrimaryKilled_HostGoesOnElsewhere_AndTheNodeRejoinsWithoutARebuild) {
  Cluster cluster({.nodes = 3, .keeps = GetParam(), .more_cluster = {}});
  cluster.must(1, {"volume", "create", "pg", "--size", "64MiB", "--replicas", "3"});
  ASSERT_TRUE(cluster.await_in_sync("pg", 3));
  Host host(all_portals(cluster), "pg");
  std::uint64_t stamp = 0;
  for (std::uint64_t block = 0; block < 100; ++block) host.write_ms(block, ++stamp);

  const int killed = cluster.await_primary("pg");
  cluster.kill(killed);
  std::int64_t pause = 0;
  for (std::uint64_t block = 50; block < 150; ++block) pause = std::max(pause, host.write_ms(block, ++stamp));
  RecordProperty("pause_ms", static_cast<int>(pause));
  std::printf("pause after kill -9 of the primary: %lld ms\n", static_cast<long long>(pause));
  EXPECT_LT(pause, 5'000);  // Less than a second, unless the machine is busy.

  cluster.start(killed);
  EXPECT_TRUE(host.logs_in(static_cast<std::size_t>(killed - 1))) << "a path that is refused may be given up for good";
  ASSERT_TRUE(cluster.await_in_sync("pg", 3));
  EXPECT_EQ(rebuilt_bytes(cluster, killed), 0u);
  host.expect_ledger();
  // Each copy tells all of it by itself.
  for (int node = 1; node <= 3; ++node) {
    cluster.must(killed, {"switchover", "pg", "--candidate", std::to_string(node)});
    ASSERT_TRUE(cluster.await("node " + std::to_string(node) + " serves", [&] { return cluster.primary("pg") == node; }));
    host.expect_ledger();
  }
}

INSTANTIATE_TEST_SUITE_P(Coordinators, Failover, testing::Values(Keeps::etcd, Keeps::directory),
                         [](const auto& row) { return row.param == Keeps::etcd ? "Etcd" : "Directory"; });

}  // namespace
}  // namespace holdfast::replicas
