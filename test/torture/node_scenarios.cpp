// HS and HP: what happens to a standby, and to the primary. Data port: iSCSI and links. Control port: the coordinator's (operators are on
// the node itself here).
#include "test/torture/clock.h"
#include "test/torture/failure.h"
#include "test/torture/lab.h"
#include "test/torture/scenario_groups.h"
#include "test/torture/times.h"

namespace holdfast::torture {
namespace {

const std::vector<std::uint16_t> kDataPorts{kIscsiPort, kLinkPort};
const std::vector<std::uint16_t> kControlPorts{kAdminPort, kEtcdPort};

// Something happens to a standby; then it is taken back. Writes go on, the lead stays.
void standby(Stage& stage, DurationNs most, void (*happens)(Stage&, Lab&, unsigned), void (*ends)(Stage&, Lab&, unsigned)) {
  Lab lab(stage, {});
  Load& load = lab.start_loaded();
  const unsigned primary = lab.await_serving(), who = lab.another(primary);
  const std::uint64_t epoch = lab.epoch_of(primary);
  const BootNs begun = now();
  happens(stage, lab, who);
  load.run_for(300);
  ends(stage, lab, who);
  lab.await_in_sync(who, milliseconds(15'000));
  stage.bound("pause", load.longest_pause(begun, now()).length, most);
  require(lab.copy(who).fetched_bytes == 0, "the standby was rebuilt");
  require(lab.copy(primary).serving && lab.copy(primary).epoch == epoch, "the lead changed");
  lab.verify_everywhere();
}

void hs1(Stage& stage) {
  standby(
      stage, kMemberPause,
      [](Stage& s, Lab& lab, unsigned who) {
        lab.node(who).kill();
        s.prove("process killed", 1);
        lab.node(who).start();
      },
      [](Stage&, Lab&, unsigned) {});
}
void hs2(Stage& stage) {
  standby(
      stage, kMemberPause,
      [](Stage& s, Lab& lab, unsigned who) {
        lab.node(who).stop();
        s.prove("process stopped in order", 1);
        lab.await_out_of_sync(who);
      },
      [](Stage&, Lab& lab, unsigned who) { lab.node(who).start(); });
}
void hs3(Stage& stage) {
  standby(
      stage, kMemberPause,
      [](Stage& s, Lab& lab, unsigned who) {
        lab.node(who).die_silently();
        s.prove("machine dead", 1);
        lab.await_out_of_sync(who);
      },
      [](Stage&, Lab& lab, unsigned who) {
        lab.node(who).boot();
        lab.node(who).start();
      });
}

void hs4(Stage& stage) {
  standby(
      stage, kMemberPause,
      [](Stage& s, Lab& lab, unsigned who) {
        lab.node(who).stop();
        s.prove("service stopped", 1);
        lab.await_out_of_sync(who);
      },
      [](Stage&, Lab& lab, unsigned who) {
        const unsigned primary = lab.await_serving();
        require(!lab.is_in_sync(who) && !lab.copy(primary).connected.contains(who), "a copy whose service is stopped is shown as if it were there");
        const Ran status = lab.node(primary).holdfast({"status"});
        require(status.output.find("degraded") != std::string::npos, "holdfast status does not show that a copy is out: " + status.output);
        lab.node(who).start();
      });
}

std::size_t cut_number = 0;
void cut_data(Lab& lab, unsigned who, CutHow how, CutWay way = CutWay::both) {
  cut_number = lab.node(who).machine().firewall().cut({how, way, {}, kDataPorts});
  lab.await_out_of_sync(who);
}
void cut_control(Lab& lab, unsigned who, CutHow how) {
  cut_number = lab.node(who).machine().firewall().cut({how, CutWay::both, {}, kControlPorts});
  pause_for(milliseconds(4'000));
  require(lab.is_in_sync(who), "a member left for its control port");
}
void heal(Stage& stage, Lab& lab, unsigned who) {
  stage.prove("packets hit", lab.node(who).machine().firewall().hits(cut_number));
  lab.node(who).machine().firewall().heal();
}
void hs5(Stage& stage) {
  standby(stage, kMemberPause, [](Stage&, Lab& lab, unsigned who) { cut_data(lab, who, CutHow::drop); }, heal);
}
void hs6(Stage& stage) {
  standby(stage, kMemberPause, [](Stage&, Lab& lab, unsigned who) { cut_data(lab, who, CutHow::reject); }, heal);
}
// It sees its connections reset, and nobody else does: it is not to take the lead from a primary that is well.
void hs6_outgoing(Stage& stage) {
  standby(stage, kMemberPause, [](Stage&, Lab& lab, unsigned who) { cut_data(lab, who, CutHow::reject, CutWay::outgoing); }, heal);
}
void hs7(Stage& stage) {
  standby(stage, kUnfeltPause, [](Stage&, Lab& lab, unsigned who) { cut_control(lab, who, CutHow::drop); }, heal);
}
void hs8(Stage& stage) {
  standby(stage, kUnfeltPause, [](Stage&, Lab& lab, unsigned who) { cut_control(lab, who, CutHow::reject); }, heal);
}

// A node that is cut off is refused as a candidate; another one is not.
void hs9(Stage& stage) {
  Lab lab(stage, {});
  Load& load = lab.start_loaded();
  const unsigned primary = lab.await_serving(), isolated = lab.another(primary), healthy = lab.another(primary, isolated);
  Firewall& firewall = lab.node(isolated).machine().firewall();
  const std::size_t cut = firewall.cut({CutHow::drop, CutWay::both, {}, {}});
  lab.await_out_of_sync(isolated);
  const Node::Answer refused = lab.try_switchover(isolated);
  require(refused.status == 412, "a switchover to a node that is cut off was answered with " + std::to_string(refused.status) + ": " + refused.body);
  stage.say("refused: " + refused.body);
  require(eventually(milliseconds(10'000), [&] { return !lab.host().paths().at(isolated - 1).up; }), "the host does not notice a silent portal");
  const BootNs begun = now();
  lab.switchover(healthy);
  load.run_for(200);
  stage.prove("packets dropped", firewall.hits(cut));
  stage.bound("pause", load.longest_pause(begun, now()).length, kPlannedPause);
  firewall.heal();
  lab.await_all_in_sync();
  lab.verify_everywhere();
}

using Happening = void (*)(Stage&, Lab&, unsigned);
constexpr DurationNs kSessionsKnown = milliseconds(2'500);  // Nodes tell of their sessions once a second, and read of the others' as often.

// Something happens to the primary after a while: another node serves within `most`, as the host sees it. Then it comes back.
void primary_in(Lab& lab, Stage& stage, DurationNs calm, DurationNs most, Happening happens, Happening ends) {
  Load& load = lab.start_loaded();
  pause_for(calm);
  const unsigned who = lab.await_serving();
  const BootNs begun = now();
  happens(stage, lab, who);
  stage.bound("pause", load.pause_since(begun), most);
  lab.await_other_serving(who);
  load.run_for(300);
  ends(stage, lab, who);
  lab.await_all_in_sync(milliseconds(20'000));
  require(lab.copy(who).fetched_bytes == 0, "the old primary was rebuilt");
  lab.verify_everywhere();
}

void primary(Stage& stage, DurationNs most, Happening happens, Happening ends) {
  Lab lab(stage, {});
  primary_in(lab, stage, {}, most, happens, ends);
}

// The same where nodes end hosts' connections to one that is silent. Returns how often they did.
std::uint64_t told_primary(Stage& stage, DurationNs most, Happening happens, Happening ends) {
  LabOptions options;
  options.more_iscsi = "takeover = \"tickle\"";
  Lab lab(stage, options);
  primary_in(lab, stage, kSessionsKnown, most, happens, ends);
  std::uint64_t told = 0;
  for (unsigned number = 1; number <= lab.node_count(); ++number) told += lab.node(number).log_lines("of 1 connections that initiators had to it, 1 are ended");
  return told;
}

void hp1(Stage& stage) {
  Lab lab(stage, {});
  Load& load = lab.start_loaded();
  const unsigned who = lab.await_serving();
  const BootNs begun = now();
  lab.node(who).kill();
  stage.prove("process killed", 1);
  lab.node(who).spawn();  // As a supervisor does, at once.
  stage.bound("pause", load.pause_since(begun), kCheckedPause);
  lab.node(who).await_ready();
  lab.await_all_in_sync();
  lab.verify_everywhere();
}
void hp1_away(Stage& stage) {
  primary(
      stage, kKilledPause,
      [](Stage& s, Lab& lab, unsigned who) {
        lab.node(who).kill();
        s.prove("process killed", 1);
      },
      [](Stage&, Lab& lab, unsigned who) { lab.node(who).start(); });
}
void hp2(Stage& stage) {
  Lab lab(stage, {});
  Load& load = lab.start_loaded();
  const unsigned who = lab.await_serving();
  const BootNs begun = now();
  lab.node(who).stop();
  stage.prove("process stopped in order", 1);
  load.run_for(200);
  stage.bound("pause", load.longest_pause(begun, now()).length, kPlannedPause);
  lab.node(who).start();
  lab.await_all_in_sync();
  lab.verify_everywhere();
}
void hp3(Stage& stage) {
  primary(
      stage, kSilentPause,
      [](Stage& s, Lab& lab, unsigned who) {
        lab.node(who).die_silently();
        s.prove("machine dead", 1);
      },
      [](Stage&, Lab& lab, unsigned who) {
        lab.node(who).boot();
        lab.node(who).start();
      });
}

// Two of three are gone: the last one holds writes back, and they go on when one returns.
void hp4(Stage& stage) {
  Lab lab(stage, {});
  Load& load = lab.start_loaded();
  const unsigned who = lab.await_serving(), first = lab.another(who), last = lab.another(who, first);
  lab.node(first).stop();
  lab.await_out_of_sync(first);
  lab.node(who).kill();
  lab.await_other_serving(who);
  stage.prove("nodes gone", 2);
  pause_for(milliseconds(2'000));
  const BootNs held_from = now();
  pause_for(milliseconds(2'000));
  require(load.writes_between(held_from, now()) == 0, "writes are acknowledged with less than min_in_sync copies");
  stage.say("node " + std::to_string(last) + " holds writes");
  lab.node(who).start();
  const BootNs back = now();
  load.run_for(50);
  stage.bound("writes again", now() - back, milliseconds(5'000));
  lab.node(first).start();
  lab.await_all_in_sync();
  lab.verify_everywhere();
}
void hp5(Stage& stage) {
  primary(
      stage, kSilentPause,
      [](Stage&, Lab& lab, unsigned who) { cut_number = lab.node(who).machine().firewall().cut({CutHow::drop, CutWay::both, {}, kDataPorts}); }, heal);
}
void hp6(Stage& stage) {
  primary(
      stage, kResetPause,
      [](Stage&, Lab& lab, unsigned who) { cut_number = lab.node(who).machine().firewall().cut({CutHow::reject, CutWay::both, {}, kDataPorts}); }, heal);
}

void control_then_data(Stage& stage, CutHow how) {
  Lab lab(stage, {});
  Load& load = lab.start_loaded();
  const unsigned who = lab.await_serving();
  Firewall& firewall = lab.node(who).machine().firewall();
  const BootNs begun = now();
  const std::size_t control = firewall.cut({how, CutWay::both, {}, kControlPorts});
  pause_for(milliseconds(5'000));
  stage.bound("pause", load.longest_pause(begun, now()).length, kUnfeltPause);
  require(lab.copy(who).serving, "the primary gave way for its control port");
  stage.prove("packets hit", firewall.hits(control));
  const BootNs killed = now();
  lab.node(who).kill();
  stage.bound("pause of the kill", load.pause_since(killed), kKilledPause);
  firewall.heal();
  lab.node(who).start();
  lab.await_all_in_sync();
  lab.verify_everywhere();
}
void hp7(Stage& stage) { control_then_data(stage, CutHow::drop); }
void hp8(Stage& stage) { control_then_data(stage, CutHow::reject); }

void hp9(Stage& stage) {
  primary(
      stage, kSilentPause,
      [](Stage& s, Lab& lab, unsigned who) {
        lab.node(who).process().freeze();
        s.prove("process frozen", 1);
      },
      [](Stage&, Lab& lab, unsigned who) { lab.node(who).process().thaw(); });
}

// Its process is gone, and its kernel tells the host: nobody else has to.
void hp1_told(Stage& stage) {
  const std::uint64_t told = told_primary(
      stage, kKilledPause,
      [](Stage& s, Lab& lab, unsigned who) {
        lab.node(who).kill();
        s.prove("process killed", 1);
      },
      [](Stage&, Lab& lab, unsigned who) { lab.node(who).start(); });
  require(told == 0, "a host was told of a process that was killed");
}
void hp3_told(Stage& stage) {
  const std::uint64_t told = told_primary(
      stage, kToldPause,
      [](Stage& s, Lab& lab, unsigned who) {
        lab.node(who).die_silently();
        s.prove("machine dead", 1);
      },
      [](Stage&, Lab& lab, unsigned who) {
        lab.node(who).boot();
        lab.node(who).start();
      });
  stage.prove("hosts told", told);
}
void hp9_told(Stage& stage) {
  const std::uint64_t told = told_primary(
      stage, kToldPause,
      [](Stage& s, Lab& lab, unsigned who) {
        lab.node(who).process().freeze();
        s.prove("process frozen", 1);
      },
      [](Stage&, Lab& lab, unsigned who) { lab.node(who).process().thaw(); });
  stage.prove("hosts told", told);
}

void hp10(Stage& stage) {
  Lab lab(stage, {});
  Load& load = lab.start_loaded();
  for (int i = 0; i < 3; ++i) {
    lab.await_all_in_sync();
    const unsigned old = lab.await_serving();
    const BootNs begun = now();
    lab.switchover(lab.another(old, i == 1 ? old : 0));
    load.run_for(100);
    stage.bound("pause", load.longest_pause(begun, now()).length, kPlannedPause);
    pause_for(milliseconds(4'000));
  }
  stage.prove("switchovers", 3);
  lab.verify_everywhere();
}

}  // namespace

std::vector<Scenario> node_scenarios() {
  return {
      {"HS1", "standby: killed, and started at once", hs1},
      {"HS2", "standby: stopped, and started", hs2},
      {"HS3", "standby: its machine dies silently, and boots", hs3},
      {"HS4", "standby: its service is stopped, and stays out until it is started", hs4},
      {"HS5", "standby: data port DROP", hs5},
      {"HS6", "standby: data port REJECT", hs6},
      {"HS6o", "standby: its own firewall refuses what it says itself", hs6_outgoing},
      {"HS7", "standby: control port DROP", hs7},
      {"HS8", "standby: control port REJECT", hs8},
      {"HS9", "switchover to an isolated node is refused, to a healthy one it works (and HS10)", hs9},
      {"HP1a", "primary: killed, and started at once", hp1},
      {"HP1b", "primary: killed, and away for a while", hp1_away},
      {"HP2", "primary: stopped in order", hp2},
      {"HP3", "primary: its machine dies silently, and boots", hp3},
      {"HP4", "stopped on a standby, killed on the primary: the last one holds writes", hp4},
      {"HP5", "primary: data port DROP", hp5},
      {"HP6", "primary: data port REJECT", hp6},
      {"HP7", "primary: control port DROP, then killed", hp7},
      {"HP8", "primary: control port REJECT, then killed", hp8},
      {"HP9", "primary: frozen, then continued", hp9},
      {"HP1t", "primary: killed, with iscsi.takeover", hp1_told},
      {"HP3t", "primary: its machine dies silently, with iscsi.takeover", hp3_told},
      {"HP9t", "primary: frozen, with iscsi.takeover", hp9_told},
      {"HP10", "three switchovers in a row", hp10},
  };
}

}  // namespace holdfast::torture
