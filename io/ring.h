// The reactor's io_uring. Requests are prepared by this room's parts and submitted together, once per loop turn.
// Internal to this room: only .cpp files include it.
#pragma once

#include <liburing.h>

#include <array>
#include <cstdint>
#include <memory>
#include <thread>

#include "base/bytes.h"
#include "base/result.h"

namespace holdfast::io {

struct ReactorStats;

// Who is told of a completion. It must not resume a flow; it posts.
class RingOp {
 public:
  virtual void completed(int result) = 0;

 protected:
  ~RingOp() = default;
};

class Ring {
 public:
  static constexpr unsigned kFilesMax = 256;   // Registered files of one reactor.
  static constexpr unsigned kMemoryMax = 16;   // Registered regions of one reactor.
  static constexpr int kNotRegistered = -1;

  static Result<std::unique_ptr<Ring>> create(unsigned submission_entries, unsigned completion_entries, ReactorStats& stats);
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;
  ~Ring();

  // Makes the calling thread the ring's only submitter.
  void bind();

  // An entry to fill in (io_uring_prep_…) and to own; submitted at the end of the turn.
  io_uring_sqe* prepare();
  static void own(io_uring_sqe* sqe, RingOp& op) { io_uring_sqe_set_data(sqe, &op); }
  // Submits and collects with at most one system call, and with none when there is neither anything to submit nor a sign of
  // anything to collect; tells the owners of what has completed. Returns their number.
  unsigned submit_and_collect();
  // The same, but the system call is made whatever the signs say.
  unsigned enter_and_collect();
  // Submits, and blocks until something has completed, with one system call; then collects.
  unsigned wait_and_collect();
  // Asks the kernel to give a request up; its owner is told as always, with -ECANCELED if that was in time.
  void cancel(RingOp& op);
  // False on a foreign thread. When an owner is destroyed there, the ring's own thread must have ended: the kernel starts
  // nothing more for it, and nobody collects.
  bool on_own_thread() const { return std::this_thread::get_id() == owner_; }

  // In flight: prepared and not yet completed.
  std::uint64_t in_flight() const { return in_flight_; }
  // True when a look at the ring (no system call) shows something to collect.
  bool something_to_collect() const;

  // kNotRegistered when the table is full.
  int register_file(int fd);
  void unregister_file(int index);
  // False when the region cannot be pinned (RLIMIT_MEMLOCK) or the table is full: plain requests work all the same.
  bool register_memory(MutableBytes memory);
  int find_memory(const void* address, std::size_t length) const {
    const auto* first = static_cast<const std::byte*>(address);
    for (unsigned i = 0; i < regions_; ++i) {
      const MutableBytes region = memory_[i];
      if (first >= region.data() && first + length <= region.data() + region.size()) return static_cast<int>(i);
    }
    return kNotRegistered;
  }

 private:
  Ring(unsigned submission_entries, ReactorStats& stats) : stats_(&stats), entries_(submission_entries) {}
  // A cancellation's own answer, which nobody needs.
  struct Ignored final : RingOp {
    void completed(int) override {}
  };

  void enter();
  unsigned collect();

  io_uring ring_{};
  Ignored ignored_;
  ReactorStats* stats_;
  unsigned entries_;
  unsigned prepared_ = 0;  // Since the last submission.
  std::uint64_t in_flight_ = 0;
  bool initialized_ = false;
  bool bound_ = false;
  std::thread::id owner_;  // From bind() on.
  unsigned regions_ = 0;
  std::array<MutableBytes, kMemoryMax> memory_{};
  std::array<bool, kFilesMax> file_used_{};
};

}  // namespace holdfast::io
