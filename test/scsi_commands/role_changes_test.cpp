// What is under way in the device server while the role goes and comes back, and what it keeps count of.
#include <gtest/gtest.h>

#include "test/support/scsi_bench.h"

namespace holdfast::test {
namespace {

using scsi::Status;
using Operation = FakeVolume::Operation;

ClusterView two_groups(PortGroupState first, PortGroupState second) { return {1, {{1, first, {}}, {2, second, {}}}}; }

enum class SessionIs { cut_off, kept };

// A write that waits for memory, which other volumes of the thread have, through both changes of role.
void write_waits_for_memory(SessionIs session) {
  ScsiBench bench({}, 1u << 20);
  auto x = std::make_unique<Exchange>();
  Octets cdb = cdb16(0x8b, 0, 2);
  Octets out(kBlockBytes + 512, std::byte{0xff});
  x->command.nexus = bench.a;
  std::copy(cdb.begin(), cdb.end(), x->command.cdb.begin());
  x->command.wants_write = true;
  x->command.expected_bytes = static_cast<std::uint32_t>(out.size());
  x->plan = bench.device->plan(x->command);
  ASSERT_TRUE(x->plan.execute);
  std::vector<Buffer> others;
  for (std::size_t bytes : {std::size_t{8192}, std::size_t{4096}})
    while (Buffer one = bench.buffers.try_acquire(bytes)) others.push_back(std::move(one));
  others.erase(others.begin());  // For its data.
  bench.execute(*x, out);
  ASSERT_FALSE(x->finished);
  bench.volume.set_view(two_groups(PortGroupState::standby, PortGroupState::active_optimized));
  bench.volume.announce(VolumeEvent::ceases_to_serve);
  x->command.aborted = session == SessionIs::cut_off;
  bench.volume.set_view(two_groups(PortGroupState::active_optimized, PortGroupState::standby));
  bench.volume.announce(VolumeEvent::begins_to_serve);
  others.clear();
  bench.clock.advance(milliseconds(1));
  bench.turn();
  ASSERT_TRUE(x->finished);
  if (session == SessionIs::kept) {
    EXPECT_EQ(x->status(), Status::check_condition);
  }
  EXPECT_EQ(bench.volume.content({Lba(0), BlockCount(2)}), Octets(2 * kBlockBytes));
}

// Cut off after 50 ms: no proof can be asked of it. Or the role is back before that.
TEST(RoleChanges, WriteThatWaitsForMemory_ThroughTwoChangesOfRole_NeverHappens) { write_waits_for_memory(SessionIs::cut_off); }
TEST(RoleChanges, PartOfABlockThatWaitsForMemory_RoleGoesAndComesBackAtOnce_NeverHappens) { write_waits_for_memory(SessionIs::kept); }

// A PERSISTENT RESERVE OUT of the first reign waits in the volume, and has the turn, while the role goes and comes back: what the other
// node stored meanwhile holds all the same.
//   1. On the other node host b has taken the volume for itself, and fenced host a thereby.
//   2. The role comes back. Host a writes.
TEST(RoleChanges, ReservationsOfAnotherNode_HoldFromTheFirstCommandOn) {
  const auto reserve_out = [](ScsiBench& on, scsi::Nexus* nexus, int action, std::uint64_t key, std::uint64_t action_key) {
    Octets list(24);
    store_be<std::uint64_t>(&list[0], key);
    store_be<std::uint64_t>(&list[8], action_key);
    return on.start(nexus, octets({0x5f, action, action == 1 ? 1 : 0, 0, 0, 0, 0, 0, 24, 0}), list);
  };
  ScsiBench other;
  ASSERT_EQ(reserve_out(other, other.b, 0, 0, 7)->status(), Status::good);
  ASSERT_EQ(reserve_out(other, other.b, 1, 7, 0)->status(), Status::good);

  ScsiBench bench;
  bench.volume.hold(Operation::store_reservations);
  auto waits = reserve_out(bench, bench.a, 0, 0, 5);
  ASSERT_FALSE(waits->finished);
  bench.volume.set_view(two_groups(PortGroupState::standby, PortGroupState::active_optimized));
  bench.volume.announce(VolumeEvent::ceases_to_serve);
  waits->command.aborted = true;  // drop_what_stays_behind; its end waits for the volume.
  bench.volume.set_reservations(other.volume.reservations());
  bench.volume.set_view(two_groups(PortGroupState::active_optimized, PortGroupState::standby));
  bench.volume.announce(VolumeEvent::begins_to_serve);
  scsi::Nexus* a = bench.login("iqn.2026-11.test:a2", 1);
  EXPECT_EQ(bench.send(a, cdb10(0x2a, 0, 1), blocks_of(1, 1))->status(), Status::reservation_conflict);
  EXPECT_EQ(bench.volume.content({Lba(0), BlockCount(1)}), Octets(kBlockBytes));
  bench.volume.fail_with(Operation::store_reservations, Errc::fenced);
  bench.volume.release();
  bench.turn();
}

TEST(RoleChanges, Sessions_AreCountedByTheVolume) {
  ScsiBench bench;
  const std::size_t before = bench.volume.initiators();
  EXPECT_GE(before, 2u);
  scsi::Nexus* third = bench.login("iqn.2026-11.test:third", 1);
  EXPECT_EQ(bench.volume.initiators(), before + 1);
  bench.device->detach(third);
  EXPECT_EQ(bench.volume.initiators(), before);
  bench.device.reset();
  EXPECT_EQ(bench.volume.initiators(), 0u);
}

// A door is closed while a report is held: the command ends, its question waits in the volume. The server goes when that has ended.
TEST(RoleChanges, ServerSettles_WhenWhatWasLeftBehindHasEnded) {
  ScsiBench bench;
  bench.volume.hold(Operation::confirm);
  auto x = bench.start(bench.a, octets({0xa3, 0x0a, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0}), {}, 256);
  x->command.aborted = true;
  bench.clock.advance(milliseconds(100));
  bench.turn();
  ASSERT_TRUE(x->finished);
  bool settled = false;
  Scope scope(bench.executor);
  scope.spawn([](ScsiBench* b, bool* done) -> Task<void> {
    co_await b->device->settle();
    *done = true;
  }(&bench, &settled));
  bench.turn();
  EXPECT_FALSE(settled);
  bench.volume.release();
  bench.turn();
  EXPECT_TRUE(settled);
  bench.device.reset();
}

}  // namespace
}  // namespace holdfast::test
