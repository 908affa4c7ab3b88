#include "io/register_directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <memory>

#include "base/checksum.h"
#include "base/text.h"
#include "io/store_file.h"
#include "io/system_error.h"

namespace holdfast::io {
namespace {

constexpr std::size_t kEntryBytesMax = 1 << 20;
constexpr std::string_view kFirstWord = "holdfast-entry", kErasedWord = "holdfast-erased";
constexpr std::string_view kSuffix = ".register";
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

// Slashes, which a file's name cannot have, become what a key cannot have.
std::string file_of(std::string key) {
  std::replace(key.begin(), key.end(), '/', '_');
  return key.append(kSuffix);
}

// Nothing: no key's file.
std::string key_of(std::string_view file) {
  if (!file.ends_with(kSuffix)) return {};
  std::string key(file.substr(0, file.size() - kSuffix.size()));
  std::replace(key.begin(), key.end(), '_', '/');
  return coordinator_key_is_fine(key) ? key : std::string();
}

// The files of a directory; bounded by what the directory has.
Result<std::vector<std::string>> names_in(const std::string& path) {
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(path.c_str()), ::closedir);
  if (!directory) return fail(system_error(errno, "cannot read the directory " + path));
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* entry = ::readdir(directory.get())) names.emplace_back(entry->d_name);
  if (errno != 0) return fail(system_error(errno, "cannot read the directory " + path));
  return names;
}

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

}  // namespace

CoordinatorEntry RegisterDirectory::Stored::entry() const {
  if (erased) return {};
  return {revision, value};
}

// holdfast-entry <revision> <xxh3 of the value>\n<value>, or holdfast-erased instead, without a value.
std::string RegisterDirectory::encode(const Stored& stored) {
  return concat(stored.erased ? kErasedWord : kFirstWord, " ", stored.revision, " ", xxh3(as_bytes(stored.value), stored.revision), "\n", stored.value);
}

Result<RegisterDirectory::Stored> RegisterDirectory::decode(std::string_view text, const std::string& name) {
  const auto bad = [&] { return fail(Errc::corrupt, name + " is damaged: restore the coordinator's directory from a copy"); };
  const auto number = [&text](std::uint64_t& out, char end) {
    const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), out);
    const auto used = static_cast<std::size_t>(rest - text.data());
    if (error != std::errc{} || used >= text.size() || text[used] != end) return false;
    text.remove_prefix(used + 1);
    return true;
  };
  Stored stored;
  stored.erased = text.starts_with(kErasedWord);
  const std::string_view word = stored.erased ? kErasedWord : kFirstWord;
  if (!text.starts_with(word) || text.size() <= word.size() + 1) return bad();
  text.remove_prefix(word.size() + 1);
  std::uint64_t checksum = 0;
  if (!number(stored.revision, ' ') || !number(checksum, '\n')) return bad();
  if (stored.revision == 0 || xxh3(as_bytes(text), stored.revision) != checksum || (stored.erased && !text.empty())) return bad();
  stored.value = text;
  return stored;
}

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

Result<RegisterDirectory::Stored> RegisterDirectory::read_stored(const std::string& key) {
  TRY(check_cluster());
  Stored stored;
  auto text = read_file(directory_.get(), file_of(key));
  if (!text && text.error().code != Errc::not_found) return fail(text.error());
  if (text) {
    auto decoded = decode(*text, path_ + "/" + file_of(key));
    if (!decoded) return decoded;
    stored = std::move(*decoded);
  }
  std::uint64_t& seen = seen_[key];
  if (stored.revision < seen)
    return fail(Errc::foreign, concat("the coordinator's directory ", path_, " went back in time: ", key, " was at revision ", seen,
                                      " and is at ", stored.revision, ": put the newer one back"));
  seen = stored.revision;
  return stored;
}

