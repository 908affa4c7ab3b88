// The data path outlives the coordinator: without an etcd nothing stops that is well; what fails meanwhile holds up its volume, without an
// error, until the etcd is back.
//
// HOLDFAST_OUTAGE_S: how long the etcd is away under load before anything else happens; 3 s unless said.
// HOLDFAST_HELD_S: for how long a copy has been dead when it returns; 4 s unless said.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "test/replicas/cluster.h"
#include "test/replicas/host.h"
#include "test/replicas/steady_load.h"

namespace holdfast::replicas {
namespace {

using ::testing::HasSubstr;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds kPauseMax{2'000};  // The machine's own stalls.
constexpr std::int64_t kResumeMaxMs = 2'000;

seconds chosen(const char* name, int usual_s) {
  const char* text = std::getenv(name);
  return seconds(text ? std::max(1, std::atoi(text)) : usual_s);
}
seconds outage() { return chosen("HOLDFAST_OUTAGE_S", 3); }
seconds held() { return chosen("HOLDFAST_HELD_S", 4); }
int command_patience_s() { return static_cast<int>(held().count()) + 180; }

enum class Outage : std::uint8_t { killed, frozen };

class CoordinatorIsDown : public testing::TestWithParam<Outage> {
 protected:
  void SetUp() override {
    cluster_.must(1, {"volume", "create", "pg", "--size", "64MiB", "--replicas", "3"});
    ASSERT_TRUE(cluster_.await_in_sync("pg", 3));
    leader_ = cluster_.await_primary("pg");
  }
  void stop_etcd() {
    if (GetParam() == Outage::killed) etcd().kill();
    else etcd().freeze();
  }
  // Returns when it answers again.
  SteadyLoad::SteadyClock::time_point return_etcd() {
    if (GetParam() == Outage::killed) EXPECT_TRUE(etcd().start());
    else etcd().thaw();
    return SteadyLoad::SteadyClock::now();
  }
  coord::test::EtcdMember& etcd() { return cluster_.etcd().member(0); }
  int follower() const { return leader_ == 1 ? 2 : 1; }

  // Nothing but time passes.
  static void under_load(SteadyLoad& writes, SteadyLoad& reads, seconds time) {
    const auto until = SteadyLoad::SteadyClock::now() + time;
    (void)writes.look();
    (void)reads.look();
    while (SteadyLoad::SteadyClock::now() < until && writes.next_after_ms(SteadyLoad::SteadyClock::now(), kPauseMax) >= 0) continue;
    for (SteadyLoad* load : {&writes, &reads}) {
      const SteadyLoad::Seen seen = load->look();
      const char* what = load == &writes ? "writes" : "reads";
      std::printf("%lld s: %llu %s in all, the slowest took %lld ms\n", static_cast<long long>(time.count()), static_cast<unsigned long long>(seen.done), what,
                  static_cast<long long>(seen.longest_ms));
      EXPECT_EQ(seen.error, "") << what;
      EXPECT_LT(seen.longest_ms, kPauseMax.count()) << what;
    }
  }

  Cluster cluster_;
  int leader_ = 0;
};

// Without it for a while: no pause, no error. Then a copy dies: reads and writes hold, and go on within 2 s of its return.
TEST_P(CoordinatorIsDown, NothingStops_ACopyDies_ItHoldsWithoutAnError_UntilTheReturn) {
  SteadyLoad writes(LoadKind::writes, cluster_.portal(leader_), "pg", command_patience_s()), reads(LoadKind::reads, cluster_.portal(leader_), "pg", command_patience_s());
  std::printf("with the coordinator: ");
  under_load(writes, reads, seconds(2));
  stop_etcd();
  std::printf("without: ");
  under_load(writes, reads, outage());
  Ended told;
  ASSERT_TRUE(cluster_.await("status tells of it", [&] {
    told = cluster_.holdfast(leader_, {"status"});
    return told.code == 0 && told.out.find("the coordinator is not read") != std::string::npos;
  })) << told.out;
  EXPECT_THAT(told.out, HasSubstr("whatever is well goes on"));

  cluster_.kill(follower());
  const auto both_are_held = [&] { return writes.is_held(held()) && reads.is_held(held()); };
  ASSERT_TRUE(cluster_.await("reads and writes hold", both_are_held, command_patience_s() * 1'000)) << writes.look().error << reads.look().error;
  const auto returned = return_etcd();
  const std::int64_t write_ms = writes.next_after_ms(returned, seconds(30)), read_ms = reads.next_after_ms(returned, seconds(30));
  std::printf("after its return: writes went on after %lld ms, reads after %lld ms\n", static_cast<long long>(write_ms), static_cast<long long>(read_ms));
  for (const std::int64_t resumed : {write_ms, read_ms}) {
    EXPECT_GE(resumed, 0) << writes.look().error << reads.look().error;
    EXPECT_LT(resumed, kResumeMaxMs);
  }
  EXPECT_EQ(cluster_.await_primary("pg"), leader_) << "nobody took over";
  cluster_.start(follower());
  ASSERT_TRUE(cluster_.await_in_sync("pg", 3));
  under_load(writes, reads, seconds(1));
  writes.stop();
  writes.expect_ledger();
}

// The one that serves dies: nobody may take over without the register, and somebody does within 2 s of its return.
TEST_P(CoordinatorIsDown, PrimaryDies_AnotherServes_AfterTheReturn) {
  std::vector<std::string> portals;
  for (int node = 1; node <= 3; ++node) portals.push_back(cluster_.portal(node));
  Host host(portals, "pg");
  std::uint64_t stamp = 0;
  for (std::uint64_t block = 0; block < 50; ++block) host.write_ms(block, ++stamp);
  stop_etcd();
  for (std::uint64_t block = 0; block < 50; ++block) EXPECT_LT(host.write_ms(block, ++stamp), kPauseMax.count());
  cluster_.kill(leader_);
  EXPECT_EQ(cluster_.primary("pg"), 0);
  const auto returned = return_etcd();
  const std::int64_t took = host.write_ms(0, ++stamp);
  std::printf("primary killed meanwhile: a host goes on %lld ms after the return\n", static_cast<long long>(took));
  EXPECT_LT(SteadyLoad::SteadyClock::now() - returned, milliseconds(kResumeMaxMs));
  EXPECT_NE(cluster_.await_primary("pg"), leader_);
  host.expect_ledger();
}

INSTANTIATE_TEST_SUITE_P(Ways, CoordinatorIsDown, testing::Values(Outage::killed, Outage::frozen),
                         [](const auto& row) { return row.param == Outage::killed ? "Killed" : "Frozen"; });

}  // namespace
}  // namespace holdfast::replicas
