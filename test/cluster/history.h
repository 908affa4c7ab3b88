// What the clients did and saw, kept outside of the cluster. Every block that is written carries the operation that wrote it,
// so a value is an operation; zeros are operation 0. At the end each block is judged as an atomic register.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/buffer.h"
#include "base/types.h"
#include "test/cluster/linearizability.h"

namespace holdfast::cluster {

using OpId = std::uint32_t;

enum class OpKind : std::uint8_t { read, write, write_same, unmap, compare_and_write };
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
  std::vector<OpId> seen;        // By block: what a read returned, or what a compare-and-write found as expected.
};

class History {
 public:
  History() : ops_(1) {}  // Operation 0 is the beginning.

  OpId begin(ClientOp op);
  void end(OpId id, Outcome outcome, BootNs now);
  // Fills a buffer with what the operation writes; tells from a buffer who wrote its blocks. Nothing: some block is of no
  // operation, or torn; the sentence says which.
  void fill(OpId id, Buffer into) const;
  std::optional<std::string> recognise(std::uint32_t volume, BlockRange range, const Buffer& from, std::vector<OpId>* seen) const;

  ClientOp& op(OpId id) { return ops_[id]; }
  const std::vector<ClientOp>& ops() const { return ops_; }
  std::uint64_t count(Outcome outcome) const;

  // Judges every block. The first violation, with what touched its block.
  std::optional<std::string> judge() const;
  std::uint64_t undecided() const { return undecided_; }
  std::string story_of(std::uint32_t volume, Lba block) const;
  std::string line(OpId id) const;

 private:
  std::vector<ClientOp> ops_;
  Tick tick_ = 0;
  mutable std::uint64_t undecided_ = 0;
};

}  // namespace holdfast::cluster
