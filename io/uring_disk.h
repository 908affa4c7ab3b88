// The Disk port on a regular file or a block device, through the reactor's ring: O_DIRECT, registered file, registered
// pool memory, durable writes with RWF_DSYNC. The file is locked against other processes while it is open.
//
// A failed sync is reported once and never retried: the kernel may have dropped the dirty pages already.
// Destroying a disk with requests in flight is a crash: it waits for the kernel to let go of the memory, and the
// requests' owners hear nothing.
#pragma once

#include <memory>
#include <string>

#include "base/disk.h"
#include "base/result.h"
#include "base/task.h"

namespace holdfast::io {

class Reactor;

enum class Caching : std::uint8_t {
  direct,            // O_DIRECT, or an error where the file system cannot do it.
  allow_page_cache,  // For tests on such a file system: durable writes are durable all the same.
};

struct UringDiskOptions {
  Caching caching = Caching::direct;
};

class UringDisk final : public Disk {
 public:
  // On the reactor's thread, or before its first turn. Errors (the message names the path): not_found, permission,
  // locked, unsupported (no O_DIRECT), invalid_argument (not a file or block device, size not a multiple of 4096).
  static Result<std::unique_ptr<UringDisk>> open(Reactor& reactor, std::string path, UringDiskOptions options = {});
  // The same, but a lock is waited for. After kill -9 the kernel finishes what the dead process had submitted before it lets
  // go of the file: milliseconds, in which its last writes may still land, so that nobody else may have the store.
  static Task<Result<std::unique_ptr<UringDisk>>> open_patiently(Reactor* reactor, std::string path, DurationNs patience,
                                                                 UringDiskOptions options = {});
  ~UringDisk() override;

  void submit(DiskRequest& request) override;
  std::uint64_t size_bytes() const override;
  bool is_file() const override;
  std::uint64_t available_bytes() const override;
  // Up to kDiskMemoryRegionsMax regions, 1 GiB each; the reactor's pool is registered already. Beyond that: ignored.
  void register_memory(MutableBytes memory) override;

  std::size_t in_flight() const;

 private:
  struct Impl;
  explicit UringDisk(Reactor& reactor);
  std::unique_ptr<Impl> impl_;
};

}  // namespace holdfast::io
