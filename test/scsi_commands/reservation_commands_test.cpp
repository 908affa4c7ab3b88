// PERSISTENT RESERVE, RESERVE and RELEASE through the device server: stored before answered, fenced when told.
#include <gtest/gtest.h>

#include "scsi/reservation_format.h"
#include "test/support/scsi_bench.h"

namespace holdfast::test {
namespace {

using scsi::Status;
using Operation = FakeVolume::Operation;

enum Action { kRegister = 0, kReserve = 1, kRelease = 2, kClear = 3, kPreempt = 4, kPreemptAndAbort = 5, kIgnore = 6 };

Octets pr_out_cdb(int action, int type, std::size_t bytes = 24) {
  Octets c(10);
  c[0] = std::byte{0x5f};
  c[1] = std::byte(action);
  c[2] = std::byte(type);
  store_be<std::uint32_t>(&c[5], static_cast<std::uint32_t>(bytes));
  return c;
}
Octets pr_out_list(std::uint64_t key, std::uint64_t new_key) {
  Octets list(24);
  store_be<std::uint64_t>(&list[0], key);
  store_be<std::uint64_t>(&list[8], new_key);
  return list;
}
auto pr_out(ScsiBench& bench, scsi::Nexus* who, int action, std::uint64_t key, std::uint64_t new_key, int type = 0) {
  return bench.send(who, pr_out_cdb(action, type), pr_out_list(key, new_key));
}
Octets pr_in(ScsiBench& bench, scsi::Nexus* who, int action, std::uint16_t bytes = 1024) {
  Octets c(10);
  c[0] = std::byte{0x5e};
  c[1] = std::byte(action);
  store_be<std::uint16_t>(&c[7], bytes);
  return bench.send(who, c, {}, bytes)->data();
}
auto write_block(ScsiBench& bench, scsi::Nexus* who) { return bench.send(who, cdb10(0x2a, 0, 1), blocks_of(1, 1)); }

// A and B registered with keys 1 and 2; A holds Write Exclusive.
void reserve_for_a(ScsiBench& bench) {
  pr_out(bench, bench.a, kRegister, 0, 1);
  pr_out(bench, bench.b, kRegister, 0, 2);
  pr_out(bench, bench.a, kReserve, 1, 0, 1);
}

TEST(PrOut, ReservationByOne_FencesTheOther) {
  ScsiBench bench;
  reserve_for_a(bench);
  EXPECT_EQ(write_block(bench, bench.a)->status(), Status::good);
  EXPECT_EQ(write_block(bench, bench.b)->status(), Status::reservation_conflict);
  EXPECT_EQ(bench.send(bench.b, cdb10(0x28, 0, 1), {}, 4096)->status(), Status::good);
  EXPECT_EQ(bench.send(bench.b, octets({0, 0, 0, 0, 0, 0}))->status(), Status::good);
}

// Stored before the status: a failed store changes nothing and is not GOOD.
TEST(PrOut, StoreFails_IsNotGoodAndNothingHasChanged) {
  ScsiBench bench;
  reserve_for_a(bench);
  bench.volume.fail_with(Operation::store_reservations, Errc::io_error);
  EXPECT_EQ(pr_out(bench, bench.a, kRelease, 1, 0, 1)->status(), Status::check_condition);
  EXPECT_EQ(write_block(bench, bench.b)->status(), Status::reservation_conflict);
  bench.volume.fail_with(Operation::store_reservations, Errc::fenced);
  EXPECT_EQ(pr_out(bench, bench.a, kRelease, 1, 0, 1)->asc(), 0x040bu);
}

TEST(PrOut, StoreUnderWay_NobodySeesTheNewStateYet) {
  ScsiBench bench;
  pr_out(bench, bench.a, kRegister, 0, 1);
  bench.volume.hold(Operation::store_reservations);
  auto reserve = bench.start(bench.a, pr_out_cdb(kReserve, 1), pr_out_list(1, 0));
  EXPECT_FALSE(reserve->finished);
  EXPECT_EQ(write_block(bench, bench.b)->status(), Status::good);
  bench.volume.release();
  bench.turn();
  EXPECT_TRUE(reserve->finished);
  EXPECT_EQ(write_block(bench, bench.b)->status(), Status::reservation_conflict);
}

TEST(PrOut, TwoAtOnce_AreDecidedOneAfterTheOther) {
  ScsiBench bench;
  pr_out(bench, bench.a, kRegister, 0, 1);
  pr_out(bench, bench.b, kRegister, 0, 2);
  bench.volume.hold(Operation::store_reservations);
  auto first = bench.start(bench.a, pr_out_cdb(kReserve, 3), pr_out_list(1, 0));
  auto second = bench.start(bench.b, pr_out_cdb(kReserve, 3), pr_out_list(2, 0));
  bench.volume.release();
  bench.turn();
  EXPECT_EQ(first->status(), Status::good);
  EXPECT_EQ(second->status(), Status::reservation_conflict);
}

TEST(PrOut, Restart_KeepsRegistrationsAndReservation) {
  ScsiBench bench;
  reserve_for_a(bench);
  bench.restart();
  scsi::Nexus* a = bench.login("iqn.2026-11.test:a", 1);
  scsi::Nexus* b = bench.login("iqn.2026-11.test:b", 2);
  EXPECT_EQ(write_block(bench, a)->status(), Status::good);
  EXPECT_EQ(write_block(bench, b)->status(), Status::reservation_conflict);
  // The same initiator from another port of its own is another nexus.
  scsi::Nexus* other = bench.login("iqn.2026-11.test:a", 9);
  EXPECT_EQ(write_block(bench, other)->status(), Status::reservation_conflict);
}

TEST(PrOut, StoredStateUnreadable_NobodyGetsAtTheMedium) {
  ScsiBench bench;
  bench.volume.set_reservations(octets({1, 2, 3}));
  bench.restart();
  scsi::Nexus* a = bench.login("iqn.2026-11.test:a", 1);
  EXPECT_EQ(write_block(bench, a)->asc(), 0x4400u);
  EXPECT_EQ(pr_out(bench, a, kRegister, 0, 1)->status(), Status::good);
  EXPECT_EQ(pr_out(bench, a, kClear, 1, 0)->status(), Status::good);
  EXPECT_EQ(write_block(bench, a)->status(), Status::good);
}

// The write passed the gate before the reservation; its data comes after.
TEST(Fencing, WritePlannedBeforeTheReservation_IsStoppedWhenItsDataHasCome) {
  ScsiBench bench;
  scsi::Command write;
  write.nexus = bench.b;
  const Octets cdb = cdb10(0x2a, 0, 1);
  std::copy(cdb.begin(), cdb.end(), write.cdb.begin());
  write.wants_write = true;
  write.expected_bytes = 4096;
  ASSERT_TRUE(bench.device->plan(write).execute);
  reserve_for_a(bench);
  write.data_out = bench.buffers.try_acquire(4096);
  write.data_out_bytes = 4096;
  Scope scope(bench.executor);
  scope.spawn(bench.device->execute(write));
  bench.turn();
  EXPECT_EQ(write.status, Status::reservation_conflict);
  EXPECT_EQ(bench.volume.calls(Operation::write), 0u);
}

TEST(Fencing, PreemptAndAbort_WaitsForTheVictimsWritesAndAbortsThem) {
  ScsiBench bench;
  reserve_for_a(bench);
  std::vector<scsi::Nexus*> aborted;
  bench.device->on_abort_tasks([&](scsi::Nexus* victim) { aborted.push_back(victim); });
  bench.volume.hold(Operation::write);
  auto write = bench.start(bench.a, cdb10(0x2a, 0, 1), blocks_of(1, 1));
  auto preempt = bench.start(bench.b, pr_out_cdb(kPreemptAndAbort, 1), pr_out_list(2, 1));
  EXPECT_FALSE(preempt->finished);
  EXPECT_EQ(aborted, std::vector<scsi::Nexus*>{bench.a});
  bench.volume.release();
  bench.turn();
  EXPECT_TRUE(write->finished);
  EXPECT_TRUE(preempt->finished);
  EXPECT_EQ(preempt->status(), Status::good);
}

// The victim goes on reading, as Write Exclusive lets it: the fence is up when what ran before has ended.
//   1. A write of A is at the volume when B preempts A: B waits.
//   2. A begins to read.
//   3. The write ends: B is answered, whatever the read does.
TEST(Fencing, PreemptAndAbort_VictimGoesOnReading_WaitsForWhatRanBeforeOnly) {
  ScsiBench bench;
  pr_out(bench, bench.a, kRegister, 0, 1);
  pr_out(bench, bench.b, kRegister, 0, 2);
  pr_out(bench, bench.a, kReserve, 1, 0, 5);  // Write Exclusive, Registrants Only: what fence agents take.
  bench.device->on_abort_tasks([](scsi::Nexus*) {});
  bench.volume.hold(Operation::write);
  auto write = bench.start(bench.a, cdb10(0x2a, 0, 1), blocks_of(1, 1));
  auto preempt = bench.start(bench.b, pr_out_cdb(kPreemptAndAbort, 5), pr_out_list(2, 1));
  EXPECT_FALSE(preempt->finished);
  while (!bench.a->attentions.empty()) bench.a->attentions.take();
  bench.volume.hold(Operation::read);                             // The write stays where it is,
  auto read = bench.start(bench.a, cdb10(0x28, 0, 1), {}, 4096);  // and a read begins.
  bench.volume.release();
  bench.volume.hold(Operation::read);
  bench.turn();
  EXPECT_TRUE(write->finished);
  EXPECT_FALSE(read->finished);
  EXPECT_TRUE(preempt->finished);
  bench.volume.release();
  bench.turn();
}

// Each waits for the other's commands: the waiting itself must not count.
TEST(Fencing, TwoThatPreemptEachOther_BothFinish) {
  ScsiBench bench;
  pr_out(bench, bench.a, kRegister, 0, 1);
  pr_out(bench, bench.b, kRegister, 0, 2);
  bench.volume.hold(Operation::store_reservations);
  auto first = bench.start(bench.a, pr_out_cdb(kPreemptAndAbort, 1), pr_out_list(1, 2));
  auto second = bench.start(bench.b, pr_out_cdb(kPreemptAndAbort, 1), pr_out_list(2, 1));
  bench.volume.release();
  bench.turn();
  EXPECT_TRUE(first->finished);
  EXPECT_TRUE(second->finished);
  EXPECT_EQ(first->status(), Status::good);
  EXPECT_EQ(second->status(), Status::reservation_conflict);
}

TEST(PrIn, KeysReservationAndCapabilities_AreAsTheStandardHasThem) {
  ScsiBench bench;
  EXPECT_EQ(pr_in(bench, bench.a, 0), octets({0, 0, 0, 0, 0, 0, 0, 0}));
  reserve_for_a(bench);
  EXPECT_EQ(pr_in(bench, bench.b, 0),
            octets({0, 0, 0, 2, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2}));
  EXPECT_EQ(pr_in(bench, bench.b, 1),
            octets({0, 0, 0, 2, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0}));
  EXPECT_EQ(pr_in(bench, bench.b, 2), octets({0, 8, 0x1d, 0x90, 0xea, 0x01, 0, 0}));
  // The additional length tells all, however little is asked for.
  EXPECT_EQ(pr_in(bench, bench.b, 0, 8), octets({0, 0, 0, 2, 0, 0, 0, 16}));
}

// Another node serves by now, and knows more: what is known here is told to nobody.
TEST(PrIn, DeposedMeanwhile_TellsNothing) {
  ScsiBench bench;
  reserve_for_a(bench);
  bench.volume.fail_with(Operation::confirm_served, Errc::fenced);
  Octets read_keys(10);
  read_keys[0] = std::byte{0x5e};
  store_be<std::uint16_t>(&read_keys[7], 1024);
  const auto told = bench.send(bench.a, read_keys, {}, 1024);
  EXPECT_EQ(told->asc(), 0x040bu);
  EXPECT_TRUE(told->data().empty());
  // Nor what follows from it: that somebody else holds the reservation, or that there is nothing to be done.
  EXPECT_EQ(pr_out(bench, bench.b, kReserve, 2, 0, 3)->asc(), 0x040bu);
  EXPECT_EQ(pr_out(bench, bench.a, kReserve, 1, 0, 1)->asc(), 0x040bu);
}

// The same for a command that a reservation is in the way of, whenever that is noticed.
TEST(Fencing, DeposedMeanwhile_NoConflictIsTold) {
  ScsiBench bench;
  reserve_for_a(bench);
  EXPECT_EQ(bench.send(bench.b, cdb10(0x2a, 0, 1), blocks_of(1, 1))->status(), Status::reservation_conflict);
  EXPECT_EQ(bench.send(bench.b, cdb10(0x2a, 0, 2), blocks_of(2, 1))->status(), Status::reservation_conflict);
  bench.volume.fail_with(Operation::confirm_served, Errc::fenced);
  EXPECT_EQ(bench.send(bench.b, cdb10(0x2a, 0, 1), blocks_of(1, 1))->asc(), 0x040bu);
  EXPECT_EQ(bench.send(bench.b, cdb10(0x2a, 0, 2), blocks_of(2, 1))->asc(), 0x040bu);
  EXPECT_EQ(bench.volume.calls(Operation::write), 0u);
}

TEST(PrIn, FullStatus_CarriesTransportIdsThatCanBeSentBack) {
  ScsiBench bench;
  reserve_for_a(bench);
  const Octets data = pr_in(bench, bench.a, 3);
  ASSERT_GT(data.size(), 8u + 24);
  EXPECT_EQ(load_be<std::uint32_t>(&data[4]), data.size() - 8);
  EXPECT_EQ(data[8 + 12], std::byte{1});  // A holds.
  EXPECT_EQ(load_be<std::uint16_t>(&data[8 + 18]), 1u);
  const std::size_t id_bytes = load_be<std::uint32_t>(&data[8 + 20]);
  const Octets id(data.begin() + 32, data.begin() + 32 + static_cast<std::ptrdiff_t>(id_bytes));
  EXPECT_EQ(as_text(Bytes(id).subspan(4, 35)), "iqn.2026-11.test:a,i,0x800000000001");

  // REGISTER with SPEC_I_PT takes such an id.
  pr_out(bench, bench.b, kRegister, 2, 0);
  Octets list = pr_out_list(0, 5);
  list[20] = std::byte{0x08};
  list.resize(28);
  store_be<std::uint32_t>(&list[24], static_cast<std::uint32_t>(id.size()));
  list.insert(list.end(), id.begin(), id.end());
  EXPECT_EQ(bench.send(bench.b, pr_out_cdb(kRegister, 0, list.size()), list)->status(), Status::good);
  list.back() = std::byte{1};
  list[28] = std::byte{0x05};  // A name without ISID names no port.
  EXPECT_EQ(bench.send(bench.b, pr_out_cdb(kRegister, 0, list.size()), list)->asc(), 0x2600u);
}

// Names are compared without case (RFC 7143 §4.2.7.2): a login's is kept in lower case, and so must be one in a TransportID.
TEST(PrOut, TransportIdInUpperCase_IsTheNexusOfThatName) {
  ScsiBench bench;
  const std::string id_text("iqn.2026-11.TEST:B,i,0x800000000002\0", 36);
  Octets id = octets({0x45, 0, 0, 36});
  id.insert(id.end(), as_bytes(id_text).begin(), as_bytes(id_text).end());
  Octets list = pr_out_list(0, 5);
  list[20] = std::byte{0x08};  // SPEC_I_PT
  list.resize(28);
  store_be<std::uint32_t>(&list[24], static_cast<std::uint32_t>(id.size()));
  list.insert(list.end(), id.begin(), id.end());
  EXPECT_EQ(bench.send(bench.a, pr_out_cdb(kRegister, 0, list.size()), list)->status(), Status::good);
  EXPECT_TRUE(bench.a->registered);
  EXPECT_TRUE(bench.b->registered);
}

TEST(PrOut, ListLengths_ThatAreWrong_AreRefused) {
  ScsiBench bench;
  EXPECT_EQ(bench.send(bench.a, pr_out_cdb(kRegister, 0, 23), Octets(23))->asc(), 0x1a00u);
  EXPECT_EQ(bench.send(bench.a, pr_out_cdb(kRegister, 0, 25), Octets(25))->asc(), 0x1a00u);
  EXPECT_EQ(bench.send(bench.a, pr_out_cdb(kRegister, 0, 1u << 20), Octets(1u << 20))->asc(), 0x2400u);
  EXPECT_EQ(bench.send(bench.a, pr_out_cdb(8, 0), Octets(24))->asc(), 0x2400u);
}

TEST(PrOut, Attentions_ReachThoseWhoLost) {
  ScsiBench bench;
  reserve_for_a(bench);
  pr_out(bench, bench.b, kPreempt, 2, 1, 1);
  auto x = bench.send(bench.a, octets({0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(x->sense_key(), 6u);
  EXPECT_EQ(x->asc(), 0x2a05u);
  pr_out(bench, bench.a, kIgnore, 0, 1);
  pr_out(bench, bench.b, kClear, 2, 0);
  EXPECT_EQ(bench.send(bench.a, octets({0, 0, 0, 0, 0, 0}))->asc(), 0x2a03u);
}

Octets reserve6() { return octets({0x16, 0, 0, 0, 0, 0}); }
Octets release6() { return octets({0x17, 0, 0, 0, 0, 0}); }

TEST(LegacyReserve, ByOne_ExcludesTheOtherFromNearlyEverything) {
  ScsiBench bench;
  EXPECT_EQ(bench.send(bench.a, reserve6())->status(), Status::good);
  EXPECT_EQ(bench.send(bench.a, reserve6())->status(), Status::good);
  EXPECT_EQ(bench.send(bench.b, reserve6())->status(), Status::reservation_conflict);
  EXPECT_EQ(bench.send(bench.b, octets({0, 0, 0, 0, 0, 0}))->status(), Status::reservation_conflict);
  EXPECT_EQ(bench.send(bench.b, cdb10(0x2a, 0, 2), blocks_of(2, 1))->status(), Status::reservation_conflict);
  EXPECT_EQ(bench.send(bench.b, octets({0x12, 0, 0, 0, 36, 0}), {}, 36)->status(), Status::good);
  EXPECT_EQ(pr_out(bench, bench.a, kRegister, 0, 1)->status(), Status::reservation_conflict);
  EXPECT_EQ(bench.send(bench.b, release6())->status(), Status::good);  // Good, and without effect.
  EXPECT_EQ(bench.send(bench.b, reserve6())->status(), Status::reservation_conflict);
  EXPECT_EQ(bench.send(bench.a, release6())->status(), Status::good);
  EXPECT_EQ(bench.send(bench.b, reserve6())->status(), Status::good);
}

TEST(LegacyReserve, LogoutOrReset_EndsIt) {
  ScsiBench bench;
  bench.send(bench.a, reserve6());
  bench.device->logical_unit_reset(bench.b);
  bench.b->attentions.take();
  EXPECT_EQ(bench.send(bench.b, reserve6())->status(), Status::good);
  bench.device->detach(bench.b);
  bench.a->attentions.take();
  EXPECT_EQ(bench.send(bench.a, reserve6())->status(), Status::good);
}

TEST(LegacyReserve, WithRegistrations_DoesNothingForRegistrantsAndConflictsForOthers) {
  ScsiBench bench;
  pr_out(bench, bench.a, kRegister, 0, 1);
  EXPECT_EQ(bench.send(bench.a, reserve6())->status(), Status::good);
  EXPECT_EQ(bench.send(bench.b, reserve6())->status(), Status::reservation_conflict);
  EXPECT_EQ(write_block(bench, bench.b)->status(), Status::good);
}

}  // namespace
}  // namespace holdfast::test
