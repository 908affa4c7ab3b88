// F9 and F11: disks that fail, and clocks that are wrong.
#include "test/sim/text.h"
#include "test/torture/clock.h"
#include "test/torture/failure.h"
#include "test/torture/lab.h"
#include "test/torture/raw_connection.h"
#include "test/torture/scenario_groups.h"
#include "test/torture/times.h"

namespace holdfast::torture {
namespace {

// After the superblocks and a log of 16 MiB.
constexpr std::uint64_t kDataBegin = 2 * kChunkBytes + (16 << 20);

// What the primary reads is bad for a while: nobody gets it, and it is mended from another copy.
void bad_reads(Stage& stage, const std::string& how) {
  LabOptions options;
  options.faulty_disks = true;
  Lab lab(stage, options);
  LoadOptions writes;
  writes.unmap = 0;
  Load& load = lab.start_loaded(writes);
  load.run_for(1'500, milliseconds(90'000));
  const unsigned primary = lab.await_serving();
  lab.node(primary).fail_disk(sim::format("op=read {} count=20 from={}", how, kDataBegin));
  require(eventually(milliseconds(30'000), [&] { return lab.node(primary).disk_faults("read") > 0; }), "nothing was read from the disk");
  load.run_for(500);
  lab.verify();  // Reads everything.
  stage.prove("bad reads", lab.node(primary).disk_faults("read"));
  stage.prove("blocks mended from another copy", lab.node(primary).log_lines("is repaired from another copy"));
  lab.await_all_in_sync();
  lab.verify_everywhere();
}
void f9_read(Stage& stage) { bad_reads(stage, "error=EIO"); }
void f9_wrong(Stage& stage) { bad_reads(stage, "flip=yes"); }

std::string health_of(Lab& lab, unsigned number) {
  const auto volume = lab.node(number).volume(Lab::kVolume);
  return volume && volume->contains("health") ? std::string(volume->at("health").as_string()) : std::string();
}

// One request fails, of a standby and then of the primary. The store is out of service from then on, whatever the disk does later; a
// start anew finds everything that was acknowledged.
void final_failure(Stage& stage, const std::string& op) {
  LabOptions options;
  options.faulty_disks = true;
  Lab lab(stage, options);
  LoadOptions writes;
  writes.read = 5;
  writes.large_one_in = 4;  // Whole chunks, which are synced.
  Load& load = lab.start_loaded(writes);
  const auto fail = [&](unsigned victim) {
    lab.node(victim).fail_disk(sim::format("op={} error=EIO count=1", op));
    require(eventually(milliseconds(40'000), [&] { return lab.node(victim).disk_faults(op) > 0; }), "no such request was made");
    require(eventually(milliseconds(10'000), [&] { return health_of(lab, victim) == "failed"; }), "the node does not tell that its store failed");
  };
  const auto stays_out = [&](unsigned victim) {
    lab.node(victim).fail_disk("");
    load.run_for(300);
    pause_for(milliseconds(1'000));
    require(health_of(lab, victim) == "failed" && !lab.is_in_sync(victim), "a store that failed is used again");
    stage.prove(op + "s that failed", lab.node(victim).disk_faults(op));
    lab.node(victim).stop();
    lab.node(victim).start();
    lab.await_all_in_sync();
  };
  const unsigned primary = lab.await_serving(), standby = lab.another(primary);
  const BootNs first = now();
  fail(standby);
  lab.await_out_of_sync(standby);
  stage.bound("pause without a standby", load.longest_pause(first, now()).length, kMemberPause);
  require(lab.await_serving() == primary, "the lead changed");
  stays_out(standby);

  const BootNs second = now();
  fail(primary);
  lab.await_other_serving(primary);
  load.run_for(100);
  stage.bound("pause without the primary", load.longest_pause(second, now()).length, kKilledPause);
  stays_out(primary);
  lab.verify_everywhere();
}
void f9_write(Stage& stage) { final_failure(stage, "write"); }
void f9_sync(Stage& stage) { final_failure(stage, "sync"); }

std::uint64_t uptime_ms(const Node& node) {
  const Node::Answer answer = node.get("/v1/status");
  require(answer.status == 200, node.name() + " does not tell its status");
  return boost::json::parse(answer.body).at("uptime_ms").to_number<std::uint64_t>();
}

// Wall clocks jump by an hour, one and all, there and back; meanwhile the clocks that count are as far apart as they may be.
void f11(Stage& stage) {
  constexpr DurationNs kHour = milliseconds(3'600'000);
  LabOptions options;
  options.wrong_clocks = true;
  Lab lab(stage, options);
  Load& load = lab.start_loaded();
  const unsigned primary = lab.await_serving();
  const std::uint64_t epoch = lab.epoch_of(primary);
  const std::uint64_t fast = uptime_ms(lab.node(1)), slow = uptime_ms(lab.node(2));
  const BootNs begun = now();
  std::uint64_t jumps = 0;
  const auto jump = [&](unsigned number, DurationNs to) {
    lab.clock(number).set_wall(to);
    ++jumps;
  };
  // A stranger on its link is something that a node logs, with the time as it believes it to be.
  const auto look_at_the_clock = [&](unsigned number) {
    say(lab.host_machine().net(), lab.node(number).address(), kLinkPort, std::string(100, 'x'), milliseconds(5'000));
  };
  const auto go_on = [&] {
    const BootNs end = now() + milliseconds(1'000);
    while (!is_over(end)) load.run_for(20);
    require(lab.copy(primary).epoch == epoch && lab.copy(primary).in_sync.size() == lab.node_count(), "the lead or the set changed");
  };
  for (const DurationNs to : {kHour, DurationNs{-kHour.value}, DurationNs{}}) {
    for (unsigned number = 1; number <= lab.node_count(); ++number) {
      jump(number, to);
      look_at_the_clock(number);
      go_on();
    }
  }
  for (const DurationNs to : {kHour, DurationNs{-kHour.value}}) {
    for (unsigned number = 1; number <= lab.node_count(); ++number) jump(number, to);
    go_on();
  }
  stage.bound("pause", load.longest_pause(begun, now()).length, kUnfeltPause);
  stage.prove("jumps", jumps);
  for (unsigned number = 1; number <= lab.node_count(); ++number) stage.prove(sim::format("wrong wall times of node {}", number), lab.clock(number).wrong_wall_answers());
  const auto apart = static_cast<std::int64_t>(uptime_ms(lab.node(1)) - fast) - static_cast<std::int64_t>(uptime_ms(lab.node(2)) - slow);
  stage.figure("clocks apart by ms", static_cast<double>(apart));
  stage.prove("drift in ms", static_cast<std::uint64_t>(std::max<std::int64_t>(0, apart - 20)));

  // And a take-over under such clocks.
  const BootNs killed = now();
  lab.node(primary).kill();
  stage.bound("pause after a kill", load.pause_since(killed), kKilledPause);
  lab.node(primary).start();
  lab.await_all_in_sync();
  lab.verify_everywhere();
}

}  // namespace

std::vector<Scenario> fault_scenarios() {
  return {
      {"F9a", "reads of the primary's disk fail for a while", f9_read},
      {"F9b", "reads of the primary's disk bring wrong data for a while", f9_wrong},
      {"F9c", "one write of a standby's disk fails, then one of the primary's", f9_write},
      {"F9d", "one sync of a standby's disk fails, then one of the primary's", f9_sync},
      {"F11", "wall clocks jump by an hour, and clocks drift as far as they may: nothing is felt", f11},
  };
}

}  // namespace holdfast::torture
