#include "tools/holdfastd/durable_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/result.h"
#include "io/system_error.h"
#include "io/unique_fd.h"

namespace holdfast::daemon {
namespace {

std::unexpected<Error> failed(std::string_view what, const std::string& path) {
  return fail(io::system_error(errno, std::string(what) + " " + path));
}

std::string parent_of(const std::string& path) {
  const std::size_t slash = path.find_last_of('/');
  if (slash == path.npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

Result<void> write_synced(const std::string& path, std::string_view text) {
  const io::UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!fd) return failed("cannot create", path);
  while (!text.empty()) {
    const ssize_t count = ::write(fd.get(), text.data(), text.size());
    if (count < 0) return failed("cannot write", path);
    text.remove_prefix(static_cast<std::size_t>(count));
  }
  if (::fsync(fd.get()) != 0) return failed("cannot sync", path);
  return {};
}

}  // namespace

Result<void> sync_folder(const std::string& path) {
  const io::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return failed("cannot open", path);
  if (::fsync(fd.get()) != 0) return failed("cannot sync", path);
  return {};
}

Result<void> write_durably(const std::string& path, std::string_view text) {
  const std::string beside = path + ".new";
  if (auto written = write_synced(beside, text); !written) {
    ::unlink(beside.c_str());
    return written;
  }
  if (::rename(beside.c_str(), path.c_str()) != 0) return failed("cannot replace", path);
  return sync_folder(parent_of(path));
}

Result<std::string> read_whole(const std::string& path, std::size_t bytes_max) {
  const io::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd && errno == ENOENT) return fail(Errc::not_found, path + " does not exist");
  if (!fd) return failed("cannot open", path);
  std::string out;
  std::array<char, 16384> piece;
  for (;;) {
    const ssize_t count = ::read(fd.get(), piece.data(), piece.size());
    if (count < 0) return failed("cannot read", path);
    if (count == 0) return out;
    out.append(piece.data(), static_cast<std::size_t>(count));
    if (out.size() > bytes_max) return fail(Errc::corrupt, path + " is larger than it can be");
  }
}

Result<void> ensure_folder(const std::string& path) {
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return failed("cannot create", path);
  struct stat about{};
  if (::stat(path.c_str(), &about) != 0) return failed("cannot look at", path);
  if (!S_ISDIR(about.st_mode)) return fail(Errc::invalid_argument, path + " is not a folder");
  if (::access(path.c_str(), R_OK | W_OK | X_OK) != 0) return failed("no permission for", path);
  return sync_folder(parent_of(path));
}

}  // namespace holdfast::daemon
