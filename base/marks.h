// Marks of rare branches: a proof that tests come by here. The simulator counts them (holdfast-sim --coverage); without the
// compile definition HOLDFAST_PLANTED_BUGS, which its build has, a mark is nothing.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace holdfast {

// One line a mark: name, and what it stands for.
#define HOLDFAST_MARKS(M)                                                                             \
  M(log_batch_wraps, "a batch goes on at the ring's start")                                           \
  M(log_room_waited, "a record waits for room in the ring")                                           \
  M(log_cut, "records are cut")                                                                       \
  M(log_restart, "the log starts anew after a rebuild")                                               \
  M(log_overwritten_while_read, "a batch is overwritten while it is read back")                       \
  M(scan_cut_by_batch, "recovery: a newer generation begins before the end of the older one")         \
  M(scan_cut_by_superblock, "recovery: only the superblock knows of a cut")                           \
  M(scan_unreadable, "the medium cannot be read where the log goes on")                               \
  M(scan_torn_tail, "recovery: something unreadable follows the end")                                 \
  M(scan_rewrites, "recovery: what is not proven durable is written again")                           \
  M(superblock_not_kept, "a superblock is not on the disk right after it was written")                \
  M(superblock_copy_lost, "one copy of the superblock is unreadable")                                 \
  M(page_moved_while_read, "a map page moved while it was read")                                      \
  M(page_frozen_copy, "a map page changes under a checkpoint")                                        \
  M(page_dropped, "a map page becomes a hole")                                                        \
  M(page_taken_as_empty, "an unreadable map page is taken as empty")                                  \
  M(page_interior_anew, "an interior page comes anew and remembers what was emptied")                 \
  M(space_full_overwrite, "no fresh chunk: a whole chunk is overwritten in place")                    \
  M(space_checkpoint_for_room, "a write waits for a checkpoint to set chunks free")                   \
  M(apply_stale_dropped, "the map is ahead of a record")                                              \
  M(apply_from_log, "a block is applied from the log")                                                \
  M(apply_place_kept, "an emptied chunk keeps its place for a write under way")                       \
  M(tail_recovered, "a restart finds records that are not known to be committed")                     \
  M(tail_lost_role, "a primary loses its role with records in the tail")                              \
  M(tail_full, "a writer waits because the tail is long")                                             \
  M(commit_waits_to_answer, "what is committed may not be acknowledged yet")                          \
  M(read_waits_for_lease, "what was read may not be answered yet")                                    \
  M(reign_over, "a write meets another reign than it began in")                                       \
  M(epoch_start_too_late, "an epoch is over before its start is logged")                              \
  M(ship_from_log, "a record is read back for another copy")                                          \
  M(log_epoch_from_kept, "an epoch begins in the room that is kept back for that")                       \
  M(role_gave_way_to_longer, "a claimant lets a copy with a longer log go first")                        \
  M(ship_superseded, "blocks of it were overwritten since")                                           \
  M(ship_mended, "blocks of it had rotted, and were read as the volume has them")                         \
  M(ship_window_full, "a copy has much to acknowledge")                                               \
  M(ship_fell_behind, "what a copy lacks is not in the log any more")                                 \
  M(receive_barrier, "a record waits for the catalogue's change before it")                           \
  M(receive_no_room, "a follower waits for room in its log")                                          \
  M(receive_no_space, "a follower waits for space")                                                   \
  M(receive_dropped, "a received record is not wanted any more")                                      \
  M(receive_refused, "a received record does not continue the log")                                   \
  M(receive_chunks, "a follower writes whole chunks")                                                 \
  M(session_replaced, "a new connection replaces an older one")                                       \
  M(session_silent, "a silent connection is given up")                                                \
  M(session_stalled, "the process was stalled")                                                       \
  M(register_conflict, "somebody else changed the register")                                          \
  M(register_unknown, "nobody knows whether the register changed")                                    \
  M(role_claim_abandoned, "a claim's nonce is forgotten")                                             \
  M(role_longer_log_first, "a copy with a longer log goes first")                                     \
  M(role_waited_for_hellos, "a copy that has just started waits for the others' hello")               \
  M(scrub_hole_compared, "a scrub compares what is a hole here with another copy's page")              \
  M(role_lagging_waits, "a copy that is to be rebuilt leaves the set first")                          \
  M(role_released_unreadable_tail, "a primary that cannot read its own tail releases")                \
  M(role_end_was_lost, "another copy has applied what this one's log has lost")                       \
  M(role_release_waits, "a primary that cannot read its own tail waits to hear what others have")     \
  M(role_bind_behind_bind, "a newer epoch comes while one is being bound")                            \
  M(role_gave_way, "a primary that serves nobody keeps the others in sync")                           \
  M(role_waits_for_the_faint, "a primary takes nobody out while others may be about to fall silent, too")  \
  M(role_let_others_go_on, "a primary that would admit nothing lets silent members go on without it") \
  M(role_released_helpless, "a primary without lease and coordinator releases")                       \
  M(role_ceased_cut_off, "a primary that hears neither the others nor the coordinator ceases")        \
  M(role_released_stuck, "a primary whose own disk answers nothing releases")                          \
  M(role_removed_stuck, "a member whose disk answers nothing is dropped")                            \
  M(role_removed_several, "several members are dropped at once")                                      \
  M(role_joined, "a member joins")                                                                    \
  M(role_asked_initiators, "a primary that hears no other copy asks its initiators for a word")      \
  M(role_view_waits, "a question how the group stands waits at its primary")                         \
  M(role_handed_over, "a primary hands over")                                                         \
  M(role_released, "a follower is released from its promise")                                         \
  M(role_disk_went_back, "a member has less than it acknowledged")                                    \
  M(role_store_failed, "a primary's store fails")                                                     \
  M(unfit, "a copy becomes unfit")                                                                    \
  M(fit_again, "a copy becomes fit again")                                                            \
  M(rebuild_begins, "a rebuild begins")                                                               \
  M(rebuild_whole, "all of a copy is compared")                                                       \
  M(maps_given_up, "a copy gives up its maps, for some of them is unreadable")                        \
  M(maps_await_rebuild, "a copy without its catalogue waits for another one")                         \
  M(maps_leaked_found, "what an unreadable page had is found and freed")                              \
  M(space_counted_anew, "the space tree is unreadable: the maps say what is in use")                  \
  M(page_hands_over, "a primary hands over because a map page is unreadable")                         \
  M(scrub_divergence, "a scrub finds that copies differ")                                             \
  M(durable_end_noted, "writes paused: the superblock says how far the log is durable")               \
  M(scrub_page_renewed, "a page is bad on the disk and right in memory")                              \
  M(rebuild_interrupted, "a rebuild is interrupted")                                                  \
  M(rebuild_base_too_old, "the other copy's maps do not tell what changed since")                     \
  M(rebuild_same_content, "a chunk is the same by another way")                                       \
  M(rebuild_disk_differs, "a copy's disk has not what its maps say: it is fetched")                   \
  M(rebuild_hole, "pages are emptied by a rebuild")                                                   \
  M(rebuild_volume_made, "a rebuild makes a volume")                                                  \
  M(rebuild_volume_dropped, "a rebuild drops a volume")                                               \
  M(rebuild_lost_told, "a block that nobody has is told to a copy that is being rebuilt")               \
  M(rebuild_paced, "a rebuild waits for its rate")                                                      \
  M(ask_timed_out, "another copy does not answer in time")                                              \
  M(held_for_ring, "writers wait for a copy whose records are about to be overwritten")                 \
  M(held_for_join, "writers wait for a copy that has nearly everything")                                \
  M(rebuild_busy, "the other copy cannot answer yet")

enum class Mark : std::uint8_t {
#define HOLDFAST_MARK_ENUM(name, text) name,
  HOLDFAST_MARKS(HOLDFAST_MARK_ENUM)
#undef HOLDFAST_MARK_ENUM
  count
};
inline constexpr std::size_t kMarks = static_cast<std::size_t>(Mark::count);

struct MarkText {
  std::string_view name, text;
};
inline constexpr std::array<MarkText, kMarks> kMarkTexts{{
#define HOLDFAST_MARK_TEXT(name, text) {#name, text},
    HOLDFAST_MARKS(HOLDFAST_MARK_TEXT)
#undef HOLDFAST_MARK_TEXT
}};

#ifdef HOLDFAST_PLANTED_BUGS
inline std::array<std::uint64_t, kMarks> mark_counts{};
inline void mark(Mark m) { ++mark_counts[static_cast<std::size_t>(m)]; }
#else
constexpr void mark(Mark) {}
#endif

}  // namespace holdfast
