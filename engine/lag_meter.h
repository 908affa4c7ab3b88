// How far another copy is behind, in bytes and in time: how this copy's log grew is noted now and again, and looked up by the LSN that
// the other copy has. Old notes become sparse, so that hours fit into a few of them; no memory is asked for after the beginning.
#pragma once

#include <cstdint>
#include <vector>

#include "base/clock.h"
#include "base/types.h"

namespace holdfast::engine {

class LagMeter {
 public:
  // Of the log: the last record, and the blocks that all records up to it wrote (wal/log.h).
  struct Point {
    Lsn last;
    std::uint64_t written_blocks = 0;
  };
  struct Lag {
    std::uint64_t bytes = 0;  // What hosts wrote since, about; of a copy that was lost before the notes begin: at least.
    DurationNs age{};         // Of the oldest record that it lacks, likewise. Both within a tenth.
  };

  LagMeter() { notes_.reserve(kNotesMax); }
  void note(BootNs now, Point end);
  Lag lag_of(Lsn has, BootNs now, Point end) const;

 private:
  struct Note {
    BootNs when;
    Point end;
  };
  void thin(BootNs now);
  static constexpr std::size_t kNotesMax = 256;
  std::vector<Note> notes_;   // By LSN and by time.
};

}  // namespace holdfast::engine
