// What operators are told about a copy that must not lead.
#include "tools/holdfastd/replication_view.h"

#include <gtest/gtest.h>

namespace holdfast::daemon {
namespace {

constexpr const char* kLoss = "the end of its log is gone: node 2 has applied record 10";

ReplicaStatus copy_that_lost_its_end(GroupRole role) {
  ReplicaStatus status;
  status.role = role;
  status.loss = kLoss;
  status.view.primary = NodeId(1);
  status.view.min_in_sync = 1;
  status.view.members = {NodeId(1), NodeId(2)};
  status.view.in_sync = {engine::Copy{NodeId(1), {}}, engine::Copy{NodeId(2), {}}};
  ReplicaStatus::Member other{};
  other.node = NodeId(2);
  other.connected = other.in_sync = true;
  status.members.push_back(other);
  return status;
}

bool tells_loss(const Judgement& judgement) { return judgement.health == VolumeHealth::waiting && judgement.reason.find(kLoss) != std::string::npos; }

TEST(ReplicationView, LostItsEnd_HasAnEpoch_SaysWhyItDoesNotOpenIt) {
  EXPECT_TRUE(tells_loss(judge(replication_status(copy_that_lost_its_end(GroupRole::opening), NodeId(1)))));
}

TEST(ReplicationView, LostItsEnd_NobodyLeads_SaysWhyItDoesNotTakeOver) {
  EXPECT_TRUE(tells_loss(judge(replication_status(copy_that_lost_its_end(GroupRole::follower), NodeId(1)))));
}

TEST(ReplicationView, LostItsEndAndIsUnfit_StoreComesFirst) {
  ReplicaStatus status = copy_that_lost_its_end(GroupRole::follower);
  status.promotable = false;
  status.unfit_because = "its maps are unreadable";
  EXPECT_EQ(replication_status(status, NodeId(1)).unfit_because, "its maps are unreadable");
}

TEST(ReplicationView, LostNothing_MayLead) {
  ReplicaStatus status = copy_that_lost_its_end(GroupRole::follower);
  status.loss.clear();
  EXPECT_TRUE(replication_status(status, NodeId(1)).promotable);
}

}  // namespace
}  // namespace holdfast::daemon
