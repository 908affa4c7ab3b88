// Which planted bug is found by what, and after how many seeds.
#pragma once

#include <string>

#include "test/cluster/life.h"

namespace holdfast::cluster {

struct PlantedTable {
  std::uint64_t first = 1;
  std::uint64_t seeds = 0;   // At most, of each kind.
  unsigned jobs = 1;
  std::string only;          // One bug by its name; empty: all of them.
  LifeOptions life;
};

// True when each was found.
bool print_planted_table(const PlantedTable& table);

}  // namespace holdfast::cluster
