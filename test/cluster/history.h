// What the clients did and saw, kept outside of the cluster. Every block that is written carries the operation that wrote it,
// so a value is an operation; zeros are operation 0. At the end each block is judged as an atomic register.
// Two things besides blocks of content: a few blocks behind them, which are only ORed into, each operation with a bit of its
// own; and the state of the reservations, which counts as one more block behind those.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/buffer.h"
#include "base/types.h"
#include "test/cluster/linearizability.h"

namespace holdfast::cluster {

using OpId = std::uint32_t;

enum class OpKind : std::uint8_t { read, write, write_same, unmap, compare_and_write, or_write, reserve, read_reservations };
inline constexpr std::size_t kOpKinds = 8;
std::string_view op_kind_name(OpKind kind);

// refused: it did not take effect, and never will. unknown: it may, as long as anything of it is under way.
enum class Outcome : std::uint8_t { pending, done, refused, unknown };

struct ClientOp {
  OpKind kind = OpKind::read;
  Outcome outcome = Outcome::pending;
  std::uint32_t client = 0;
  std::uint32_t volume = 0;
  BlockRange range{};
  NodeId node;                   // Where it was tried.
  Tick invoked = 0, responded = kNever;
  BootNs invoked_at{}, responded_at{};
  std::vector<OpId> seen;        // By block: what a read returned, or what a compare-and-write expected.
  std::optional<std::uint64_t> differs_at;  // Of a compare-and-write that was told so: the first of its blocks that was not as expected.
  std::uint64_t bit = 0;         // Of an OR.
  std::vector<std::vector<std::uint64_t>> seen_bits;  // By block: of a read of blocks that are ORed into.
};

class History {
 public:
  History() : ops_(1) {}  // Operation 0 is the beginning.

  OpId begin(ClientOp op);
  void end(OpId id, Outcome outcome, BootNs now);
  // Fills a buffer with what the operation writes; tells from a buffer who wrote its blocks. Nothing: some block is of no
  // operation, or torn; the sentence says which.
  void fill(OpId id, Buffer into) const;
  std::optional<std::string> recognise_block(std::uint32_t volume, Lba lba, const std::byte* block, OpId* seen = nullptr) const;
  std::vector<std::byte> reservations_of(OpId id) const;
  std::optional<std::string> recognise_reservations(std::uint32_t volume, Bytes state, std::vector<OpId>* seen) const;
  // What is set in blocks that are only ORed into.
  static std::vector<std::vector<std::uint64_t>> bits_of(const Buffer& from);
  std::optional<std::string> recognise(std::uint32_t volume, BlockRange range, const Buffer& from, std::vector<OpId>* seen) const;

  // From here on blocks are only ORed into.
  void set_bits_from(Lba first) { bits_from_ = first; }
  bool is_bits(BlockRange range) const { return range.first >= bits_from_; }
  static constexpr std::uint64_t kBitBlocks = kChunkBlocks;
  // Stands for the reservations of a volume.
  BlockRange reservations_range() const { return BlockRange{Lba(bits_from_.value + kBitBlocks), BlockCount(1)}; }
  bool can_set_bits() const { return next_bit_ < kBlockBytes * 8; }
  // A volume is known to be gone: nothing of it is answered from now on.
  void volume_gone(std::uint32_t volume) { gone_[volume] = ++tick_; }

  ClientOp& op(OpId id) { return ops_[id]; }
  const std::vector<ClientOp>& ops() const { return ops_; }
  std::uint64_t count(Outcome outcome) const;

  // Judges every block. The first violation, with what touched its block.
  std::optional<std::string> judge() const;
  // By block from 0 on whose content is there, at rest: is a write there in part, with something beside it that was there before it
  // began? Blocks are registers of their own to judge().
  std::optional<std::string> judge_whole(std::uint32_t volume, const std::vector<OpId>& stamps) const;
  std::uint64_t undecided() const { return undecided_; }
  std::string story_of(std::uint32_t volume, Lba block) const;
  std::string line(OpId id) const;

 private:
  std::optional<std::string> judge_bit_blocks() const;
  std::optional<std::string> judge_the_gone() const;

  std::vector<ClientOp> ops_;
  Tick tick_ = 0;
  Lba bits_from_{~std::uint64_t{0} >> 8};
  std::uint64_t next_bit_ = 0;
  std::map<std::uint32_t, Tick> gone_;
  mutable std::uint64_t undecided_ = 0;
};

}  // namespace holdfast::cluster
