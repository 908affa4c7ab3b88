// What a database does to its volume, and the book that is kept of it: workers with one command each, all of whose calls and
// answers go into a history that is judged as atomic registers (test/cluster/history.h). Nobody writes where somebody else is
// writing, as nobody above a page cache does: a host that lost a path may send a write a second time.
#pragma once

#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "test/cluster/history.h"
#include "test/sim/random.h"
#include "test/torture/multipath_host.h"

namespace holdfast::torture {

struct LoadOptions {
  unsigned workers = 4;
  std::uint64_t first_block = 0;
  std::uint64_t blocks = 4'096;
  std::uint64_t hot_blocks = 256;       // Every other operation is at the front.
  std::uint32_t write = 60, read = 35, unmap = 5;  // Relative frequencies.
  std::uint32_t large_one_in = 16;      // Of up to `large_blocks`.
  std::uint64_t large_blocks = 64;
  DurationNs think{};
  std::uint64_t seed = 1;
};

struct LoadCounters {
  std::uint64_t operations = 0, writes = 0, reads = 0, no_space = 0, errors = 0, bytes_written = 0;
  std::string first_error;
};

// Acknowledgements around a moment.
struct Pause {
  DurationNs length{};
  BootNs from{}, to{};
};

class Ledger {
 public:
  // Reads every block of the range through the host and judges all that was seen. Throws what is wrong.
  void verify(MultipathHost& host, BlockRange range);
  std::uint64_t acknowledged() const;

 private:
  friend class Load;
  mutable std::mutex mutex_;
  cluster::History history_;
};

class Load {
 public:
  Load(MultipathHost& host, Ledger& ledger, LoadOptions options);
  ~Load();

  // Every worker finishes what it has under way. Throws when that takes more than `patience`.
  void stop(DurationNs patience = milliseconds(60'000));
  LoadCounters counters() const;
  // Returns after so many more operations. Throws when that takes more than `patience`.
  void run_for(std::uint64_t operations, DurationNs patience = milliseconds(30'000));
  // The longest time without an acknowledged write that reaches into [from, to].
  Pause longest_pause(BootNs from, BootNs to) const;
  // The longest pause that reaches into the time since the instant, which is just before a fault; waits until writes go on. (What is
  // acknowledged while the fault is being made does not count for its end.)
  DurationNs pause_since(BootNs before_the_fault, DurationNs patience = milliseconds(60'000)) const;
  // When the next write after t was acknowledged that was called after t; waits for it.
  DurationNs until_write_after(BootNs t, DurationNs patience = milliseconds(60'000)) const;
  // Acknowledged writes of [from, to].
  std::uint64_t writes_between(BootNs from, BootNs to) const;

 private:
  struct Ack {
    BootNs called, answered;
  };
  void work(unsigned number);
  void operate(sim::SimRandom& random, unsigned number);
  BlockRange draw(sim::SimRandom& random) const;
  bool claim(BlockRange range);
  void release(BlockRange range);
  void read(BlockRange range, unsigned number);
  void change(cluster::OpKind kind, BlockRange range, unsigned number);

  MultipathHost& host_;
  Ledger& ledger_;
  LoadOptions options_;
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::vector<BlockRange> claimed_;
  LoadCounters counters_;
  std::vector<Ack> acks_;               // Of writes, in the order of their answers.
  std::atomic<bool> stopping_{false};
  std::size_t running_ = 0;
  std::vector<std::thread> workers_;
};

}  // namespace holdfast::torture
