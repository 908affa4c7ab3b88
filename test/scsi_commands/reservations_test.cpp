// Persistent reservations as a pure transition: who may do what, and what follows from it (SPC-4 §5.13).
#include "scsi/reservations.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace holdfast::scsi {
namespace {

const PortPair kA{"iqn.a", {}, 1};
const PortPair kB{"iqn.b", {}, 1};
const PortPair kC{"iqn.c", {}, 1};
const std::vector<std::uint16_t> kPorts{1, 2};
constexpr ReservationType kTypes[] = {
    ReservationType::write_exclusive, ReservationType::exclusive_access,
    ReservationType::write_exclusive_registrants_only, ReservationType::exclusive_access_registrants_only,
    ReservationType::write_exclusive_all_registrants, ReservationType::exclusive_access_all_registrants};

struct World {
  ReservationState state;
  PrOutcome last;

  Verdict send(const PortPair& who, PrOutRequest request) {
    last = apply_pr_out(state, who, request, kPorts);
    if (last.verdict.ok() && last.changed) state = last.state;
    return last.verdict;
  }
  Verdict send(const PortPair& who, PrOutAction action, std::uint64_t key, std::uint64_t new_key = 0,
               ReservationType type = ReservationType::none) {
    PrOutRequest request;
    request.action = action;
    request.key = key;
    request.service_action_key = new_key;
    request.scope_and_type = static_cast<std::uint8_t>(type);
    return send(who, request);
  }
  Verdict enter(const PortPair& who, std::uint64_t key) { return send(who, PrOutAction::register_key, 0, key); }
  bool told(const PortPair& who, Asc attention) const {
    return std::ranges::any_of(last.notices, [&](const auto& n) { return n.ports == who && n.attention == attention; });
  }
};

bool is_conflict(const Verdict& v) { return v.status == Status::reservation_conflict; }

// A and B registered, A holds the reservation.
World held_by_a(ReservationType type) {
  World w;
  w.enter(kA, 1);
  w.enter(kB, 2);
  w.send(kA, PrOutAction::reserve, 1, 0, type);
  return w;
}

// The whole matrix: type × (holder, registered, stranger) × (read, write).
TEST(PrAccess, EveryTypeNexusAndCommand_IsAsTheStandardHasIt) {
  for (ReservationType type : kTypes) {
    const World w = held_by_a(type);
    const bool everybody = registrants_only(type);
    const bool reads_excluded = excludes_reads(type);
    const auto conflicts = [&](const PortPair& who, Access access) {
      return access_conflicts(w.state.type, access, w.state.find(who) != nullptr, w.state.holds(who));
    };
    for (Access access : {Access::always, Access::unless_legacy, Access::reservation})
      EXPECT_FALSE(conflicts(kC, access));
    EXPECT_FALSE(conflicts(kA, Access::read));
    EXPECT_FALSE(conflicts(kA, Access::write));
    EXPECT_EQ(conflicts(kB, Access::read), reads_excluded && !everybody) << int(type);
    EXPECT_EQ(conflicts(kB, Access::write), !everybody) << int(type);
    EXPECT_EQ(conflicts(kC, Access::read), reads_excluded) << int(type);
    EXPECT_TRUE(conflicts(kC, Access::write)) << int(type);
  }
}

TEST(PrRegister, WrongKey_ConflictsAndChangesNothing) {
  World w;
  w.enter(kA, 1);
  const ReservationState before = w.state;
  EXPECT_TRUE(is_conflict(w.send(kA, PrOutAction::register_key, 7, 8)));
  EXPECT_TRUE(is_conflict(w.send(kB, PrOutAction::register_key, 1, 8)));
  EXPECT_EQ(w.state, before);
}

TEST(PrRegister, ChangeAndRemoval_CountGenerations) {
  World w;
  EXPECT_TRUE(w.enter(kA, 1).ok());
  EXPECT_TRUE(w.send(kA, PrOutAction::register_key, 1, 5).ok());
  EXPECT_TRUE(w.send(kA, PrOutAction::register_and_ignore, 999, 6).ok());
  EXPECT_EQ(w.state.find(kA)->key, 6u);
  EXPECT_TRUE(w.send(kA, PrOutAction::register_key, 6, 0).ok());
  EXPECT_TRUE(w.state.registrations.empty());
  EXPECT_EQ(w.state.generation, 4u);
}

TEST(PrRegister, NobodyTakesHisKeyBack_IsGoodAndChangesNothing) {
  World w;
  EXPECT_TRUE(w.send(kA, PrOutAction::register_key, 0, 0).ok());
  EXPECT_FALSE(w.last.changed);
}

TEST(PrRegister, OnAllTargetPorts_RegistersOnEach) {
  World w;
  PrOutRequest request;
  request.action = PrOutAction::register_key;
  request.service_action_key = 1;
  request.all_tg_pt = true;
  EXPECT_TRUE(w.send(kA, request).ok());
  PortPair other = kA;
  other.target_port = 2;
  EXPECT_NE(w.state.find(other), nullptr);
  EXPECT_EQ(w.state.registrations.size(), 2u);
}

TEST(PrRegister, SpecifiedInitiatorPorts_AreRegisteredToo) {
  World w;
  PrOutRequest request;
  request.action = PrOutAction::register_key;
  request.service_action_key = 1;
  request.spec_i_pt = true;
  request.initiators = {{"iqn.b", {}, 0}};
  EXPECT_TRUE(w.send(kA, request).ok());
  EXPECT_NE(w.state.find(kB), nullptr);
  request.key = 1;
  EXPECT_EQ(w.send(kA, request).sense.asc, Asc::invalid_field_in_parameter_list);
}

TEST(PrRegister, BeyondTheLimit_IsRefusedAsAWhole) {
  World w;
  for (std::size_t i = 0; i < kRegistrationsMax; ++i) w.enter({"iqn." + std::to_string(i), {}, 1}, 1);
  EXPECT_EQ(w.enter(kA, 1).sense.asc, Asc::insufficient_registration_resources);
  EXPECT_EQ(w.state.registrations.size(), kRegistrationsMax);
}

TEST(PrReserve, HeldAlready_IsGoodForTheSameAndConflictsOtherwise) {
  for (ReservationType type : kTypes) {
    World w = held_by_a(type);
    EXPECT_TRUE(w.send(kA, PrOutAction::reserve, 1, 0, type).ok());
    const auto other = type == ReservationType::write_exclusive ? ReservationType::exclusive_access
                                                                : ReservationType::write_exclusive;
    EXPECT_TRUE(is_conflict(w.send(kA, PrOutAction::reserve, 1, 0, other)));
    EXPECT_EQ(is_conflict(w.send(kB, PrOutAction::reserve, 2, 0, type)), !all_registrants(type));
    EXPECT_TRUE(is_conflict(w.send(kC, PrOutAction::reserve, 0, 0, type)));
  }
}

TEST(PrReserve, UnknownTypeOrScope_IsRefused) {
  World w;
  w.enter(kA, 1);
  for (int type : {0, 2, 4, 9, 15, 0x11})
    EXPECT_EQ(w.send(kA, PrOutAction::reserve, 1, 0, ReservationType(type)).sense.asc, Asc::invalid_field_in_cdb);
}

TEST(PrRelease, ByTheHolder_EndsItAndTellsRegistrantsOfSharedTypes) {
  for (ReservationType type : kTypes) {
    World w = held_by_a(type);
    EXPECT_TRUE(w.send(kA, PrOutAction::release, 1, 0, type).ok());
    EXPECT_EQ(w.state.type, ReservationType::none);
    EXPECT_EQ(w.told(kB, Asc::reservations_released), registrants_only(type));
    EXPECT_FALSE(w.told(kA, Asc::reservations_released));
    EXPECT_EQ(w.state.generation, 2u);
  }
}

TEST(PrRelease, OfAnotherType_IsRefused) {
  World w = held_by_a(ReservationType::write_exclusive);
  EXPECT_EQ(w.send(kA, PrOutAction::release, 1, 0, ReservationType::exclusive_access).sense.asc,
            Asc::invalid_release_of_reservation);
}

TEST(PrRelease, ByARegistrantWithoutIt_IsGoodAndChangesNothing) {
  World w = held_by_a(ReservationType::write_exclusive);
  EXPECT_TRUE(w.send(kB, PrOutAction::release, 2, 0, ReservationType::write_exclusive).ok());
  EXPECT_EQ(w.state.type, ReservationType::write_exclusive);
}

TEST(PrUnregister, OfTheHolder_EndsTheReservationUnlessItIsShared) {
  for (ReservationType type : kTypes) {
    World w = held_by_a(type);
    EXPECT_TRUE(w.send(kA, PrOutAction::register_key, 1, 0).ok());
    EXPECT_EQ(w.state.type != ReservationType::none, all_registrants(type));
    EXPECT_EQ(w.told(kB, Asc::reservations_released), registrants_only(type) && !all_registrants(type));
    EXPECT_TRUE(w.send(kB, PrOutAction::register_key, 2, 0).ok());
    EXPECT_EQ(w.state.type, ReservationType::none);
  }
}

TEST(PrClear, ByAnyRegistrant_RemovesEverythingAndTellsTheOthers) {
  World w = held_by_a(ReservationType::exclusive_access);
  EXPECT_TRUE(w.send(kB, PrOutAction::clear, 2).ok());
  EXPECT_TRUE(w.state.registrations.empty());
  EXPECT_EQ(w.state.type, ReservationType::none);
  EXPECT_TRUE(w.told(kA, Asc::reservations_preempted));
  EXPECT_FALSE(w.told(kB, Asc::reservations_preempted));
}

TEST(PrPreempt, OfTheHolder_MovesTheReservationAndRemovesHisRegistration) {
  for (ReservationType type : kTypes) {
    if (all_registrants(type)) continue;
    World w = held_by_a(type);
    EXPECT_TRUE(w.send(kB, PrOutAction::preempt_and_abort, 2, 1, ReservationType::write_exclusive).ok());
    EXPECT_EQ(w.state.find(kA), nullptr);
    EXPECT_TRUE(w.state.holds(kB));
    EXPECT_EQ(w.state.type, ReservationType::write_exclusive);
    EXPECT_TRUE(w.told(kA, Asc::registrations_preempted));
    EXPECT_EQ(w.last.preempted, std::vector<PortPair>{kA});
    EXPECT_EQ(w.state.generation, 3u);
  }
}

TEST(PrPreempt, OfAllRegistrantsByKeyZero_RemovesEverybodyElse) {
  World w = held_by_a(ReservationType::write_exclusive_all_registrants);
  w.enter(kC, 3);
  EXPECT_TRUE(w.send(kB, PrOutAction::preempt, 2, 0, ReservationType::exclusive_access).ok());
  EXPECT_EQ(w.state.registrations.size(), 1u);
  EXPECT_TRUE(w.state.holds(kB));
  EXPECT_TRUE(w.told(kA, Asc::registrations_preempted));
  EXPECT_TRUE(w.told(kC, Asc::registrations_preempted));
}

TEST(PrPreempt, OfARegistrationOnly_KeepsTheReservation) {
  for (ReservationType type : kTypes) {
    World w = held_by_a(type);
    w.enter(kC, 3);
    EXPECT_TRUE(w.send(kB, PrOutAction::preempt, 2, 3, type).ok());
    EXPECT_EQ(w.state.find(kC), nullptr);
    EXPECT_EQ(w.state.type, type);
    EXPECT_TRUE(w.state.holds(kA));
  }
}

TEST(PrPreempt, UnknownOrZeroKey_IsRefused) {
  World w = held_by_a(ReservationType::write_exclusive);
  EXPECT_TRUE(is_conflict(w.send(kB, PrOutAction::preempt, 2, 77, ReservationType::write_exclusive)));
  EXPECT_EQ(w.send(kB, PrOutAction::preempt, 2, 0, ReservationType::write_exclusive).sense.asc,
            Asc::invalid_field_in_parameter_list);
  EXPECT_TRUE(is_conflict(w.send(kC, PrOutAction::preempt, 0, 1, ReservationType::write_exclusive)));
}

TEST(PrPreempt, OfItsOwnKeyByTheHolder_KeepsItsRegistration) {
  World w = held_by_a(ReservationType::write_exclusive);
  EXPECT_TRUE(w.send(kA, PrOutAction::preempt, 1, 1, ReservationType::exclusive_access).ok());
  EXPECT_TRUE(w.state.holds(kA));
  EXPECT_EQ(w.state.type, ReservationType::exclusive_access);
}

PrOutRequest move_to(const PortPair& to, std::uint64_t key, std::uint64_t new_key) {
  PrOutRequest request;
  request.action = PrOutAction::register_and_move;
  request.key = key;
  request.service_action_key = new_key;
  request.target_port = to.target_port;
  request.initiators = {to};
  return request;
}

TEST(PrMove, ToAnotherNexus_RegistersItAndMovesTheReservation) {
  World w = held_by_a(ReservationType::write_exclusive);
  PrOutRequest request = move_to(kC, 1, 9);
  request.unregister = true;
  EXPECT_TRUE(w.send(kA, request).ok());
  EXPECT_TRUE(w.state.holds(kC));
  EXPECT_EQ(w.state.find(kC)->key, 9u);
  EXPECT_EQ(w.state.find(kA), nullptr);
}

TEST(PrMove, NotTheHolderSharedTypeOrToItself_IsRefused) {
  World w = held_by_a(ReservationType::write_exclusive);
  EXPECT_TRUE(is_conflict(w.send(kB, move_to(kC, 2, 9))));
  EXPECT_FALSE(w.send(kA, move_to(kA, 1, 9)).ok());
  EXPECT_FALSE(w.send(kA, move_to(kC, 1, 0)).ok());
  World shared = held_by_a(ReservationType::write_exclusive_all_registrants);
  EXPECT_TRUE(is_conflict(shared.send(kA, move_to(kC, 1, 9))));
}

}  // namespace
}  // namespace holdfast::scsi
