// Unit attentions, standby, target port groups and resets: what a host hears when the world behind the unit changes.
#include <gtest/gtest.h>

#include "test/support/scsi_bench.h"

namespace holdfast::test {
namespace {

using scsi::Asc;
using scsi::Status;
using Operation = FakeVolume::Operation;

Octets tur() { return octets({0, 0, 0, 0, 0, 0}); }
Octets rtpg(int format = 0) { return octets({0xa3, 0x0a | format << 5, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0}); }

scsi::Nexus* newcomer(ScsiBench& bench) { return bench.device->attach("iqn.2026-11.test:new", {}, 1); }

TEST(Attentions, NewNexus_HearsPowerOnOnce) {
  ScsiBench bench;
  scsi::Nexus* nexus = newcomer(bench);
  auto x = bench.send(nexus, tur());
  EXPECT_EQ(x->sense_key(), 6u);
  EXPECT_EQ(x->asc(), 0x2900u);
  EXPECT_EQ(bench.send(nexus, tur())->status(), Status::good);
}

// INQUIRY and REPORT LUNS pass; a port group report passes too, for its delay costs a host two seconds (alua.md).
TEST(Attentions, ExemptCommands_PassAndLeaveThem) {
  ScsiBench bench;
  scsi::Nexus* nexus = newcomer(bench);
  EXPECT_EQ(bench.send(nexus, octets({0x12, 0, 0, 0, 96, 0}), {}, 96)->status(), Status::good);
  EXPECT_EQ(bench.send(nexus, octets({0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0}), {}, 16)->status(), Status::good);
  EXPECT_EQ(bench.send(nexus, rtpg(), {}, 256)->status(), Status::good);
  EXPECT_EQ(bench.send(nexus, tur())->asc(), 0x2900u);
}

TEST(Attentions, RequestSense_ReportsAndClearsThem) {
  ScsiBench bench;
  scsi::Nexus* nexus = newcomer(bench);
  const Octets fixed = bench.send(nexus, octets({3, 0, 0, 0, 252, 0}), {}, 252)->data();
  ASSERT_EQ(fixed.size(), 18u);
  EXPECT_EQ(fixed[0], std::byte{0x70});
  EXPECT_EQ(fixed[2], std::byte{6});
  EXPECT_EQ(fixed[12], std::byte{0x29});
  const Octets descriptor = bench.send(nexus, octets({3, 1, 0, 0, 252, 0}), {}, 252)->data();
  EXPECT_EQ(descriptor, octets({0x72, 0, 0, 0, 0, 0, 0, 0}));
}

TEST(Attentions, Several_AreReportedInTheirOrderAndOnceEach) {
  ScsiBench bench;
  bench.volume.announce(VolumeEvent::capacity_changed);
  bench.volume.announce(VolumeEvent::alua_changed);
  bench.volume.announce(VolumeEvent::capacity_changed);
  EXPECT_EQ(bench.send(bench.a, tur())->asc(), 0x2a09u);
  EXPECT_EQ(bench.send(bench.a, tur())->asc(), 0x2a06u);
  EXPECT_EQ(bench.send(bench.a, tur())->status(), Status::good);
  EXPECT_EQ(bench.b->attentions.size(), 2u);
}

TEST(Attentions, Reset_ReplacesWhatWasPending) {
  scsi::UnitAttentions queue;
  queue.establish(Asc::capacity_changed);
  queue.establish(Asc::bus_device_reset);
  queue.establish(Asc::capacity_changed);
  EXPECT_EQ(queue.take(), Asc::bus_device_reset);
  EXPECT_EQ(queue.take(), Asc::capacity_changed);
  EXPECT_TRUE(queue.empty());
}

TEST(Attentions, Rollback_TellsThatTheMediumMayHaveChanged) {
  ScsiBench bench;
  bench.volume.announce(VolumeEvent::data_replaced);
  EXPECT_EQ(bench.send(bench.a, tur())->asc(), 0x2800u);
}

TEST(Resets, EveryNexus_HearsOfItAndModeParametersGoBack) {
  ScsiBench bench;
  bench.send(bench.a, octets({0x15, 0x10, 0, 0, 16, 0}),
             octets({0, 0, 0, 0, 0x0a, 0x0a, 0, 0x10, 0x08, 0x00, 0, 0, 0xff, 0xff, 0, 0}));
  bench.device->logical_unit_reset(bench.a);
  EXPECT_EQ(bench.send(bench.a, tur())->asc(), 0x2903u);
  EXPECT_EQ(bench.send(bench.b, tur())->asc(), 0x2903u);
  EXPECT_EQ(bench.send(bench.a, cdb10(0x2a, 0, 1), blocks_of(1, 1))->status(), Status::good);
  bench.device->target_reset(bench.a, false);
  EXPECT_EQ(bench.send(bench.b, tur())->asc(), 0x2902u);
  bench.device->target_reset(bench.a, true);
  EXPECT_EQ(bench.send(bench.b, tur())->asc(), 0x2900u);
  bench.device->commands_cleared(bench.b);
  EXPECT_EQ(bench.send(bench.b, tur())->asc(), 0x2f00u);
}

ClusterView two_nodes(PortGroupState local, PortGroupState other) {
  return ClusterView{1, {{1, local, {}}, {2, other, {}}}};
}

// On a standby, I/O fails at once and what a host needs to know is answered.
TEST(Standby, EachCommand_AnswersOrFailsAtOnce) {
  ScsiBench bench;
  bench.volume.set_view(two_nodes(PortGroupState::standby, PortGroupState::active_optimized));
  EXPECT_EQ(bench.send(bench.a, tur())->asc(), 0x040bu);
  EXPECT_EQ(bench.send(bench.a, cdb10(0x28, 0, 1), {}, 4096)->asc(), 0x040bu);
  EXPECT_EQ(bench.send(bench.a, cdb10(0x2a, 0, 1), blocks_of(1, 1))->asc(), 0x040bu);
  EXPECT_EQ(bench.send(bench.a, octets({0x5f, 0, 0, 0, 0, 0, 0, 0, 24, 0}), Octets(24))->asc(), 0x040bu);
  EXPECT_EQ(bench.send(bench.a, cdb10(0x25, 0, 0), {}, 8)->status(), Status::good);
  EXPECT_EQ(bench.send(bench.a, octets({0x1a, 0, 0x3f, 0, 255, 0}), {}, 255)->status(), Status::good);
  EXPECT_EQ(bench.send(bench.a, octets({0x5e, 0, 0, 0, 0, 0, 0, 1, 0, 0}), {}, 256)->status(), Status::good);
  EXPECT_EQ(bench.send(bench.a, octets({0x12, 0, 0, 0, 96, 0}), {}, 96)->status(), Status::good);
  EXPECT_EQ(bench.send(bench.a, rtpg(), {}, 256)->status(), Status::good);
  const Octets sense = bench.send(bench.a, octets({3, 0, 0, 0, 18, 0}), {}, 18)->data();
  EXPECT_EQ(load_be<std::uint16_t>(&sense[12]), 0x040bu);
}

TEST(Standby, Unavailable_TouchesNoBlockButTellsItsSize) {
  ScsiBench bench;
  bench.volume.set_view(two_nodes(PortGroupState::unavailable, PortGroupState::active_optimized));
  EXPECT_EQ(bench.send(bench.a, tur())->asc(), 0x040cu);
  EXPECT_EQ(bench.send(bench.a, cdb10(0x28, 0, 1), {}, 4096)->asc(), 0x040cu);
  EXPECT_EQ(bench.send(bench.a, cdb10(0x25, 0, 0), {}, 8)->status(), Status::good);
  EXPECT_EQ(bench.send(bench.a, rtpg(), {}, 256)->status(), Status::good);
}

TEST(Standby, VolumeThatServesNoLonger_IsToldToTheTransport) {
  ScsiBench bench;
  std::vector<scsi::ServiceChange> ends;
  bench.device->on_service_change([&](scsi::ServiceChange end) { ends.push_back(end); });
  bench.volume.announce(VolumeEvent::alua_changed);
  EXPECT_TRUE(ends.empty());
  bench.volume.announce(VolumeEvent::stopped_serving);
  bench.volume.announce(VolumeEvent::deleted);
  bench.volume.announce(VolumeEvent::ceases_to_serve);
  bench.volume.announce(VolumeEvent::begins_to_serve);
  bench.volume.announce(VolumeEvent::ask_initiators);
  using enum scsi::ServiceChange;
  EXPECT_EQ(ends, (std::vector{stopped, deleted, ceases, begins, ask_initiators}));
}

TEST(PortGroups, Confirmed_AreReportedInBothFormats) {
  ScsiBench bench;
  bench.volume.set_view(two_nodes(PortGroupState::active_optimized, PortGroupState::standby));
  const Octets groups = octets({0x00, 0x0d, 0, 1, 0, 2, 0, 1, 0, 0, 0, 1, 0x02, 0x0d, 0, 2, 0, 2, 0, 1, 0, 0, 0, 2});
  Octets plain = octets({0, 0, 0, 24});
  plain.insert(plain.end(), groups.begin(), groups.end());
  EXPECT_EQ(bench.send(bench.a, rtpg(), {}, 256)->data(), plain);
  Octets extended = octets({0, 0, 0, 28, 0x10, 0, 0, 0});
  extended.insert(extended.end(), groups.begin(), groups.end());
  EXPECT_EQ(bench.send(bench.a, rtpg(1), {}, 256)->data(), extended);
  EXPECT_EQ(bench.send(bench.a, rtpg(2), {}, 256)->asc(), 0x2400u);
}

TEST(PortGroups, NotConfirmed_AreHeldUntilTheyAre) {
  ScsiBench bench;
  bench.volume.hold(Operation::confirm);
  auto x = bench.start(bench.a, rtpg(), {}, 256);
  for (int i = 0; i < 100; ++i) {
    bench.clock.advance(milliseconds(100));
    bench.turn();
  }
  EXPECT_FALSE(x->finished);
  bench.volume.release();
  bench.turn();
  EXPECT_TRUE(x->finished);
  EXPECT_EQ(x->data().size(), 16u);
}

TEST(PortGroups, NotConfirmedInTime_EndTheConnectionWithoutAnAnswer) {
  ScsiBench bench;
  bench.volume.hold(Operation::confirm);
  auto x = bench.start(bench.a, rtpg(), {}, 256);
  for (int i = 0; i < 201; ++i) {
    bench.clock.advance(milliseconds(100));
    bench.turn();
  }
  EXPECT_TRUE(x->finished);
  EXPECT_TRUE(x->command.close_connection);
  bench.volume.release();  // The late answer finds nobody.
  bench.turn();
}

// A cluster that confirms nothing for long, and hosts that ask every second: what they leave behind has a bound, and when
// it confirms again, so do those that found no room.
TEST(PortGroups, NotConfirmedForLong_LeaveABoundedNumberOfConfirmations) {
  ScsiBench bench;
  bench.volume.hold(Operation::confirm);
  std::vector<std::unique_ptr<Exchange>> reports;
  for (int i = 0; i < 100; ++i) {
    reports.push_back(bench.start(bench.a, rtpg(), {}, 256));
    bench.clock.advance(milliseconds(1'000));
    bench.turn();
  }
  EXPECT_EQ(bench.volume.calls(Operation::confirm), 64u);
  EXPECT_TRUE(reports[79]->command.close_connection);
  EXPECT_FALSE(reports[99]->finished);
  bench.volume.release();
  for (int i = 0; i < 2; ++i) {
    bench.turn();
    bench.clock.advance(milliseconds(100));
  }
  bench.turn();
  EXPECT_TRUE(reports[99]->finished);
  EXPECT_EQ(reports[99]->data().size(), 16u);
}

TEST(PortGroups, CannotBeConfirmed_EndTheConnection) {
  ScsiBench bench;
  bench.volume.fail_with(Operation::confirm, Errc::closed);
  EXPECT_TRUE(bench.send(bench.a, rtpg(), {}, 256)->command.close_connection);
}

TEST(PortGroups, AbortedWhileHeld_EndSoon) {
  ScsiBench bench;
  bench.volume.hold(Operation::confirm);
  auto x = bench.start(bench.a, rtpg(), {}, 256);
  x->command.aborted = true;
  bench.clock.advance(milliseconds(100));
  bench.turn();
  EXPECT_TRUE(x->finished);
  EXPECT_FALSE(x->command.close_connection);
}

TEST(PortGroups, SetExplicitly_OnlyWhenSwitchedOnAndOnlyToWhatIs) {
  scsi::DeviceOptions options;
  options.alua = scsi::AluaMode::implicit_and_explicit;
  ScsiBench bench(options);
  bench.volume.set_view(two_nodes(PortGroupState::active_optimized, PortGroupState::standby));
  const auto set = [&](int state, int group) {
    return bench.send(bench.a, octets({0xa4, 0x0a, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0}), octets({0, 0, 0, 0, state, 0, 0, group}));
  };
  EXPECT_EQ(set(0, 1)->status(), Status::good);
  EXPECT_EQ(set(0, 2)->asc(), 0x670au);
  EXPECT_EQ(set(0, 3)->asc(), 0x2600u);
  EXPECT_EQ(bench.send(bench.a, octets({0x12, 0, 0, 0, 96, 0}), {}, 96)->data()[5], std::byte{0x38});
}

// After the switch hosts are to ask anew; who has been told already is left alone, for the attention would meet its next write.
TEST(PortGroups, Reported_WithdrawTheAttentionThatAsksForThem) {
  ScsiBench bench;
  bench.volume.announce(VolumeEvent::begins_to_serve);
  bench.send(bench.a, rtpg(), {}, 256);
  EXPECT_EQ(bench.send(bench.a, tur())->status(), Status::good);
  EXPECT_EQ(bench.send(bench.b, tur())->asc(), 0x2a06u);
}

TEST(PortGroups, SetWhileATakeOverIsPending_IsHeld) {
  scsi::DeviceOptions options;
  options.alua = scsi::AluaMode::implicit_and_explicit;
  ScsiBench bench(options);
  bench.volume.hold(Operation::confirm);
  auto x = bench.start(bench.a, octets({0xa4, 0x0a, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0}), octets({0, 0, 0, 0, 0, 0, 0, 1}));
  EXPECT_FALSE(x->finished);
  bench.volume.release();
  bench.turn();
  EXPECT_TRUE(x->finished);
  EXPECT_EQ(x->status(), Status::good);
}

// What RESERVE left here must not come back with the role: its holder may have released it at the node that served meanwhile.
TEST(Attentions, LegacyReservation_DoesNotOutliveTheRole) {
  ScsiBench bench;
  ASSERT_EQ(bench.send(bench.a, octets({0x16, 0, 0, 0, 0, 0}))->status(), Status::good);
  bench.volume.announce(VolumeEvent::ceases_to_serve);
  bench.volume.set_view(two_nodes(PortGroupState::standby, PortGroupState::active_optimized));
  bench.turn();
  // The other node serves; the host releases there.
  bench.volume.set_view(two_nodes(PortGroupState::active_optimized, PortGroupState::standby));
  bench.volume.announce(VolumeEvent::begins_to_serve);
  bench.turn();
  while (!bench.b->attentions.empty()) bench.b->attentions.take();
  EXPECT_EQ(bench.send(bench.b, cdb10(0x2a, 0, 1), blocks_of(1, 1))->status(), Status::good);
}

// The other node knows nothing of mode parameters, and write protection that was lifted there must not be back here.
TEST(Attentions, ModeParameters_GoWithTheRole) {
  ScsiBench bench;
  bench.send(bench.a, octets({0x15, 0x10, 0, 0, 16, 0}),
             octets({0, 0, 0, 0, 0x0a, 0x0a, 0, 0x10, 0x08, 0x00, 0, 0, 0xff, 0xff, 0, 0}));
  bench.volume.set_view(two_nodes(PortGroupState::standby, PortGroupState::active_optimized));
  bench.volume.announce(VolumeEvent::ceases_to_serve);
  bench.volume.set_view(two_nodes(PortGroupState::active_optimized, PortGroupState::standby));
  bench.volume.announce(VolumeEvent::begins_to_serve);
  while (!bench.b->attentions.empty()) bench.b->attentions.take();
  EXPECT_EQ(bench.send(bench.b, cdb10(0x2a, 0, 1), blocks_of(1, 1))->status(), Status::good);
}

}  // namespace
}  // namespace holdfast::test
