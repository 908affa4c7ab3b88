// SimDisk: the Disk port over Media, with time, space and faults drawn from the world's seed.
// Requests complete in any order. A written buffer must stay unchanged until its request completes: this disk checks it.
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "base/disk.h"
#include "test/sim/media.h"
#include "test/sim/world.h"

namespace holdfast::sim {

// Chances are per million requests; the next_… switches strike the next request of their kind.
struct DiskFaults {
  std::uint32_t read_error_ppm = 0;
  std::uint32_t write_error_ppm = 0;
  std::uint32_t sync_error_ppm = 0;
  std::uint32_t allocate_error_ppm = 0;
  std::uint32_t slow_ppm = 0;          // A hundred times the usual time.
  std::uint32_t lost_write_ppm = 0;    // Reported as done, never happened.
  std::uint32_t misdirected_ppm = 0;   // Done somewhere else.
  std::uint32_t wrong_read_ppm = 0;    // Gives other bytes than there are: the medium is well, the way from it is not.
  std::set<std::uint64_t> bad_blocks;  // A read that meets one fails, until it is written again.
  bool fail_next_read = false;
  bool fail_next_write = false;
  bool fail_next_sync = false;
  bool fail_next_grow = false;         // Its sync, that is.
};

struct DiskCounters {
  std::uint64_t reads = 0, writes = 0, durable_writes = 0, syncs = 0, allocates = 0, punches = 0, grows = 0;
  std::uint64_t read_errors = 0, write_errors = 0, sync_errors = 0, no_space = 0, out_of_bounds = 0;
  std::uint64_t slow = 0, lost = 0, misdirected = 0, rotten_bits = 0, wrong_reads = 0;
  std::uint64_t power_losses = 0, kills = 0, writes_lost = 0, writes_kept = 0, writes_torn = 0;
};

// Microseconds, drawn evenly between half and three halves of these.
struct DiskLatency {
  std::uint32_t read_us = 60, write_us = 30, durable_us = 120, sync_us = 200, allocate_us = 40;
};

// What a punched range reads as until it is written again.
enum class PunchedReads : std::uint8_t { zeros, stale, garbage };

// Sees every request as it is submitted and as it completes: the exhaustive harness records through it.
class DiskObserver {
 public:
  virtual void disk_submitted(std::uint64_t id, const DiskRequest& request, std::span<const PageRef> pages) = 0;
  virtual void disk_completed(std::uint64_t id, const DiskRequest& request, int error) = 0;

 protected:
  ~DiskObserver() = default;
};

class SimDisk final : public Disk {
 public:
  SimDisk(SimHost& host, std::uint64_t size_bytes);
  // A disk that holds an image already; all of its size is backed.
  SimDisk(SimHost& host, std::uint64_t size_bytes, Image image);

  void submit(DiskRequest& request) override;
  std::uint64_t size_bytes() const override { return size_bytes_; }
  bool is_file() const override { return is_file_; }
  // Before its first request: a device of a fixed size. All of it is backed, and what is punched stays so.
  void become_block_device(std::uint64_t size_bytes);
  // The holes of the file, as far as there is space for them.
  std::uint64_t available_bytes() const override {
    if (!is_file_) return 0;
    const std::uint64_t holes = size_bytes_ / kBlockBytes - std::min(size_bytes_ / kBlockBytes, backed_blocks_);
    return std::min(holes, capacity_blocks_ - std::min(capacity_blocks_, backed_blocks_)) * kBlockBytes;
  }

  DiskFaults faults;
  DiskLatency latency;
  PunchedReads punched_reads = PunchedReads::zeros;
  DiskObserver* observer = nullptr;
  const DiskCounters& counters() const { return counters_; }
  // Submissions and completions so far: crash points are counted in these.
  std::uint64_t events() const { return events_; }
  std::size_t in_flight() const { return flights_.size(); }

  // Power loss. After the host's crash(), before the frames that own the requests are destroyed.
  void crash();
  // What a power loss does to each write under way; nothing: it is drawn.
  std::optional<Tear> tear;
  // kill -9: what completed stays visible and as durable as it was; what is in flight happened or not, and even a durable
  // write among it may have missed its flush.
  void crash_process_only();

  // Space that can be backed at all; what is backed already stays.
  void set_capacity(std::uint64_t bytes) { capacity_blocks_ = bytes / kBlockBytes; }
  // As a copy of the file that leaves out zeros: blocks that read as zeros lose their space.
  void make_sparse();
  std::uint64_t backed_bytes() const { return backed_blocks_ * kBlockBytes; }
  void flip_bit(std::uint64_t offset, unsigned bit);
  void spoil(std::uint64_t offset) { faults.bad_blocks.insert(offset / kBlockBytes); }
  void overwrite(std::uint64_t offset, Bytes bytes);  // Behind everybody's back.
  void truncate(std::uint64_t size_bytes) { size_bytes_ = size_bytes; }
  std::vector<std::byte> peek(std::uint64_t offset, std::size_t bytes) const;
  const Media& media() const { return media_; }

 private:
  struct Flight {
    DiskRequest* request;
    std::uint64_t target_block;   // Differs from the request's for a misdirected write.
    std::uint64_t sync_horizon = 0;
    int error = 0;
    bool lost = false;
  };
  SimRandom& random() { return host_->world().random(); }
  DurationNs draw_latency(const DiskRequest& request);
  int check(const DiskRequest& request) const;
  int draw_error(const DiskRequest& request);
  bool meets_bad_block(const DiskRequest& request) const;
  void start_write(std::uint64_t id, Flight& flight);
  void finish(std::uint64_t id);
  int carry_out(std::uint64_t id, Flight& flight);
  int finish_write(std::uint64_t id, Flight& flight);
  void fill_read(const DiskRequest& request);
  void start_punch(std::uint64_t id, const DiskRequest& request);
  void check_unchanged(const DiskRequest& request, std::uint64_t id) const;
  std::uint64_t missing_blocks(std::uint64_t first, std::uint64_t count) const;
  bool back(std::uint64_t first, std::uint64_t count);
  void unback(std::uint64_t first, std::uint64_t count);

  SimHost* host_;
  Media media_;
  std::uint64_t size_bytes_;
  bool is_file_ = true;
  std::uint64_t capacity_blocks_ = ~std::uint64_t{0};
  std::uint64_t backed_blocks_ = 0;
  std::vector<bool> backed_;
  std::map<std::uint64_t, Flight> flights_;
  std::uint64_t next_id_ = 1;
  std::uint64_t events_ = 0;
  DiskCounters counters_;
};

}  // namespace holdfast::sim
