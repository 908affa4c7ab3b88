// The rules of the protocol that can be broken, to see that it matters.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace holdfast::model {

enum class Broken : std::uint8_t {
  promote_outside, commit_own_only, remove_no_cas, skip_restart_wait, apply_before_commit, accept_stale, join_no_ack, no_lease_wait,
  unknown_join_by_read, unknown_claim_by_read, readopt_same_epoch, reclaim_no_wait, own_not_durable, open_early, match_by_length,
  release_resume, bound_not_durable, join_no_promise, value_cas, remove_at_send, apply_unmatched, read_no_lease, grant_while_claiming,
  adopt_any_claim, wipe_keeps_membership, reclaim_wait_skip_alone, join_not_caught_up, join_at_commit, ack_old_session,
};
inline constexpr std::array<std::string_view, 29> kBrokenNames{
    "promote_outside", "commit_own_only", "remove_no_cas", "skip_restart_wait", "apply_before_commit", "accept_stale", "join_no_ack",
    "no_lease_wait", "unknown_join_by_read", "unknown_claim_by_read", "readopt_same_epoch", "reclaim_no_wait", "own_not_durable",
    "open_early", "match_by_length", "release_resume", "bound_not_durable", "join_no_promise", "value_cas", "remove_at_send",
    "apply_unmatched", "read_no_lease", "grant_while_claiming", "adopt_any_claim", "wipe_keeps_membership", "reclaim_wait_skip_alone",
    "join_not_caught_up", "join_at_commit", "ack_old_session"};

struct Rules {
  std::uint64_t broken_bits = 0;
  bool broken(Broken rule) const { return (broken_bits >> static_cast<unsigned>(rule) & 1) != 0; }
};

}  // namespace holdfast::model
