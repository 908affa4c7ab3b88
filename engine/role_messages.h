// What nodes tell each other besides records, and what the role machine asks its owner to do.
#pragma once

#include <cstdint>
#include <optional>
#include <variant>
#include <vector>

#include "engine/register.h"
#include "wal/history.h"

namespace holdfast::engine {

using SessionId = Unit<struct SessionTag>;  // One connection to one node; never used again by a process. Zero: none.

// Kept in both superblocks before it takes effect (rule 21).
struct Bound {
  Epoch epoch;
  std::uint64_t claim = 0;
  bool as_primary = false;
  friend bool operator==(const Bound&, const Bound&) = default;
};

// Who I am and what my log is. The first message of a session, and again after every binding.
struct Hello {
  Copy copy;
  Uuid group{};
  Bound bound;
  Lsn end;
  Lsn applied;
  wal::EpochHistory history;
  bool needs_rebuild = false;  // Whatever the log says: records alone do not help.
  bool unfit = false;          // It may have more, or less, than its log says.
  bool maps_lost = false;      // It knows, durably, that all of it is to be compared.
  std::uint64_t log_blocks = 0;  // Of its ring.
};

// Several times a lease, both ways. Echo: the newest `sent` of the other side that arrived in this session, in its clock:
// what is not echoed was not heard, so a one-way partition counts as silence.
struct Beat {
  Epoch epoch;                   // The primary leads it; a follower is bound to it.
  std::uint64_t claim = 0;
  BootNs sent;
  BootNs echo;
  bool leads = false;
  bool grants = false;           // Follower: a promise for `epoch`, counted from `echo` (rule 6).
  bool coordinator_reached = false;
  bool needed = false;           // Primary: what the receiver has counts, its copy is in O.
  bool fit = true;               // The sender's copy may lead: it lacks nothing of what its log says.
  std::uint32_t lease_ms = 0;    // Primary: of the promise it asks for. Follower: of the one it gives.
  Lsn commit;                    // Primary only.
  std::uint64_t free_chunks = ~std::uint64_t{0};  // What the sender can still reserve; all bits set: enough. Filled in by the owner.
};

// Your log and mine are the same up to `lsn`: cut what follows. Mine ends at `end`: who has reached that lacks nothing that was
// acknowledged before now.
struct MatchAt { Epoch epoch; Lsn lsn; Lsn end; };
struct Ack {                                // Cumulative and contiguous.
  Epoch epoch;
  Lsn durable;
  std::uint64_t free_chunks = ~std::uint64_t{0};  // As in a beat, so that it is never older than what it acknowledges.
  bool fit = true;                                // The same.
};
struct Release { Epoch epoch; };            // I have ceased to lead it, for good (rule 8).
struct Fenced { Epoch bound; };             // I am bound to a newer epoch than yours.

// Primary: my log does not hold what you lack; what we share ends at `shared`. Rebuild, then connect anew.
struct Lagging { Epoch epoch; Lsn shared; };

struct Leaving { Epoch epoch; };            // Follower: I stop in order. Take me out of in_sync rather than wait for silence.

// Who leads and who is in sync, as hosts are told of it.
struct GroupView {
  struct Member {
    NodeId node;
    bool in_sync = false;
    friend bool operator==(const Member&, const Member&) = default;
  };
  NodeId primary;
  std::vector<Member> members;  // By node, the primary included.
  friend bool operator==(const GroupView&, const GroupView&) = default;
};

// Follower: how do things stand now? Questions are numbered by who asks; one answer is for all up to its number, and is given only
// while the primary holds its lease and hands nothing over.
struct AskView { Epoch epoch; std::uint64_t claim = 0; std::uint64_t question = 0; };
struct TellView { Epoch epoch; std::uint64_t claim = 0; std::uint64_t question = 0; GroupView view; };

using Message = std::variant<Hello, Beat, MatchAt, Ack, Release, Fenced, Lagging, Leaving, AskView, TellView>;

// ---- What the machine asks for. Each is done in order; those with an answer are answered by the event that is named.
struct SendTo { NodeId node; SessionId session; Message message; };
struct ReadRegister {};                                             // register_read, register_unreadable
struct SwapRegister { std::uint64_t base_revision; Register value; };  // swap_done
struct BindTo { Bound bound; };                                     // bound_done, after both superblocks have it
// reach: the end of the primary's log.
struct CutTo { SessionId session; Lsn end; Lsn reach; };            // cut_done, durable
struct BeginEpoch { Epoch epoch; };                                 // epoch_begun, once the record is appended
struct CommitTo { Lsn lsn; };                                       // Apply and, as primary, answer up to here.
struct Open {};                                                     // Serve.
struct Cease {};                                                    // Drop all client sessions; nothing of before may take effect.
// Follower: fetch what differs from the primary. whole: what was applied here is not of the primary's history.
struct RebuildFrom { SessionId session; bool whole; };

struct AskInitiators {};                                            // initiator_heard, for each that answers

using Action = std::variant<SendTo, ReadRegister, SwapRegister, BindTo, CutTo, BeginEpoch, CommitTo, Open, Cease, RebuildFrom, AskInitiators>;

}  // namespace holdfast::engine
