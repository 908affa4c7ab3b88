// The ledger: what a client of the store knows, kept outside of it, and the judge of everything that is read.
//   - A block is an atomic register whose written values are unique. A read must fit some order of the operations in which
//     each takes effect between its call and its return (Gibbons and Korach: zones of two values never conflict).
//   - What was called but not answered when the power failed took effect before that moment, or never does.
//   - After a crash such a write is there whole or not at all, and two overlapping writes are ordered the same everywhere.
// Time is a count of calls and returns. The first violation is kept as a sentence.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/types.h"

namespace holdfast::crash {

using Tick = std::int64_t;
inline constexpr Tick kNever = std::numeric_limits<Tick>::max();
using OpId = std::uint32_t;  // Index into the ledger's operations; 0 stands for "as created".
using VolumeKey = std::uint32_t;

enum class OpKind : std::uint8_t {
  none, write, write_same, unmap, compare_and_write, or_write, read, create_volume, delete_volume, reservations
};
std::string_view op_kind_name(OpKind kind);
enum class Outcome : std::uint8_t { pending, acked, refused, unknown };

struct Op {
  OpKind kind = OpKind::none;
  Outcome outcome = Outcome::pending;
  VolumeKey volume = 0;
  BlockRange range{};
  Tick begin = 0;
  Tick end = kNever;
  int life = 0;  // The process's life in which it was called.
};

// The parts of a volume that the load touches. Big volumes are sparse: only these are kept and verified.
using Windows = std::vector<BlockRange>;

enum class Existence : std::uint8_t { absent, creating, present, deleting };

class Ledger {
 public:
  Ledger();

  // Volumes. `creating` and `deleting` may turn out either way after a crash.
  VolumeKey begin_create(std::string name, Uuid uuid, BlockCount capacity, Windows windows);
  void end_create(VolumeKey volume, Outcome outcome);
  void begin_delete(VolumeKey volume);
  void end_delete(VolumeKey volume, Outcome outcome);
  // After recovery: what the store says.
  void found_after_recovery(VolumeKey volume, bool found);

  struct Volume {
    std::string name;
    Uuid uuid;
    BlockCount capacity;
    Windows windows;
    Existence existence;
  };
  std::size_t volume_count() const { return volumes_.size(); }
  const Volume& volume(VolumeKey key) const { return volumes_[key].facts; }

  // Writes: one hash a block, or a single one for all of them (write_same, unmap).
  OpId begin_write(OpKind kind, VolumeKey volume, BlockRange range, std::vector<std::uint64_t> hashes);
  void end_write(OpId op, Outcome outcome);
  // A compare-and-write that matched also read the expected values.
  void end_compare_matched(OpId op, const std::vector<std::uint64_t>& expected);
  OpId begin_read(VolumeKey volume, BlockRange range);
  void end_read(OpId op, const std::vector<std::uint64_t>& hashes, const std::vector<OpId>& stamps);
  void end_read_failed(OpId op);
  OpId begin_reservations(VolumeKey volume, std::uint64_t hash);
  void check_reservations(VolumeKey volume, std::uint64_t hash);

  void crash();
  // Between these every window of every volume is read, and nothing else is under way.
  void begin_verification();
  void end_verification();
  // An acknowledged write that may be lost after all: the only copy of the last batch rots, and nothing proves it was durable.
  void forgive(OpId op);

  Tick now() const { return tick_; }
  int life() const { return life_; }
  const std::optional<std::string>& violation() const { return violation_; }
  void report(std::string violation);
  // The operations that touched a block, and the last ones at all.
  std::string story(std::size_t last) const;
  std::string block_story(VolumeKey volume, Lba block) const;
  const std::vector<Op>& ops() const { return ops_; }
  std::uint64_t acked_writes() const { return acked_writes_; }

 private:
  struct Candidate {
    OpId op;
    std::uint64_t hash;
    Tick first_end;    // Known to have taken effect by then: kNever while nobody knows.
    Tick last_begin;   // Known to have been the value at some moment after this.
    Tick cap = kNever; // The crash that it must have preceded.
    bool consumed = false;  // A compare-and-write has replaced it.
  };
  struct Block {
    std::vector<Candidate> candidates;
    std::int64_t seen = -1;  // The op whose value the verification read; kManyZeros when zeros could be of several.
  };
  struct VolumeState {
    Volume facts;
    std::vector<Block> blocks;  // Of the windows, one after the other.
    Block reservations;
    Block* find(Lba block);
  };
  static constexpr std::int64_t kManyZeros = -2;

  template <class Visit>
  void for_each_block(const Op& op, Visit visit);
  Candidate* find_candidate(Block& block, OpId op);
  bool conflicts(const Block& block, const Candidate& value) const;
  bool observe(Block& block, std::uint64_t hash, Tick begin, Tick end);
  void acknowledge(Block& block, OpId op);
  void prune(Block& block);
  void check_atomic(OpId op);
  void check_order(OpId a, OpId b);
  void settle(VolumeState& volume);
  std::string describe(OpId op) const;
  std::string candidates_text(const Block& block) const;
  OpId add(OpKind kind, VolumeKey volume, BlockRange range);
  void close(OpId op, Outcome outcome);
  Tick oldest_active() const { return active_.empty() ? tick_ : *active_.begin(); }

  std::vector<Op> ops_;
  std::vector<VolumeState> volumes_;
  std::multiset<Tick> active_;       // Begins of the calls under way.
  std::set<OpId> pending_;           // Writes without a certain outcome, of this life.
  std::set<OpId> limbo_;             // The same, of earlier lives, until a verification settles them.
  std::vector<OpId> recent_;         // Writes since the last verification.
  std::optional<std::string> violation_;
  Tick tick_ = 0;
  int life_ = 1;
  bool verifying_ = false;
  std::uint64_t acked_writes_ = 0;
};

}  // namespace holdfast::crash
