// Bugs planted on purpose: the crash harness must find each of them, or it proves nothing.
// Without the compile definition HOLDFAST_PLANTED_BUGS (the preset `planted`) planted() is constant false and costs nothing.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace holdfast {

enum class Bug : std::uint8_t {
  log_write_not_durable,               // A batch is written without being made durable.
  checkpoint_superblock_before_pages,  // The new root is written before its pages are durable.
  batch_checksum_ignored,              // Recovery takes a batch without looking at its checksums.
  torn_tail_accepted,                  // Recovery keeps the part of a torn batch that looks whole.
  free_before_second_superblock,       // Log and pages are freed by the newer superblock copy alone.
  chunk_reused_before_checkpoint,      // A chunk that is freed is handed out before the freeing is durable.
  direct_data_not_synced,              // A reference to a fresh chunk is logged before the chunk's data is durable.
  apply_before_commit,                 // A record is applied in place before its batch is durable.
  generation_not_bumped,               // A restart goes on in the old log generation.
  // The protocol (docs/replication.md).
  promoted_outside_in_sync,            // A node claims that is not in the in-sync set.
  committed_on_own_copy,               // The primary's own copy is enough.
  removed_without_cas,                 // A silent member is forgotten, and the register is not told.
  removed_at_send,                     // A member is forgotten before its removal is known to be applied.
  restart_wait_skipped,                // A process that has just started claims at once.
  stale_epoch_accepted,                // A follower goes back to an older epoch's primary.
  joined_without_acks,                 // A member joins before it has caught up.
  joined_without_promise,              // A joining member's promise is not needed.
  joined_at_lagging_commit,            // A fresh primary takes a learner in at its own commit, which lags.
  lease_not_waited_out,                // A follower claims while its promise holds.
  unknown_join_taken_as_failed,        // A read at the old revision settles an unknown CAS of the set.
  unknown_claim_taken_as_failed,       // A read at the old revision settles an unknown claim.
  own_old_claim_readopted,             // A restarted primary goes on in the epoch of its earlier life.
  reclaimed_without_wait,              // The register's primary claims anew without waiting, whatever it was bound as.
  reclaimed_alone_without_wait,        // The only copy claims anew without waiting.
  own_copy_not_durable,                // The primary counts its own copy before its disk has it.
  opened_before_epoch_start,           // A new primary serves before its epoch's start is committed.
  matched_by_lsn,                      // Logs are matched by length, not by epochs.
  resumed_after_release,               // A primary goes on after it has released its epoch.
  bound_epoch_not_durable,             // A binding is not written.
  cas_by_value,                        // The register compares values instead of revisions.
  applied_unmatched,                   // A follower applies what it was told before its log was matched.
  applied_before_commit,               // A follower applies what it has, committed or not.
  read_without_lease,                  // Reads and answers need no lease.
  granted_while_claiming,              // A node promises while a claim of its own may land.
  any_claim_adopted,                   // A node leads an epoch that an earlier life of it claimed.
  wiped_disk_keeps_membership,         // A new disk answers for the old one.
  stale_view_used,                     // An older view replaces a newer one.
  // The rebuild, and copies' stores.
  delta_without_holes,                 // What was emptied since the base is not mentioned.
  delta_from_log_end,                  // A delta's base is the end of the receiver's log, committed or not.
  rebuilt_copy_fit_at_once,            // A rebuilt copy may lead before the log has made its chunks meet.
  cut_not_durable,                     // A cut of the log is not written.
  elided_copy_fit,                     // A copy that was sent superseded blocks may lead before it has what follows.
  reservation_not_replicated,          // A follower does not keep reservations.
  // What hosts are told.
  view_without_lease,                  // A primary without its lease confirms that it leads.
  view_of_older_question,              // An answer counts for questions that came after it.
};

inline constexpr std::array<std::string_view, 45> kBugNames{
    "log_write_not_durable",
    "checkpoint_superblock_before_pages",
    "batch_checksum_ignored",
    "torn_tail_accepted",
    "free_before_second_superblock",
    "chunk_reused_before_checkpoint",
    "direct_data_not_synced",
    "apply_before_commit",
    "generation_not_bumped",
    "promoted_outside_in_sync",
    "committed_on_own_copy",
    "removed_without_cas",
    "removed_at_send",
    "restart_wait_skipped",
    "stale_epoch_accepted",
    "joined_without_acks",
    "joined_without_promise",
    "joined_at_lagging_commit",
    "lease_not_waited_out",
    "unknown_join_taken_as_failed",
    "unknown_claim_taken_as_failed",
    "own_old_claim_readopted",
    "reclaimed_without_wait",
    "reclaimed_alone_without_wait",
    "own_copy_not_durable",
    "opened_before_epoch_start",
    "matched_by_lsn",
    "resumed_after_release",
    "bound_epoch_not_durable",
    "cas_by_value",
    "applied_unmatched",
    "applied_before_commit",
    "read_without_lease",
    "granted_while_claiming",
    "any_claim_adopted",
    "wiped_disk_keeps_membership",
    "stale_view_used",
    "delta_without_holes",
    "delta_from_log_end",
    "rebuilt_copy_fit_at_once",
    "cut_not_durable",
    "elided_copy_fit",
    "reservation_not_replicated",
    "view_without_lease",
    "view_of_older_question"};
inline constexpr std::size_t kStoreBugs = 9;      // The first ones: what one node's crash harness must find.
inline constexpr std::size_t kProtocolBugs = 28;  // Those that follow: what machines alone must find. The rest: whole clusters.

#ifdef HOLDFAST_PLANTED_BUGS
inline std::uint64_t planted_bugs = 0;  // One bit a bug; set before any store is opened.
inline bool planted(Bug bug) { return (planted_bugs >> static_cast<unsigned>(bug) & 1) != 0; }
#else
constexpr bool planted(Bug) { return false; }
#endif

}  // namespace holdfast
