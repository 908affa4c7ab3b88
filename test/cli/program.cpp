#include "test/cli/program.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace holdfast::cli {

std::string read_text(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

TemporaryFolder::TemporaryFolder() {
  std::string name = (std::filesystem::temp_directory_path() / "holdfast-test-XXXXXX").string();
  if (!::mkdtemp(name.data())) throw std::runtime_error("no temporary folder");
  ::chmod(name.c_str(), 0755);  // A daemon without privileges must get through to its own folder.
  path_ = name;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string TemporaryFolder::write(const std::string& name, const std::string& text, mode_t mode) const {
  const std::string path = path_ + "/" + name;
  std::ofstream(path) << text;
  ::chmod(path.c_str(), mode);
  return path;
}

Program::Program(std::string folder, std::vector<std::string> words, ProgramOptions options) : folder_(std::move(folder)) {
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  const std::string out = folder_ + "/stdout", err = folder_ + "/stderr";
  ::unlink(out.c_str());
  ::unlink(err.c_str());
  const pid_t parent = ::getpid();
  pid_ = ::fork();
  if (pid_ == 0) {
    ::close(0);
    ::open("/dev/null", O_RDONLY);
    ::dup2(::open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0666), 1);
    ::dup2(::open(err.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0666), 2);
    for (const auto& [name, value] : options.environment) ::setenv(name.c_str(), value.c_str(), 1);
    if (options.before_exec) options.before_exec();
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // Nothing outlives a test that is killed.
    if (::getppid() != parent) ::_exit(127);
    ::execv(arguments[0], arguments.data());
    ::_exit(127);
  }
  pid_fd_ = static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0));
}

Program::~Program() {
  if (!reaped_) {
    signal(SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  ::close(pid_fd_);
}

void Program::signal(int number) const { ::kill(pid_, number); }

bool Program::ended_within(int patience_ms) const {
  pollfd ended{.fd = pid_fd_, .events = POLLIN, .revents = 0};
  return ::poll(&ended, 1, patience_ms) == 1;
}

Ended Program::wait(int patience_ms) {
  if (!ended_within(patience_ms)) {
    ADD_FAILURE() << "process " << pid_ << " did not end within " << patience_ms << " ms; its log:\n" << err();
    signal(SIGKILL);
  }
  int status = 0;
  ::waitpid(pid_, &status, 0);
  reaped_ = true;
  const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return {code, read_text(folder_ + "/stdout"), err()};
}

std::string Program::err() const { return read_text(folder_ + "/stderr"); }

}  // namespace holdfast::cli
