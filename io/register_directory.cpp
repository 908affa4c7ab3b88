#include "io/register_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>

#include "base/checksum.h"
#include "base/text.h"
#include "io/store_file.h"
#include "io/system_error.h"

namespace holdfast::io {
namespace {

constexpr std::size_t kEntryBytesMax = 1 << 20;
constexpr std::string_view kFirstWord = "holdfast-entry";
constexpr const char* kLockName = "LOCK";
constexpr const char* kClusterName = "cluster";

class Locked {
 public:
  Locked(int fd, int how) : fd_(fd), held_(false) {
    while (!(held_ = ::flock(fd_, how) == 0) && errno == EINTR) {
    }
  }
  Locked(const Locked&) = delete;
  ~Locked() {
    if (held_) ::flock(fd_, LOCK_UN);
  }
  explicit operator bool() const { return held_; }

 private:
  int fd_;
  bool held_;
};

bool key_is_fine(const std::string& key) {
  const auto fine = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.'; };
  return !key.empty() && key.size() <= 128 && key[0] != '.' && std::all_of(key.begin(), key.end(), fine);
}

std::string file_of(const std::string& key) { return key + ".register"; }

Result<std::string> read_file(int directory, const std::string& name) {
  const UniqueFd fd(::openat(directory, name.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return fail(system_error(errno, "cannot open " + name));
  std::string text;
  std::array<char, 8192> piece;
  for (;;) {
    const ssize_t count = ::read(fd.get(), piece.data(), piece.size());
    if (count < 0) return fail(system_error(errno, "cannot read " + name));
    if (count == 0) return text;
    text.append(piece.data(), static_cast<std::size_t>(count));
    if (text.size() > kEntryBytesMax) return fail(Errc::corrupt, name + " is larger than an entry can be");
  }
}

Result<void> write_file(int directory, const std::string& name, std::string_view text) {
  const UniqueFd fd(::openat(directory, name.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!fd) return fail(system_error(errno, "cannot create " + name));
  while (!text.empty()) {
    const ssize_t count = ::write(fd.get(), text.data(), text.size());
    if (count < 0) return fail(system_error(errno, "cannot write " + name));
    text.remove_prefix(static_cast<std::size_t>(count));
  }
  if (::fsync(fd.get()) != 0) return fail(system_error(errno, "cannot sync " + name));
  return {};
}

std::string random_hex() {
  std::array<unsigned char, 16> bytes{};
  while (::getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
  }
  std::string out;
  for (const unsigned char byte : bytes) out += {"0123456789abcdef"[byte >> 4], "0123456789abcdef"[byte & 15]};
  return out;
}

// holdfast-entry <revision> <xxh3 of the value>\n<value>
std::string encode(const CoordinatorEntry& entry) {
  return concat(kFirstWord, " ", entry.revision, " ", xxh3(as_bytes(entry.value), entry.revision), "\n", entry.value);
}

Result<CoordinatorEntry> decode(std::string_view text, const std::string& name) {
  const auto bad = [&] { return fail(Errc::corrupt, name + " is damaged: restore the coordinator's directory from a copy"); };
  const auto number = [&text](std::uint64_t& out, char end) {
    const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), out);
    const auto used = static_cast<std::size_t>(rest - text.data());
    if (error != std::errc{} || used >= text.size() || text[used] != end) return false;
    text.remove_prefix(used + 1);
    return true;
  };
  if (!text.starts_with(kFirstWord) || text.size() <= kFirstWord.size() + 1) return bad();
  text.remove_prefix(kFirstWord.size() + 1);
  CoordinatorEntry entry;
  std::uint64_t checksum = 0;
  if (!number(entry.revision, ' ') || !number(checksum, '\n')) return bad();
  if (entry.revision == 0 || xxh3(as_bytes(text), entry.revision) != checksum) return bad();
  entry.value = text;
  return entry;
}

}  // namespace

Result<RegisterDirectory> RegisterDirectory::open(std::string path) {
  RegisterDirectory result;
  result.path_ = std::move(path);
  if (::mkdir(result.path_.c_str(), 0700) == 0) {
    TRY(sync_directory_of(result.path_));
  } else if (errno != EEXIST) {
    return fail(system_error(errno, "cannot make the coordinator's directory " + result.path_));
  }
  result.directory_.reset(::open(result.path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!result.directory_) return fail(system_error(errno, "cannot open the coordinator's directory " + result.path_));
  result.lock_.reset(::openat(result.directory_.get(), kLockName, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!result.lock_) return fail(system_error(errno, "cannot open the lock in " + result.path_));
  const Locked locked(result.lock_.get(), LOCK_EX);
  if (!locked) return fail(system_error(errno, "cannot lock " + result.path_));
  auto id = read_file(result.directory_.get(), kClusterName);
  if (!id && id.error().code != Errc::not_found) return fail(id.error());
  if (!id) {
    id = random_hex();
    const std::string beside = std::string(kClusterName) + ".new";
    TRY(write_file(result.directory_.get(), beside, *id));
    if (::renameat(result.directory_.get(), beside.c_str(), result.directory_.get(), kClusterName) != 0)
      return fail(system_error(errno, "cannot name the cluster in " + result.path_));
  }
  if (::fsync(result.directory_.get()) != 0) return fail(system_error(errno, "cannot sync " + result.path_));
  result.cluster_id_ = std::move(*id);
  return result;
}

// Somebody may empty the directory, or put an older one in its place, under our feet.
Result<void> RegisterDirectory::check_cluster() {
  auto id = read_file(directory_.get(), kClusterName);
  if (id && *id == cluster_id_) return {};
  if (id || id.error().code == Errc::not_found)
    return fail(Errc::foreign, "the coordinator's directory " + path_ + " is another cluster's, or was emptied: put the right one back");
  return fail(id.error());
}

Result<CoordinatorEntry> RegisterDirectory::read_entry(const std::string& key) {
  TRY(check_cluster());
  CoordinatorEntry entry;
  auto text = read_file(directory_.get(), file_of(key));
  if (!text && text.error().code != Errc::not_found) return fail(text.error());
  if (text) {
    auto decoded = decode(*text, path_ + "/" + file_of(key));
    if (!decoded) return decoded;
    entry = std::move(*decoded);
  }
  std::uint64_t& seen = seen_[key];
  if (entry.revision < seen)
    return fail(Errc::foreign, concat("the coordinator's directory ", path_, " went back in time: ", key, " was at revision ", seen,
                                      " and is at ", entry.revision, ": put the newer one back"));
  seen = entry.revision;
  return entry;
}

Result<CoordinatorEntry> RegisterDirectory::get(const std::string& key) {
  if (!key_is_fine(key)) return fail(Errc::invalid_argument, "key: 1 to 128 of a-z, 0-9, - and .");
  const Locked locked(lock_.get(), LOCK_EX);
  if (!locked) return fail(system_error(errno, "cannot lock " + path_));
  auto entry = read_entry(key);
  if (entry && ::fsync(directory_.get()) != 0) return fail(system_error(errno, "cannot sync " + path_));
  return entry;
}

// may_be_there: from the rename on the outcome is unknown until the directory is synced.
Result<void> RegisterDirectory::write_entry(const std::string& key, const CoordinatorEntry& entry, bool* may_be_there) {
  const std::string name = file_of(key), beside = name + ".new";
  TRY(write_file(directory_.get(), beside, encode(entry)));
  *may_be_there = true;
  if (::renameat(directory_.get(), beside.c_str(), directory_.get(), name.c_str()) != 0)
    return fail(system_error(errno, "cannot replace " + name));
  if (::fsync(directory_.get()) != 0) return fail(system_error(errno, "cannot sync " + path_));
  return {};
}

CasOutcome RegisterDirectory::compare_and_swap(const std::string& key, std::uint64_t base_revision, const std::string& value) {
  CasOutcome outcome;
  if (!key_is_fine(key) || value.size() > kEntryBytesMax / 2) return outcome;
  const Locked locked(lock_.get(), LOCK_EX);
  if (!locked) return outcome;
  auto now = read_entry(key);
  if (!now) return outcome;
  outcome.entry = std::move(*now);
  outcome.status = CasStatus::conflict;
  if (outcome.entry.revision != base_revision) {
    if (::fsync(directory_.get()) != 0) outcome.status = CasStatus::unknown;
    return outcome;
  }
  const CoordinatorEntry next{base_revision + 1, value};
  bool may_be_there = false;
  const auto written = write_entry(key, next, &may_be_there);
  if (!written) {
    outcome.status = CasStatus::unknown;
    return outcome;
  }
  seen_[key] = next.revision;
  return CasOutcome{CasStatus::applied, next};
}

}  // namespace holdfast::io
