// What a node does next for a replicated volume: as a table, and as a world of nodes that are killed between any two steps.
#include "tools/holdfastd/keeper_step.h"

#include <gtest/gtest.h>

#include <array>
#include <random>

#include "base/text.h"

namespace holdfast::daemon {
namespace {

using coord::DefinitionState;
using coord::MemberDefinition;
using coord::VolumeDefinition;

Uuid uuid_of(std::uint8_t n) {
  Uuid out{};
  out[0] = n;
  return out;
}
const Uuid kGroup = uuid_of(200);

VolumeDefinition definition_of(std::initializer_list<MemberDefinition> members, DefinitionState state = DefinitionState::ready) {
  VolumeDefinition out;
  out.name = "pg";
  out.group = kGroup;
  out.state = state;
  out.founder = NodeId(1);
  out.members = members;
  return out;
}

engine::Register register_of(std::initializer_list<engine::Copy> in_sync, std::initializer_list<NodeId> members, NodeId primary) {
  engine::Register out;
  out.group = kGroup;
  out.in_sync = in_sync;
  out.members = members;
  out.primary = primary;
  return out;
}

LocalReplica replica_of(EntryState state, std::uint8_t incarnation) {
  LocalReplica out;
  out.store = state;
  out.group = kGroup;
  out.incarnation = uuid_of(incarnation);
  return out;
}

constexpr NodeId kMe(1), kOther(2);

TEST(KeeperStep, NothingIsWanted_NothingIsThere_ItRests) { EXPECT_EQ(next_step(kMe, nullptr, {}, nullptr).kind, StepKind::rest); }

TEST(KeeperStep, StoreIsMissing_ThatTheClusterKnows_IsNeverMadeAnewByItself) {
  const auto wanted = definition_of({{kMe, uuid_of(1)}, {kOther, uuid_of(2)}});
  const Step step = next_step(kMe, &wanted, {}, nullptr);
  EXPECT_EQ(step.kind, StepKind::blocked);
  EXPECT_NE(step.reason.find("member renew pg 1"), std::string::npos) << step.reason;
}

TEST(KeeperStep, AnotherStoreThanTheClusterKnows_IsKept) {
  const auto wanted = definition_of({{kMe, uuid_of(1)}, {kOther, uuid_of(2)}});
  const auto value = register_of({{kMe, uuid_of(1)}}, {kMe, kOther}, kMe);
  EXPECT_EQ(next_step(kMe, &wanted, replica_of(EntryState::ready, 9), &value).kind, StepKind::blocked);
}

// Who has everything is known to the register alone.
TEST(KeeperStep, RegisterIsLost_NoCopyIsRemoved) {
  for (const bool open : {false, true}) {
    LocalReplica mine = replica_of(EntryState::ready, 1);
    mine.open = open;
    const auto member = definition_of({{kMe, uuid_of(1)}, {kOther, uuid_of(2)}});
    EXPECT_EQ(next_step(kMe, &member, mine, nullptr).kind, StepKind::blocked);
    const auto taken_out = definition_of({{kOther, uuid_of(2)}});
    EXPECT_EQ(next_step(kMe, &taken_out, mine, nullptr).kind, StepKind::blocked);
    const auto renewed = definition_of({{kMe, Uuid{}}, {kOther, uuid_of(2)}});
    EXPECT_EQ(next_step(kMe, &renewed, mine, nullptr).kind, StepKind::blocked);
  }
}

TEST(KeeperStep, LastCopyInSync_IsNotMadeAnew_AndOpensForTheOthers) {
  const auto renewed = definition_of({{kMe, Uuid{}}, {kOther, uuid_of(2)}});
  const auto value = register_of({{kMe, uuid_of(1)}}, {kMe, kOther}, kOther);
  LocalReplica mine = replica_of(EntryState::ready, 1);
  EXPECT_EQ(next_step(kMe, &renewed, mine, &value).kind, StepKind::open);
  mine.open = true;
  EXPECT_EQ(next_step(kMe, &renewed, mine, &value).kind, StepKind::blocked);
}

// It may become the last one in sync as long as it runs.
TEST(KeeperStep, CopyThatGoes_IsClosedBeforeTheRegisterIsBelieved) {
  LocalReplica mine = replica_of(EntryState::ready, 1);
  mine.open = true;
  const auto renewed = definition_of({{kMe, Uuid{}}, {kOther, uuid_of(2)}});
  const auto both = register_of({{kMe, uuid_of(1)}, {kOther, uuid_of(2)}}, {kMe, kOther}, kOther);
  EXPECT_EQ(next_step(kMe, &renewed, mine, &both).kind, StepKind::close);
  const auto taken_out = definition_of({{kOther, uuid_of(2)}});
  const auto without = register_of({{kOther, uuid_of(2)}}, {kOther}, kOther);
  EXPECT_EQ(next_step(kMe, &taken_out, mine, &without).kind, StepKind::close);
  mine.open = false;
  EXPECT_EQ(next_step(kMe, &renewed, mine, &both).kind, StepKind::discard);
  EXPECT_EQ(next_step(kMe, &taken_out, mine, &without).kind, StepKind::discard);
}

// Who asked for the volume waits for the word of each; it is given once.
TEST(KeeperStep, DoorIsOpen_TheDefinitionSaysSo_Once) {
  auto wanted = definition_of({{kMe, uuid_of(1)}, {kOther, uuid_of(2), true}});
  const auto value = register_of({{kMe, uuid_of(1)}, {kOther, uuid_of(2)}}, {kMe, kOther}, kOther);
  LocalReplica mine = replica_of(EntryState::ready, 1);
  mine.open = mine.has_volume = true;
  EXPECT_EQ(next_step(kMe, &wanted, mine, &value).kind, StepKind::open_door);
  mine.door = true;
  EXPECT_EQ(next_step(kMe, &wanted, mine, &value).kind, StepKind::offer);
  wanted.find(kMe)->offered = true;
  EXPECT_EQ(next_step(kMe, &wanted, mine, &value).kind, StepKind::rest);
  mine.door = false;  // It started again: nothing is to be said.
  EXPECT_EQ(next_step(kMe, &wanted, mine, &value).kind, StepKind::open_door);
}

// A founder that loses its lease in the middle of a creation goes on with it when it has it again.
TEST(KeeperStep, CreationFails_ForAMoment_IsTriedAgain_ForGood_IsTold) {
  for (const Errc passing : {Errc::fenced, Errc::closed, Errc::timed_out, Errc::busy, Errc::overloaded}) {
    EXPECT_FALSE(ends_creation(StepKind::create_volume, passing)) << errc_name(passing);
    EXPECT_FALSE(ends_creation(StepKind::format, passing)) << errc_name(passing);
  }
  for (const Errc lasting : {Errc::no_space, Errc::exists, Errc::locked, Errc::invalid_argument, Errc::io_error, Errc::permission}) {
    EXPECT_TRUE(ends_creation(StepKind::format, lasting)) << errc_name(lasting);
    EXPECT_FALSE(ends_creation(StepKind::open, lasting)) << "others open theirs";
  }
}

// Nodes with their disks, a definition and a register. What a kill leaves of a node is what a step made durable.
class KeeperWorld {
 public:
  explicit KeeperWorld(unsigned seed) : random_(seed) {}