Result<CoordinatorEntry> RegisterDirectory::get(const std::string& key) {
  if (!coordinator_key_is_fine(key)) return fail(Errc::invalid_argument, concat("key \"", key, "\": names of a-z, 0-9, - and . between slashes"));
  const Locked locked(lock_.get(), LOCK_EX);
  if (!locked) return fail(system_error(errno, "cannot lock " + path_));
  auto stored = read_stored(key);
  if (!stored) return fail(stored.error());
  if (::fsync(directory_.get()) != 0) return fail(system_error(errno, "cannot sync " + path_));
  return stored->entry();
}

Result<std::vector<DirectoryEntry>> RegisterDirectory::list(const std::string& folder) {
  if (!coordinator_key_is_fine(folder)) return fail(Errc::invalid_argument, concat("folder \"", folder, "\": names of a-z, 0-9, - and . between slashes"));
  const Locked locked(lock_.get(), LOCK_EX);
  if (!locked) return fail(system_error(errno, "cannot lock " + path_));
  TRY(check_cluster());
  auto names = names_in(path_);
  if (!names) return fail(names.error());
  std::vector<DirectoryEntry> entries;
  for (const std::string& name : *names) {
    const std::string key = key_of(name);
    if (!key.starts_with(folder + "/")) continue;
    auto stored = read_stored(key);
    if (!stored) return fail(stored.error());
    if (stored->erased) continue;
    if (entries.size() == kDirectoryEntriesMax) return fail(Errc::overloaded, concat(path_, ": ", folder, " has more than ", kDirectoryEntriesMax, " keys"));
    entries.push_back({key, stored->entry()});
  }
  if (::fsync(directory_.get()) != 0) return fail(system_error(errno, "cannot sync " + path_));
  std::sort(entries.begin(), entries.end(), [](const DirectoryEntry& a, const DirectoryEntry& b) { return a.key < b.key; });
  return entries;
}

// may_be_there: from the rename on the outcome is unknown until the directory is synced.
Result<void> RegisterDirectory::write_stored(const std::string& key, const Stored& stored, bool* may_be_there) {
  const std::string name = file_of(key), beside = name + ".new";
  TRY(write_file(directory_.get(), beside, encode(stored)));
  *may_be_there = true;
  if (::renameat(directory_.get(), beside.c_str(), directory_.get(), name.c_str()) != 0)
    return fail(system_error(errno, "cannot replace " + name));
  if (::fsync(directory_.get()) != 0) return fail(system_error(errno, "cannot sync " + path_));
  return {};
}

// `next` gets its revision here.
CasOutcome RegisterDirectory::change(const std::string& key, std::uint64_t base_revision, Stored next) {
  CasOutcome outcome;
  if (!coordinator_key_is_fine(key) || next.value.size() > kCoordinatorValueBytesMax) return outcome;
  const Locked locked(lock_.get(), LOCK_EX);
  if (!locked) return outcome;
  const auto now = read_stored(key);
  if (!now) return outcome;
  outcome.entry = now->entry();
  outcome.status = outcome.entry.revision == base_revision ? CasStatus::applied : CasStatus::conflict;
  // Or there was nothing, and there is nothing. Either way what is told is a read, and stays so.
  if (outcome.status == CasStatus::conflict || (next.erased && base_revision == 0)) {
    if (::fsync(directory_.get()) != 0) outcome.status = CasStatus::unknown;
    return outcome;
  }
  next.revision = now->revision + 1;
  bool may_be_there = false;
  const auto written = write_stored(key, next, &may_be_there);
  if (!written) {
    outcome.status = CasStatus::unknown;
    return outcome;
  }
  seen_[key] = next.revision;
  return CasOutcome{CasStatus::applied, next.entry()};
}

CasOutcome RegisterDirectory::compare_and_swap(const std::string& key, std::uint64_t base_revision, const std::string& value) {
  Stored next;
  next.value = value;
  return change(key, base_revision, std::move(next));
}

CasOutcome RegisterDirectory::erase(const std::string& key, std::uint64_t base_revision) {
  Stored next;
  next.erased = true;
  return change(key, base_revision, std::move(next));
}

}  // namespace holdfast::io
