// A Disk whose unsynced writes live in this process's memory only: kill -9 of the process is then a power loss of the disk.
//
// Cached writes go to an overlay of 4 KiB blocks, which reads see. A sync writes the overlay through, durably; a durable
// write writes its own range through. On request a part of the unsynced blocks, or of their 512-byte sectors, reaches
// the inner disk early and in any order, as a real disk's cache may do.
//
// Invariants: a block has at most one writer to the inner disk at a time (busy_); what is in the overlay is at least
// as new as what the inner disk has; a block leaves the overlay only when it is durable below, or punched.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string_view>
#include <vector>

#include "base/disk.h"
#include "base/result.h"
#include "base/scope.h"
#include "base/sync.h"

namespace holdfast::io {

enum class Tearing : std::uint8_t { whole_blocks, sectors };

struct PowerLossOptions {
  unsigned early_percent = 0;             // Of cached writes: each writes one random unsynced block through early.
  Tearing tearing = Tearing::whole_blocks;
  std::uint64_t seed = 1;
};

// "early_percent=20 tear=sectors seed=7", every word optional. Errors name the word.
Result<PowerLossOptions> parse_power_loss_options(std::string_view text);

class PowerLossDisk final : public Disk {
 public:
  PowerLossDisk(std::unique_ptr<Disk> inner, PowerLossOptions options);

  void submit(DiskRequest& request) override;
  std::uint64_t size_bytes() const override { return inner_->size_bytes(); }
  std::uint64_t available_bytes() const override { return inner_->available_bytes(); }
  bool is_file() const override { return inner_->is_file(); }
  void register_memory(MutableBytes memory) override { inner_->register_memory(memory); }

  // What a power loss would drop now.
  std::uint64_t unsynced_blocks() const { return overlay_.size(); }
  std::uint64_t early_writes() const { return early_writes_; }
  // Returns when no request and no early write is under way; before an orderly end.
  Task<void> settle() { return flows_.join(); }

 private:
  struct Block;
  using BlockIndex = std::uint64_t;
  struct Run {
    BlockIndex first;
    std::uint64_t count;
  };

  using Overlay = std::map<BlockIndex, std::shared_ptr<Block>>;

  static Run run_of(const DiskRequest& request);
  Overlay unsynced(Run run) const;
  void put(const DiskRequest& request);
  std::vector<Run> unsynced_runs() const;
  bool is_busy(Run run) const;
  void set_free(Run run);
  std::uint64_t next_random();

  static Task<void> serve_read(PowerLossDisk* disk, DiskRequest* request);
  static Task<void> serve_durable_write(PowerLossDisk* disk, DiskRequest* request, Overlay ours);
  static Task<void> serve_sync(PowerLossDisk* disk, DiskRequest* request);
  static Task<void> serve_punch(PowerLossDisk* disk, DiskRequest* request);
  static Task<void> write_early(PowerLossDisk* disk, BlockIndex index);
  static Task<int> write_through(PowerLossDisk* disk, Run run, std::vector<std::shared_ptr<Block>>* written);
  static Task<void> take(PowerLossDisk* disk, Run run);
  void finish(DiskRequest& request, int error);

  PowerLossOptions options_;
  std::uint64_t random_state_;
  Overlay overlay_;  // Blocks are never changed, only replaced.
  std::set<BlockIndex> busy_;                             // Being written to the inner disk.
  std::uint64_t early_writes_ = 0;
  WaitList freed_;
  Scope flows_;
  std::unique_ptr<Disk> inner_;  // After the scope: destroyed first, so that no frame goes while the kernel uses it.
};

}  // namespace holdfast::io
