// Which epoch wrote which part of a log. Two logs that have the same epoch at the same LSN are the same up to there: one
// primary creates all records of its epoch, in order, on top of a log it had proven to hold everything acknowledged.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/types.h"

namespace holdfast::wal {

struct EpochBegin {
  Epoch epoch;
  Lsn first;
  friend bool operator==(const EpochBegin&, const EpochBegin&) = default;
};

// Epochs and first LSNs strictly increase. Derived from the records, never from claims: an epoch without a record is not in it.
class EpochHistory {
 public:
  EpochHistory() = default;
  // What a log that ends there has, to be compared with another one. The starts of epochs at its end, with nothing behind them, do not
  // count: who claims writes one before anybody follows.
  struct Content {
    Epoch epoch;
    Lsn end;
    friend auto operator<=>(const Content&, const Content&) = default;
  };
  explicit EpochHistory(std::vector<EpochBegin> epochs, Content forgotten = {}) : epochs_(std::move(epochs)), forgotten_(forgotten) {}

  // The record was appended. Its epoch is the last one or a newer one.
  void note(Epoch epoch, Lsn lsn);
  // Records after the LSN were cut.
  void cut(Lsn last_kept);
  // The epoch of the record at the LSN; zero when the LSN is zero or older than what is kept; of what is forgotten the last one is known.
  Epoch at(Lsn lsn) const;
  Content content(Lsn end) const;
  // What the log had before the oldest epoch that is kept; of epoch zero while all are, or when it is not known.
  const Content& forgotten() const { return forgotten_; }
  Epoch last() const { return epochs_.empty() ? Epoch() : epochs_.back().epoch; }
  bool empty() const { return epochs_.empty(); }
  std::span<const EpochBegin> epochs() const { return epochs_; }
  // Forgets the oldest beyond the bound.
  void keep_newest(std::size_t count);
  // True when the history reaches back to the first record that ever was.
  bool complete() const { return epochs_.empty() || epochs_.front().first == Lsn(1); }

 private:
  std::vector<EpochBegin> epochs_;  // Oldest first.
  Content forgotten_;
};

// The end of what both logs share (Lsn 0: nothing but the beginning); nothing when the histories no longer reach back to it.
std::optional<Lsn> common_end(const EpochHistory& a, Lsn a_end, const EpochHistory& b, Lsn b_end);

}  // namespace holdfast::wal
