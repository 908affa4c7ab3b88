// What operators change in a register, and what they are refused.
#include <gtest/gtest.h>

#include "engine/operator_changes.h"
#include "test/sim/world.h"

namespace holdfast::role_test {
namespace {

using engine::Copy;
using engine::Register;

Register three_copies() {
  Register r = engine::first_register(Uuid{7}, {{NodeId(1), {1}}, {NodeId(2), {2}}, {NodeId(3), {3}}}, {2, 600});
  r.epoch = Epoch(4);
  r.primary = NodeId(1);
  r.floor_epoch = Epoch(4);
  r.floor_commit = Lsn(90);
  return r;
}

TEST(OperatorChanges, Members_ComeAndGo_AndTouchNeitherEpochNorInSync) {
  Register r = three_copies();
  ASSERT_TRUE(engine::add_member(r, NodeId(5)));
  EXPECT_EQ(r.members, (std::vector<NodeId>{NodeId(1), NodeId(2), NodeId(3), NodeId(5)}));
  ASSERT_TRUE(engine::remove_member(r, NodeId(3)));
  EXPECT_FALSE(r.is_member(NodeId(3)));
  EXPECT_EQ(r.in_sync.size(), 3u);
  EXPECT_EQ(r.epoch, Epoch(4));
}

TEST(OperatorChanges, MembersThatCannotBe_AreRefusedByName) {
  Register r = three_copies();
  EXPECT_EQ(engine::add_member(r, NodeId(2)).error().code, Errc::exists);
  EXPECT_EQ(engine::add_member(r, NodeId()).error().code, Errc::invalid_argument);
  EXPECT_EQ(engine::remove_member(r, NodeId(9)).error().code, Errc::not_found);
  EXPECT_NE(engine::remove_member(r, NodeId(1)).error().message.find("switch over first"), std::string::npos);
  r.remove_in_sync(NodeId(3));
  EXPECT_NE(engine::remove_member(r, NodeId(2)).error().message.find("min_in_sync"), std::string::npos);
  EXPECT_EQ(r.members.size(), 3u);
}

TEST(OperatorChanges, MinInSyncAndLease_KeepToTheirBounds) {
  Register r = three_copies();
  EXPECT_FALSE(engine::set_min_in_sync(r, 0));
  EXPECT_FALSE(engine::set_min_in_sync(r, 4));
  EXPECT_TRUE(engine::set_min_in_sync(r, 3));
  EXPECT_FALSE(engine::set_lease(r, 10));
  ASSERT_TRUE(engine::set_lease(r, 2'000));
  ASSERT_TRUE(engine::set_lease(r, 300));
  EXPECT_EQ(r.previous_lease_ms, 2'000u);  // A promise of that length may still be out.
}

TEST(OperatorChanges, ForcedFailOver_NeedsBothConfirmations_AndIsRecorded) {
  Register r = three_copies();
  engine::ForcedFailOver order{{NodeId(3), {3}}, false, true, 77};
  EXPECT_NE(engine::force_fail_over(r, order).error().message.find("others_fenced"), std::string::npos);
  order.others_are_fenced = true;
  order.accepts_data_loss = false;
  EXPECT_NE(engine::force_fail_over(r, order).error().message.find("accept_data_loss"), std::string::npos);
  EXPECT_EQ(r, three_copies());
  order.accepts_data_loss = true;
  ASSERT_TRUE(engine::force_fail_over(r, order));
  EXPECT_EQ(r.forced_epoch, Epoch(5));
  EXPECT_EQ(r.primary, NodeId());
  EXPECT_EQ(r.in_sync, (std::vector<Copy>{{NodeId(3), {3}}}));
  EXPECT_EQ(r.floor_commit, Lsn());
}

// A register that answers as it is told to: a swap may be lost or confirmed late.
class MoodyCoordinator final : public Coordinator {
 public:
  Task<Result<CoordinatorEntry>> get(std::string) override { co_return entry; }
  Task<CasOutcome> compare_and_swap(std::string, std::uint64_t base, std::string value) override {
    ++swaps;
    CasOutcome outcome;
    outcome.entry = entry;
    outcome.status = CasStatus::conflict;
    if (intruder && swaps == 1) {
      Register other = *engine::decode_register(entry.value);
      other.seq += 1;
      other.min_in_sync = 1;
      entry = {entry.revision + 1, engine::encode_register(other)};
      outcome.entry = entry;
    }
    if (base != entry.revision) co_return outcome;
    entry = {entry.revision + 1, std::move(value)};
    outcome.entry = entry;
    outcome.status = answers_lost-- > 0 ? CasStatus::unknown : CasStatus::applied;
    co_return outcome;
  }
  Task<void> until_changed(std::string, std::uint64_t) override { co_return; }
  std::string cluster_id() const override { return "moody"; }
  CoordinatorEntry entry{3, engine::encode_register(three_copies())};
  int swaps = 0, answers_lost = 0;
  bool intruder = false;
};

Result<Register> change(MoodyCoordinator& coordinator) {
  auto task = engine::change_register(&coordinator, Uuid{7}, [](Register& r) { return engine::add_member(r, NodeId(4)); });
  EXPECT_TRUE(task.await_ready());  // Nothing of it suspends here.
  return task.await_resume();
}

TEST(ChangeRegister, SomebodyElseWasFaster_BothChangesStand) {
  MoodyCoordinator coordinator;
  coordinator.intruder = true;
  const auto changed = change(coordinator);
  ASSERT_TRUE(changed) << changed.error().text();
  const Register now = *engine::decode_register(coordinator.entry.value);
  EXPECT_TRUE(now.is_member(NodeId(4)));
  EXPECT_EQ(now.min_in_sync, 1u);
  EXPECT_EQ(now.seq, 3u);
}

TEST(ChangeRegister, AnswerLost_IsNotDoneTwice) {
  MoodyCoordinator coordinator;
  coordinator.answers_lost = 1;
  const auto changed = change(coordinator);
  ASSERT_TRUE(changed) << changed.error().text();
  const Register now = *engine::decode_register(coordinator.entry.value);
  EXPECT_EQ(now.seq, 2u);
  EXPECT_EQ(now.members.size(), 4u);
}

}  // namespace
}  // namespace holdfast::role_test
