#include "tools/holdfastd/data_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <tuple>

#include "admin/names.h"
#include "io/system_error.h"
#include "tools/holdfastd/durable_file.h"

namespace holdfast::daemon {
namespace {

std::string holder_of(int fd) {
  std::array<char, 32> text{};
  const ssize_t count = ::pread(fd, text.data(), text.size() - 1, 0);
  std::string out = count > 0 ? std::string(text.data(), static_cast<std::size_t>(count)) : "";
  while (out.ends_with('\n')) out.pop_back();
  return out.empty() ? "" : " (process " + admin::printable(out) + ")";
}

Result<io::UniqueFd> lock_folder(const std::string& path) {
  const std::string file = path + "/lock";
  io::UniqueFd fd(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd) return fail(io::system_error(errno, "cannot open " + file));
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return fail(io::system_error(errno, "cannot lock " + file));
    return fail(Errc::locked, path + " is in use by another holdfastd" + holder_of(fd.get()) +
                                  ": stop it first, or give this node a data directory of its own");
  }
  // Only for people who look: the lock is what counts.
  const std::string text = std::to_string(::getpid()) + "\n";
  std::ignore = ::ftruncate(fd.get(), 0);
  std::ignore = ::pwrite(fd.get(), text.data(), text.size(), 0);
  return fd;
}

}  // namespace

Result<DataDirectory> DataDirectory::open(std::string path) {
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  const auto named = [&](const Error& error) { return fail(error.code, "node.data_dir: " + error.message); };
  if (auto made = ensure_folder(path); !made) return named(made.error());
  auto lock = lock_folder(path);
  if (!lock) return named(lock.error());
  if (auto made = ensure_folder(path + "/volumes"); !made) return named(made.error());
  return DataDirectory(std::move(path), std::move(*lock));
}

}  // namespace holdfast::daemon
