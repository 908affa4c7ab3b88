#include "wal/history.h"

#include <algorithm>

#include "base/ensure.h"

namespace holdfast::wal {

void EpochHistory::note(Epoch epoch, Lsn lsn) {
  ENSURE(epoch.value > 0);
  if (!epochs_.empty() && epochs_.back().epoch == epoch) return;
  ENSURE(epochs_.empty() || (epochs_.back().epoch < epoch && epochs_.back().first < lsn));
  epochs_.push_back({epoch, lsn});
}

void EpochHistory::cut(Lsn last_kept) {
  while (!epochs_.empty() && epochs_.back().first > last_kept) epochs_.pop_back();
  if (forgotten_.end > last_kept) forgotten_ = {};
}

Epoch EpochHistory::at(Lsn lsn) const {
  Epoch found = lsn == forgotten_.end ? forgotten_.epoch : Epoch();
  for (const EpochBegin& e : epochs_) {
    if (e.first > lsn) break;
    found = e.epoch;
  }
  return found;
}

EpochHistory::Content EpochHistory::content(Lsn end) const {
  for (std::size_t i = epochs_.size(); i-- > 0;)
    if (epochs_[i].first == end) end = Lsn(end.value - 1);
  if ((epochs_.empty() || end < epochs_.front().first) && forgotten_.epoch != Epoch() && end >= forgotten_.end) return forgotten_;
  return {at(end), end};
}

void EpochHistory::keep_newest(std::size_t count) {
  if (epochs_.size() <= count) return;
  const auto kept = epochs_.end() - static_cast<std::ptrdiff_t>(count);
  if (count > 0) forgotten_ = content(Lsn(kept->first.value - 1));
  epochs_.erase(epochs_.begin(), kept);
}

std::optional<Lsn> common_end(const EpochHistory& a, Lsn a_end, const EpochHistory& b, Lsn b_end) {
  const auto last_of = [](std::span<const EpochBegin> epochs, std::size_t i, Lsn end) {
    return i + 1 < epochs.size() ? Lsn(epochs[i + 1].first.value - 1) : end;
  };
  const auto ea = a.epochs(), eb = b.epochs();
  for (std::size_t i = ea.size(); i-- > 0;) {
    const auto found = std::find_if(eb.begin(), eb.end(), [&](const EpochBegin& e) { return e.epoch == ea[i].epoch; });
    if (found == eb.end()) continue;
    const auto j = static_cast<std::size_t>(found - eb.begin());
    const Lsn end = std::min(last_of(ea, i, a_end), last_of(eb, j, b_end));
    if (end >= ea[i].first && end >= eb[j].first) return end;
  }
  if (a.complete() && b.complete()) return Lsn(0);
  return std::nullopt;
}

}  // namespace holdfast::wal
