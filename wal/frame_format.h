// What goes over a link between two nodes; the grammar is in docs/formats.md. Little-endian.
//   frame  = FrameHeader body                      (and, for append, payload blocks behind it)
//   body   = HelloBody EpochOnWire* | BeatBody | MatchBody | AckBody | EpochBody | AppendBody record* | question | answer
//            | AskViewBody | TellViewBody MemberOnWire*
//   question, answer = QuestionBody, AnswerBody of rebuild/exchange.h (an answer's payload blocks follow it)
//   record = RecordOnWire checksum*                (one checksum a block; the payload blocks follow in the same order)
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "wal/log_format.h"

namespace holdfast::wal {

inline constexpr std::uint32_t kFrameMagic = 0x31524648;  // "HFR1" read as bytes.
inline constexpr std::uint16_t kFrameVersion = 5;

enum class FrameKind : std::uint16_t { hello = 1, beat = 2, match = 3, ack = 4, release = 5, fenced = 6, append = 7, question = 8, answer = 9, lagging = 10, leaving = 11, ask_view = 12, tell_view = 13 };

struct FrameHeader {
  std::uint32_t magic;
  std::uint16_t format_version;
  std::uint16_t kind;            // FrameKind; zero is never valid.
  std::uint64_t head_xxh3;       // Covers [16, head_bytes): trust nothing before it matches.
  std::uint32_t head_bytes;      // This header and the body.
  std::uint32_t payload_blocks;  // Append and answer only: 4 KiB each, at most kRecordBlocksMax.
  std::uint64_t reserved;
};
static_assert(sizeof(FrameHeader) == 32);
static_assert(std::has_unique_object_representations_v<FrameHeader>);

struct HelloBody {
  std::uint8_t group[16];
  std::uint8_t incarnation[16];
  std::uint64_t node;
  std::uint64_t bound_epoch;
  std::uint64_t bound_claim;
  std::uint64_t end_lsn;
  std::uint64_t applied_lsn;
  std::uint64_t epoch_count;     // EpochOnWire follow, oldest first; at most kEpochsOnWireMax.
  std::uint64_t flags;           // kHello…; other bits are zero.
  std::uint64_t log_blocks;      // Of the sender's ring.
  std::uint64_t forgotten_epoch; // What the log had before the oldest of these epochs (wal/history.h); zeros: nothing is forgotten, or it
  std::uint64_t forgotten_lsn;   // is unknown.
};
inline constexpr std::uint64_t kHelloNeedsRebuild = 1, kHelloUnfit = 2, kHelloMapsLost = 4;
static_assert(sizeof(HelloBody) == 112);
static_assert(std::has_unique_object_representations_v<HelloBody>);

struct EpochOnWire {
  std::uint64_t epoch;
  std::uint64_t first_lsn;
};
static_assert(sizeof(EpochOnWire) == 16);

struct BeatBody {
  std::uint64_t epoch;
  std::uint64_t claim;
  std::int64_t sent_ns;          // The sender's BOOTTIME.
  std::int64_t echo_ns;          // The newest sent_ns of the receiver that arrived in this session; zero: none.
  std::uint64_t commit_lsn;
  std::uint32_t lease_ms;
  std::uint32_t flags;           // kBeat…; other bits are zero.
  std::uint64_t free_chunks;     // That the sender can still reserve; all bits set: enough.
};
static_assert(sizeof(BeatBody) == 56);
static_assert(std::has_unique_object_representations_v<BeatBody>);
inline constexpr std::uint32_t kBeatLeads = 1, kBeatGrants = 2, kBeatReachesCoordinator = 4, kBeatNeeded = 8, kBeatFit = 16;

struct MatchBody {               // Lagging: end_lsn is zero.
  std::uint64_t epoch;
  std::uint64_t lsn;
  std::uint64_t end_lsn;
};
static_assert(sizeof(MatchBody) == 24);

struct AckBody {
  std::uint64_t epoch;
  std::uint64_t durable_lsn;
  std::uint64_t free_chunks;     // As in a beat.
  std::uint64_t flags;           // kAckFit; other bits are zero.
};
inline constexpr std::uint64_t kAckFit = 1;
static_assert(sizeof(AckBody) == 32);

struct EpochBody {               // Release: the epoch that was led. Fenced: the one that is bound.
  std::uint64_t epoch;
};
static_assert(sizeof(EpochBody) == 8);

struct AskViewBody {
  std::uint64_t epoch;
  std::uint64_t claim;
  std::uint64_t question;        // The sender's count, from 1 on.
};
static_assert(sizeof(AskViewBody) == 24);

struct TellViewBody {
  std::uint64_t epoch;
  std::uint64_t claim;
  std::uint64_t question;        // The newest that this answers, and all before it.
  std::uint64_t primary;         // Node; the sender.
  std::uint64_t member_count;    // MemberOnWire follow, by node, the primary among them; at most kViewMembersMax.
};
static_assert(sizeof(TellViewBody) == 40);

struct MemberOnWire {
  std::uint64_t node;
  std::uint64_t flags;           // kMemberInSync; other bits are zero.
};
inline constexpr std::uint64_t kMemberInSync = 1;
inline constexpr std::size_t kViewMembersMax = 16;
static_assert(sizeof(MemberOnWire) == 16);

struct AppendBody {
  std::uint64_t epoch;           // That the sender leads; the records' own may be older.
  std::uint64_t previous_lsn;    // The log of the receiver ends there …
  std::uint64_t previous_epoch;  // … with a record of this epoch. The chain of the next record tells whether it is the same.
  std::uint64_t commit_lsn;
  std::uint64_t record_count;    // 1 … kBatchRecordsMax.
};
static_assert(sizeof(AppendBody) == 40);
static_assert(std::has_unique_object_representations_v<AppendBody>);

struct RecordOnWire {
  std::uint64_t chain_xxh3;      // As in the log: the same on every member.
  std::uint64_t epoch;
  std::uint64_t volume_id;
  std::uint64_t first_block;
  std::uint64_t count;
  std::uint16_t kind;            // RecordKind
  std::uint16_t payload_blocks;  // Placement is the receiver's own: whole chunks come as blocks.
  std::uint32_t flags;           // kRecord…; other bits are zero.
};
static_assert(sizeof(RecordOnWire) == 48);
static_assert(std::has_unique_object_representations_v<RecordOnWire>);

// Blocks that do not match their checksum were overwritten since, by records that are committed and follow.
inline constexpr std::uint32_t kRecordElided = 1;

inline constexpr std::size_t kEpochsOnWireMax = 128;
inline constexpr std::size_t kFrameHeadBytesMax = 64 << 10;
static_assert(sizeof(FrameHeader) + sizeof(AppendBody) + sizeof(RecordOnWire) + 8 * kRecordBlocksMax <= kFrameHeadBytesMax);
static_assert(sizeof(FrameHeader) + sizeof(HelloBody) + kEpochsOnWireMax * sizeof(EpochOnWire) <= kFrameHeadBytesMax);

}  // namespace holdfast::wal
