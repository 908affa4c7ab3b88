// HP, HS: what becomes of a primary, or of a standby, that is killed, stopped, cut off or frozen.
#include "test/cluster/story.h"
#include "test/sim/text.h"

namespace holdfast::cluster {
namespace {

void primary_killed_and_restarted(Story& s) {
  Cluster& c = s.cluster();
  const NodeId old = s.primary();
  s.tell("The primary's process is killed, and restarted at once");
  c.die(old, Death::killed);
  c.restart_after(old, milliseconds(20));
  s.until(1'000, "the volume is served, by whoever", [&] { return c.serving().has_value(); });
  s.end();
}

void primary_stopped(Story& s) {
  const NodeId old = s.primary();
  const BootNs then = s.now();
  s.tell("The primary is stopped in order");
  s.stop_in_order(old);
  s.until(1'000, "another node serves", [&] { return s.serves_elsewhere(old); });
  s.run_for(200);
  const double pause = s.longest_pause_since(then);
  s.expect(pause <= kPlannedPauseMs, sim::format("the pause was {} ms", pause));
  s.cluster().start(old);
  s.end();
}

void primary_reboots(Story& s) {
  Cluster& c = s.cluster();
  const NodeId old = s.primary();
  s.tell("The primary's machine dies silently");
  c.die(old, Death::power_loss);
  s.until(kSilentTakeOverMs, "another node serves", [&] { return s.serves_elsewhere(old); });
  c.start(old);
  s.until(10'000, "the old one is in sync again", [&] { return s.in_sync(old); });
  s.expect(s.serves_elsewhere(old), "as a standby");
  s.expect(s.replica(old).rebuilt_chunks == 0, "without a rebuild");
  s.end();
}

void one_after_the_other(Story& s) {
  Cluster& c = s.cluster();
  s.tell("One standby is stopped, then the primary, then there is one node");
  const NodeId first = s.standby();
  s.stop_in_order(first);
  s.until(2'000, "it has left the set", [&] { return !s.in_sync(first); });
  const NodeId second = s.primary();
  s.stop_in_order(second);
  s.until(3'000, "the last node serves", [&] { return s.serves_elsewhere(second); });
  const std::size_t answers = s.answers();
  s.run_for(1'500);
  s.expect(s.answers() > answers + 20, "and answers");
  c.start(first);
  c.start(second);
  s.end();
}

void primary_data_port(Story& s, bool reject) {
  Cluster& c = s.cluster();
  const NodeId old = s.primary();
  s.tell(reject ? "The primary's data port refuses everybody" : "The primary's data port drops everything");
  if (reject) s.data_port_rejects(old);
  else s.data_port(old, false);
  s.until(reject ? 1'000 : kSilentTakeOverMs, "another node serves", [&] { return s.serves_elsewhere(old); });
  s.fault_happened(c.network().counters().held + c.network().counters().resets > 0, "packets were dropped or refused");
  s.run_for(500);
  s.data_port(old, true);
  s.until(15'000, "the old one is in sync again", [&] { return s.in_sync(old); });
  s.end();
}
void primary_data_port_drops(Story& s) { primary_data_port(s, false); }
void primary_data_port_rejects(Story& s) { primary_data_port(s, true); }

void primary_control_port(Story& s) {
  Cluster& c = s.cluster();
  const NodeId old = s.primary();
  const BootNs then = s.now();
  s.tell("The primary's control port is cut off");
  s.coordinator_of(old, false);
  s.run_for(2'000);
  s.expect(c.serving() == old && s.longest_pause_since(then) < 100, "I/O goes on");
  s.tell("Now its data port is cut off, too");
  s.data_port(old, false);
  s.until(kSilentTakeOverMs, "another node serves", [&] { return s.serves_elsewhere(old); });
  s.data_port(old, true);
  s.coordinator_of(old, true);
  s.end();
}

void primary_frozen(Story& s) {
  Cluster& c = s.cluster();
  const NodeId old = s.primary();
  s.tell("The primary is frozen");
  c.pause(old);
  s.until(kSilentTakeOverMs, "another node serves", [&] { return s.serves_elsewhere(old); });
  s.run_for(1'000);
  s.tell("It goes on");
  c.resume(old);
  s.until(10'000, "it is in sync again", [&] { return s.in_sync(old); });
  s.expect(s.serves_elsewhere(old), "as a standby");
  s.expect(s.replica(old).rebuilt_chunks == 0, "by the log");
  s.end();
}

void three_switchovers(Story& s) {
  const NodeId a = s.primary();
  const NodeId b = s.standby();
  s.tell("Three switchovers in a row, back and forth");
  for (const NodeId to : {b, a, b}) s.hand_over(to);
  s.expect(s.cluster().truth().in_sync.size() == 3, "nobody left the set");
  for (const auto& each : s.cluster().nodes())
    s.expect(s.replica(each->id()).rebuilt_chunks == 0, sim::format("node {} needed no rebuild", each->id().value));
  s.end();
}

void standby_dies(Story& s, Death how) {
  Cluster& c = s.cluster();
  const NodeId primary = s.primary();
  const NodeId dead = s.standby();
  const Epoch before = s.epoch();
  s.tell("A standby dies, and its supervisor starts it again");
  c.die(dead, how);
  c.restart_after(dead, milliseconds(how == Death::killed ? 100 : 3'000));
  s.run_for(1'000);
  s.until(15'000, "it is in sync", [&] { return c.node(dead).is_open() && s.in_sync(dead); });
  s.expect(c.serving() == primary && s.epoch() == before, "no fail-over");
  s.expect(s.replica(dead).rebuilt_chunks == 0, "by the log");
  s.end();
}
void standby_killed(Story& s) { standby_dies(s, Death::killed); }
void standby_reboots(Story& s) { standby_dies(s, Death::power_loss); }

void standby_data_port(Story& s) {
  Cluster& c = s.cluster();
  const NodeId away = s.standby();
  const NodeId healthy = s.standby(1);
  const Epoch before = s.epoch();
  s.tell("A standby's data port drops everything");
  s.data_port(away, false);
  s.until(2'000, "it has left the set", [&] { return !s.in_sync(away); });
  s.fault_happened(c.network().counters().held > 0, "packets were dropped");
  s.expect(s.epoch() == before, "no fail-over");
  s.tell("A switchover to it is refused");
  c.switchover(s.primary(), away);
  s.until(1'000, "there is an answer", [&] { return c.figures.last_switchover.has_value(); });
  s.expect(c.figures.last_switchover == Errc::invalid_argument, "it is not fit");
  s.tell("A switchover to the healthy standby works");
  const double pause = s.hand_over(healthy);  // Clients may hang on the path that is cut: their pause says nothing.
  s.expect(pause <= kPlannedPauseMs, sim::format("the pause was {} ms", pause));
  s.data_port(away, true);
  s.until(10'000, "it is in sync again", [&] { return s.in_sync(away); });
  s.end();
}

void standby_control_port(Story& s) {
  const NodeId standby = s.standby();
  const std::uint64_t revision = s.revision();
  const BootNs then = s.now();
  s.tell("A standby's control port is cut off");
  s.coordinator_of(standby, false);
  s.run_for(3'000);
  s.fault_happened(s.cluster().coordinator().counters().unanswered > 0, "the coordinator did not answer it");
  s.expect(s.revision() == revision && s.longest_pause_since(then) < 100, "I/O untouched");
  s.tell("A switchover to it is refused, for it could not claim");
  s.cluster().switchover(s.primary(), standby);
  s.until(1'000, "there is an answer", [&] { return s.cluster().figures.last_switchover.has_value(); });
  s.expect(s.cluster().figures.last_switchover == Errc::invalid_argument, "it is not fit");
  s.coordinator_of(standby, true);
  s.end();
}

void standby_stopped(Story& s) {
  Cluster& c = s.cluster();
  const NodeId primary = s.primary();
  const NodeId standby = s.standby();
  const Epoch before = s.epoch();
  const BootNs then = s.now();
  s.tell("A standby is stopped in order, and its supervisor starts it again");
  s.stop_in_order(standby);
  s.fault_happened(!c.node(standby).is_up(), "its process is gone");
  s.expect(!s.in_sync(standby), "it has left the set before it went");
  c.restart_after(standby, milliseconds(100));
  s.until(10'000, "it is in sync again", [&] { return c.node(standby).is_open() && s.in_sync(standby); });
  const double pause = s.longest_pause_since(then);
  s.expect(pause <= kPlannedPauseMs, sim::format("service is untouched: the longest pause was {} ms", pause));
  s.expect(c.serving() == primary && s.epoch() == before, "no fail-over");
  s.expect(s.replica(standby).rebuilt_chunks == 0, "by the log");
  s.end();
}

void standby_service_stopped(Story& s) {
  Cluster& c = s.cluster();
  const NodeId primary = s.primary();
  const NodeId standby = s.standby();
  const Epoch before = s.epoch();
  s.tell("A standby's service is stopped");
  s.stop_in_order(standby);
  s.fault_happened(!c.node(standby).is_up(), "its process is gone");
  const std::size_t answers = s.answers();
  s.run_for(10'000);
  const ReplicaStatus::Member member = s.shown(standby);
  s.expect(!member.connected && !member.in_sync, "after 10 s it is shown as away, and not in sync");
  s.expect(c.truth().is_member(standby), "it is a member still");
  s.expect(c.serving() == primary && s.epoch() == before && s.answers() > answers + 2'000, "service goes on without a fail-over");
  s.tell("The service is started");
  c.start(standby);
  s.until(10'000, "it is in sync again", [&] { return c.node(standby).is_open() && s.in_sync(standby); });
  s.until(1'000, "and shown so", [&] { return s.in_step(standby); });
  s.end();
}

void standby_data_port_rejects(Story& s) {
  Cluster& c = s.cluster();
  const NodeId away = s.standby();
  const NodeId primary = s.primary();
  const Epoch before = s.epoch();
  const BootNs then = s.now();
  const auto resets = c.network().counters().resets;
  s.tell("A standby's data port refuses everybody");
  s.data_port_rejects(away);
  s.until(2'000, "it has left the set", [&] { return !s.in_sync(away); });
  s.fault_happened(c.network().counters().resets > resets && c.network().counters().held > 0, "its connections were reset, and no new one came through");
  s.until(1'000, "it is shown as away", [&] { return !s.shown(away).in_sync && !s.shown(away).connected; });
  s.run_for(3'000);
  s.expect(s.longest_pause_since(then) <= kMemberLossMs, sim::format("nobody waited longer than {} ms", kMemberLossMs));
  s.expect(c.serving() == primary && s.epoch() == before, "no fail-over");
  s.data_port(away, true);
  s.until(10'000, "it is in sync again", [&] { return s.in_sync(away); });
  s.expect(s.replica(away).rebuilt_chunks == 0, "by the log");
  s.end();
}

void standby_control_port_rejects(Story& s) {
  constexpr std::uint64_t kRequestsMax = 2 * 3'000 / 20;  // A read and a watch in 20 ms.
  Cluster& c = s.cluster();
  const NodeId standby = s.standby();
  const std::uint64_t revision = s.revision();
  const BootNs then = s.now();
  s.tell("A standby's control port refuses everybody");
  s.control_port_rejects(standby, true);
  s.run_for(3'000);
  s.fault_happened(c.coordinator().counters().turned_away > 0, sim::format("it was turned away {} times", c.coordinator().counters().turned_away));
  s.expect(c.coordinator().counters().turned_away < kRequestsMax, "it asks again in its own time, not at once");
  s.expect(s.revision() == revision && s.longest_pause_since(then) < 100, "I/O untouched");
  s.tell("A switchover to it is refused, for it could not claim");
  c.switchover(s.primary(), standby);
  s.until(1'000, "there is an answer", [&] { return c.figures.last_switchover.has_value(); });
  s.expect(c.figures.last_switchover == Errc::invalid_argument, "it is not fit");
  s.control_port_rejects(standby, false);
  s.run_for(2'000);
  s.tell("It is reached again, and gets the lead");
  s.hand_over(standby);
  s.end();
}

constexpr Scenario kRoleStories[] = {
    {"HP1", "the primary's process is killed and restarted at once", primary_killed_and_restarted},
    {"HP2", "graceful stop of the primary", primary_stopped},
    {"HP3", "the primary's machine reboots", primary_reboots},
    {"HP4", "stopped on a standby, and then on the primary", one_after_the_other},
    {"HP5", "the primary's data port drops", primary_data_port_drops},
    {"HP6", "the primary's data port rejects", primary_data_port_rejects},
    {"HP7", "the primary's control port drops, and then its data port", primary_control_port},
    {"HP9", "the primary is frozen, then continued", primary_frozen},
    {"HP10", "three switchovers in a row, back and forth", three_switchovers},
    {"HS1", "a standby's process is killed", standby_killed},
    {"HS2", "a standby's process is stopped", standby_stopped},
    {"HS3", "a standby's machine reboots", standby_reboots},
    {"HS4", "a standby's service is stopped, and stays so", standby_service_stopped},
    {"HS5", "a standby's data port drops; switchovers meanwhile", standby_data_port},
    {"HS6", "a standby's data port rejects", standby_data_port_rejects},
    {"HS7", "a standby's control port drops", standby_control_port},
    {"HS8", "a standby's control port rejects", standby_control_port_rejects},
};

}  // namespace

std::span<const Scenario> role_stories() { return kRoleStories; }

}  // namespace holdfast::cluster
