#include "test/torture/process.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "test/torture/clock.h"
#include "test/torture/failure.h"

extern char** environ;

namespace holdfast::torture {
namespace {

constexpr int kFirstPassed = 3;
constexpr int kPassedMax = 16;
constexpr char kListenPid[] = "LISTEN_PID=0000000000";

struct Launch {
  std::string program;
  std::vector<std::string> words, variables;
  std::vector<char*> argv, envp;
  char* listen_pid = nullptr;  // The digits that only the child knows.
  int netns = -1, output = -1;
  std::vector<int> passed;
  pid_t parent = -1;
};

std::string look_up(const std::string& name) {
  if (name.find('/') != name.npos) return name;
  const char* path = std::getenv("PATH");
  std::istringstream folders(std::string(path ? path : "") + ":/usr/sbin:/sbin:/usr/bin:/bin");
  for (std::string folder; std::getline(folders, folder, ':');)
    if (!folder.empty() && ::access((folder + "/" + name).c_str(), X_OK) == 0) return folder + "/" + name;
  throw Failure(name + " is not installed (tools/setup test)");
}

std::vector<char*> pointers_to(std::vector<std::string>& words) {
  std::vector<char*> out;
  for (std::string& word : words) out.push_back(word.data());
  out.push_back(nullptr);
  return out;
}

// Between fork and exec other threads may hold any lock: system calls only.
[[noreturn]] void become(const Launch& launch) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != launch.parent) ::_exit(127);
  if (launch.netns >= 0 && ::setns(launch.netns, CLONE_NEWNET) != 0) ::_exit(126);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::dup2(::open("/dev/null", O_RDONLY), STDIN_FILENO);
  ::dup2(launch.output, STDOUT_FILENO);
  ::dup2(launch.output, STDERR_FILENO);
  // First out of the way, then into place: a source may lie where another one is to go.
  int aside[kPassedMax];
  const int count = static_cast<int>(launch.passed.size());
  for (int i = 0; i < count; ++i) aside[i] = ::fcntl(launch.passed[static_cast<std::size_t>(i)], F_DUPFD_CLOEXEC, kFirstPassed + kPassedMax);
  for (int i = 0; i < count; ++i) ::dup2(aside[i], kFirstPassed + i);
  if (launch.listen_pid) {
    pid_t pid = ::getpid();
    for (char* at = launch.listen_pid + sizeof kListenPid - 2; pid > 0; pid /= 10) *at-- = static_cast<char>('0' + pid % 10);
  }
  ::execve(launch.program.c_str(), launch.argv.data(), launch.envp.data());
  ::_exit(127);
}

pid_t launch_process(const ProcessOptions& options, int output) {
  Launch launch;
  require(options.listening.size() <= kPassedMax, "too many descriptors to pass");
  launch.program = look_up(options.words.at(0));
  launch.words = options.words;
  for (char** at = environ; *at; ++at) {
    const std::string variable(*at);
    if (!options.environment.contains(variable.substr(0, variable.find('=')))) launch.variables.push_back(variable);
  }
  for (const auto& [name, value] : options.environment) launch.variables.push_back(name + "=" + value);
  if (!options.listening.empty()) {
    launch.variables.push_back("LISTEN_FDS=" + std::to_string(options.listening.size()));
    launch.variables.push_back(kListenPid);
  }
  launch.argv = pointers_to(launch.words);
  launch.envp = pointers_to(launch.variables);
  if (!options.listening.empty()) launch.listen_pid = launch.variables.back().data();
  launch.netns = options.where ? options.where->fd() : -1;
  launch.output = output;
  launch.passed = options.listening;
  launch.parent = ::getpid();
  const pid_t child = ::fork();
  require_call(child >= 0, "no process for " + options.words[0]);
  if (child == 0) become(launch);
  return child;
}

}  // namespace

Process::Process(const ProcessOptions& options) : name_(options.words.at(0)) {
  const io::UniqueFd output(::open(options.log.empty() ? "/dev/null" : options.log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  require_call(output.get() >= 0, options.log);
  pid_ = launch_process(options, output.get());
  pid_fd_ = io::UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
  require_call(pid_fd_.get() >= 0, "pidfd_open");
}

Process::~Process() {
  if (reaped_) return;
  signal(SIGKILL);
  reap();
}

bool Process::ended_within(DurationNs patience) const {
  if (reaped_) return true;
  pollfd ended{.fd = pid_fd_.get(), .events = POLLIN, .revents = 0};
  return ::poll(&ended, 1, static_cast<int>(patience.value / 1'000'000)) == 1;
}

void Process::signal(int number) const { ::kill(pid_, number); }

int Process::reap() {
  if (!reaped_) {
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    reaped_ = true;
    status_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  return status_;
}

void Process::kill() {
  require(running(), name_ + " was dead before it was killed");
  signal(SIGKILL);
  const int how = reap();
  require(how == 128 + SIGKILL, name_ + " did not die of the signal, but with " + std::to_string(how));
}

void Process::freeze() {
  require(running(), name_ + " was dead before it was frozen");
  signal(SIGSTOP);
  siginfo_t what{};
  require_call(::waitid(P_PID, static_cast<id_t>(pid_), &what, WSTOPPED | WNOWAIT) == 0 && what.si_code == CLD_STOPPED, name_ + " does not freeze");
}

void Process::thaw() { signal(SIGCONT); }

int Process::wait(DurationNs patience) {
  if (!ended_within(patience)) {
    signal(SIGKILL);
    reap();
    throw Failure(name_ + " did not end within " + std::to_string(patience.value / 1'000'000) + " ms");
  }
  return reap();
}

Ran run(const std::vector<std::string>& words, const NetNamespace* where, DurationNs patience, const std::map<std::string, std::string>& environment) {
  std::string pattern = (std::filesystem::temp_directory_path() / "torture-said-XXXXXX").string();
  const io::UniqueFd file(::mkostemp(pattern.data(), O_CLOEXEC));
  require_call(file.get() >= 0, "no temporary file");
  ProcessOptions options;
  options.words = words;
  options.environment = environment;
  options.where = where;
  options.log = pattern;
  Ran ran;
  try {
    Process process(options);
    ran.status = process.wait(patience);
  } catch (...) {
    ::unlink(pattern.c_str());
    throw;
  }
  ran.output = read_file(pattern);
  ::unlink(pattern.c_str());
  return ran;
}

std::string must_run(const std::vector<std::string>& words, const NetNamespace* where) {
  const Ran ran = run(words, where);
  if (ran.status == 0) return ran.output;
  std::string line;
  for (const std::string& word : words) line += word + " ";
  throw Failure(line + "ended with " + std::to_string(ran.status) + ": " + ran.output);
}

std::string read_file(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

void write_file(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::trunc);
  file << text;
  file.close();
  require(file.good(), path + " cannot be written");
}

}  // namespace holdfast::torture
