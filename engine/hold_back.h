// How far a primary slows its writers down for copies that are on their way into the set (docs/decisions/0009-…). Two reasons:
//   - the log is about to overwrite what such a copy still needs: each write waits a little, the longer the less is left;
//   - a copy is a moment behind, and stays so because new records come all the time: nothing is admitted for that moment.
// A decision without I/O: look() is told how things stand, every few milliseconds; writers ask for what came of it.
// Bounds: a write waits at most kWriteMsMax for itself for the first reason; for the second, doors are closed for at most
// kCloseMsMax at once, and for a tenth of the time. Who was overwritten kLapsMax times in a row is given up for kRestMs.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "base/types.h"

namespace holdfast::engine {

class HoldBack {
 public:
  static constexpr std::int64_t kWriteMsMax = 50;
  static constexpr std::int64_t kCloseMsMax = 1'000;
  static constexpr std::int64_t kCloseAgainFactor = 10;  // The doors stay open for so many times as long as they were closed, …
  static constexpr int kVainMax = 6;                     // … and for twice as many each time that it was in vain, so often.
  static constexpr std::int64_t kNearMsMax = 500;        // Who is further behind than this is not near.
  static constexpr int kNearLooks = 10;                  // In a row, before anybody is held up for it.
  static constexpr int kLapsMax = 8;
  static constexpr std::int64_t kRestMs = 600'000;
  static constexpr std::size_t kLearnersMax = 16;
  static constexpr std::int64_t kSampleMs = 10;

  // A member that is not needed yet, and fetches or follows.
  struct Learner {
    NodeId node;
    Lsn needs;                           // The oldest record that it will ask for.
    std::optional<std::uint64_t> slack;  // Blocks that the log can write before that one is overwritten. Nothing: it was.
    std::optional<Lsn> acked;            // What it has; only of who would join at once if that were everything.
  };
  // ring_blocks: of the log. Never suspends, never fails.
  void look(BootNs now, std::uint64_t ring_blocks, Lsn commit, std::span<const Learner> learners);
  // It is needed from now on: what it cost counts no more.
  void joined(NodeId node);
  // This copy does not lead (any more).
  void reset() { *this = HoldBack{}; }

  DurationNs for_each_write() const { return each_; }
  bool is_closed(BootNs now) const { return now < closed_until_; }
  // Given up: told once.
  std::optional<NodeId> take_given_up() { return std::exchange(given_up_, std::nullopt); }

 private:
  struct Track {
    NodeId node;
    int laps = 0;
    bool overtaken = false;  // As of the last look: the same loss counts once.
    int vain = 0;            // Doors were closed for it so often, and it has not joined.
    BootNs rest_until{};
    int near_looks = 0;
  };
  struct Sample {
    BootNs at;
    Lsn commit;
  };
  Track& track(NodeId node);
  void look_at_ring(BootNs now, std::uint64_t ring_blocks, const Learner& learner, Track& track);
  void look_at_lag(BootNs now, Lsn commit, const Learner& learner, Track& track);
  // How long ago the commit LSN was what the copy has. Nothing: longer than kNearMsMax.
  std::optional<DurationNs> lag_of(BootNs now, Lsn acked) const;

  std::vector<Track> tracks_;
  static constexpr std::size_t kSamples = 64;
  static_assert(kSamples * kSampleMs > kNearMsMax);
  std::array<Sample, kSamples> samples_{};  // A ring, the newest before next_sample_.
  std::size_t next_sample_ = 0;
  DurationNs each_{};
  BootNs closed_until_{};
  BootNs open_until_{};               // Not closed again before.
  std::optional<NodeId> given_up_;
};

}  // namespace holdfast::engine
