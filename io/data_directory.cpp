#include "io/data_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>

#include "io/store_file.h"
#include "io/system_error.h"

namespace holdfast::io {
namespace {

// What the holder of the lock wrote; zero when it cannot be told.
long read_pid(int fd) {
  std::array<char, 32> text{};
  const ssize_t bytes = ::pread(fd, text.data(), text.size() - 1, 0);
  long pid = 0;
  if (bytes > 0) std::from_chars(text.data(), text.data() + bytes, pid);
  return pid;
}

Result<void> write_pid(int fd, const std::string& path) {
  const std::string text = std::to_string(::getpid()) + "\n";
  if (::ftruncate(fd, 0) != 0 || ::pwrite(fd, text.data(), text.size(), 0) != static_cast<ssize_t>(text.size()))
    return fail(system_error(errno, "cannot write " + path));
  return {};
}

Error directory_error(int error_number, const std::string& path) {
  switch (error_number) {
    case EACCES:
    case EPERM: return Error(Errc::permission, "no permission to use the data directory " + path);
    case ENOENT: return Error(Errc::not_found, "the data directory " + path + " cannot be made: its parent does not exist");
    case EEXIST:
    case ENOTDIR: return Error(Errc::invalid_argument, "the data directory " + path + " is not a directory");
    default: return system_error(error_number, "cannot use the data directory " + path);
  }
}

}  // namespace

Result<DataDirectory> DataDirectory::open(std::string path) {
  DataDirectory result;
  result.path_ = std::move(path);
  const std::string& name = result.path_;
  if (::mkdir(name.c_str(), 0700) == 0) {
    TRY(sync_directory_of(name));
  } else if (errno != EEXIST) {
    return fail(directory_error(errno, name));
  }
  result.directory_.reset(::open(name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!result.directory_) return fail(directory_error(errno, name));
  const std::string lock_path = result.file("LOCK");
  result.lock_.reset(::openat(result.directory_.get(), "LOCK", O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!result.lock_) return fail(directory_error(errno, name));
  if (::flock(result.lock_.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return fail(system_error(errno, "cannot lock " + lock_path));
    const long pid = read_pid(result.lock_.get());
    return fail(Errc::locked, "the data directory " + name + " is in use by another node" +
                                  (pid > 0 ? " (process " + std::to_string(pid) + ")" : std::string()) +
                                  ": give each node its own directory, or stop that one");
  }
  TRY(write_pid(result.lock_.get(), lock_path));
  return result;
}

Result<void> DataDirectory::sync() const {
  if (::fsync(directory_.get()) != 0) return fail(Errc::sync_failed, system_error(errno, "cannot sync " + path_).message);
  return {};
}

}  // namespace holdfast::io