  void create(unsigned nodes) {
    definition_ = definition_of({}, DefinitionState::creating);
    for (unsigned n = 1; n <= nodes; ++n) definition_->members.push_back({NodeId(n), Uuid{}});
  }
  void destroy() { definition_->state = DefinitionState::deleting; }
  VolumeDefinition* definition() { return definition_ ? &*definition_ : nullptr; }

  // One node does one thing, or dies, or the group does something of its own.
  void turn(unsigned kill_percent) {
    const std::size_t at = random_() % local_.size();
    if (random_() % 100 < kill_percent) return kill(at);
    live_group();
    const NodeId self(at + 1);
    const Step step = next_step(self, definition(), local_[at], value_ ? &*value_ : nullptr);
    if (random_() % 8 == 0) return;  // Late: what it looked at may be another thing by the next time.
    carry_out(at, step);
    check();
  }
  bool is_served() const {
    if (!definition_ || definition_->state != DefinitionState::ready) return false;
    for (const MemberDefinition& member : definition_->members) {
      const LocalReplica& l = local_[member.node.value - 1];
      if (!l.door || !member.offered || !value_ || !value_->find_in_sync(member.node)) return false;
    }
    for (std::size_t at = 0; at < local_.size(); ++at)
      if (local_[at].store && !definition_->find(NodeId(at + 1))) return false;
    return true;
  }
  bool is_gone() const {
    return !definition_ && !value_ && std::ranges::none_of(local_, [](const LocalReplica& l) { return l.store.has_value(); });
  }

 private:
  void kill(std::size_t at) {
    LocalReplica& l = local_[at];
    l.open = l.primary = l.door = l.has_volume = false;
  }

  bool has_copy(const engine::Copy& copy) const {
    const LocalReplica& l = local_[copy.node.value - 1];
    return l.store && l.incarnation == copy.incarnation;
  }

  // Whoever is in sync may lead; a primary takes others in, and drops who is away.
  void live_group() {
    if (!value_) return;
    LocalReplica* leader = nullptr;
    for (std::size_t at = 0; at < local_.size(); ++at)
      if (local_[at].primary) leader = &local_[at];
    if (!leader) {
      const engine::Copy copy = value_->in_sync[random_() % value_->in_sync.size()];
      LocalReplica& l = local_[copy.node.value - 1];
      if (!l.open || !has_copy(copy)) return;
      l.primary = true;
      value_->primary = copy.node;
      leader = &l;
    }
    for (std::size_t at = 0; at < local_.size(); ++at) {
      LocalReplica& l = local_[at];
      const engine::Copy copy{NodeId(at + 1), l.incarnation};
      const bool member = value_->is_member(copy.node), in_sync = value_->has_in_sync(copy);
      if (&l != leader && l.open && member && !in_sync && random_() % 4 == 0) value_->add_in_sync(copy);
      if (&l != leader && !l.open && value_->find_in_sync(copy.node) && random_() % 4 == 0) value_->remove_in_sync(copy.node);
      if (l.open && volume_made_) l.has_volume = true;
    }
  }

