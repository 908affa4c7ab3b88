#include "tools/holdfast/doctor/host_view.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/timex.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <sstream>

extern char** environ;

namespace holdfast::cli {
namespace {

constexpr std::size_t kFileBytesMax = 4U << 20;

std::optional<std::string> read_all(int file) {
  std::string out;
  char buffer[16 << 10];
  while (out.size() < kFileBytesMax) {
    const ssize_t got = ::read(file, buffer, sizeof buffer);
    if (got < 0) return std::nullopt;
    if (got == 0) return out;
    out.append(buffer, static_cast<std::size_t>(got));
  }
  return out;
}

// What the program prints; nothing when it is missing or fails.
std::optional<std::string> output_of(std::vector<std::string> words) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return std::nullopt;
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  ::posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  pid_t pid = -1;
  const int failed = ::posix_spawnp(&pid, arguments[0], &actions, nullptr, arguments.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(ends[1]);
  auto out = failed == 0 ? read_all(ends[0]) : std::nullopt;
  ::close(ends[0]);
  int status = 0;
  if (failed != 0 || ::waitpid(pid, &status, 0) != pid || status != 0) return std::nullopt;
  return out;
}

}  // namespace

int HostView::open_inside(const std::string& path, int flags) const {
  const int root = ::open(root_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (root < 0) return -1;
  open_how how{};
  how.flags = static_cast<unsigned>(flags | O_CLOEXEC);
  how.resolve = RESOLVE_IN_ROOT;
  const long file = ::syscall(SYS_openat2, root, path.c_str(), &how, sizeof how);
  ::close(root);
  return static_cast<int>(file);
}

std::optional<std::string> HostView::read(const std::string& path) const {
  const int file = open_inside(path, O_RDONLY | O_NONBLOCK);
  if (file < 0) return std::nullopt;
  auto out = read_all(file);
  ::close(file);
  return out;
}

std::string HostView::line(const std::string& path) const {
  const auto text = read(path);
  return text ? trimmed(text->substr(0, text->find('\n'))) : std::string();
}

std::vector<std::string> HostView::list(const std::string& path) const {
  std::vector<std::string> names;
  const int folder = open_inside(path, O_RDONLY | O_DIRECTORY);
  DIR* entries = folder < 0 ? nullptr : ::fdopendir(folder);
  if (entries == nullptr) {
    if (folder >= 0) ::close(folder);
    return names;
  }
  while (const dirent* entry = ::readdir(entries)) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  ::closedir(entries);
  std::sort(names.begin(), names.end());
  return names;
}

bool HostView::exists(const std::string& path) const {
  const int file = open_inside(path, O_PATH);
  if (file >= 0) ::close(file);
  return file >= 0;
}

std::optional<std::string> HostView::link(const std::string& path) const {
  const int file = open_inside(path, O_PATH | O_NOFOLLOW);
  if (file < 0) return std::nullopt;
  char target[4096];
  const ssize_t length = ::readlinkat(file, "", target, sizeof target);
  ::close(file);
  if (length <= 0) return std::nullopt;
  return std::string(target, static_cast<std::size_t>(length));
}

std::optional<std::string> HostView::device_table(const std::string& name) const {
  if (!is_live()) return read("/captured/dm-table/" + name);
  return output_of({"dmsetup", "table", "--", name});
}

std::optional<bool> HostView::clock_is_synchronized() const {
  if (is_live()) {
    timex state{};
    const int answer = ::adjtimex(&state);
    if (answer < 0) return std::nullopt;
    return answer != TIME_ERROR && (state.status & STA_UNSYNC) == 0;
  }
  const std::string word = line("/captured/clock");
  if (word.empty()) return std::nullopt;
  return word == "synchronized";
}

std::string trimmed(const std::string& text) {
  const char* blanks = " \t\r\n";
  const auto first = text.find_first_not_of(blanks);
  if (first == std::string::npos) return {};
  return text.substr(first, text.find_last_not_of(blanks) - first + 1);
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> out;
  std::istringstream in(text);
  for (std::string one; std::getline(in, one);) out.push_back(one);
  return out;
}

std::vector<std::string> words_of(const std::string& text) {
  std::vector<std::string> out;
  std::istringstream in(text);
  for (std::string one; in >> one;) out.push_back(one);
  return out;
}

}  // namespace holdfast::cli
