// A disk in memory that takes nothing from the heap per request and completes at the executor's next turn.
// For tests of speed and of allocations; faults and time are the simulator's (test/sim).
#pragma once

#include <vector>

#include "base/disk.h"

namespace holdfast::test {

class MemoryDisk final : public Disk {
 public:
  // capacity_bytes: how far it can grow; it starts empty.
  MemoryDisk(Executor& executor, std::uint64_t capacity_bytes);
  void submit(DiskRequest& request) override;
  std::uint64_t size_bytes() const override { return size_bytes_; }
  bool is_file() const override { return true; }

  std::uint64_t reads = 0, writes = 0, written_bytes = 0, syncs = 0;

 private:
  int perform(DiskRequest& request);
  int transfer(const DiskRequest& request);

  std::vector<std::byte> bytes_;
  std::uint64_t size_bytes_ = 0;
};

}  // namespace holdfast::test
