// The harness's own parts: a fault that does not happen, or a judge that sees nothing, would let every scenario pass.
#include <gtest/gtest.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <ctime>
#include <filesystem>

#include "test/torture/clock.h"
#include "test/torture/failure.h"
#include "test/torture/machine.h"
#include "test/torture/process.h"
#include "test/torture/result.h"
#include "test/torture/scenario.h"
#include "test/torture/wrong_clock.h"

namespace holdfast::torture {
namespace {

class Machines : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "network namespaces need root";
  }
  // Of one ping; nothing: no answer within a second.
  static std::optional<DurationNs> round_trip(const Machine& from, const Machine& to) {
    std::optional<DurationNs> out;
    to.net().inside([&] {
      const io::UniqueFd there(::socket(AF_INET, SOCK_DGRAM, 0));
      sockaddr_in any{};
      any.sin_family = AF_INET;
      any.sin_port = htons(7'000);
      ASSERT_EQ(::bind(there.get(), reinterpret_cast<sockaddr*>(&any), sizeof any), 0);
      from.net().inside([&] {
        const io::UniqueFd here(::socket(AF_INET, SOCK_DGRAM, 0));
        const timeval patience{1, 0};
        for (const int fd : {here.get(), there.get()}) ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        sockaddr_in address = any;
        ::inet_pton(AF_INET, to.address().c_str(), &address.sin_addr);
        const BootNs sent = now();
        ::sendto(here.get(), "x", 1, 0, reinterpret_cast<sockaddr*>(&address), sizeof address);
        char byte;
        socklen_t size = sizeof address;
        if (::recvfrom(there.get(), &byte, 1, 0, reinterpret_cast<sockaddr*>(&address), &size) != 1) return;
        ::sendto(there.get(), "x", 1, 0, reinterpret_cast<sockaddr*>(&address), size);
        if (::recv(here.get(), &byte, 1, 0) == 1) out = now() - sent;
      });
    });
    return out;
  }
};

TEST_F(Machines, Firewall_DropsAndCountsAndHeals) {
  const Switch hub;
  Machine a(hub, 1), b(hub, 2), c(hub, 3);
  EXPECT_TRUE(round_trip(a, b));
  const std::size_t cut = b.firewall().cut({CutHow::drop, CutWay::incoming, {a.address()}, {}});
  EXPECT_EQ(b.firewall().hits(cut), 0U);
  EXPECT_FALSE(round_trip(a, b));
  EXPECT_TRUE(round_trip(c, b));
  EXPECT_EQ(b.firewall().hits(cut), 1U);
  b.firewall().heal();
  EXPECT_TRUE(round_trip(a, b));
  EXPECT_EQ(b.firewall().hits(cut), 1U);
}

TEST_F(Machines, Cable_IsAsLongAsItIsTold) {
  const Switch hub;
  Machine a(hub, 1, CableKind::long_one), b(hub, 2), c(hub, 3);
  ASSERT_TRUE(round_trip(a, b));
  a.cable().lengthen(b.address(), milliseconds(100));
  const auto slow = round_trip(a, b), other = round_trip(a, c);
  ASSERT_TRUE(slow && other);
  EXPECT_GE(*slow, milliseconds(200));
  EXPECT_LT(*other, milliseconds(100));
  EXPECT_GE(a.cable().held(), 2U);
  a.cable().shorten();
  EXPECT_LT(*round_trip(a, b), milliseconds(100));
  a.cable().lengthen(b.address(), milliseconds(100), {}, CableWay::outgoing);
  const auto one_way = round_trip(a, b);
  ASSERT_TRUE(one_way);
  EXPECT_GE(*one_way, milliseconds(100));
  EXPECT_LT(*one_way, milliseconds(200));
}

TEST_F(Machines, Unplugged_NothingComesThrough) {
  const Switch hub;
  Machine a(hub, 1), b(hub, 2);
  b.unplug();
  EXPECT_FALSE(round_trip(a, b));
  b.plug_in();
  EXPECT_TRUE(eventually(milliseconds(5'000), [&] { return round_trip(a, b).has_value(); }));
}

TEST(ProcessTest, KillOfOneThatIsGone_IsAFailure) {
  ProcessOptions options;
  options.words = {"sleep", "100"};
  Process process(options);
  process.freeze();
  EXPECT_TRUE(process.running());
  process.thaw();
  process.kill();
  EXPECT_FALSE(process.running());
  EXPECT_THROW(process.kill(), Failure);
}

TEST(ProcessTest, Run_TellsStatusAndOutput) {
  const Ran ran = run({"sh", "-c", "echo one; echo two >&2; exit 3"});
  EXPECT_EQ(ran.status, 3);
  EXPECT_EQ(ran.output, "one\ntwo\n");
}

TEST(WrongClockTest, WallClockOfAProcess_IsMoved) {
  char folder[] = "/tmp/holdfast-test-XXXXXX";
  ASSERT_NE(::mkdtemp(folder), nullptr);
  {
    WrongClock clock(std::string(folder) + "/clock", 0);
    const auto told = [&] { return std::stoll(run({"date", "+%s"}, nullptr, milliseconds(10'000), clock.environment()).output); };
    const std::int64_t right = std::time(nullptr);
    EXPECT_NEAR(static_cast<double>(told()), static_cast<double>(right), 60);
    EXPECT_EQ(clock.wrong_wall_answers(), 0U);
    clock.set_wall(milliseconds(3'600'000));
    EXPECT_NEAR(static_cast<double>(told()), static_cast<double>(right + 3'600), 60);
    EXPECT_GT(clock.wrong_wall_answers(), 0U);
    EXPECT_EQ(clock.wrong_boot_answers(), 0U);
  }
  std::filesystem::remove_all(folder);
}

TEST(StageTest, PauseBeyondItsBound_IsAFailure_AndTheMachinesOwnStallIsTold) {
  char folder[] = "/tmp/holdfast-test-XXXXXX";
  ASSERT_NE(::mkdtemp(folder), nullptr);
  {
    Stage stage(folder, 1);
    Metronome metronome(folder);
    EXPECT_TRUE(eventually(milliseconds(5'000), [&] { return metronome.longest_stall().value > 0; }));
    EXPECT_THROW(stage.bound("pause", milliseconds(3'600'000), milliseconds(1)), Failure);
    EXPECT_EQ(stage.figures().size(), 2U);
  }
  std::filesystem::remove_all(folder);
}

TEST(StageTest, FaultThatDidNotHappen_IsAFailure) {
  Stage stage("", 1);
  EXPECT_THROW(stage.prove("packets", 0), Failure);
  EXPECT_THROW(stage.bound("pause", milliseconds(2), milliseconds(1)), Failure);
  stage.prove("packets", 2);
  EXPECT_EQ(stage.proofs().size(), 1U);
}

TEST(ResultTest, Line_ComesBackAsItWas) {
  RunResult result{"F1", "a <title>", 7, false, false, "two\nlines", 1.5, {{"packets", 3}}, {{"pause", 2.5}}};
  const auto back = results_in("cut off\n" + to_json(result) + "\n{\"id\": ");
  ASSERT_EQ(back.size(), 1U);
  EXPECT_EQ(back[0].failure, result.failure);
  EXPECT_EQ(back[0].proofs, result.proofs);
  EXPECT_EQ(back[0].figures, result.figures);
  EXPECT_NE(junit_of(back).find("a &lt;title&gt;"), std::string::npos);
  EXPECT_NE(table_of(back).find("0/1"), std::string::npos);
}

TEST(ResultTest, RunThatWasNoMeasure_IsCountedApart) {
  RunResult passed{"F1", "title", 7, true, false, "", 1.5, {}, {}}, stood_still{"F1", "title", 7, false, true, "900 ms", 1.5, {}, {}};
  const auto back = results_in(to_json(stood_still) + "\n" + to_json(passed) + "\n");
  ASSERT_EQ(back.size(), 2U);
  EXPECT_TRUE(back[0].no_measure);
  EXPECT_NE(table_of(back).find("1/1"), std::string::npos);
  EXPECT_NE(table_of(back).find("1 more during which"), std::string::npos);
  EXPECT_NE(junit_of(back).find("failures=\"0\""), std::string::npos);
}

TEST(ScenarioTest, Names_AreIdsRowsAndGroups) {
  EXPECT_FALSE(scenarios_named("all").empty());
  EXPECT_TRUE(scenarios_named("nonsense").empty());
  EXPECT_EQ(scenarios_named("S1").size(), 1U);
  EXPECT_GE(scenarios_named("S").size(), 4U);
}

}  // namespace
}  // namespace holdfast::torture
