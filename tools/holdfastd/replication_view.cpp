#include "tools/holdfastd/replication_view.h"

#include <algorithm>

#include "base/text.h"

namespace holdfast::daemon {
namespace {

constexpr std::int64_t kNsOfMs = 1'000'000;

std::uint64_t eta_ms(std::uint64_t passed_ms, std::uint64_t done, std::uint64_t total) {
  if (done == 0 || total <= done) return 0;
  return static_cast<std::uint64_t>(static_cast<double>(passed_ms) * static_cast<double>(total - done) / static_cast<double>(done));
}

ReplicaRole role_of(GroupRole role) {
  switch (role) {
    case GroupRole::follower: return ReplicaRole::follower;
    case GroupRole::opening: return ReplicaRole::opening;
    case GroupRole::primary: return ReplicaRole::primary;
  }
  return ReplicaRole::none;
}

}  // namespace

ReplicationStatus replication_status(const ReplicaStatus& replica, NodeId self) {
  ReplicationStatus out;
  out.role = role_of(replica.role);
  out.serving = replica.serving;
  out.hears_primary = replica.hears_primary;
  out.primary_node = replica.view.primary.value;
  out.min_in_sync = replica.view.min_in_sync;
  out.lease_ms = replica.view.lease_ms;
  out.promotable = replica.promotable && replica.loss.empty();
  out.unfit_because = replica.promotable ? replica.loss : replica.unfit_because;
  out.shipped_records = replica.shipped_records;
  out.shipped_bytes = replica.shipped_bytes;
  out.held_writes = replica.held_writes;
  out.rebuilding = replica.rebuilding;
  out.rebuild_bytes_done = replica.rebuild_bytes_done;
  out.rebuild_bytes_total = replica.rebuild_bytes_total;
  out.rebuilt_bytes = replica.rebuilt_bytes;
  out.rebuild_ms = static_cast<std::uint64_t>(replica.rebuilding_for.value / kNsOfMs);
  if (replica.rebuilding) out.rebuild_eta_ms = eta_ms(out.rebuild_ms, out.rebuild_bytes_done, out.rebuild_bytes_total);
  for (const NodeId node : replica.view.members) {
    ReplicationStatus::Member member;
    member.node = node.value;
    member.is_self = node == self;
    member.connected = member.is_self;
    member.in_sync = replica.view.find_in_sync(node) != nullptr;
    if (member.is_self) member.acked_lsn = replica.durable.value;
    for (const ReplicaStatus::Member& other : replica.members) {
      if (other.node != node) continue;
      member.connected = other.connected;
      member.acked_lsn = other.has.value;
      member.lag_known = replica.serving && other.has != Lsn();
      if (!member.lag_known) continue;
      member.lag_bytes = other.lag_bytes;
      member.lag_ms = static_cast<std::uint64_t>(other.lag.value / kNsOfMs);
    }
    out.members.push_back(member);
  }
  return out;
}

namespace {

using Member = ReplicationStatus::Member;

std::string counted_copies(std::size_t count) { return concat(count, count == 1 ? " copy" : " copies"); }

// What is in the way of the others, as the primary sees it.
std::string troubles_of_others(const ReplicationStatus& r) {
  std::string out;
  for (const Member& member : r.members) {
    if (member.is_self || (member.in_sync && member.connected)) continue;
    out.append(out.empty() ? "" : "; ");
    if (!member.connected) out += concat("node ", member.node, " is not connected: see whether holdfastd runs there and whether its links reach this node");
    else out += concat("node ", member.node, " is catching up, and will be in sync by itself");
  }
  return out;
}

Judgement judge_primary(const ReplicationStatus& r) {
  const auto in_sync = static_cast<std::size_t>(std::ranges::count_if(r.members, &Member::in_sync));
  const std::string troubles = troubles_of_others(r);
  if (in_sync < r.min_in_sync) return {VolumeHealth::waiting, concat("writes wait: ", counted_copies(in_sync), " in sync, and min_in_sync is ", r.min_in_sync, troubles.empty() ? "" : "; ", troubles)};
  if (troubles.empty()) return {};
  return {VolumeHealth::degraded, concat("served with ", in_sync, " of ", counted_copies(r.members.size()), " in sync: ", troubles)};
}

std::string rebuild_text(const ReplicationStatus& r) {
  const std::uint64_t percent = r.rebuild_bytes_total == 0 ? 0 : r.rebuild_bytes_done * 100 / r.rebuild_bytes_total;
  std::string out = concat("this copy is being rebuilt from node ", r.primary_node, ": ", percent, " %");
  if (r.rebuild_eta_ms > 0) out += concat(", about ", r.rebuild_eta_ms / 1'000 + 1, " s to go");
  return out;
}

Judgement judge_follower(const ReplicationStatus& r) {
  const auto self = std::ranges::find_if(r.members, &Member::is_self);
  const bool in_sync = self != r.members.end() && self->in_sync;
  if (r.hears_primary) {
    if (r.rebuilding) return {VolumeHealth::degraded, rebuild_text(r)};
    if (!in_sync) return {VolumeHealth::degraded, concat("this copy is catching up with node ", r.primary_node)};
    if (!r.promotable) return {VolumeHealth::degraded, concat("this copy could not lead: ", r.unfit_because)};
    return {VolumeHealth::standby, {}};
  }
  if (r.primary_node == 0) return {VolumeHealth::waiting, "nobody leads it yet"};
  const std::string silent = concat("node ", r.primary_node, ", which led it last, is not heard, ");
  if (in_sync && r.promotable) return {VolumeHealth::waiting, silent + "and this copy takes over if it hears of nobody else; does that last, see whether the coordinator and the other nodes are reached"};
  const std::string why = in_sync ? r.unfit_because : "it is not in sync";
  return {VolumeHealth::waiting, concat(silent, "and this copy cannot lead (", why, "): start a node whose copy is in sync, and see to its links")};
}

}  // namespace

Judgement judge(const ReplicationStatus& r) {
  if (r.serving) return judge_primary(r);
  if (r.role == ReplicaRole::follower) return judge_follower(r);
  if (!r.promotable) return {VolumeHealth::waiting, concat("this copy has an epoch that it must not open (", r.unfit_because, "): see that the others run, and reach the coordinator")};
  return {VolumeHealth::waiting, "this copy leads and does not serve just now: it waits for what the others promise, which needs their links"};
}

std::string unfit_to_lead(const ReplicationStatus& r, NodeId candidate) {
  const auto found = std::ranges::find(r.members, std::uint64_t{candidate.value}, &Member::node);
  if (found == r.members.end()) return concat("node ", candidate.value, " has no copy of this volume");
  if (!found->connected) return concat("node ", candidate.value, " is not connected to this one");
  if (!found->in_sync) return concat("node ", candidate.value, " is not in sync: it is still catching up");
  return {};
}

}  // namespace holdfast::daemon
