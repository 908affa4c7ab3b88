// What lies on a node's disk, read by hand: where its log ends, and where its data are.
#pragma once

#include <vector>

#include "snapshot/store_format.h"
#include "test/sim/disk.h"
#include "wal/log_scan.h"

namespace holdfast::cluster {

// The newest superblock of the two. There must be one.
snapshot::Superblock superblock_of(const sim::SimDisk& disk);
bool superblock_is_whole(const sim::SimDisk& disk, std::size_t copy);

struct LogOnDisk {
  struct Batch {
    std::uint64_t position;
    Lsn first, last;
  };
  std::vector<Batch> batches;      // From the tail on, as far as they are whole and follow each other.
  std::uint64_t end = 0;           // The position behind them.
  bool torn = false;               // There is the header of a batch that is not whole.
  Lsn last() const { return batches.empty() ? Lsn() : batches.back().last; }
};
LogOnDisk log_of(const sim::SimDisk& disk);
std::uint64_t log_offset(const sim::SimDisk& disk, std::uint64_t position);

// Flips a bit in each page of that kind and level that the disk has, also where none is in use any more. How many there were.
struct PageRange {
  std::uint64_t first = 0, last = ~std::uint64_t{0};
};
std::size_t rot_pages(sim::SimDisk& disk, snapshot::TreeKind kind, unsigned level, PageRange which = {});

// Blocks of the data area that hold what hosts wrote, now or before: no zeros, no pages of the map.
std::vector<std::uint64_t> data_blocks(const sim::SimDisk& disk);

}  // namespace holdfast::cluster
