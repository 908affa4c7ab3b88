// Blocks that cannot be read here, or are not what they should be, come from another copy: asked for by their content, so that
// whatever age the other copy has, it gives the right bytes or none. What came goes back to its place, durably.
// Invariants:
//   - nothing is put where the block does not belong any more: no checkpoint frees the place and nobody applies to the chunk
//     while it is being written;
//   - one block at a time, so that repair is never more than a small part of the load, here or there.
#pragma once

#include <set>

#include "base/buffer.h"
#include "base/scope.h"
#include "base/sync.h"
#include "engine/volume_impl.h"

namespace holdfast::engine {

class Mender {
 public:
  explicit Mender(GroupImpl& group);

  // Takes the memory that it needs. Comes first.
  Task<void> prepare();
  // The block with that content, from whoever has it, into `into`. Errors: corrupt (no copy that can be reached has it).
  // The caller has an operation of the volume under way. It looks whether the block is still that one before it calls it lost.
  Task<Result<void>> mend(VolumeImpl* volume, std::uint64_t block, std::uint64_t checksum, std::byte* into);
  // Nobody has the block. Told once each.
  void report_lost(const VolumeImpl& volume, std::uint64_t block);
  std::uint64_t blocks_repaired() const { return blocks_repaired_; }
  // Those that nobody had when they were wanted, since the start, without those that came back; at most kReportedMax.
  std::uint64_t blocks_lost() const { return reported_.size(); }

 private:
  static constexpr std::size_t kReportedMax = 1024;
  static constexpr int kRounds = 3;               // A copy may just be about to learn that the block is committed.
  static constexpr std::int64_t kRoundPauseMs = 60;

  Task<Result<Buffer>> fetch(VolumeImpl* volume, std::uint64_t block, std::uint64_t checksum);
  Task<void> put_back(VolumeImpl* volume, std::uint64_t block, std::uint64_t checksum);
  Task<void> put_back_alone(VolumeImpl* volume, std::uint64_t block, std::uint64_t checksum);

  GroupImpl* group_;
  Semaphore turn_;
  Buffer buffer_;                // The block on its way back to its place.
  std::uint64_t blocks_repaired_ = 0;
  std::set<std::pair<std::uint64_t, std::uint64_t>> reported_;  // Volume and block: each is told once.
  Scope scope_;
};

}  // namespace holdfast::engine
