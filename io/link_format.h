// What two ends of a link say to each other around the frames, byte by byte; the grammar is in docs/formats.md. Little-endian.
//   connection = hello answer {envelope head payload}        (inside of TLS, where there is TLS)
//   hello      = PreambleHeader HelloOnWire cluster          by who dials
//   answer     = PreambleHeader AnswerOnWire reason          by who listens; anything but `welcome` is the last word
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "base/link.h"

namespace holdfast::io {

inline constexpr std::uint32_t kEnvelopeMagic = 0x31454648;  // "HFE1" read as bytes.
inline constexpr std::uint16_t kEnvelopeVersion = 1;
inline constexpr std::uint16_t kEnvelopeEnd = 1;  // No frame: the sender ends the connection in order. Both lengths are zero.

// The frame's head has a checksum of its own, and in it one for each block of payload: here only the lengths are checked.
struct EnvelopeOnWire {
  std::uint32_t magic;
  std::uint16_t version;
  std::uint16_t flags;          // kEnvelope…; other bits are zero.
  std::uint32_t head_bytes;     // 1 … kLinkHeadBytesMax
  std::uint32_t payload_bytes;  // Whole blocks, at most kLinkPayloadBytesMax.
  std::uint64_t check_xxh3;     // Of the 16 bytes before: believe no length before it matches.
};
static_assert(sizeof(EnvelopeOnWire) == 24);
static_assert(offsetof(EnvelopeOnWire, check_xxh3) == 16);
static_assert(std::has_unique_object_representations_v<EnvelopeOnWire>);

inline constexpr std::uint32_t kPreambleMagic = 0x504c4648;  // "HFLP" read as bytes.
inline constexpr std::uint16_t kPreambleVersion = 1;

enum class PreambleKind : std::uint16_t { hello = 1, answer = 2 };

// The same in all versions to come, and so is an answer: a refusal can always be read.
struct PreambleHeader {
  std::uint32_t magic;
  std::uint16_t version;        // That its sender speaks; in an answer the newest that the listener knows.
  std::uint16_t kind;           // PreambleKind; zero is never valid.
  std::uint32_t body_bytes;     // At most kPreambleBodyBytesMax.
  std::uint32_t reserved;
};
static_assert(sizeof(PreambleHeader) == 16);
static_assert(std::has_unique_object_representations_v<PreambleHeader>);

struct HelloOnWire {
  std::uint8_t group[16];
  std::uint64_t from_node;      // 1 … 65535, and so is the other; they differ.
  std::uint64_t to_node;
  std::uint16_t cluster_bytes;  // 1 … kClusterNameBytesMax; the name follows.
  std::uint8_t reserved[6];
};
static_assert(sizeof(HelloOnWire) == 40);
static_assert(std::has_unique_object_representations_v<HelloOnWire>);

struct AnswerOnWire {
  std::uint16_t verdict;        // Verdict; zero is never valid.
  std::uint16_t reason_bytes;   // At most kReasonBytesMax; for people, and empty in a welcome.
  std::uint32_t reserved;
};
static_assert(sizeof(AnswerOnWire) == 8);
static_assert(std::has_unique_object_representations_v<AnswerOnWire>);

enum class Verdict : std::uint16_t {
  welcome = 1,
  wrong_cluster = 2,
  not_this_node = 3,     // The dialer wanted another one.
  unknown_group = 4,
  version_too_new = 5,
  not_proven = 6,        // The dialer's certificate is another node's.
  malformed = 7,
  needs_security = 8,    // Plain where TLS is required; said in plain.
};

inline constexpr std::size_t kClusterNameBytesMax = 63;
inline constexpr std::size_t kReasonBytesMax = 400;
inline constexpr std::size_t kPreambleBodyBytesMax = 512;
inline constexpr std::uint64_t kNodeNumberMax = 65'535;
static_assert(sizeof(HelloOnWire) + kClusterNameBytesMax <= kPreambleBodyBytesMax);
static_assert(sizeof(AnswerOnWire) + kReasonBytesMax <= kPreambleBodyBytesMax);

}  // namespace holdfast::io
