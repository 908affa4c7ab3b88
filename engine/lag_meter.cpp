#include "engine/lag_meter.h"

#include <algorithm>

namespace holdfast::engine {

void LagMeter::note(BootNs now, Point end) {
  // What was cut is no measure of anything; and what is there since may have as many records, and fewer blocks.
  while (!notes_.empty() && (notes_.back().end.last > end.last || notes_.back().end.written_blocks > end.written_blocks)) notes_.pop_back();
  if (!notes_.empty() && notes_.back().end.last == end.last) return;
  if (notes_.size() == kNotesMax) thin(now);
  notes_.push_back({now, end});
}

// The one goes that is missed least: whose neighbours are close together for their age. So the error is a share of the lag, whatever that is.
void LagMeter::thin(BootNs now) {
  std::size_t least = 1;
  double least_share = 2;
  for (std::size_t i = 1; i + 1 < notes_.size(); ++i) {
    const double share = static_cast<double>((notes_[i + 1].when - notes_[i - 1].when).value) / static_cast<double>((now - notes_[i - 1].when).value + 1);
    if (share >= least_share) continue;
    least = i;
    least_share = share;
  }
  notes_.erase(notes_.begin() + static_cast<std::ptrdiff_t>(least));
}

LagMeter::Lag LagMeter::lag_of(Lsn has, BootNs now, Point end) const {
  if (has >= end.last) return {};
  // The first note that tells of a record which that copy lacks.
  const auto after = std::ranges::upper_bound(notes_, has, {}, [](const Note& note) { return note.end.last; });
  const Note newer = after == notes_.end() ? Note{now, end} : *after;
  std::uint64_t written = std::min(newer.end.written_blocks, end.written_blocks);  // The notes do not know of the last cut yet, perhaps.
  if (after != notes_.begin()) {
    // Between two notes records are taken for equally large.
    const Point older{(after - 1)->end.last, std::min((after - 1)->end.written_blocks, written)};
    const double share = static_cast<double>(has.value - older.last.value) / static_cast<double>(newer.end.last.value - older.last.value);
    written = older.written_blocks + static_cast<std::uint64_t>(static_cast<double>(written - older.written_blocks) * share);
  }
  return {(end.written_blocks - written) * kBlockBytes, now - newer.when};
}

}  // namespace holdfast::engine
