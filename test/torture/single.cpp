// One node by itself: no other copy helps it, so its portal waits until it is back, and nothing that it acknowledged is gone.
#include "test/torture/clock.h"
#include "test/torture/failure.h"
#include "test/torture/lab.h"
#include "test/torture/scenario_groups.h"

namespace holdfast::torture {
namespace {

LabOptions one_node() {
  LabOptions options;
  options.nodes = 1;
  options.etcd_members = 0;
  return options;
}

void killed_and_started(Stage& stage) {
  Lab lab(stage, one_node());
  lab.start();
  Load& load = lab.load();
  load.run_for(500);
  const BootNs killed = now();
  lab.node(1).kill();
  stage.prove("process that died of SIGKILL", 1);
  lab.node(1).spawn();
  stage.bound("pause", load.until_write_after(killed), milliseconds(10'000));
  load.run_for(500);
  require(lab.host().paths().at(0).logins >= 2, "the host never lost its path");
  lab.verify();
}

void frozen_and_continued(Stage& stage) {
  Lab lab(stage, one_node());
  lab.start();
  Load& load = lab.load();
  load.run_for(500);
  const BootNs frozen = now();
  lab.node(1).process().freeze();
  pause_for(milliseconds(3'000));
  const std::uint64_t answered = load.writes_between(frozen + milliseconds(50), now());
  require(answered == 0, "a frozen process answered");
  lab.node(1).process().thaw();
  const Pause pause = load.longest_pause(frozen, now());
  require(pause.length >= milliseconds(2'900), "the freeze was not felt");
  stage.prove("ms without an answer", static_cast<std::uint64_t>(to_ms(pause.length)));
  load.run_for(500);
  lab.verify();
}

void cut_off(Stage& stage) {
  Lab lab(stage, one_node());
  lab.start();
  Load& load = lab.load();
  load.run_for(500);
  Firewall& firewall = lab.node(1).machine().firewall();
  const BootNs cut = now();
  const std::size_t number = firewall.cut({CutHow::drop, CutWay::both, {}, {kIscsiPort}});
  require(eventually(milliseconds(10'000), [&] { return lab.host().paths().at(0).losses > 0; }), "the host does not notice a silent portal");
  stage.bound("noticed", now() - cut, milliseconds(3'500));
  firewall.heal();
  stage.prove("packets dropped", firewall.hits(number));
  load.run_for(500);
  lab.verify();
}

void power_lost(Stage& stage) {
  LabOptions options = one_node();
  options.environment["HOLDFAST_POWER_LOSS"] = std::to_string(stage.seed());
  Lab lab(stage, options);
  lab.start();
  for (int round = 1; round <= 3; ++round) {
    Load& load = lab.load();
    load.run_for(300);
    lab.node(1).kill();
    stage.prove("power loss", 1);
    lab.node(1).options().environment["HOLDFAST_POWER_LOSS"] = std::to_string(stage.seed() + static_cast<std::uint64_t>(round));
    lab.node(1).start();
    load.run_for(300);
    lab.verify();
  }
}

}  // namespace

std::vector<Scenario> single_scenarios() {
  return {
      {"S1", "one node: killed under load and started at once", killed_and_started},
      {"S2", "one node: frozen for three seconds", frozen_and_continued},
      {"S3", "one node: its portal silent, then back", cut_off},
      {"S4", "one node: power lost under load, three times", power_lost},
  };
}

}  // namespace holdfast::torture
