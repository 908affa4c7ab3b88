#include "io/store_file.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "base/types.h"
#include "io/system_error.h"

namespace holdfast::io {
namespace {

Result<void> lock_store(int fd, const std::string& path) {
  struct flock lock{};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;  // From 0 to the end, whatever the end becomes.
  if (::fcntl(fd, F_OFD_SETLK, &lock) == 0) return {};
  if (errno == EAGAIN || errno == EACCES)
    return fail(Errc::locked, path + " is in use by another process: is a second holdfastd running on it?");
  return fail(system_error(errno, "cannot lock " + path));
}

Result<std::uint64_t> device_size(int fd, const std::string& path) {
  std::uint64_t bytes = 0;
  int sector_bytes = 0;
  if (::ioctl(fd, BLKGETSIZE64, &bytes) != 0) return fail(system_error(errno, "cannot read the size of " + path));
  if (::ioctl(fd, BLKSSZGET, &sector_bytes) != 0) return fail(system_error(errno, "cannot read the sector size of " + path));
  if (sector_bytes > static_cast<int>(kBlockBytes))
    return fail(Errc::unsupported, path + " has sectors of " + std::to_string(sector_bytes) + " bytes; at most 4096 can be used");
  return bytes;
}

Error open_error(int error_number, const std::string& path) {
  switch (error_number) {
    case ENOENT: return Error(Errc::not_found, path + " does not exist");
    case EACCES:
    case EPERM: return Error(Errc::permission, "no permission to read and write " + path);
    case EROFS: return Error(Errc::permission, path + " is on a read-only file system");
    case EISDIR: return Error(Errc::invalid_argument, path + " is a directory: a regular file or a block device is needed");
    case EBUSY: return Error(Errc::locked, path + " is in use: it is mounted, or another program claims the device");
    default: return system_error(error_number, "cannot open " + path);
  }
}

}  // namespace

Result<StoreFile> open_store_file(const std::string& path, PageCache page_cache) {
  // What it is decides how to open it; a FIFO must not be opened at all, that would block.
  struct stat before{};
  if (::stat(path.c_str(), &before) != 0) return fail(open_error(errno, path));
  const bool device = S_ISBLK(before.st_mode);
  if (S_ISDIR(before.st_mode)) return fail(open_error(EISDIR, path));
  if (!device && !S_ISREG(before.st_mode))
    return fail(Errc::invalid_argument, path + " is neither a regular file nor a block device");

  StoreFile file;
  const int flags = O_RDWR | O_CLOEXEC | O_NONBLOCK | (device ? O_EXCL : 0);
  file.fd.reset(::open(path.c_str(), flags | O_DIRECT));
  if (!file.fd && errno == EINVAL) {
    if (page_cache == PageCache::bypass)
      return fail(Errc::unsupported, path + " is on a file system without O_DIRECT: use one that has it (ext4, xfs, btrfs, "
                                            "a block device)");
    file.fd.reset(::open(path.c_str(), flags));
    file.direct = false;
  }
  if (!file.fd) return fail(open_error(errno, path));
  // O_NONBLOCK was for the open alone: the ring must retry what cannot be done at once.
  ::fcntl(file.fd.get(), F_SETFL, ::fcntl(file.fd.get(), F_GETFL) & ~O_NONBLOCK);
  struct stat now{};
  if (::fstat(file.fd.get(), &now) != 0) return fail(system_error(errno, "cannot examine " + path));
  if ((now.st_mode & S_IFMT) != (before.st_mode & S_IFMT)) return fail(Errc::busy, path + " was replaced while it was opened");

  file.kind = device ? BackingKind::block_device : BackingKind::file;
  TRY(lock_store(file.fd.get(), path));
  if (device) {
    auto bytes = device_size(file.fd.get(), path);
    if (!bytes) return fail(std::move(bytes).error());
    file.size_bytes = *bytes;
  } else {
    file.size_bytes = static_cast<std::uint64_t>(now.st_size);
  }
  if (file.size_bytes == 0) return fail(Errc::invalid_argument, path + " is empty: it holds no store");
  if (file.size_bytes % kBlockBytes != 0)
    return fail(Errc::invalid_argument, path + " has " + std::to_string(file.size_bytes) +
                                            " bytes, which is not a multiple of 4096: it is truncated or not a store");
  return file;
}

// The ring may hold the open file a little longer than we do, and the lock with it.
void release_store_lock(int fd) {
  struct flock lock{};
  lock.l_type = F_UNLCK;
  lock.l_whence = SEEK_SET;
  ::fcntl(fd, F_OFD_SETLK, &lock);
}

Result<void> sync_directory_of(const std::string& path) {
  std::string directory = std::filesystem::path(path).parent_path().string();
  if (directory.empty()) directory = ".";
  UniqueFd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return fail(system_error(errno, "cannot open the directory " + directory));
  if (::fsync(fd.get()) != 0) return fail(Errc::sync_failed, system_error(errno, "cannot sync the directory " + directory).message);
  return {};
}

Result<void> create_store_file(const std::string& path, std::uint64_t size_bytes) {
  if (size_bytes == 0 || size_bytes % kBlockBytes != 0)
    return fail(Errc::invalid_argument, "size: " + std::to_string(size_bytes) + " is not a positive multiple of 4096");
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!fd) {
    if (errno == EEXIST) return fail(Errc::exists, path + " exists already");
    if (errno == ENOENT) return fail(Errc::not_found, "the directory of " + path + " does not exist");
    if (errno == EACCES || errno == EPERM) return fail(Errc::permission, "no permission to create " + path);
    return fail(system_error(errno, "cannot create " + path));
  }
  Result<void> result;
  if (::ftruncate(fd.get(), static_cast<off_t>(size_bytes)) != 0) {
    result = errno == EFBIG || errno == EINVAL
                 ? fail(Errc::invalid_argument, "size: the file system of " + path + " has no files of " +
                                                    std::to_string(size_bytes) + " bytes")
                 : fail(system_error(errno, "cannot size " + path));
  } else if (::fsync(fd.get()) != 0) {
    result = fail(Errc::sync_failed, system_error(errno, "cannot sync " + path).message);
  } else {
    result = sync_directory_of(path);
  }
  if (!result) ::unlink(path.c_str());
  return result;
}

Result<void> remove_store_file(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK));
  if (!fd) return fail(open_error(errno, path));
  TRY(lock_store(fd.get(), path));
  if (::unlink(path.c_str()) != 0) return fail(system_error(errno, "cannot remove " + path));
  return sync_directory_of(path);
}

}  // namespace holdfast::io
