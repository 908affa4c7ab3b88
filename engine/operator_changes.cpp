#include "engine/operator_changes.h"

#include <algorithm>

#include "base/text.h"

namespace holdfast::engine {
namespace {

constexpr std::uint32_t kLeaseMsMin = 100;
constexpr int kTriesMax = 100;

}  // namespace

Result<void> add_member(Register& value, NodeId node) {
  if (node == NodeId()) return fail(Errc::invalid_argument, "node: must not be zero");
  if (value.is_member(node)) return fail(Errc::exists, concat("node: ", node.value, " is a member already"));
  if (value.members.size() >= kMembersMax) return fail(Errc::invalid_argument, concat("node: a group has at most ", kMembersMax, " members"));
  value.members.insert(std::upper_bound(value.members.begin(), value.members.end(), node), node);
  return {};
}

Result<void> remove_member(Register& value, NodeId node) {
  if (!value.is_member(node)) return fail(Errc::not_found, concat("node: ", node.value, " is no member"));
  if (value.primary == node) return fail(Errc::invalid_argument, concat("node: ", node.value, " is the primary; switch over first"));
  // Who is no member any more is in the set only until the primary has taken it out.
  const auto left = static_cast<std::size_t>(
      std::ranges::count_if(value.in_sync, [&](const Copy& copy) { return copy.node != node && value.is_member(copy.node); }));
  if (left == 0) return fail(Errc::invalid_argument, concat("node: ", node.value, " has the only copy that is in sync"));
  if (left < value.min_in_sync)
    return fail(Errc::invalid_argument, concat("node: without ", node.value, " only ", left, " copies would be in sync, and min_in_sync is ", value.min_in_sync));
  std::erase(value.members, node);
  return {};
}

Result<void> set_min_in_sync(Register& value, std::uint32_t count) {
  if (count == 0 || count > value.members.size())
    return fail(Errc::invalid_argument, concat("min_in_sync: must be 1 to ", value.members.size(), ", the number of members"));
  value.min_in_sync = count;
  return {};
}

Result<void> set_lease(Register& value, std::uint32_t lease_ms) {
  if (lease_ms < kLeaseMsMin || lease_ms > kLeaseMsMax)
    return fail(Errc::invalid_argument, concat("lease_ms: must be ", kLeaseMsMin, " to ", kLeaseMsMax));
  // A promise of the longest lease may still be out after several changes in a row.
  value.previous_lease_ms = std::max(value.previous_lease_ms, value.lease_ms);
  value.lease_ms = lease_ms;
  return {};
}

Result<void> force_fail_over(Register& value, const ForcedFailOver& order) {
  if (!value.is_member(order.candidate.node)) return fail(Errc::not_found, concat("candidate: node ", order.candidate.node.value, " is no member"));
  if (!order.accepts_data_loss)
    return fail(Errc::invalid_argument, "accept_data_loss: a forced fail-over loses what only the other copies have; say that you accept it");
  if (!order.others_are_fenced)
    return fail(Errc::invalid_argument, "others_fenced: a primary that is cut off but alive goes on serving; switch the other nodes off first, and say so");
  value.epoch = Epoch(value.epoch.value + 1);
  value.primary = NodeId();
  value.claim = order.nonce;
  value.in_sync = {order.candidate};
  value.min_in_sync = 1;  // It is to serve.
  value.floor_epoch = Epoch();
  value.floor_commit = Lsn();
  value.floor_content_epoch = Epoch();
  value.floor_content_end = Lsn();
  value.forced_epoch = value.epoch;
  return {};
}

Task<Result<Register>> change_register(Coordinator* coordinator, Uuid group, RegisterChange change) {
  const std::string key = register_key(group);
  for (int tries = 0; tries < kTriesMax; ++tries) {
    auto entry = co_await coordinator->get(key);
    if (!entry) co_return fail(entry.error());
    if (entry->revision == 0) co_return fail(Errc::not_found, "the coordinator has no register for this group");
    auto value = decode_register(entry->value);
    if (!value) co_return fail(value.error());
    CO_TRY(change(*value));
    ++value->seq;
    const std::string wanted = encode_register(*value);
    auto outcome = co_await coordinator->compare_and_swap(key, entry->revision, wanted);
    if (outcome.status == CasStatus::applied) co_return *value;
    if (outcome.status == CasStatus::conflict) continue;
    // It may have been applied, or be applied yet: as long as the revision is the same, asking again for the same is safe.
    for (std::uint64_t revision = entry->revision; revision == entry->revision && ++tries < kTriesMax;) {
      auto again = co_await coordinator->compare_and_swap(key, entry->revision, wanted);
      if (again.status == CasStatus::unknown) continue;
      if (again.status == CasStatus::applied || again.entry.value == wanted) co_return *value;
      revision = again.entry.revision;
    }
  }
  co_return fail(Errc::timed_out, "the coordinator did not confirm the change");
}

}  // namespace holdfast::engine
