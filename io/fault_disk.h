// A Disk that fails on command: rules say which requests fail, how, and when. For torture tests of real processes and
// for tests of error paths; settable while it runs.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/disk.h"
#include "base/result.h"
#include "base/scope.h"

namespace holdfast::io {

struct FaultRule {
  DiskOp op = DiskOp::read;
  std::uint64_t skip = 0;                                             // Matching requests that are left alone first.
  std::uint64_t count = 1;                                            // Then so many are hit.
  std::uint64_t first_byte = 0;                                       // Requests that touch this range match;
  std::uint64_t end_byte = std::numeric_limits<std::uint64_t>::max();  // syncs always do.
  int error = 0;                                                      // An errno; 0: only delayed.
  DurationNs delay{};
  bool takes_effect = false;                                          // The request is carried out, then reported as failed.
  bool flips = false;                                                 // Of reads: carried out, and one bit of what comes is another one.
};

// "op=write error=EIO skip=100 count=1 from=0 to=65536 delay_us=500 effect=yes", "op=read flip=yes", several separated by ';'.
// Counts may be "forever". Errors name the word.
Result<std::vector<FaultRule>> parse_fault_rules(std::string_view text);

class FaultDisk final : public Disk {
 public:
  FaultDisk(Clock& clock, std::unique_ptr<Disk> inner);

  void submit(DiskRequest& request) override;
  std::uint64_t size_bytes() const override { return inner_->size_bytes(); }
  std::uint64_t available_bytes() const override { return inner_->available_bytes(); }
  bool is_file() const override { return inner_->is_file(); }
  void register_memory(MutableBytes memory) override { inner_->register_memory(memory); }

  // On the disk's thread, at any time.
  void inject(FaultRule rule) { rules_.push_back(rule); }
  void clear() { rules_.clear(); }
  std::uint64_t hits() const { return hits_; }
  // Returns when no delayed request is left.
  Task<void> settle() { return delayed_.join(); }

 private:
  FaultRule* matching(const DiskRequest& request);
  static Task<void> delay(FaultDisk* disk, DiskRequest* request, FaultRule rule);
  static Task<void> spoil(FaultDisk* disk, DiskRequest* request, FaultRule rule);
  static Task<void> flip(FaultDisk* disk, DiskRequest* request);

  Clock* clock_;
  std::vector<FaultRule> rules_;
  std::uint64_t hits_ = 0;
  Scope delayed_;
  std::unique_ptr<Disk> inner_;  // After the scope: destroyed first, so that no frame goes while the kernel uses it.
};

}  // namespace holdfast::io
