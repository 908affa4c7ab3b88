// Is what clients saw of one block a life of an atomic register (Herlihy and Wing 1990)?
// Written values are unique, except zeros, which are there at first and may be written again and again (unmap).
// Two judges: zones (Gibbons and Korach 1997) where every value is unique, n log n; and a search for an order (Wing and Gong
// 1993, with Lowe's memory of what was tried) where zeros are written or a compare-and-write is at work.
// Blocks that are only ever ORed into are sets of bits that grow; they have a judge of their own.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace holdfast::cluster {

using Tick = std::int64_t;  // Counts calls and returns: no two are at once.
inline constexpr Tick kNever = std::numeric_limits<Tick>::max();
inline constexpr std::uint64_t kZeros = 0;

struct RegisterOp {
  // swap: reads `expected` and writes `value` at one instant. differs: saw another value than `expected` (MISCOMPARE).
  enum class Kind : std::uint8_t { write, read, swap, differs };
  Kind kind = Kind::write;
  std::uint64_t value = kZeros;      // Written, or read.
  std::uint64_t expected = kZeros;
  Tick invoked = 0;
  Tick responded = kNever;           // Never: the outcome is unknown, and it took effect at any time, or it did not.
  std::uint32_t source = 0;          // Whose it is, for the story.
};

enum class Verdict : std::uint8_t { fits, violated, undecided };

struct Judgement {
  Verdict verdict = Verdict::fits;
  std::string why;                   // Of a violation.
};

// The register holds zeros at first.
Judgement judge_register(std::vector<RegisterOp> ops);

// Each bit is set by one operation; nobody clears one.
struct BitsOp {
  enum class Kind : std::uint8_t { set, read };
  Kind kind = Kind::set;
  std::uint64_t bit = 0;             // That it sets.
  std::vector<std::uint64_t> bits;   // That it read: 64 in a word.
  Tick invoked = 0;
  Tick responded = kNever;
  std::uint32_t source = 0;
};
Judgement judge_bits(std::span<const BitsOp> ops);

// For their tests: each judge alone. `ops` as prepare() leaves them.
std::optional<Judgement> prepare(std::vector<RegisterOp>& ops);
Judgement judge_by_zones(std::span<const RegisterOp> ops);
Judgement judge_by_search(std::span<const RegisterOp> ops);

}  // namespace holdfast::cluster
