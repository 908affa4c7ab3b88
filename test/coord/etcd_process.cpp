#include "test/coord/etcd_process.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <regex>

#include "base/base64.h"

namespace holdfast::coord::test {
namespace {

// Its output goes to `output`, and it does not outlive us.
pid_t spawn_program(const std::vector<std::string>& arguments, int output) {
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  ::setenv("ETCDCTL_API", "3", 1);  // Here: other threads may hold the allocator's lock as we fork.
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child != 0) return child;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(127);
  ::dup2(output, STDOUT_FILENO);
  ::dup2(output, STDERR_FILENO);
  ::execvp(argv[0], argv.data());
  ::_exit(127);
}

int connect_to(int port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in there{};
  there.sin_family = AF_INET;
  there.sin_port = htons(static_cast<std::uint16_t>(port));
  there.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&there), sizeof there) == 0) return fd;
  ::close(fd);
  return -1;
}

}  // namespace

TempDirectory::TempDirectory() {
  std::string pattern = (std::filesystem::temp_directory_path() / "coord_test_XXXXXX").string();
  path_ = ::mkdtemp(pattern.data());
}

TempDirectory::~TempDirectory() { std::filesystem::remove_all(path_); }

int free_port() {
  static std::mt19937 random(std::random_device{}());
  for (;;) {
    const int port = static_cast<int>(10'000 + random() % 20'000);
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in here{};
    here.sin_family = AF_INET;
    here.sin_port = htons(static_cast<std::uint16_t>(port));
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const bool free = ::bind(fd, reinterpret_cast<const sockaddr*>(&here), sizeof here) == 0;
    ::close(fd);
    if (free) return port;
  }
}

Ran run_program(const std::vector<std::string>& arguments) {
  std::array<int, 2> ends{};
  EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  const pid_t child = spawn_program(arguments, ends[1]);
  ::close(ends[1]);
  Ran ran;
  std::array<char, 4096> piece{};
  for (ssize_t n; (n = ::read(ends[0], piece.data(), piece.size())) > 0;) ran.output.append(piece.data(), static_cast<std::size_t>(n));
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  ran.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return ran;
}

void EtcdMember::spawn() {
  const EtcdMemberOptions& o = options_;
  const std::string peer = "http://127.0.0.1:" + std::to_string(o.peer_port);
  std::vector<std::string> arguments{"etcd",       "--name",       o.name,        "--data-dir", o.data_dir, "--listen-client-urls", url(),
                                     "--advertise-client-urls", url(), "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                                     "--initial-cluster", o.initial_cluster.empty() ? o.name + "=" + peer : o.initial_cluster,
                                     "--initial-cluster-token", o.token, "--heartbeat-interval", "50", "--election-timeout", "500"};
  if (!o.tls_certificate.empty()) arguments.insert(arguments.end(), {"--cert-file", o.tls_certificate, "--key-file", o.tls_key});
  if (!o.tls_client_ca.empty()) arguments.insert(arguments.end(), {"--client-cert-auth", "--trusted-ca-file", o.tls_client_ca});
  arguments.insert(arguments.end(), o.more.begin(), o.more.end());
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  {
    const std::lock_guard lock(mutex_);
    log_.clear();
    ended_ = false;
  }
  pid_ = spawn_program(arguments, ends[1]);
  ::close(ends[1]);
  drainer_ = std::thread([this, fd = ends[0]] { drain(fd); });
}

void EtcdMember::drain(int fd) {
  std::array<char, 4096> piece{};
  for (ssize_t n; (n = ::read(fd, piece.data(), piece.size())) > 0;) {
    const std::lock_guard lock(mutex_);
    log_.append(piece.data(), static_cast<std::size_t>(n));
    said_.notify_all();
  }
  ::close(fd);
  const std::lock_guard lock(mutex_);
  ended_ = true;
  said_.notify_all();
}

bool EtcdMember::await_log(const std::string& text) {
  std::unique_lock lock(mutex_);
  said_.wait_for(lock, std::chrono::seconds(30), [&] { return ended_ || log_.find(text) != log_.npos; });
  const bool there = log_.find(text) != log_.npos;
  EXPECT_TRUE(there) << options_.name << " never said \"" << text << "\" (is the package etcd-server installed? tools/setup test):\n" << log_;
  return there;
}

std::string EtcdMember::log() {
  const std::lock_guard lock(mutex_);
  return log_;
}

void EtcdMember::kill() {
  if (pid_ == 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  pid_ = 0;
  drainer_.join();
}

void EtcdMember::signal(int number) { ::kill(pid_, number); }

void EtcdMember::freeze() {
  ::kill(pid_, SIGSTOP);
  int status = 0;
  ::waitpid(pid_, &status, WUNTRACED);
  EXPECT_TRUE(WIFSTOPPED(status));
}

void EtcdMember::thaw() {
  ::kill(pid_, SIGCONT);
}

void EtcdMember::wipe() { std::filesystem::remove_all(options_.data_dir); }

EtcdCluster::EtcdCluster(std::size_t members) {
  std::string all;
  for (std::size_t i = 0; i < members; ++i) {
    EtcdMemberOptions options;
    options.name = "m" + std::to_string(i);
    options.data_dir = directory_.file(options.name);
    options.client_port = free_port();
    options.peer_port = free_port();
    all += (i > 0 ? "," : "") + options.name + "=http://127.0.0.1:" + std::to_string(options.peer_port);
    members_.push_back(std::make_unique<EtcdMember>(std::move(options)));
  }
  for (const auto& member : members_) member->options().initial_cluster = all;
}

void EtcdCluster::start() {
  for (const auto& member : members_) member->spawn();
  for (const auto& member : members_) ASSERT_TRUE(member->await_serving());
}

std::vector<std::string> EtcdCluster::urls() const {
  std::vector<std::string> urls;
  for (const auto& member : members_) urls.push_back(member->url());
  return urls;
}

std::size_t EtcdCluster::leader(std::size_t asked) {
  const auto number = [](const std::string& text, const char* name) {
    std::smatch match;
    return std::regex_search(text, match, std::regex(std::string("\"") + name + "\":\"([0-9]+)\"")) ? match[1].str() : std::string();
  };
  const std::string leader = number(post(member(asked).port(), "/v3/maintenance/status", "{}"), "leader");
  for (std::size_t i = 0; i < members_.size(); ++i)
    if (number(post(member(i).port(), "/v3/maintenance/status", "{}"), "member_id") == leader) return i;
  ADD_FAILURE() << "no leader";
  return 0;
}

std::string post(int port, const std::string& path, const std::string& body, const std::string& token) {
  const int fd = connect_to(port);
  if (fd < 0) return {};
  std::string request = "POST " + path + " HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) + "\r\n";
  if (!token.empty()) request += "Authorization: " + token + "\r\n";
  request += "\r\n" + body;
  EXPECT_EQ(::send(fd, request.data(), request.size(), MSG_NOSIGNAL), static_cast<ssize_t>(request.size()));
  std::string answer;
  std::array<char, 4096> piece{};
  for (ssize_t n; (n = ::recv(fd, piece.data(), piece.size(), 0)) > 0;) answer.append(piece.data(), static_cast<std::size_t>(n));
  ::close(fd);
  const std::size_t end = answer.find("\r\n\r\n");
  return end == answer.npos ? std::string() : answer.substr(end + 4);
}

std::string base64(const std::string& text) { return to_base64(as_bytes(text)); }

}  // namespace holdfast::coord::test
