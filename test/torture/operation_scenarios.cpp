// W and O: the log across leaders, and what operators see.
#include <algorithm>

#include "test/sim/text.h"
#include "test/torture/clock.h"
#include "test/torture/failure.h"
#include "test/torture/lab.h"
#include "test/torture/scenario_groups.h"
#include "test/torture/times.h"

namespace holdfast::torture {
namespace {

// A consumer and a member are away while the log goes round.
void w1(Stage& stage) {
  LabOptions small_log;
  small_log.log_size = "64MiB";
  Lab lab(stage, small_log);
  LoadOptions writes;
  writes.read = writes.unmap = 0;
  writes.large_one_in = 2;
  Load& load = lab.start_loaded(writes);
  const unsigned primary = lab.await_serving(), away = lab.another(primary);
  const auto follow = [&] { return lab.node(primary).holdfast({"log", "follow", "--name", "backup", "--once"}); };
  require(follow().status == 0, "the log of the leader cannot be followed");
  lab.node(away).stop();
  lab.await_out_of_sync(away);
  const std::uint64_t before = load.counters().bytes_written;
  const bool round = eventually(milliseconds(90'000), [&] { return load.counters().bytes_written - before > (160u << 20); }, milliseconds(100));
  require(round, "160 MiB are not written in time");
  stage.prove("bytes written meanwhile", load.counters().bytes_written - before);
  const Ran late = follow();
  constexpr int kGap = 5;
  require(late.status == kGap && late.output.find("a gap: LSN ") != std::string::npos, "the gap is not told: " + late.output);
  lab.node(away).start();
  lab.await_all_in_sync();
  const std::uint64_t fetched = lab.copy(away).fetched_bytes;
  require(fetched > 0, "a member whose records were gone was not rebuilt");
  require(fetched < (512u << 20), "it was rebuilt with more than what had changed: " + std::to_string(fetched) + " bytes");
  stage.figure("fetched bytes", static_cast<double>(fetched));
  lab.verify_everywhere();
}

void w2(Stage& stage) {
  Lab lab(stage, {});
  Load& load = lab.start_loaded();
  const unsigned leader = lab.await_serving();
  for (int i = 0; i < 20; ++i) {
    load.run_for(50);
    const std::string name = i % 4 == 3 ? "fresh" + std::to_string(i) : "backup";
    const Ran ran = lab.node(leader).holdfast({"log", "follow", "--name", name, "--once"});
    require(ran.status == 0, "a false alarm of " + name + ": " + ran.output);
  }
  stage.prove("looks", 20);
  lab.verify();
}

void w3(Stage& stage) {
  Lab lab(stage, {});
  Load& load = lab.start_loaded();
  const unsigned first = lab.await_serving();
  const auto follow = [&](unsigned number) { return lab.node(number).holdfast({"log", "follow", "--name", "backup", "--once"}); };
  require(follow(first).status == 0, "the log of the leader cannot be followed");
  load.run_for(100);
  lab.switchover(lab.another(first));
  const unsigned second = lab.await_serving();
  const Ran after_switchover = follow(second);
  require(after_switchover.status == 0, "after a switchover the consumer has a gap, or is gone: " + after_switchover.output);
  lab.await_all_in_sync();
  lab.node(second).kill();
  const unsigned third = lab.await_other_serving(second);
  const Ran after_kill = follow(third);
  require(after_kill.status == 0, "after a kill the consumer has a gap, or is gone: " + after_kill.output);
  stage.prove("changes of the lead", 2);
  lab.node(second).start();
  lab.await_all_in_sync();
  lab.verify();
}

void w4(Stage& stage) {
  Lab lab(stage, {});
  Load& load = lab.start_loaded();
  const unsigned old = lab.await_serving();
  lab.node(old).kill();
  stage.prove("leader killed", 1);
  lab.await_other_serving(old);
  load.run_for(300);
  lab.node(old).start();
  lab.await_all_in_sync();
  require(lab.copy(old).fetched_bytes == 0, "the old leader was rebuilt");
  unsigned leaders = 0;
  for (unsigned number = 1; number <= lab.node_count(); ++number) leaders += lab.copy(number).serving ? 1 : 0;
  require(leaders == 1, std::to_string(leaders) + " nodes say that they lead");
  lab.verify_everywhere();  // And W5: the same content on all.
}

void o1(Stage& stage) {
  Lab lab(stage, {});
  lab.start_loaded();
  const unsigned leader = lab.await_serving();
  for (unsigned number = 1; number <= lab.node_count(); ++number) {
    const bool leads = number == leader;
    const auto expect = [&](const char* path, int status) {
      const Node::Answer answer = lab.node(number).request("GET", path, {}, milliseconds(10'000));
      require(answer.status == status, sim::format("{} of node {} is {}, not {}: {}", path, number, answer.status, status, answer.body));
    };
    expect("/healthz", 200);
    expect("/primary", leads ? 200 : 503);
    expect("/replica", leads ? 503 : 200);
  }
  lab.node(leader).kill();
  stage.prove("leader killed", 1);
  const BootNs killed = now();
  const unsigned next = lab.await_other_serving(leader);
  require(eventually(milliseconds(2'000), [&] { return lab.node(next).get("/primary").status == 200; }), "/primary of the new leader");
  stage.bound("told", now() - killed, milliseconds(3'000));
  lab.node(leader).start();
  lab.verify();
}

void o2(Stage& stage) {
  Lab lab(stage, {});
  Load& load = lab.start_loaded();
  const unsigned leader = lab.await_serving();
  std::uint64_t most = 0;
  for (int i = 0; i < 50; ++i) {
    load.run_for(10);
    most = std::max(most, lab.copy(leader).lag_bytes_max);
  }
  stage.figure("lag in bytes", static_cast<double>(most));
  require(most < 1'000'000, "the lag is " + std::to_string(most) + " bytes");
  stage.prove("looks under load", 50);
  load.stop();
  require(eventually(milliseconds(1'000), [&] { return lab.copy(leader).lag_bytes_max == 0; }), "there is lag a second after the load");
  lab.verify();
}

void o3(Stage& stage) {
  Lab lab(stage, {});
  Load& load = lab.start_loaded();
  load.run_for(300);
  load.stop();
  const unsigned leader = lab.await_serving();
  lab.switchover(lab.another(leader));
  require(lab.await_serving() != leader, "the lead did not go over");
  stage.prove("switchovers", 1);
  lab.verify();
}

void o5(Stage& stage) {
  Lab lab(stage, {});
  LoadOptions writes;
  writes.workers = 32;
  writes.read = writes.unmap = 0;
  writes.large_one_in = 1'000'000;
  writes.blocks = writes.hot_blocks = 65'536;
  Load& load = lab.start_loaded(writes);
  const BootNs from = now();
  pause_for(milliseconds(5'000));
  const double per_second = static_cast<double>(load.writes_between(from, now())) / 5;
  stage.figure("writes a second", per_second);
  stage.prove("writes", load.writes_between(from, now()));
  require(per_second > 1'000, "less than 1,000 writes a second");
  load.stop();
}

// Paths go and come: one that is not used, the one that is used, all of them. A host has one path to each node, so that without the one
// in use it waits; nothing that it asked for may fail.
void paths(Stage& stage, unsigned portals) {
  LabOptions options;
  options.nodes = portals;
  Lab lab(stage, options);
  Load& load = lab.start_loaded();
  const Cut from_host{CutHow::drop, CutWay::both, {lab.host_machine().address()}, {kIscsiPort}};
  const auto await_paths = [&](std::size_t up) {
    const auto count = [&] { return static_cast<std::size_t>(std::ranges::count_if(lab.host().paths(), &PathStatus::up)); };
    require(eventually(milliseconds(15'000), [&] { return count() == up; }), sim::format("{} paths are up, not {}", count(), up));
  };
  // Cuts the nodes off from the host, for as long as it takes the host to notice and `more`; returns when it was healed.
  const auto lose = [&](const std::vector<unsigned>& numbers, DurationNs more) {
    std::vector<std::size_t> cuts;
    for (const unsigned number : numbers) cuts.push_back(lab.node(number).machine().firewall().cut(from_host));
    await_paths(portals - numbers.size());
    pause_for(more);
    std::uint64_t dropped = 0;
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      dropped += lab.node(numbers[i]).machine().firewall().hits(cuts[i]);
      lab.node(numbers[i]).machine().firewall().heal();
    }
    const BootNs healed = now();
    stage.prove(sim::format("packets of {} paths dropped", numbers.size()), dropped);
    return healed;
  };
  const unsigned primary = lab.await_serving(), other = lab.another(primary);

  const BootNs begun = now();
  lose({other}, milliseconds(1'000));
  await_paths(portals);
  stage.bound("pause without an idle path", load.longest_pause(begun, now()).length, kUnfeltPause);

  // The path that came back is one that can be used.
  lab.await_all_in_sync();
  lab.switchover(other);
  load.run_for(100);
  require(lab.host().path_in_use() == other - 1, "the path that came back is not used");

  const BootNs used = lose({other}, milliseconds(1'000));
  stage.bound("goes on after the used path is back", load.until_write_after(used), kPathBackPause);
  await_paths(portals);

  std::vector<unsigned> all;
  for (unsigned number = 1; number <= portals; ++number) all.push_back(number);
  const BootNs none = lose(all, milliseconds(5'000));
  stage.bound("goes on after all paths are back", load.until_write_after(none), kPathBackPause);
  await_paths(portals);
  load.run_for(200);
  lab.await_all_in_sync();
  lab.verify();
}
void o6_two(Stage& stage) { paths(stage, 2); }
void o6_three(Stage& stage) { paths(stage, 3); }

}  // namespace

std::vector<Scenario> operation_scenarios() {
  return {
      {"W1", "a consumer and a member return after the log went round: the gap is told, the member gets what changed", w1},
      {"W2", "steady state, and fresh consumers: no false alarm", w2},
      {"W3", "a consumer's position is kept across switchover and kill", w3},
      {"W4", "a killed leader rejoins: one leader, no rebuild, the same content (and W5)", w4},
      {"O1", "health and roles are told", o1},
      {"O2", "lag under load, and none after it", o2},
      {"O3", "what was written on the leader is read on the next one", o3},
      {"O5", "more than 1,000 writes a second", o5},
      {"O6a", "two portals: a path, then all paths go and come back", o6_two},
      {"O6b", "three portals: a path, then all paths go and come back", o6_three},
  };
}

}  // namespace holdfast::torture
