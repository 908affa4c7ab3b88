// The replication protocol as a finite machine: two or three nodes, one block, a few writes, crashes and epochs. Every order of
// steps is tried, so what it does not find within its bounds is not there. Messages are not modelled: what a message would carry
// may be read at any time, or never, which is an asynchronous network with loss and delay.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace holdfast::model {

inline constexpr int kNodesMax = 3, kLogMax = 9, kCasMax = 4;

using u8 = std::uint8_t;
using Set = u8;  // Of nodes, one bit each.
constexpr Set one(int node) { return static_cast<Set>(1u << node); }
constexpr bool has(Set set, int node) { return (set >> node & 1) != 0; }

enum Role : u8 { follower, primary };
enum Kind : u8 { none, claim, removal, join };  // Of a CAS.

// A log record: the epoch that made it and the write it holds (zero: the start of the epoch).
struct Record {
  u8 bits = 0;
  static Record of(u8 epoch, u8 write) { return Record{static_cast<u8>(epoch << 4 | write)}; }
  u8 epoch() const { return static_cast<u8>(bits >> 4); }
  u8 write() const { return bits & 15; }
  friend bool operator==(Record, Record) = default;
};

struct Node {
  u8 up, role, open;
  u8 fresh;            // Its view of the register is the newest.
  u8 pending, pending_about;  // Kind of its CAS under way, and whom it concerns.
  u8 waited;           // A process that has just started has let every promise run out.
  u8 granted;          // Its promise to the primary of its bound epoch holds.
  u8 matched;          // Its log was compared with that primary's.
  u8 bound, bound_as_primary;
  Set owed, known;     // Primary: O, and in_sync as it knows it.
  u8 length, durable, applied;
  u8 start;            // Primary: length of the log with its epoch's start.
  Set promised;        // Primary: whose promises it holds.
  u8 released;         // The epoch whose primary released it.
  u8 replaced;         // A new disk that the register does not know.
  Set old;             // Primary: who has a new disk since it matched.
  std::array<Record, kLogMax> log;
  std::array<u8, kNodesMax> acked;  // Primary: length that each has.
};

struct Cas {
  u8 node, kind, about;
  Set in_sync;
  u8 owned;            // The process that sent it lives and has not given it up.
  u8 base_epoch, base_primary, base_in_sync;  // For comparing by value, a broken rule.
  friend bool operator==(const Cas&, const Cas&) = default;
};

// Which writes may have taken effect, and what the block then holds: bit (writes × 4 + value) is set for each possibility. A
// history is linearizable as long as one is left.
using Histories = std::uint32_t;

struct State {
  std::array<Node, kNodesMax> nodes;
  u8 epoch, leader;    // The register.
  Set in_sync;
  u8 leader_owns;      // The leader's process that claimed lives and knows.
  std::array<Cas, kCasMax> cas;
  u8 cas_count, writes, crashes, wipes;
  Histories histories;
};
static_assert(std::is_trivially_copyable_v<State>);

inline bool same(const State& a, const State& b) { return std::memcmp(&a, &b, sizeof a) == 0; }

struct Bounds {
  int nodes = 2, writes = 1, crashes = 1, epochs = 3, cas_in_flight = 2, wipes = 0;
};

}  // namespace holdfast::model
