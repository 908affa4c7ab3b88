#include "io/uring_disk.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "io/reactor.h"
#include "io/ring.h"
#include "io/store_file.h"

namespace holdfast::io {

struct UringDisk::Impl {
  // One request in flight. Slots are reused: after warm-up nothing is allocated.
  struct Slot final : RingOp {
    Impl* disk = nullptr;
    Slot* next_free = nullptr;
    DiskRequest* request = nullptr;
    std::uint64_t done_bytes = 0;   // Of a read or write that the kernel cut short.
    std::vector<iovec> rest;        // What is left of its segments, when there are several.
    void completed(int result) override { disk->completed(*this, result); }
  };

  Reactor* reactor = nullptr;
  StoreFile file;
  int registered_file = Ring::kNotRegistered;
  std::vector<std::unique_ptr<Slot>> slots;
  Slot* free_slots = nullptr;
  std::size_t in_flight = 0;
  bool abandoned = false;      // The requests' owners are gone.
  bool punch_supported = true;

  Slot& take_slot();
  void start(Slot& slot);
  void prepare_transfer(Slot& slot);
  void completed(Slot& slot, int result);
  void finish(Slot& slot, int error);
  int judge(Slot& slot, int result);
  void aim(Slot& slot, io_uring_sqe* sqe) const;
  bool in_range(const DiskRequest& request) const {
    return request.offset <= file.size_bytes && request.length <= file.size_bytes - request.offset;
  }
};

namespace {
constexpr int kContinue = -1;  // judge(): part of a transfer is done, the rest has been started.

constexpr DurationNs kLockRetry = milliseconds(2);

bool aligned(std::uint64_t value) { return value % kBlockBytes == 0; }
}  // namespace

UringDisk::UringDisk(Reactor& reactor) : Disk(reactor), impl_(std::make_unique<Impl>()) { impl_->reactor = &reactor; }

Result<std::unique_ptr<UringDisk>> UringDisk::open(Reactor& reactor, std::string path, UringDiskOptions options) {
  auto file = open_store_file(path, options.caching == Caching::direct ? PageCache::bypass : PageCache::allow);
  if (!file) return fail(std::move(file).error());
  std::unique_ptr<UringDisk> disk(new UringDisk(reactor));
  disk->impl_->file = std::move(*file);
  disk->impl_->registered_file = reactor.ring().register_file(disk->impl_->file.fd.get());
  return disk;
}

Task<Result<std::unique_ptr<UringDisk>>> UringDisk::open_patiently(Reactor* reactor, std::string path, DurationNs patience,
                                                                   UringDiskOptions options) {
  Timer timer(reactor->clock());
  const BootNs deadline = reactor->clock().now() + patience;
  for (;;) {
    auto disk = open(*reactor, path, options);
    if (disk || disk.error().code != Errc::locked || reactor->clock().now() >= deadline) co_return disk;
    co_await timer.after(kLockRetry);
  }
}

UringDisk::~UringDisk() {
  impl_->abandoned = true;
  while (impl_->in_flight > 0) impl_->reactor->ring().wait_and_collect();
  release_store_lock(impl_->file.fd.get());
  impl_->reactor->ring().unregister_file(impl_->registered_file);
}

std::uint64_t UringDisk::size_bytes() const { return impl_->file.size_bytes; }
bool UringDisk::is_file() const { return impl_->file.kind == BackingKind::file; }
std::uint64_t UringDisk::available_bytes() const {
  struct statvfs fs;
  if (!is_file() || fstatvfs(impl_->file.fd.get(), &fs) != 0) return 0;
  return std::uint64_t{fs.f_bavail} * fs.f_frsize;
}
std::size_t UringDisk::in_flight() const { return impl_->in_flight; }
void UringDisk::register_memory(MutableBytes memory) { impl_->reactor->ring().register_memory(memory); }

void UringDisk::submit(DiskRequest& request) {
  ENSURE(aligned(request.offset) && aligned(request.length));
  Impl::Slot& slot = impl_->take_slot();
  slot.request = &request;
  slot.done_bytes = 0;
  request.error = 0;
  impl_->start(slot);
}

UringDisk::Impl::Slot& UringDisk::Impl::take_slot() {
  if (!free_slots) {
    slots.push_back(std::make_unique<Slot>());
    free_slots = slots.back().get();
    free_slots->disk = this;
  }
  Slot& slot = *free_slots;
  free_slots = slot.next_free;
  ++in_flight;
  return slot;
}

void UringDisk::Impl::aim(Slot& slot, io_uring_sqe* sqe) const {
  Ring::own(sqe, slot);
  if (registered_file == Ring::kNotRegistered) return;
  sqe->fd = registered_file;
  sqe->flags |= IOSQE_FIXED_FILE;
}

void UringDisk::Impl::start(Slot& slot) {
  DiskRequest& request = *slot.request;
  const bool is_block_device = file.kind == BackingKind::block_device;
  const bool may_be_beyond = request.op == DiskOp::grow || (request.op == DiskOp::allocate && !is_block_device);
  if (!may_be_beyond && !in_range(request)) return finish(slot, EINVAL);
  switch (request.op) {
    case DiskOp::read:
    case DiskOp::write: {
      ENSURE(!request.segments.empty() && request.segments.size() <= kDiskSegmentsMax);
      return prepare_transfer(slot);
    }
    case DiskOp::sync: {
      io_uring_sqe* sqe = reactor->ring().prepare();
      io_uring_prep_fsync(sqe, file.fd.get(), IORING_FSYNC_DATASYNC);
      return aim(slot, sqe);
    }
    case DiskOp::allocate: {
      if (is_block_device || request.length == 0) return finish(slot, 0);
      io_uring_sqe* sqe = reactor->ring().prepare();
      io_uring_prep_fallocate(sqe, file.fd.get(), FALLOC_FL_KEEP_SIZE, static_cast<off_t>(request.offset),
                              static_cast<off_t>(request.length));
      return aim(slot, sqe);
    }
    case DiskOp::punch: {
      if (!punch_supported || request.length == 0) return finish(slot, 0);
      io_uring_sqe* sqe = reactor->ring().prepare();
      io_uring_prep_fallocate(sqe, file.fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                              static_cast<off_t>(request.offset), static_cast<off_t>(request.length));
      return aim(slot, sqe);
    }
    case DiskOp::grow: {
      if (is_block_device) return finish(slot, EOPNOTSUPP);
      ENSURE(request.offset >= file.size_bytes);
      // Setting the size changes an inode in memory only; making it durable is the slow part and goes through the ring.
      if (::ftruncate(file.fd.get(), static_cast<off_t>(request.offset)) != 0) return finish(slot, errno);
      io_uring_sqe* sqe = reactor->ring().prepare();
      io_uring_prep_fsync(sqe, file.fd.get(), 0);
      return aim(slot, sqe);
    }
  }
}

void UringDisk::Impl::prepare_transfer(Slot& slot) {
  const DiskRequest& request = *slot.request;
  const bool reading = request.op == DiskOp::read;
  const std::uint64_t offset = request.offset + slot.done_bytes;
  const std::span<const iovec> segments = slot.done_bytes == 0 ? request.segments : std::span<const iovec>(slot.rest);
  io_uring_sqe* sqe = reactor->ring().prepare();
  const int fd = file.fd.get();
  if (segments.size() > 1) {
    const auto count = static_cast<unsigned>(segments.size());
    if (reading) io_uring_prep_readv(sqe, fd, segments.data(), count, offset);
    else io_uring_prep_writev(sqe, fd, segments.data(), count, offset);
  } else {
    const iovec& only = segments.front();
    const auto length = static_cast<unsigned>(only.iov_len);
    const int region = reactor->ring().find_memory(only.iov_base, only.iov_len);
    if (region != Ring::kNotRegistered) {
      if (reading) io_uring_prep_read_fixed(sqe, fd, only.iov_base, length, offset, region);
      else io_uring_prep_write_fixed(sqe, fd, only.iov_base, length, offset, region);
    } else {
      if (reading) io_uring_prep_read(sqe, fd, only.iov_base, length, offset);
      else io_uring_prep_write(sqe, fd, only.iov_base, length, offset);
    }
  }
  if (!reading && request.durability == Durability::durable) sqe->rw_flags = RWF_DSYNC;
  aim(slot, sqe);
}

// What a result means: 0, an errno, or kContinue.
int UringDisk::Impl::judge(Slot& slot, int result) {
  const DiskRequest& request = *slot.request;
  const bool transfer = request.op == DiskOp::read || request.op == DiskOp::write;
  if (result < 0) {
    if (request.op == DiskOp::punch && (result == -EOPNOTSUPP || result == -ENOTTY || result == -ENOSYS)) {
      punch_supported = false;  // The space cannot be given back here: nothing is wrong with the data.
      return 0;
    }
    return -result;
  }
  if (!transfer) return 0;
  if (result == 0) return EIO;  // The end of the file, inside of what should be there: somebody truncated it.
  slot.done_bytes += static_cast<std::uint64_t>(result);
  ENSURE(slot.done_bytes <= request.length);
  if (slot.done_bytes == request.length) return 0;
  slot.rest.clear();
  std::uint64_t skip = slot.done_bytes;
  for (const iovec& segment : request.segments) {
    if (skip >= segment.iov_len) {
      skip -= segment.iov_len;
      continue;
    }
    slot.rest.push_back({static_cast<std::byte*>(segment.iov_base) + skip, segment.iov_len - skip});
    skip = 0;
  }
  prepare_transfer(slot);
  return kContinue;
}

void UringDisk::Impl::completed(Slot& slot, int result) {
  if (abandoned) {
    --in_flight;
    return;
  }
  const int error = judge(slot, result);
  if (error != kContinue) finish(slot, error);
}

void UringDisk::Impl::finish(Slot& slot, int error) {
  DiskRequest& request = *slot.request;
  if (request.op == DiskOp::grow && error == 0) file.size_bytes = request.offset;
  request.error = error;
  slot.request = nullptr;
  slot.next_free = free_slots;
  free_slots = &slot;
  --in_flight;
  reactor->post(request.waiter);
}

}  // namespace holdfast::io
