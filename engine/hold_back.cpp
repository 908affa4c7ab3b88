#include "engine/hold_back.h"

#include <algorithm>
#include <utility>

#include "base/marks.h"

namespace holdfast::engine {

HoldBack::Track& HoldBack::track(NodeId node) {
  const auto found = std::find_if(tracks_.begin(), tracks_.end(), [&](const Track& t) { return t.node == node; });
  if (found != tracks_.end()) return *found;
  if (tracks_.size() >= kLearnersMax) tracks_.erase(tracks_.begin());
  tracks_.push_back(Track{node});
  return tracks_.back();
}

void HoldBack::joined(NodeId node) {
  std::erase_if(tracks_, [&](const Track& t) { return t.node == node; });
}

void HoldBack::look(BootNs now, std::uint64_t ring_blocks, Lsn commit, std::span<const Learner> learners) {
  each_ = DurationNs{};
  const bool due = next_sample_ == 0 || now - samples_[(next_sample_ - 1) % kSamples].at >= milliseconds(kSampleMs);
  if (due) samples_[next_sample_++ % kSamples] = {now, commit};
  bool near = false;
  for (const Learner& learner : learners) {
    Track& t = track(learner.node);
    if (now < t.rest_until) continue;
    look_at_ring(now, ring_blocks, learner, t);
    look_at_lag(now, commit, learner, t);
    near = near || t.near_looks >= kNearLooks;
  }
  // Who it was closed for has joined, or has gone.
  if (!near && is_closed(now)) closed_until_ = now;
}

// The more often it was overtaken, the earlier writers slow down: what is fetched anew each time is what they changed meanwhile.
void HoldBack::look_at_ring(BootNs now, std::uint64_t ring_blocks, const Learner& learner, Track& t) {
  if (!learner.slack) {
    if (std::exchange(t.overtaken, true) || ++t.laps < kLapsMax) return;
    t.laps = 0;
    t.rest_until = now + milliseconds(kRestMs);
    given_up_ = learner.node;
    return;
  }
  t.overtaken = false;
  const std::uint64_t zone = ring_blocks / (t.laps == 0 ? 4 : t.laps == 1 ? 2 : 1);
  if (*learner.slack >= zone || zone == 0) return;
  mark(Mark::held_for_ring);
  const auto used = static_cast<std::int64_t>((zone - *learner.slack) * 1'000 / zone);
  each_ = std::max(each_, DurationNs{milliseconds(kWriteMsMax).value / 1'000 * used});
}

std::optional<DurationNs> HoldBack::lag_of(BootNs now, Lsn acked) const {
  for (std::size_t back = 1; back <= kSamples && back <= next_sample_; ++back) {
    const Sample& then = samples_[(next_sample_ - back) % kSamples];
    if (now - then.at > milliseconds(kNearMsMax)) break;
    if (then.commit <= acked) return now - then.at;
  }
  return std::nullopt;
}

// The wait is for what is under way to it and back, and for what it still lacks.
void HoldBack::look_at_lag(BootNs now, Lsn commit, const Learner& learner, Track& t) {
  std::optional<DurationNs> lag;
  if (learner.acked) lag = lag_of(now, *learner.acked);
  t.near_looks = lag ? t.near_looks + 1 : 0;
  if (t.near_looks < kNearLooks || *learner.acked >= commit || now < open_until_) return;
  mark(Mark::held_for_join);
  const DurationNs wait{std::min(2 * lag->value + milliseconds(kWriteMsMax).value, milliseconds(kCloseMsMax).value)};
  closed_until_ = now + wait;
  open_until_ = closed_until_ + DurationNs{(kCloseAgainFactor << std::min(t.vain, kVainMax)) * wait.value};
  ++t.vain;
}

}  // namespace holdfast::engine
