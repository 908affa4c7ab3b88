// A random load on one group: concurrent clients, each operation told to the ledger before it starts and after it ends.
#pragma once

#include <deque>
#include <string>
#include <vector>

#include "base/clock.h"
#include "engine/group.h"
#include "test/crash/ledger.h"
#include "test/crash/process.h"
#include "test/sim/random.h"

namespace holdfast::crash {

// Relative frequencies.
struct LoadMix {
  unsigned write = 50, read = 20, unmap = 6, write_same = 3, compare_and_write = 6, or_write = 3, flush = 3, provisioning = 2,
           reservations = 2, checkpoint = 1, create = 0, remove = 0;
  unsigned total() const {
    return write + read + unmap + write_same + compare_and_write + or_write + flush + provisioning + reservations + checkpoint +
           create + remove;
  }
};

struct LoadOptions {
  unsigned clients = 4;
  std::uint64_t operations = 100;
  std::uint32_t blocks_max = 256;
  std::uint32_t large_one_in = 12;     // Writes of more than 32 blocks.
  std::uint32_t think_one_in = 8;
  std::uint32_t volumes_max = 3;
  std::uint64_t volume_chunks_max = 32;
  LoadMix mix;
};

// Errors that are no violation now, because the harness caused them.
struct Tolerance {
  bool no_space = false;
  bool failures = false;   // EIO was injected: io_error, sync_failed, closed.
  bool corruption = false; // Bits were flipped.
};

class Load {
 public:
  Load(sim::SimHost& host, sim::SimRandom& random, Ledger& ledger, LoadOptions options)
      : host_(&host), random_(&random), ledger_(&ledger), options_(options) {}

  Tolerance tolerance;
  LoadOptions& options() { return options_; }

  // Binds the load to the process's new life. Existing volumes are looked up by their ledger names.
  void attach(Process& process);
  // Compares the store's volumes with the ledger; after a recovery.
  void check_volumes();

  void start();
  bool done() const { return running_ == 0; }
  void hurry() { operations_left_ = 0; }   // Clients end after their current operation.
  std::uint64_t errors() const { return errors_; }

  // Reads every window of every volume. Nothing else may run.
  void start_verification();
  bool verified() const { return verified_; }

  // One write of `blocks` blocks to each volume, one after the other; `probed` tells how many succeeded.
  void start_probe(std::uint64_t blocks);
  bool probed() const { return probe_done_; }
  std::uint64_t probe_failures() const { return probe_failures_; }
  OpId last_probe() const { return last_probe_; }

  void start_create();
  std::size_t volumes_present() const;

 private:
  struct Handle {
    Volume* volume = nullptr;
    unsigned users = 0;
    bool closing = false;
    std::vector<BlockRange> writing;     // Of the writes under way …
    std::vector<BlockRange> exclusive;   // … and of those that must not meet another one.
  };
  class User;  // Holds a volume against deletion.

  static Task<void> client(Load* self);
  static Task<void> verify(Load* self);
  static Task<void> probe(Load* self, std::uint64_t blocks);
  static Task<void> create_volume(Load* self);
  static Task<void> delete_volume(Load* self, VolumeKey key);
  Task<void> one_operation();
  Task<void> operate(unsigned draw, VolumeKey key);
  Task<void> write(VolumeKey key, BlockRange range);
  Task<void> write_same(VolumeKey key, BlockRange range);
  Task<void> unmap(VolumeKey key, BlockRange range);
  Task<void> compare_and_write(VolumeKey key, BlockRange range);
  Task<void> or_write(VolumeKey key, BlockRange range);
  // Fills the buffer, told to the ledger; false when it failed.
  Task<bool> read(VolumeKey key, BlockRange range, Buffer into);
  Task<void> flush(VolumeKey key);
  Task<void> provisioning(VolumeKey key, Lba from);
  Task<void> reservations(VolumeKey key);
  Task<void> checkpoint();
  Task<void> pause();

  std::int64_t pick_volume();
  BlockRange pick_range(VolumeKey key, std::uint64_t blocks_max);
  BlockRange pick_unmap(VolumeKey key);
  std::uint64_t pick_length();
  Outcome outcome(const Error& error, OpKind kind, VolumeKey key, BlockRange range);
  bool blocked(const Handle& handle, BlockRange range) const;

  sim::SimHost* host_;
  sim::SimRandom* random_;
  Ledger* ledger_;
  LoadOptions options_;
  Process* process_ = nullptr;
  std::deque<Handle> handles_;  // By VolumeKey; flows keep references.
  std::uint64_t operations_left_ = 0;
  unsigned running_ = 0;
  unsigned creating_ = 0;
  bool verified_ = false;
  bool probe_done_ = false;
  std::uint64_t probe_failures_ = 0;
  OpId last_probe_ = 0;
  std::uint64_t errors_ = 0;
  std::uint64_t names_ = 0;
};

}  // namespace holdfast::crash
