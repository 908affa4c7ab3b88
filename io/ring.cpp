#include "io/ring.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/ensure.h"
#include "base/log.h"
#include "io/reactor.h"
#include "io/system_error.h"

namespace holdfast::io {
namespace {

// What /proc/sys/kernel/io_uring_disabled says: 0, 1, 2, or -1 when this kernel does not have it (before 6.6).
int io_uring_disabled_setting() {
  std::FILE* file = std::fopen("/proc/sys/kernel/io_uring_disabled", "re");
  if (!file) return -1;
  int value = -1;
  if (std::fscanf(file, "%d", &value) != 1) value = -1;
  std::fclose(file);
  return value;
}

Error refusal(int error_number) {
  const std::string number = strerrorname_np(error_number) ? strerrorname_np(error_number) : "unknown error";
  switch (error_number) {
    case ENOSYS:
      return Error(Errc::unsupported,
                   "io_uring is not available (ENOSYS): the kernel was built without it, or a container's seccomp profile "
                   "hides it. Allow io_uring_setup, io_uring_enter and io_uring_register in the profile (Docker: "
                   "--security-opt seccomp=<profile>), or run on a kernel of 6.1 or later with CONFIG_IO_URING");
    case EPERM:
    case EACCES: {
      const int setting = io_uring_disabled_setting();
      if (setting > 0)
        return Error(Errc::permission, "io_uring is switched off on this machine (" + number +
                                           "): sysctl kernel.io_uring_disabled is " + std::to_string(setting) +
                                           ". Set it to 0 (sysctl -w kernel.io_uring_disabled=0), or with 1 put the "
                                           "process into the group of kernel.io_uring_group");
      return Error(Errc::permission, "io_uring is refused (" + number +
                                         "): a seccomp profile of the container or the service forbids it. Allow "
                                         "io_uring_setup, io_uring_enter and io_uring_register (Docker: --security-opt "
                                         "seccomp=<profile>; systemd: SystemCallFilter=@io-event io_uring_setup "
                                         "io_uring_enter io_uring_register)");
    }
    case EINVAL:
      return Error(Errc::unsupported, "this kernel's io_uring is too old (EINVAL): 6.1 or later is needed");
    case ENOMEM:
      return Error(Errc::overloaded,
                   "no memory for io_uring (ENOMEM): raise RLIMIT_MEMLOCK (systemd: LimitMEMLOCK=infinity)");
    default: return system_error(error_number, "cannot set up io_uring");
  }
}

}  // namespace

Result<std::unique_ptr<Ring>> Ring::create(unsigned submission_entries, unsigned completion_entries, ReactorStats& stats) {
  std::unique_ptr<Ring> ring(new Ring(submission_entries, stats));
  io_uring_params params{};
  // Completions are delivered only when we ask (no interrupting signals), a flag in shared memory says when asking pays,
  // and the ring stays disabled until the thread that will own it makes its first turn.
  params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
                 IORING_SETUP_R_DISABLED | IORING_SETUP_CQSIZE | IORING_SETUP_SUBMIT_ALL;
  params.cq_entries = completion_entries;
  int result = io_uring_queue_init_params(submission_entries, &ring->ring_, &params);
  if (result < 0) return fail(refusal(-result));
  ring->initialized_ = true;
  result = io_uring_register_files_sparse(&ring->ring_, kFilesMax);
  if (result == 0) result = io_uring_register_buffers_sparse(&ring->ring_, kMemoryMax);
  if (result < 0) return fail(refusal(-result));
  return ring;
}

Ring::~Ring() {
  if (initialized_) io_uring_queue_exit(&ring_);
}

void Ring::bind() {
  if (bound_) return;
  bound_ = true;
  owner_ = std::this_thread::get_id();
  // liburing 2.3 declares io_uring_enable_rings() but does not export it.
  const long result = ::syscall(__NR_io_uring_register, ring_.ring_fd, IORING_REGISTER_ENABLE_RINGS, nullptr, 0);
  ENSURE(result == 0);
  io_uring_register_ring_fd(&ring_);  // Saves a look-up per call; works without.
}

io_uring_sqe* Ring::prepare() {
  bind();
  io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
  if (!sqe) {
    enter();
    sqe = io_uring_get_sqe(&ring_);
    ENSURE(sqe);
  }
  ++prepared_;
  ++in_flight_;
  return sqe;
}

bool Ring::something_to_collect() const {
  return io_uring_cq_ready(&ring_) > 0 || IO_URING_READ_ONCE(*ring_.sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
}

void Ring::enter() {
  stats_->enters.add();
  stats_->submissions.add(prepared_);
  const int result = io_uring_submit_and_get_events(&ring_);
  // EBUSY and EAGAIN: the kernel is out of memory for requests; what is left goes with the next call.
  ENSURE(result >= 0 || result == -EBUSY || result == -EAGAIN || result == -EINTR);
  prepared_ = io_uring_sq_ready(&ring_);
}

unsigned Ring::submit_and_collect() {
  if (prepared_ > 0 || IO_URING_READ_ONCE(*ring_.sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) {
    bind();
    enter();
  }
  return collect();
}

unsigned Ring::enter_and_collect() {
  bind();
  enter();
  return collect();
}

unsigned Ring::wait_and_collect() {
  bind();
  stats_->enters.add();
  stats_->submissions.add(prepared_);
  const int result = io_uring_submit_and_wait(&ring_, 1);
  ENSURE(result >= 0 || result == -EINTR || result == -EBUSY || result == -EAGAIN);
  prepared_ = io_uring_sq_ready(&ring_);
  return collect();
}

void Ring::cancel(RingOp& op) {
  io_uring_sqe* sqe = prepare();
  io_uring_prep_cancel(sqe, &op, 0);
  own(sqe, ignored_);
}

unsigned Ring::collect() {
  unsigned head = 0;
  unsigned count = 0;
  io_uring_cqe* cqe = nullptr;
  io_uring_for_each_cqe(&ring_, head, cqe) {
    ++count;
    static_cast<RingOp*>(io_uring_cqe_get_data(cqe))->completed(cqe->res);
  }
  if (count == 0) return 0;
  io_uring_cq_advance(&ring_, count);
  ENSURE(in_flight_ >= count);
  in_flight_ -= count;
  stats_->completions.add(count);
  return count;
}

int Ring::register_file(int fd) {
  for (unsigned index = 0; index < kFilesMax; ++index) {
    if (file_used_[index]) continue;
    const int result = io_uring_register_files_update(&ring_, index, &fd, 1);
    if (result < 0) return kNotRegistered;
    file_used_[index] = true;
    return static_cast<int>(index);
  }
  return kNotRegistered;
}

void Ring::unregister_file(int index) {
  if (index == kNotRegistered) return;
  int none = -1;
  io_uring_register_files_update(&ring_, static_cast<unsigned>(index), &none, 1);
  file_used_[static_cast<unsigned>(index)] = false;
}

bool Ring::register_memory(MutableBytes memory) {
  if (memory.empty() || find_memory(memory.data(), memory.size()) != kNotRegistered) return true;
  if (regions_ == kMemoryMax) return false;
  madvise(memory.data(), memory.size(), MADV_HUGEPAGE);  // Fewer pages to pin and to walk; a hint only.
  const iovec region{memory.data(), memory.size()};
  const int result = io_uring_register_buffers_update_tag(&ring_, regions_, &region, nullptr, 1);
  if (result < 0) {
    log_warning("cannot register " + std::to_string(memory.size() >> 20) + " MiB of I/O memory with io_uring (" +
                strerrordesc_np(-result) + "): reads and writes will cost more; raise RLIMIT_MEMLOCK (systemd: LimitMEMLOCK=infinity)");
    return false;
  }
  memory_[regions_++] = memory;
  return true;
}

}  // namespace holdfast::io