  void carry_out(std::size_t at, const Step& step) {
    LocalReplica& l = local_[at];
    const NodeId self(at + 1);
    switch (step.kind) {
      case StepKind::rest:
      case StepKind::look:
      case StepKind::blocked: return;
      case StepKind::format:
        l = replica_of(random_() % 4 == 0 ? EntryState::creating : EntryState::formatted, ++incarnations_);
        return;
      case StepKind::publish: definition_->find(self)->incarnation = l.incarnation; return;
      case StepKind::mark_ready: l.store = EntryState::ready; return;
      case StepKind::found:
        if (value_) return;
        value_ = register_of({{self, l.incarnation}}, {}, NodeId());
        for (const MemberDefinition& member : definition_->members) value_->members.push_back(member.node);
        return;
      case StepKind::open: l.open = true; return;
      case StepKind::create_volume:
        volume_made_ = true;
        l.has_volume = true;
        return;
      case StepKind::finish_creation: definition_->state = DefinitionState::ready; return;
      case StepKind::open_door: l.door = true; return;
      case StepKind::offer: definition_->find(self)->offered = true; return;
      case StepKind::add_to_register: value_->members.push_back(step.node); return;
      case StepKind::remove_from_register:
        if (value_->in_sync.size() == 1 && value_->find_in_sync(step.node)) return;
        std::erase(value_->members, step.node);
        value_->remove_in_sync(step.node);
        return;
      case StepKind::end_replacement: return;
      case StepKind::hand_over: return hand_over(self);
      case StepKind::close: return kill(at);
      case StepKind::discard:
        kill(at);
        if (random_() % 4 == 0) l.store = EntryState::deleting;
        else l = LocalReplica{};
        return;
      case StepKind::leave: std::erase_if(definition_->members, [&](const MemberDefinition& m) { return m.node == self; }); return;
      case StepKind::erase:
        value_.reset();
        definition_.reset();
        return;
    }
  }

  void hand_over(NodeId from) {
    for (const engine::Copy& copy : value_->in_sync) {
      LocalReplica& l = local_[copy.node.value - 1];
      if (copy.node == from || !l.open || !has_copy(copy)) continue;
      local_[from.value - 1].primary = false;
      l.primary = true;
      value_->primary = copy.node;
      return;
    }
  }

  // Of a volume that is wanted some copy in sync is there.
  void check() {
    if (!definition_ || definition_->state != DefinitionState::ready) return;
    ASSERT_TRUE(value_);
    ASSERT_TRUE(std::ranges::any_of(value_->in_sync, [&](const engine::Copy& copy) { return has_copy(copy); })) << "what was acknowledged is gone";
  }

  std::mt19937 random_;
  std::array<LocalReplica, 4> local_;
  std::optional<VolumeDefinition> definition_;
  std::optional<engine::Register> value_;
  bool volume_made_ = false;
  std::uint8_t incarnations_ = 0;
};

void settle(KeeperWorld& world, bool (KeeperWorld::*is_so)() const, unsigned seed, const char* what) {
  for (int turns = 0; turns < 300; ++turns) world.turn(20);  // Chaos …
  for (int turns = 0; turns < 3'000 && !(world.*is_so)(); ++turns) world.turn(0);  // … and then peace.
  ASSERT_TRUE((world.*is_so)()) << what << ", seed " << seed;
}

TEST(KeeperWorld, KilledBetweenAnyTwoSteps_AVolumeIsMade_ItsMembersChange_AndItGoesWithoutATrace) {
  for (unsigned seed = 1; seed <= 2'000; ++seed) {
    KeeperWorld world(seed);
    world.create(1 + seed % 3);
    settle(world, &KeeperWorld::is_served, seed, "created");
    if (testing::Test::HasFatalFailure()) return;
    world.definition()->members.push_back({NodeId(4), Uuid{}});
    settle(world, &KeeperWorld::is_served, seed, "a member comes");
    if (testing::Test::HasFatalFailure()) return;
    std::erase_if(world.definition()->members, [&](const MemberDefinition& m) { return m.node.value == 1 + seed / 3 % 4 && world.definition()->members.size() > 1; });
    settle(world, &KeeperWorld::is_served, seed, "a member goes");
    if (testing::Test::HasFatalFailure()) return;
    if (world.definition()->members.size() > 1) world.definition()->members[seed / 12 % world.definition()->members.size()].incarnation = Uuid{};
    settle(world, &KeeperWorld::is_served, seed, "a copy is made anew");
    if (testing::Test::HasFatalFailure()) return;
    world.destroy();
    settle(world, &KeeperWorld::is_gone, seed, "deleted");
    if (testing::Test::HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace holdfast::daemon
